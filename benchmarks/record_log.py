"""The record: leaves a second, bytes on disk, proofs, opening, and checking all of it.

Run: python benchmarks/record_log.py [--leaves 1000000] [--batch 1000] [--single 500]
Writes the statements of invented runs into a record in a temporary folder: in batches (each
folded, signed, queued and committed, with every sync), then one at a time, then from four
processes; draws proofs, opens it anew, and verifies it with ``mynah.record.verify``. Checks every
leaf against the tree, and writes one result file.
"""

import argparse
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import reporting

from mynah.record.identity import Identity
from mynah.record.log import LogReader
from mynah.record.record import Record
from mynah.record.statements import Body, Progress, RunDeclared
from mynah.record.tree import check_inclusion, leaf_hash
from mynah.record.verify import verify_log

LEAVES_PER_RUN = 10_000
NUM_PROOFS = 1_000
NUM_WRITERS = 4
WRITER_S = 5.0
SEED = 5
RECIPE = "5" * 64

WRITER = """
import sys, time
from pathlib import Path
from mynah.record.identity import Identity
from mynah.record.record import Record
from mynah.record.statements import PostForgotten
record = Record.open(Path(sys.argv[1]), identity=Identity.open(Path(sys.argv[2])))
record.register()
sys.stdin.readline()
deadline_s, number = time.monotonic() + float(sys.argv[3]), 0
while time.monotonic() < deadline_s:
    record.write(PostForgotten(posts=f"{number:064x}", num_posts=1, snapshot="s"))
    number += 1
print(number)
"""


@dataclass(slots=True)
class Figures:
    """What was measured, by name."""

    rows: list[tuple[str, str]] = field(default_factory=lambda: [])

    def add(self, name: str, value: str) -> None:
        """Keep a figure, and say it at once."""
        self.rows.append((name, value))
        print(f"{name}: {value}", file=sys.stderr, flush=True)


def bodies(num: int) -> Iterator[Body]:
    """Runs one after the other: a declaration, then progress."""
    for number in range(num):
        run, step = divmod(number, LEAVES_PER_RUN)
        if step == 0:
            yield RunDeclared(
                run=f"run-{run:05d}",
                model=f"model-{run:05d}",
                recipe=RECIPE,
                corpus="6" * 64,
                objective="pretrain",
                parents=(),
                planned_flop="1" + "0" * 21,
                planned_basis="recipe",
                pool="cluster",
                device="accelerator",
                num_devices=8,
                peak_flop_per_s="1" + "0" * 15,
            )
        else:
            yield Progress(
                run=f"run-{run:05d}",
                recipe=RECIPE,
                step=100 * step,
                flop=str(step * 10**17 + 7),
                device_s=f"{step * 8}.125",
                tokens=step * 52_428_800,
                checkpoint=f"{number:064x}" if step % 10 == 0 else "",
            )


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def append(record: Record, num: int, batch: int, figures: Figures) -> None:
    """Write ``num`` statements in batches."""
    rates: list[float] = []
    part: list[Body] = []
    begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
    for body in bodies(num):
        part.append(body)
        if len(part) == batch:
            at_s = time.perf_counter()
            record.write_many(part)
            rates.append(batch / (time.perf_counter() - at_s))
            part = []
    if part:
        record.write_many(part)
    took_s, cpu_s = time.perf_counter() - begun_s, time.process_time() - begun_cpu_s
    figures.add("append, leaves a second, all of it", f"{num / took_s:,.0f}")
    figures.add("append, leaves per CPU-second", f"{num / cpu_s:,.0f}")
    figures.add("append, leaves a second, median batch", f"{statistics.median(rates):,.0f}")
    figures.add("append, slowest batch", f"{min(rates):,.0f}")


def append_single(record: Record, num: int, figures: Figures) -> None:
    """Write statements one at a time."""
    last = record.log.head().size // LEAVES_PER_RUN + 1
    declared = next(bodies(1))
    assert isinstance(declared, RunDeclared)
    took: list[float] = []
    for number in range(num):
        body = replace(declared, run=f"single-{last}-{number}")
        at_s = time.perf_counter()
        record.write(body)
        took.append(time.perf_counter() - at_s)
    figures.add("one leaf a commit, a second", f"{num / sum(took):,.0f}")
    figures.add("one leaf, median ms", f"{statistics.median(took) * 1e3:.2f}")


