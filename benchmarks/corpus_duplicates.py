"""Posts cleaned and freed of duplicates, JSONL to Parquet, beside datatrove in one run.

Plants duplicates (`plant_duplicates`), lets each tool do the whole way in a process of its own,
one after the other, and compares what is left with the truth. CPU seconds are user and system
time of that process and all it starts, imports included; memory is its peak.

A planted copy is found if not both it and what it was made from are kept. A removal is wrong if
no kept post has the similarity from which two posts are the same: Jaccard of the character
5-grams, computed here in plain Python on every kept post that could have it, for at most 2,000 of
the removals that the planted truth does not explain.
"""

import argparse
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

HERE = Path(__file__).parent
PART_ROWS = 50_000
NUM_CHECKED = 2_000
WAYS = {"datatrove, spaCy's words (its default)": "spacy", "datatrove, words split": "split"}


# The way through mynah, in the measured process.


def posts_of(path: Path) -> Iterator["pa.Table"]:
    """Read an export as `mynah posts add` does, many posts at a time."""
    import pyarrow as pa

    from mynah.posts import POST_SCHEMA, Post, ReadOptions
    from mynah.posts.reader import SourceReport
    from mynah.posts.sources import opened_sources

    options, batches, num_rows = ReadOptions(), [], 0
    with opened_sources([path], options=options) as (source,):
        report = SourceReport(name=source.name, format=source.format.name)
        for found in source.read(options, report):
            if isinstance(found, Post):  # a row that only the slower way can read
                found = pa.RecordBatch.from_pylist([asdict(found)], schema=POST_SCHEMA)
            assert isinstance(found, pa.RecordBatch), "every planted row is a post"
            batches.append(found)
            num_rows += found.num_rows
            if num_rows >= PART_ROWS:
                yield pa.Table.from_batches(batches)
                batches, num_rows = [], 0
    if batches:
        yield pa.Table.from_batches(batches)


def prepare_part(posts: "pa.Table", part: Path) -> int:
    """Clean and sign some posts, write them as one Arrow file."""
    import polars as pl
    import pyarrow as pa

    from mynah.corpus.clean_column import clean_column
    from mynah.corpus.signatures import sign

    frame = pl.DataFrame(pl.from_arrow(posts.select(["id", "created_at", "author", "text"])))
    frame = frame.with_columns(clean_column(frame["text"]).alias("text"))
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
    signed = sign(table["text"])
    table = table.append_column("key", signed["key"]).append_column("bands", signed["bands"])
    with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=table.num_rows)
    return table.num_rows


def write_kept(part: Path, is_kept, out: Path) -> None:
    """Write the posts of a part that are kept."""
    import polars as pl

    posts = pl.read_ipc(part, columns=["id", "created_at", "author", "text"])
    posts.filter(pl.Series(is_kept)).write_parquet(out, compression_level=1)


def deduplicate(posts: Path, out: Path, work: Path, *, num_threads: int, threshold: float) -> None:
    """The whole way: JSONL in, Parquet out; earlier rows stand for later ones."""
    import numpy as np

    from mynah.corpus.duplicates import find_duplicates

    timed = time.process_time()
    laps: list[str] = []

    def lap(name: str) -> None:
        nonlocal timed
        now = time.process_time()
        laps.append(f"{name} {now - timed:.2f}")
        timed = now

    parts: list[Path] = []
    num_rows: list[int] = []
    with ThreadPoolExecutor(num_threads) as pool:
        waiting = []
        for number, piece in enumerate(posts_of(posts)):
            parts.append(work / f"{number:05}.arrow")
            waiting.append(pool.submit(prepare_part, piece, parts[-1]))
            if len(waiting) > num_threads:
                num_rows.append(waiting.pop(0).result())
        num_rows.extend(future.result() for future in waiting)
        lap("read, cleaned, signed")
        precedence = np.arange(sum(num_rows))
        found = find_duplicates(
            parts, precedence, min_similarity=threshold, num_threads=num_threads
        )
        lap("compared")
        is_kept = np.split((found.exact < 0) & (found.near < 0), np.cumsum(num_rows)[:-1])
        outs = [out / f"{part.stem}.parquet" for part in parts]
        list(pool.map(write_kept, parts, is_kept, outs))
        lap("written")
    print(f"CPU s after imports: {', '.join(laps)}", file=sys.stderr)


