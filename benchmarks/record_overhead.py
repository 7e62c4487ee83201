"""What the record takes from training: the question before each step, and a leaf now and then.

Times a run's ledger as the trainer's loop calls it, on a log with many leaves and an order in
force: the question whether to stop, a statement of progress, and the hash of a checkpoint. Each
is set against the step of a real run of the default base on this machine.
"""

import argparse
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mynah.record.identity import Identity
from mynah.record.model_signature import model_digest
from mynah.record.pausing import PauseTerms, order_pause
from mynah.record.record import Record
from mynah.record.runs import RunRecord, Spent
from mynah.record.statements import PostForgotten, RunDeclared
from mynah.train.config import TrainConfig
from mynah.train.loop import DIGEST_SHARE

ZEROS = "0" * 64


def seconds(call: Callable[[int], object], repeats: int) -> list[float]:
    """Time each of several calls."""
    times: list[float] = []
    for number in range(repeats):
        began_s = time.perf_counter()
        call(number)
        times.append(time.perf_counter() - began_s)
    return times


def open_ledger(folder: Path, num_leaves: int) -> RunRecord:
    """A declared run in a long log, below the threshold of an order in force."""
    record = Record.open(folder / "network", identity=Identity.open(folder / "keys"))
    for _ in range(num_leaves // 1000):
        record.write_many(
            [
                PostForgotten(posts=secrets.token_hex(32), num_posts=1, snapshot="")
                for _ in range(1000)
            ]
        )
    until_us = time.time_ns() // 1000 + 3_600_000_000
    order_pause(record, PauseTerms(above="1e30", until_us=until_us, reason=""))
    declared = RunDeclared(
        run="run",
        model="model",
        recipe=ZEROS,
        corpus=ZEROS,
        objective="posts",
        parents=(),
        planned_flop=str(10**18),
        planned_basis="",
        pool="local",
        device="cpu",
        num_devices=1,
        peak_flop_per_s="1",
    )
    ledger = RunRecord.open(record, declared)
    ledger.begin(0, Spent(), lambda: ZEROS)
    return ledger


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leaves", type=int, default=10_000)
    parser.add_argument("--step-time-s", type=float, default=1024 / 382)
    parser.add_argument("--checkpoint-bytes", type=int, default=1_600_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        ledger = open_ledger(folder, asked.leaves)
        leaf_s = seconds(lambda n: ledger.progress(n, Spent(flop=n)), 200)
        time.sleep(0.1)  # a file younger than this is looked at once more
        ledger.stop_order(0)
        ask_s = seconds(lambda _: ledger.stop_order(0), 20_000)
        (folder / "checkpoint").mkdir()
        with (folder / "checkpoint" / "model.safetensors").open("wb") as stream:
            for _ in range(asked.checkpoint_bytes // 16_000_000):
                stream.write(secrets.token_bytes(16_000_000))
        hash_s = seconds(lambda _: model_digest(folder / "checkpoint"), 3)
    every_s = TrainConfig(base="", corpus="", dialogues="").record_every_s
    asking = statistics.mean(ask_s) / asked.step_time_s
    writing = statistics.mean(leaf_s) / every_s
    from reporting import write

    lines = [
        f"A log of {asked.leaves:,} leaves and one order in force. A step takes "
        f"{asked.step_time_s:.2f} s (`train_speed`). Target: at most 0.5% in all.",
        "",
        "| what | mean | largest | how often | of training time |",
        "|---|---|---|---|---|",
        f"| may the run go on? | {statistics.mean(ask_s) * 1e6:.1f} us | "
        f"{max(ask_s) * 1e6:.0f} us | each step | {asking:.6%} |",
        f"| a leaf of progress | {statistics.mean(leaf_s) * 1e3:.1f} ms | "
        f"{max(leaf_s) * 1e3:.1f} ms | each {every_s:g} s | {writing:.4%} |",
        f"| hash of {asked.checkpoint_bytes / 1e9:.1f} GB | {statistics.mean(hash_s):.2f} s | "
        f"{max(hash_s):.2f} s | when it is below {DIGEST_SHARE:.2%} | {DIGEST_SHARE:.2%} |",
        "",
        f"In all: {asking + writing + DIGEST_SHARE:.3%}.",
    ]
    write("record_overhead", "What the record takes from training", lines)


if __name__ == "__main__":
    main()
