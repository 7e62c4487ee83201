"""Posts with planted near duplicates, and the truth about them, for benchmarks.

Reads real posts (Reddit titles with their bodies, TweetEval, AfriSenti) from a folder of data;
writes, outside the repository, `posts-<N>.jsonl` in the shape of an export and
`truth-<N>.parquet`: for every planted row the row it was made from and the kind of edit. Rows are
shuffled, so a copy may stand before what it copies. Beyond the real posts, more are made by
splicing thirds of three different ones. Everything is a function of the seed and N.
"""

import argparse
import csv
import gzip
import io
import json
import random
import string
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

SEED = 20_230_411
NEAR_SHARE, EXACT_SHARE, UNSEEN_SHARE = 0.20, 0.02, 0.02
KINDS = ("word", "emoji", "link", "case", "repost", "typo")
UNSEEN_KINDS = ("swap", "via")
"""Edits that no setting was chosen by: two words change places; `via @name` comes at the end."""
EMOJI = ("\U0001f602", "\U0001f525", "\u2764\ufe0f", "\U0001f60d", "\U0001f389", "\U0001f64f")
MIN_WORDS = 5
START = datetime(2013, 1, 1, tzinfo=UTC)


def real_posts(data: Path) -> list[str]:
    """Every distinct post of at least five words, in an order that only depends on the words."""
    texts: set[str] = set()
    for path in sorted((data / "posts-reddit").glob("*.csv.zst")):
        with pa.CompressedInputStream(str(path), "zstd") as stream:
            rows = csv.DictReader(io.TextIOWrapper(stream, encoding="utf-8", newline=""))
            texts.update(f"{row['title']}\n{row['selftext']}".strip() for row in rows)
    tweets = sorted((data / "labelled-tweets").glob("tweeteval_*.jsonl.gz"))
    for path in [*tweets, data / "language-id" / "afrisenti_14lang.jsonl.gz"]:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            texts.update(json.loads(line)["text"].strip() for line in lines)
    return sorted(text for text in texts if len(text.split()) >= MIN_WORDS)


class Planter:
    """Makes row n of N, whatever the others are."""

    def __init__(self, posts: list[str], num_rows: int):
        generator = random.Random(SEED)
        self.posts = generator.sample(posts, len(posts))
        self.words = [w for text in self.posts[:20_000] for w in text.split() if w.isalpha()]
        self.num_near = int(num_rows * NEAR_SHARE)
        self.num_exact = int(num_rows * EXACT_SHARE)
        self.num_unseen = int(num_rows * UNSEEN_SHARE)
        self.num_originals = num_rows - self.num_near - self.num_exact - self.num_unseen

    def original(self, index: int) -> str:
        """Return a real post, or one spliced from thirds of three."""
        if index < len(self.posts):
            return self.posts[index]
        generator = random.Random(SEED * 1_000_003 + index)
        a, b, c = (generator.choice(self.posts).split() for _ in range(3))
        middle = b[len(b) // 3 : max(len(b) // 3 + 2, 2 * len(b) // 3)]
        return " ".join([*a[: max(2, len(a) // 3)], *middle, *c[2 * len(c) // 3 :]])

    def planted(self, number: int) -> tuple[str, int, str]:
        """Return the text of a planted row, the original it was made from, the kind of edit."""
        generator = random.Random(-SEED * 1_000_003 - number)
        origin = generator.randrange(self.num_originals)
        text = self.original(origin)
        if number < self.num_near:
            return (*self._edited(text, origin, generator.choice(KINDS), generator),)
        if number < self.num_near + self.num_exact:
            return text, origin, "exact"
        return (*self._edited(text, origin, generator.choice(UNSEEN_KINDS), generator),)

    def _edited(
        self, text: str, origin: int, kind: str, generator: random.Random
    ) -> tuple[str, int, str]:
        words = text.split(" ")
        if kind == "word" and len(text.split()) < 8:
            kind = "typo"
        place = generator.choice([n for n, word in enumerate(words) if word.strip()])
        other = generator.choice(self.words)
        if kind == "word":
            words[place] = other
        elif kind == "typo":
            words[place] = typo(words[place], generator)
        elif kind == "swap":
            place = min(place, len(words) - 2)
            words[place : place + 2] = [words[place + 1], words[place]]
        edited = " ".join(words)
        if kind == "emoji":
            edited = f"{text} {generator.choice(EMOJI)}"
        elif kind == "link":
            code = "".join(generator.choices(string.ascii_letters + string.digits, k=10))
            edited = f"{text} https://t.co/{code}"
        elif kind == "case":
            cased = text.upper() if generator.random() < 0.5 else text.lower()
            edited = cased.replace("!", "!!").replace(".", " . ")
        elif kind == "repost":
            edited = f"RT @{other}: {text}"
        elif kind == "via":
            edited = f"{text} via @{other}"
        return edited, origin, kind


def typo(word: str, generator: random.Random) -> str:
    """Swap two letters inside a word; a short one gets a letter more."""
    if len(word) <= 3:
        return word + generator.choice("abcdefgh")
    place = generator.randrange(1, len(word) - 2)
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def rows(planter: Planter, order: np.ndarray) -> Iterator[tuple[str, int, str]]:
    """Text, number of the original or -1, kind; in the order of the file."""
    for number in order.tolist():
        if number < planter.num_originals:
            yield planter.original(number), -1, ""
        else:
            yield planter.planted(number - planter.num_originals)


def plant(data: Path, out: Path, num_rows: int) -> tuple[Path, Path]:
    """Write the posts and the truth; a finished pair is left as it is."""
    path, truth_path = out / f"posts-{num_rows}.jsonl", out / f"truth-{num_rows}.parquet"
    if truth_path.exists():
        return path, truth_path
    out.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(SEED).permutation(num_rows)
    row_of = np.empty(num_rows, dtype=np.int64)
    row_of[order] = np.arange(num_rows)
    truth: list[tuple[int, int, str]] = []
    with path.open("w", encoding="utf-8") as stream:
        for row, (text, origin, kind) in enumerate(
            rows(Planter(real_posts(data), num_rows), order)
        ):
            if kind:
                truth.append((row, int(row_of[origin]), kind))
            created_at = START + timedelta(seconds=7 * row)
            post = {
                "id": str(1_600_000_000_000_000 + row * 1024),
                "created_at": created_at.isoformat().replace("+00:00", "Z"),
                "author": f"account{row * 7919 % 99_991}",
                "text": text,
                "in_reply_to": None,
                "likes": row % 17,
                "reposts": row % 5,
            }
            stream.write(json.dumps(post, ensure_ascii=False) + "\n")
    table = pl.DataFrame(truth, schema=["row", "origin", "kind"], orient="row")
    table.write_parquet(truth_path)
    return path, truth_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real posts")
    parser.add_argument("--out", type=Path, required=True, help="folder outside the repository")
    parser.add_argument("--rows", type=int, default=500_000)
    options = parser.parse_args()
    print(*plant(options.data, options.out, options.rows), sep="\n")


if __name__ == "__main__":
    main()
