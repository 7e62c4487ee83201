"""What privacy and quality rules find, lose and cost on real posts.

Reads the shared data sets: ordinary posts (TweetEval, senators, Broad Twitter Corpus), and labelled
SMS. Thresholds of the spam rule were chosen on every second message (the even rows) of each set;
its figures are of the other half. Personal data of known kinds, made up with right check digits, is
planted into ordinary posts to measure recall. With --show every replacement in the ordinary
posts is printed, to be read by a person; nothing of it is written to the result.
"""

import argparse
import csv
import gzip
import json
import random
import re
import statistics
import string
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import reporting

from mynah.corpus.bots import BotConfig, author_habits, find_bots
from mynah.corpus.clean import clean_text
from mynah.corpus.language import LanguageConfig
from mynah.corpus.privacy import PERSONAL_KINDS, PrivacyConfig, redact
from mynah.corpus.privacy_patterns import has_luhn_digit
from mynah.corpus.quality import QualityConfig, judge

NUM_PLANTED = 2_000
ROUNDS = 5
csv.field_size_limit(1 << 24)


def json_texts(folder: Path, pattern: str) -> list[str]:
    texts: list[str] = []
    for path in sorted(folder.glob(pattern)):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            texts += [json.loads(line)["text"] for line in lines]
    return texts


def senators(data: Path) -> pl.DataFrame:
    path = data / "posts-tweets" / "us_senate_tweets_2015.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as lines:
        rows = [(row["screen_name"], row["text"]) for row in csv.DictReader(lines)]
    return pl.DataFrame(rows, schema=["author", "text"], orient="row")


def messages(data: Path) -> list[tuple[str, str]]:
    path = data / "spam-bots" / "sms_spam_collection_a.tsv.gz"
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as lines:
        pairs = [line.rstrip("\n").partition("\t") for line in lines]
    return [(label, text) for label, tab, text in pairs if tab]


def ordinary_posts(data: Path) -> dict[str, list[str]]:
    return {
        "TweetEval": json_texts(data / "labelled-tweets", "*.jsonl.gz"),
        "senators": senators(data)["text"].to_list(),
        "Broad Twitter Corpus": json_texts(data / "posts-tweets", "broad_*.jsonl.gz"),
    }


# Personal data, made up


def digits(source: random.Random, num: int) -> str:
    return "".join(source.choice(string.digits) for _ in range(num))


def card(source: random.Random) -> str:
    body = source.choice("3456") + digits(source, 14)
    check = next(d for d in string.digits if has_luhn_digit([int(c) for c in body + d]))
    joint = source.choice(["", " ", "-"])
    return joint.join((body + check)[i : i + 4] for i in range(0, 16, 4))


def iban(source: random.Random) -> str:
    country, num = source.choice([("DE", 18), ("ES", 20), ("PL", 24), ("NO", 11), ("AE", 19)])
    body = digits(source, num)
    turned = "".join(str(int(c, 36)) for c in f"{body}{country}00")
    whole = f"{country}{98 - int(turned) % 97:02d}{body}"
    return source.choice(["", " "]).join(whole[i : i + 4] for i in range(0, len(whole), 4))


def phone(source: random.Random) -> str:
    area, mid, end = digits(source, 2), digits(source, 3), digits(source, 4)
    a, b = source.choice("23456789"), source.choice("23456789")
    return source.choice(
        [
            f"+49 {a}{area} {mid}{end}", f"0049{a}{area}{mid}{end}", f"({a}{area}) {b}{area}-{end}",
            f"{a}{area}-{b}{area}-{end}", f"{a}{area}.{b}{area}.{end}", f"0{a}{area} {mid}{end}",
            f"0{a}{area}{mid}{end}", f"+44 (0){a}{area} {mid} {end}",
        ]
    )  # fmt: skip


def email(source: random.Random) -> str:
    name = "".join(source.choice(string.ascii_lowercase + "._+-") for _ in range(8))
    return f"a{name}z@{source.choice(['mail', 'b-c', 'x.y'])}.{source.choice(['org', 'co.uk'])}"


def ip(source: random.Random) -> str:
    if source.random() < 0.5:
        return ".".join(str(source.randint(11, 99)) for _ in range(4))
    return ":".join(["2001", "db8", *(f"{source.randint(1, 65535):x}" for _ in range(6))])


PLANTS: dict[str, Callable[[random.Random], str]] = {
    "email": email, "phone": phone, "ip": ip, "card": card, "iban": iban,
}  # fmt: skip


def recall_table(posts: pl.Series) -> list[str]:
    source = random.Random(7)
    lines = ["| planted | posts | gone whole | as its kind |", "|---|---|---|---|"]
    clean = posts.filter(~posts.str.contains(r"[0-9@]")).to_list()
    for kind, make in PLANTS.items():
        texts: list[str] = []
        for text in source.sample(clean, NUM_PLANTED):
            words = text.split(" ")
            words.insert(source.randint(0, len(words)), make(source))
            texts.append(" ".join(words))
        found, counts = redact(pl.Series(texts), config=PrivacyConfig())
        num_gone = sum(re.search(r"[0-9@]", text) is None for text in found)
        lines.append(
            f"| {kind} | {len(texts)} | {num_gone / len(texts):.4f} | "
            f"{int((counts[kind] > 0).sum()) / len(texts):.4f} |"
        )
    return [*lines, ""]