# The measuring.


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one tool took, and which rows it kept."""

    cpu_s: float
    wall_s: float
    peak_bytes: int
    folder: Path


def measured(command: list[str], folder: Path) -> Run:
    """Run a command to its end, children included."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "out").mkdir(parents=True)
    (folder / "work").mkdir()
    begun = time.perf_counter()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit((folder / "log").read_text()[-2000:])
    return Run(
        cpu_s=usage.ru_utime + usage.ru_stime,
        wall_s=time.perf_counter() - begun,
        peak_bytes=usage.ru_maxrss * 1024,
        folder=folder,
    )


def kept_ids(run: Run) -> list[str]:
    import polars as pl

    ids = pl.read_parquet(run.folder / "out" / "*.parquet", columns=["id"])["id"]
    return ids.str.split(":").list.last().to_list()  # mynah's begin with the network


# The truth, in plain Python.

NO_WORD = re.compile(r"[^\w@#]+|_+")


def grams(cleaned: str) -> frozenset[str]:
    """Character 5-grams of the words of a text, in lower case."""
    key = NO_WORD.sub(" ", cleaned.lower()).strip()
    return frozenset(key[n : n + 5] for n in range(max(1, len(key) - 4)))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    num_common = len(a & b)
    return num_common / (len(a) + len(b) - num_common)


@dataclass(frozen=True, slots=True)
class Truth:
    """The cleaned texts, and where the planted rows come from."""

    texts: list[str]
    ids: list[str]
    planted: list[tuple[int, int, str]]

    def recall(self, kept: set[int]) -> dict[str, tuple[int, int]]:
        """Of each kind of edit: how many were planted, how many found."""
        num_planted, num_found = Counter(), Counter()
        for row, origin, kind in self.planted:
            num_planted[kind] += 1
            num_found[kind] += row not in kept or origin not in kept
        return {kind: (num_planted[kind], num_found[kind]) for kind in sorted(num_planted)}

    def num_wrong(self, kept: set[int], threshold: float) -> tuple[int, float]:
        """Removals that the planted truth does not explain, and how many of all are wrong."""
        families: dict[int, list[int]] = {}
        for row, origin, _ in self.planted:
            families.setdefault(origin, [origin]).append(row)
        family_of = {row: family for family in families.values() for row in family}
        open_rows = []
        for row in range(len(self.texts)):
            if row in kept:
                continue
            own = grams(self.texts[row])
            relatives = (other for other in family_of.get(row, ()) if other in kept)
            if not any(jaccard(own, grams(self.texts[other])) >= threshold for other in relatives):
                open_rows.append(row)
        checked = random.Random(1).sample(open_rows, min(NUM_CHECKED, len(open_rows)))
        wrong = set(checked) - self._with_a_kept_one(checked, kept, threshold)
        return len(open_rows), len(wrong) * len(open_rows) / max(1, len(checked))

    def _with_a_kept_one(self, rows: list[int], kept: set[int], threshold: float) -> set[int]:
        """Rows that are like a kept one. Two such sets share one of the rarest grams of either."""
        common: Counter[str] = Counter()
        for text in random.Random(2).sample(self.texts, min(20_000, len(self.texts))):
            common.update(grams(text))
        wanted = {row: grams(self.texts[row]) for row in rows}
        by_gram: dict[str, list[int]] = {}
        for row, own in wanted.items():
            num_rarest = int((1 - threshold) * len(own)) + 1
            for gram in sorted(own, key=lambda gram: (common[gram], gram))[:num_rarest]:
                by_gram.setdefault(gram, []).append(row)
        found: set[int] = set()
        for other in kept:
            own = grams(self.texts[other])
            near = {row for gram in own & by_gram.keys() for row in by_gram[gram]} - found
            found.update(row for row in near if jaccard(wanted[row], own) >= threshold)
        return found


def truth_of(posts: Path, truth: Path) -> Truth:
    import polars as pl

    from mynah.corpus.clean_column import clean_column

    table = pl.read_ndjson(posts, schema={"id": pl.String, "text": pl.String})
    planted = pl.read_parquet(truth).rows()
    return Truth(clean_column(table["text"]).to_list(), table["id"].to_list(), planted)


