"""How fast are JSON lines read into posts, and their texts cleaned? Rows against columns.

The same invented file is read in one run by `PostBuilder`, one record at a time, as every reader
did before, and in columns; then its texts are cleaned by `clean_text` one by one and as columns.
Both ways end in Arrow columns and must agree. Times are CPU seconds of all threads.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path

import polars as pl
import pyarrow as pa
import reporting

from mynah.corpus import clean_text
from mynah.corpus.clean_column import clean_column
from mynah.posts.export_file import ExportFile
from mynah.posts.post import POST_SCHEMA, Post
from mynah.posts.reader import ReadOptions, SourceReport
from mynah.posts.readers.json_records import line_records
from mynah.posts.readers.records import NUM_LOOKED_AT, builder_for
from mynah.posts.readers.table import read_json_lines

BATCH = 16_384
SYLLABLES = [first + second for first in "bdfgklmnprstvz" for second in "aeiou"]


def invent(path: Path, num_posts: int) -> None:
    """Write posts of invented words: a third with a link, a tenth reposts or with an entity."""
    rng = random.Random(5)
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 4))) for _ in range(20_000)]
    words += ["caf\u00e9", "\u65e5\u672c\u8a9e", "\U0001f642", "na\u00efve"] * 100
    with path.open("w") as out:
        for number in range(num_posts):
            said = rng.choices(words, k=rng.randint(4, 28))
            if rng.random() < 0.3:
                said.append(f"https://t.co/{rng.getrandbits(40):010x}")
            if rng.random() < 0.1:
                said.append(f"https://www.example.org/{number}/page.html?id={number}")
            if rng.random() < 0.1:
                said.insert(1, "&amp;")
            if rng.random() < 0.1:
                said.insert(0, f"RT @member{rng.randint(1, 9_999)}:")
            day, second = rng.randint(1, 28), rng.randint(0, 59)
            row = {
                "id": 1_000_000_000_000_000_000 + number * 997,
                "author": f"member{rng.randint(1, 20_000)}",
                "created_at": f"2020-{rng.randint(1, 12):02}-{day:02}T12:30:{second:02}Z",
                "text": " ".join(said),
                "lang": rng.choice(["en", "en", "de", "ja"]),
                "likes": int(rng.paretovariate(0.8)),
                "reposts": int(rng.paretovariate(1.0)) - 1,
            }
            out.write(json.dumps(row, ensure_ascii=number % 2 == 0) + "\n")


def in_rows(path: Path) -> Iterator[pa.RecordBatch]:
    """Read one record at a time."""
    report = SourceReport(name=path.name, format="jsonl")
    with ExportFile(path=path, name=path.name).open_text() as text:
        items = line_records(text.lines(), source=path.name)
        first = list(islice(items, NUM_LOOKED_AT))
        builder = builder_for(first, options=ReadOptions(), report=report)
        assert builder is not None, "the file has records"
        found = map(builder.read, chain(first, items))
        while posts := [post for post in islice(found, BATCH) if isinstance(post, Post)]:
            columns = [[getattr(post, name) for post in posts] for name in POST_SCHEMA.names]
            yield pa.RecordBatch.from_arrays(
                [pa.array(c, f.type) for c, f in zip(columns, POST_SCHEMA, strict=True)],
                schema=POST_SCHEMA,
            )


def in_columns(path: Path) -> Iterator[pa.RecordBatch]:
    """Read chunk by chunk."""
    file = ExportFile(path=path, name=path.name)
    for found in read_json_lines(file, ReadOptions(), SourceReport(name=path.name, format="")):
        assert isinstance(found, pa.RecordBatch), "every invented post is an ordinary one"
        yield found


def one_by_one(texts: list[pa.Array]) -> list[pa.Array]:
    """Clean text after text."""
    return [pa.array([clean_text(text) for text in part.to_pylist()]) for part in texts]


def as_columns(texts: list[pa.Array]) -> list[pa.Array]:
    """Clean column after column."""
    return [clean_column(part) for part in texts]


def seconds(runs: int, ways: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Time the ways in turn, so that a busy moment of the machine is shared."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            begun = time.process_time()
            way()
            times[name].append(time.process_time() - begun)
    return times


def main(num_posts: int, runs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "posts.jsonl"
        invent(path, num_posts)
        size = path.stat().st_size
        batches = list(in_columns(path))
        table = pa.Table.from_batches(batches)
        assert pa.Table.from_batches(in_rows(path)).equals(table), "both ways agree"
        texts = [batch.column("text") for batch in batches]
        cleaned = [text for part in as_columns(texts) for text in part.to_pylist()]
        assert cleaned == [clean_text(text) for text in table["text"].to_pylist()], "both agree"
        times = seconds(
            runs,
            {
                "read, row by row": lambda: sum(batch.num_rows for batch in in_rows(path)),
                "read, in columns": lambda: sum(batch.num_rows for batch in in_columns(path)),
                "clean, text by text": lambda: one_by_one(texts),
                "clean, in columns": lambda: as_columns(texts),
            },
        )
    median = {name: statistics.median(values) for name, values in times.items()}
    both = median["read, in columns"] + median["clean, in columns"]
    lines = [
        f"{num_posts:,} invented posts, {size / num_posts:.0f} bytes a line; polars threads: "
        f"{pl.thread_pool_size()}; every value agreed.",
        "",
        f"| CPU, medians of {runs} | microseconds a post | posts per CPU-second | all runs, s |",
        "|---|---|---|---|",
    ]
    for name, value in median.items():
        each = ", ".join(f"{run:.2f}" for run in times[name])
        lines.append(
            f"| {name} | {value / num_posts * 1e6:.2f} | {num_posts / value:,.0f} | {each} |"
        )
    lines += [
        "",
        f"Reading and cleaning together: {both / num_posts * 1e6:.2f} microseconds a post.",
    ]
    reporting.write("reading", "Reading and cleaning: columns against rows", lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=500_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    main(options.posts, options.runs)