# What is lost and what it costs


def per_cpu_second(run: Callable[[], object], num: int) -> float:
    run()
    seconds: list[float] = []
    for _ in range(ROUNDS):
        started = time.process_time()
        run()
        seconds.append(time.process_time() - started)
    return num / statistics.median(seconds)


def judged(texts: pl.Series) -> pl.Series:
    frame = pl.DataFrame({"text": texts, "lang": pl.Series([None] * len(texts), dtype=pl.String)})
    return judge(frame, quality=QualityConfig(), language=LanguageConfig())


def privacy_table(sets: dict[str, pl.Series]) -> list[str]:
    lines = [
        "| posts | number | posts per CPU-second | posts changed | replaced, by kind |",
        "|---|---|---|---|---|",
    ]
    for name, texts in sets.items():
        # Many times over, so that a clock of milliseconds measures something.
        many = pl.concat([texts] * max(1, 200_000 // len(texts)))
        speed = per_cpu_second(lambda many=many: redact(many, config=PrivacyConfig()), len(many))
        found, counts = redact(texts, config=PrivacyConfig())
        kinds = ", ".join(f"{k} {counts[k].sum()}" for k in PERSONAL_KINDS if counts[k].sum())
        num_changed = int((found != texts).sum())
        lines.append(f"| {name} | {len(texts)} | {speed:,.0f} | {num_changed} | {kinds} |")
    return [*lines, ""]


def quality_table(sets: dict[str, pl.Series]) -> list[str]:
    reasons = ("no_words", "too_short", "repetitive", "spam")
    lines = [
        f"| posts | number | {' | '.join(reasons)} | posts per CPU-second |",
        f"|---|---|{'---|' * len(reasons)}---|",
    ]
    for name, texts in sets.items():
        found = judged(texts)
        shares = " | ".join(f"{(found == reason).sum() / len(texts):.4f}" for reason in reasons)
        speed = per_cpu_second(lambda texts=texts: judged(texts), len(texts))
        lines.append(f"| {name} | {len(texts)} | {shares} | {speed:,.0f} |")
    return [*lines, ""]


def bots_lines(data: Path) -> list[str]:
    frame = senators(data).filter(pl.col("author") != "NA")
    path = data / "posts-tweets" / "us_senate_tweets_2015.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as lines:
        created = [r["created_at"] for r in csv.DictReader(lines) if r["screen_name"] != "NA"]
    times = pl.Series(created).str.to_datetime("%a %b %d %H:%M:%S %z %Y", strict=False)
    if times.null_count() == len(times):
        times = pl.Series(created).str.to_datetime(strict=False, time_zone="UTC")
    posts = frame.with_columns(
        times.alias("created_at"),
        pl.col("text").str.contains("http", literal=True).alias("has_link"),
        pl.when(pl.col("text").is_first_distinct()).then(-1).otherwise(0).alias("survivor"),
    )
    habits = author_habits(posts)
    num_bots = find_bots(posts, config=BotConfig()).height
    return [
        f"Senators: {habits.height} accounts with {times.count()} dated posts; "
        f"{num_bots} taken for a machine. Highest share of even pauses "
        f"{habits['clock_share'].max():.3f}, of repeats {habits['repeat_share'].max():.3f}, "
        f"of links {habits['link_share'].max():.3f}; most posts a day "
        f"{habits['posts_per_day'].max():.1f}.",
        "",
        "The labelled set of bot accounts has one status an account. It shows profiles, and "
        "none of the habits that the rule asks for (repeats, pauses, pace), so that recall on bots "
        "is not measured; what is measured is that no senator's office is lost.",
        "",
    ]


def show(sets: dict[str, pl.Series]) -> None:
    for name, texts in sets.items():
        found, _ = redact(texts, config=PrivacyConfig())
        for before, after in zip(texts, found, strict=True):
            if before != after:
                print(name, "|", before, "=>", after)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    sets = {
        name: pl.Series([clean_text(text) for text in texts])
        for name, texts in ordinary_posts(options.data).items()
    }
    if options.show:
        show(sets)
        return
    unseen = messages(options.data)[1::2]
    sms = {
        f"SMS, {label}": pl.Series([clean_text(text) for kind, text in unseen if kind == label])
        for label in ("spam", "ham")
    }
    halves = {f"{name}, odd rows": texts.gather_every(2, 1) for name, texts in sets.items()}
    lines = [
        *(__doc__ or "").strip().splitlines()[2:], "",
        "## Privacy: ordinary posts", "", *privacy_table(sets),
        "## Privacy: planted", "", *recall_table(sets["TweetEval"]),
        "## Quality and spam", "", *quality_table(sms | halves),
        "## Automated accounts", "", *bots_lines(options.data),
    ]  # fmt: skip
    reporting.write("privacy_and_spam", "Privacy, quality and spam on real posts", lines)


if __name__ == "__main__":
    main()
