"""What the record takes from training: the question before each step, and a leaf now and then.

Times a run's ledger as the trainer's loop calls it, on a log with many leaves and an order in
force: the question whether to stop, and a statement of progress. Then trains the default base on
the sample for some minutes, and adds up what every call to the record took in that run. The hash
of a checkpoint is made while it is saved, for whoever loads it; the record reads it there.
"""

import argparse
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import train_speed

from mynah.config import dump_toml
from mynah.record.identity import Identity
from mynah.record.pausing import PauseTerms, order_pause
from mynah.record.record import Record
from mynah.record.runs import RunRecord, Spent
from mynah.record.statements import PostForgotten, RunDeclared
from mynah.train import ScheduleConfig, TrainResult, loop, run_training
from mynah.train.config import LineageConfig, TrainConfig

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


class Stopwatch:
    """Adds up what calls take; one inside another counts once."""

    def __init__(self) -> None:
        self.wall_s: dict[str, float] = {}
        self.cpu_s: dict[str, float] = {}
        self.num_calls: dict[str, int] = {}
        self._is_inside = False

    def around(self, place: object, name: str) -> None:
        """Time the function ``name`` of a class or module from now on."""
        call = getattr(place, name)

        def timed(*given: object, **named: object) -> object:
            if self._is_inside:
                return call(*given, **named)
            self._is_inside = True
            began_s, began_cpu_s = time.perf_counter(), time.process_time()
            try:
                return call(*given, **named)
            finally:
                wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
                self.wall_s[name] = self.wall_s.get(name, 0.0) + wall_s
                self.cpu_s[name] = self.cpu_s.get(name, 0.0) + cpu_s
                self.num_calls[name] = self.num_calls.get(name, 0) + 1
                self._is_inside = False

        setattr(place, name, timed)


def train_for(folder: Path, minutes: float) -> tuple[Stopwatch, TrainResult]:
    """Train the default base on the sample as the main job does, its posts alone."""
    train_speed.prepare(folder)
    run = folder / "network" / "runs" / "run"
    run.mkdir(parents=True)
    config = TrainConfig(
        base=str(folder / "base"),
        corpus=str(train_speed.corpus_of(folder)),
        dialogues="",
        schedule=ScheduleConfig(max_minutes=minutes),
        lineage=LineageConfig(flop="1", basis="benchmark"),
    )
    (run / "recipe.toml").write_text(dump_toml(config))
    record = Record.open(folder / "network", identity=Identity.open(folder / "keys"))
    watch = Stopwatch()
    watch.around(RunRecord, "stop_order")
    watch.around(RunRecord, "progress")
    watch.around(loop, "checkpoint_digest")
    result = run_training(run, folder / "model", record=record)
    assert result is not None
    return watch, result


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leaves", type=int, default=10_000)
    parser.add_argument("--step-time-s", type=float, default=1024 / 382)
    parser.add_argument("--minutes", type=float, default=4.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        ledger = open_ledger(folder, asked.leaves)
        leaf_s = seconds(lambda n: ledger.progress(n, Spent(flop=n)), 200)
        time.sleep(0.1)  # a file younger than this is looked at once more
        ledger.stop_order(0)
        ask_s = seconds(lambda _: ledger.stop_order(0), 20_000)
    with tempfile.TemporaryDirectory() as scratch:
        watch, result = train_for(Path(scratch), asked.minutes)
    in_all_s = sum(watch.wall_s.values())
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
        "",
        f"In all: {asking + writing:.3%}.",
        "",
        f"A real run: {result.steps} steps, {result.tokens:,} tokens, {result.seconds:.1f} s of "
        f"steps (mean step {result.seconds / result.steps:.2f} s).",
        "",
        "| what | calls | wall s | CPU-s | of the time of the steps |",
        "|---|---|---|---|---|",
        *(
            f"| `{name}` | {num} | {watch.wall_s[name]:.4f} | {watch.cpu_s[name]:.4f} | "
            f"{watch.wall_s[name] / result.seconds:.4%} |"
            for name, num in sorted(watch.num_calls.items())
        ),
        "",
        f"In all: {in_all_s / result.seconds:.3%}.",
    ]
    write("record_overhead", "What the record takes from training", lines)


if __name__ == "__main__":
    main()