def peers_python(given: Path | None) -> Path:
    """Return the Python of an environment with the peers, made on first use."""
    if given:
        return given
    from platformdirs import user_cache_path

    folder = user_cache_path("mynah") / "benchmark-peers"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        install = ["-m", "pip", "install", "-q", "-r", str(HERE / "requirements-peers.txt")]
        subprocess.run([python, *install], check=True)
    return python


def report(name: str, runs: list[Run], truth: Truth, threshold: float) -> list[str]:
    """Lines of the table of one tool."""
    row_of = {post_id: row for row, post_id in enumerate(truth.ids)}
    kept = {row_of[post_id] for post_id in kept_ids(runs[-1])}
    cpu_s = statistics.median(run.cpu_s for run in runs)
    num_rows = len(truth.ids)
    recall = truth.recall(kept)
    unseen = {"exact", "swap", "via"}
    near = [counts for kind, counts in recall.items() if kind not in unseen]
    num_open, num_wrong = truth.num_wrong(kept, threshold)
    num_removed = num_rows - len(kept)
    kinds = ", ".join(f"{kind} {found / num:.4f}" for kind, (num, found) in recall.items())
    return [
        f"## {name}",
        "",
        f"- CPU s {', '.join(f'{run.cpu_s:.2f}' for run in runs)}; wall s "
        f"{', '.join(f'{run.wall_s:.1f}' for run in runs)}",
        f"- {num_rows / cpu_s:,.0f} posts per CPU-second, {1e6 * cpu_s / num_rows:.2f} us a post",
        f"- peak memory {max(run.peak_bytes for run in runs) / 2**20:,.0f} MiB",
        f"- recall of the six kinds {sum(f for _, f in near) / sum(n for n, _ in near):.4f}",
        f"- by kind: {kinds}",
        f"- removed {num_removed}, {num_open} of them not explained by what was planted; "
        f"wrong {num_wrong:.0f} = {num_wrong / max(1, num_removed):.2%} of removals",
        "",
    ]


def compare(options: argparse.Namespace) -> None:
    import reporting
    from plant_duplicates import plant

    posts, truth_path = plant(options.data, options.folder, options.rows)
    runs: dict[str, list[Run]] = {}
    scratch = Path(tempfile.mkdtemp(dir=options.folder))
    ours = [sys.executable, __file__, "mynah", str(posts)]
    settings = ["--threads", str(options.threads), "--threshold", str(options.threshold)]
    for _ in range(options.rounds):
        folder = scratch / "mynah"
        command = [*ours, str(folder / "out"), str(folder / "work"), *settings]
        runs.setdefault("mynah", []).append(measured(command, folder))
    for name, words in WAYS.items():
        if words in options.peers:
            folder = scratch / words
            peer = [str(peers_python(options.peers_python)), str(HERE / "peer_datatrove.py")]
            command = [*peer, str(posts), str(folder / "out"), str(folder / "work")]
            runs[name] = [measured([*command, "--words", words], folder)]
    truth = truth_of(posts, truth_path)
    size = posts.stat().st_size / options.rows
    lines = [
        f"{options.rows:,} posts, {size:.0f} bytes of JSON each; seed fixed; the same from "
        f"similarity {options.threshold}. {' '.join((__doc__ or '').split())}",
        "",
    ]
    for name, done in runs.items():
        lines += report(name, done, truth, options.threshold)
    lines += [(runs["mynah"][-1].folder / "log").read_text().strip()]
    shutil.rmtree(scratch)
    reporting.write(f"corpus_duplicates_{options.rows}", "Near duplicates among posts", lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    way = steps.add_parser("mynah", help="one way through mynah, unmeasured")
    for name in ("posts", "out", "work"):
        way.add_argument(name, type=Path)
    side = steps.add_parser("compare", help="both, measured")
    side.add_argument("--data", type=Path, required=True, help="folder of the real posts")
    side.add_argument("--folder", type=Path, required=True, help="scratch, outside the repository")
    side.add_argument("--rows", type=int, default=500_000)
    side.add_argument("--rounds", type=int, default=3)
    side.add_argument("--peers-python", type=Path)
    side.add_argument("--peers", nargs="*", default=list(WAYS.values()))
    for one in (way, side):
        one.add_argument("--threads", type=int, default=2)
        one.add_argument("--threshold", type=float, default=0.55)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.step == "compare":
        compare(options)
        return
    deduplicate(
        options.posts,
        options.out,
        options.work,
        num_threads=options.threads,
        threshold=options.threshold,
    )


if __name__ == "__main__":
    main()
