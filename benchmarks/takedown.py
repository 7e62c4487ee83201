"""One post out of a store of a million: how long, how much work, how many bytes.

Run: python benchmarks/takedown.py [--posts 1000000] [--takedowns 20]
Builds a store of invented posts in a temporary folder, takes posts out one at a time, and checks
after the last one that no file of the store holds them. Writes one result file.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import reporting

from mynah.posts import POST_SCHEMA, Takedown, forget_posts, load_columns, shard_paths
from mynah.posts.deletions import Deletions
from mynah.posts.gathering import Gathered
from mynah.posts.reader import SourceReport
from mynah.posts.snapshots import one_writer, write_snapshot
from mynah.workspace import Artifact

BATCH_POSTS = 100_000
NUM_WORDS = 20_000
WORDS_PER_POST = 14
SEED = 3
NEVER_CREATED_BEFORE_US = 1_600_000_000_000_000


def batches(num_posts: int) -> Iterator[pa.RecordBatch]:
    """Invent posts; ids come in no order, as an export has them."""
    random = np.random.default_rng(SEED)
    words = np.array([f"{number:x}" for number in random.integers(16**2, 16**8, NUM_WORDS)])
    ids = random.permutation(num_posts) * 7919 + 10**12
    for start in range(0, num_posts, BATCH_POSTS):
        part = ids[start : start + BATCH_POSTS]
        num = len(part)
        created = NEVER_CREATED_BEFORE_US + random.integers(0, 10**14, num)
        columns = {
            "id": pa.array([f"net:{number}" for number in part]),
            "author": pa.array([f"writer{a}" for a in random.integers(0, num_posts // 8 + 1, num)]),
            "text": pa.array(
                [
                    " ".join(row)
                    for row in words[random.integers(0, NUM_WORDS, (num, WORDS_PER_POST))]
                ]
            ),
            "created_at": pa.array(created).cast(POST_SCHEMA.field("created_at").type),
            "lang": pa.array(["en"] * num),
            **{name: pa.array(random.integers(0, 90, num)) for name in ("likes", "reposts")},
            "replies": pa.array(np.zeros(num, dtype=np.int64)),
            "visibility": pa.array(["public"] * num),
            "may_train": pa.array([True] * num),
            "kind": pa.array(["post"] * num),
        }
        arrays = [columns.get(f.name, pa.nulls(num, f.type)) for f in POST_SCHEMA]
        yield pa.record_batch(arrays, schema=POST_SCHEMA)


def build(store: Path, num_posts: int) -> tuple[Artifact, float]:
    """Store the posts; return the snapshot and the CPU time of storing them."""
    cpu_s = 0.0
    with one_writer(store) as folder:
        gathered = Gathered.empty(folder)
        for batch in batches(num_posts):
            begun_s = time.process_time()
            gathered.spool.add_batch(batch)
            cpu_s += time.process_time() - begun_s
        gathered.facts.append({"name": "invented", "reader_version": 0})
        gathered.reports.append(SourceReport(name="invented", format="none", num_posts=num_posts))
        begun_s = time.process_time()
        artifact = write_snapshot(
            store, base=None, gathered=gathered, deletions=Deletions.load(store)
        )
    return artifact, cpu_s + time.process_time() - begun_s


def num_left(store: Path, ids: list[str]) -> int:
    """How often any file of the store has one of the posts."""
    files = store.glob("*/part-*.parquet")
    return sum(
        pl.read_parquet(path, columns=["id"], glob=False)["id"].is_in(ids).sum() for path in files
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--posts", type=int, default=1_000_000)
    parser.add_argument("--takedowns", type=int, default=20)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "posts"
        artifact, build_s = build(store, asked.posts)
        store_bytes = sum(path.stat().st_size for path in shard_paths(artifact))
        ids = load_columns(artifact, ["id"])["id"].sample(asked.takedowns, seed=SEED).to_list()
        cpu: list[float] = []
        receipts: list[Takedown] = []
        for post_id in ids:
            begun_s = time.process_time()
            receipts.append(forget_posts(store, ids=[post_id]))
            cpu.append(time.process_time() - begun_s)
        left = num_left(store, ids)
        num_snapshots = len(list(store.glob("*/manifest.json")))
    write_result(asked.posts, store_bytes, build_s, cpu=cpu, receipts=receipts)
    assert left == 0, f"{left} posts are still there in {num_snapshots} snapshots"


def write_result(
    num_posts: int,
    store_bytes: int,
    build_s: float,
    *,
    cpu: list[float],
    receipts: list[Takedown],
) -> None:
    seconds = [receipt.seconds for receipt in receipts]
    rewritten = [receipt.bytes_rewritten for receipt in receipts]
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    reporting.write(
        "takedown",
        f"One post out of a store of {num_posts:,}",
        [
            f"Stored in {build_s:.2f} CPU-s ({num_posts / build_s:,.0f} posts per CPU-s, batches "
            f"in, shards out), {store_bytes / 1e6:.1f} MB; peak memory of the whole script "
            f"{peak_gb:.2f} GB.",
            "",
            f"{len(receipts)} posts chosen at random, taken out one after the other. Each takedown "
            "writes a new snapshot and purges all before, so that one more must be purged by each "
            "next one. No file of the store holds any of the posts afterwards.",
            "",
            "| | median | least | most |",
            "|---|---|---|---|",
            f"| seconds | {_three(seconds, '.3f')} |",
            f"| CPU-seconds | {_three(cpu, '.3f')} |",
            f"| bytes rewritten | {_three(rewritten, ',.0f')} |",
            "",
            f"Raw seconds: {', '.join(f'{value:.3f}' for value in seconds)}",
        ],
    )


def _three(values: list[float] | list[int], form: str) -> str:
    return " | ".join(f"{v:{form}}" for v in (statistics.median(values), min(values), max(values)))


if __name__ == "__main__":
    main()