def append_together(workspace: Path, keys: Path, figures: Figures) -> None:
    """Several processes write one leaf at a time."""
    command = [sys.executable, "-c", WRITER, str(workspace), str(keys), str(WRITER_S)]
    writers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(NUM_WRITERS)
    ]
    time.sleep(WRITER_S)  # until each has opened the record
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.flush()
    counts = [int(writer.communicate()[0]) for writer in writers]
    each = ", ".join(map(str, counts))
    rate = sum(counts) / WRITER_S
    figures.add(
        f"{NUM_WRITERS} processes, one leaf a commit, a second", f"{rate:,.0f} ({each} leaves)"
    )


def prove(reader: LogReader, figures: Figures) -> None:
    """Make proofs of leaves drawn at random, and check them."""
    chance = random.Random(SEED)
    head = reader.head()
    wall: list[float] = []
    begun_s = time.process_time()
    proofs: list[tuple[int, list[bytes]]] = []
    for _ in range(NUM_PROOFS):
        index = chance.randrange(head.size)
        at_s = time.perf_counter()
        proofs.append((index, reader.inclusion_proof(index)))
        wall.append(time.perf_counter() - at_s)
    cpu_ms = (time.process_time() - begun_s) / NUM_PROOFS * 1e3
    for index, proof in proofs:
        leaf = leaf_hash(reader.leaf(index))
        check_inclusion(leaf, index, size=head.size, root=head.root, proof=proof)
    figures.add("inclusion proof, CPU-ms", f"{cpu_ms:.3f}")
    figures.add("inclusion proof, median ms", f"{statistics.median(wall) * 1e3:.3f}")
    figures.add("inclusion proof, slowest ms", f"{max(wall) * 1e3:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--leaves", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=1_000)
    parser.add_argument("--single", type=int, default=500)
    asked = parser.parse_args()
    figures = Figures()
    with tempfile.TemporaryDirectory() as place:
        keys, workspace = Path(place) / "keys", Path(place) / "network"
        identity = Identity.open(keys)
        record = Record.open(workspace, identity=identity)
        append(record, asked.leaves, asked.batch, figures)
        peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        figures.add("peak memory of the writer, GB", f"{peak_gb:.2f}")
        leaves_bytes = sum(map(len, record.log.leaves()))
        disk_bytes = folder_bytes(record.folder)
        figures.add("bytes a leaf", f"{leaves_bytes / asked.leaves:,.0f}")
        figures.add("record on disk, MB", f"{disk_bytes / 1e6:,.1f}")
        figures.add("disk over leaves", f"{disk_bytes / leaves_bytes:.4f}")
        begun_s = time.perf_counter()
        size = Record.open(workspace, identity=identity).register().size
        figures.add("opening it, register and all, s", f"{time.perf_counter() - begun_s:.3f}")
        assert size == asked.leaves
        prove(LogReader.open(record.folder / "log", record.key), figures)
        append_single(record, asked.single, figures)
        append_together(workspace, keys, figures)
        record.write(next(bodies(1)))
        begun_s, begun = time.perf_counter(), os.times()
        report = verify_log(record.folder / "log", keys=[str(record.key)])
        took_s, ended = time.perf_counter() - begun_s, os.times()
        figures.add("verifying all of it, s", f"{took_s:.1f}")
        figures.add("verifying all of it, CPU-s", f"{sum(ended[:4]) - sum(begun[:4]):.1f}")
        figures.add("verdicts", ", ".join(f"{n} {v}" for v, n in report.counts.items()))
        assert report.size == record.log.head().size
        assert not report.counts["contradicted"]
    reporting.write(
        "record_log",
        f"A record of {asked.leaves:,} leaves",
        [
            f"Batches of {asked.batch:,}; each is folded into the register, signed (DSSE by "
            "securesystemslib, Ed25519), put in the queue and committed by one process, with "
            "every file and folder synced.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in figures.rows),
        ],
    )


if __name__ == "__main__":
    main()
