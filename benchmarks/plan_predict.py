"""How fast a table of runs is predicted: all published runs, again and again, to 100,000 rows.

Reads the tables of ``../shared/data/runs``. Times the command ``mynah plan predict`` as a person
starts it, from its own start to the written file, and its three parts inside one process. Medians
of five; seconds of CPU are what the command's threads took together.

    python benchmarks/plan_predict.py --trial
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import reporting

from mynah.plan.predictions import predict, predicted_frame, write_predictions
from mynah.plan.published import read_table

ROOT = Path(__file__).parents[1]
RUNS = ROOT.parent / "shared" / "data" / "runs"
WANTED_ROWS_PER_S = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds of several repetitions."""

    wall_s: list[float]
    cpu_s: list[float]

    def line(self, name: str, num_rows: int | None) -> str:
        """As a row of the table; without rows there is no rate."""
        wall_s, cpu_s = statistics.median(self.wall_s), statistics.median(self.cpu_s)
        between = f"{min(self.wall_s):.2f} to {max(self.wall_s):.2f}"
        rates = ["-" if num_rows is None else f"{num_rows / s:,.0f}" for s in (wall_s, cpu_s)]
        return f"| {name} | {wall_s:.2f} | {between} | {cpu_s:.2f} | {rates[0]} | {rates[1]} |"


def published(folder: Path, num_rows: int) -> pl.DataFrame:
    """All published runs, repeated until there are about as many rows."""
    tables = [pl.read_csv(path, infer_schema=False) for path in sorted(folder.glob("*.csv"))]
    whole = pl.concat(tables, how="diagonal")
    return pl.concat([whole] * max(1, round(num_rows / whole.height)))


def timed(call: Callable[[], object], repeats: int, *, children: bool = False) -> Times:
    """Time each of several calls, in this process or in what it starts."""
    who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    wall_s: list[float] = []
    cpu_s: list[float] = []
    for _ in range(repeats):
        before, began_s = resource.getrusage(who), time.perf_counter()
        call()
        after = resource.getrusage(who)
        wall_s.append(time.perf_counter() - began_s)
        cpu_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return Times(wall_s=wall_s, cpu_s=cpu_s)


def command(runs: Path, out: Path) -> Callable[[], object]:
    """The command as a person types it."""
    words = [sys.executable, "-m", "mynah", "plan", "predict", "--runs", str(runs)]
    words += ["--out", str(out)]
    return lambda: subprocess.run(words, check=True, capture_output=True)


def measure(folder: Path, *, num_rows: int, repeats: int) -> list[str]:
    """Lines of the result."""
    with tempfile.TemporaryDirectory() as place:
        runs, one, out = (Path(place, name) for name in ("runs.csv", "one.csv", "out.csv"))
        frame = published(folder, num_rows)
        frame.write_csv(runs)
        frame.head(1).write_csv(one)
        starting = timed(command(one, out), repeats, children=True)
        whole = timed(command(runs, out), repeats, children=True)
        reading = timed(lambda: read_table(runs), repeats)
        table = read_table(runs)
        predicting = timed(lambda: predict(table.setups), repeats)
        adding = timed(lambda: predicted_frame(table), repeats)
        writing = timed(lambda: write_predictions(table, out), repeats)
        size_mb = out.stat().st_size / 1e6
    lines = [
        f"{frame.height:,} rows, {size_mb:.0f} MB written, {len(table.problems):,} rows that are "
        f"no setup; {repeats} repetitions, niceness {os.nice(0)}.",
        "",
        "| what | median, s | least to most, s | CPU, s | rows/s | rows/s of CPU |",
        "|---|---:|---:|---:|---:|---:|",
        whole.line("**the command**: start, read, predict, write", frame.height),
        starting.line("the command for one row: its start", None),
        reading.line("read: CSV to setups", frame.height),
        predicting.line("predict: setups to figures", frame.height),
        adding.line("predict, and the figures as text beside the table", frame.height),
        writing.line("the same, and write", frame.height),
        "",
    ]
    rate = frame.height / statistics.median(whole.wall_s)
    lines.append(f"Wanted: at least {WANTED_ROWS_PER_S:,} rows/s; measured {rate:,.0f}.")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=RUNS, help="the folder of published runs")
    parser.add_argument("--rows", type=int, default=100_000, help="how many rows, about")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trial", dest="is_trial", action="store_true", help="write no result")
    options = parser.parse_args()
    lines = measure(options.runs, num_rows=options.rows, repeats=options.repeats)
    if options.is_trial:
        print("\n".join(lines))
        return
    reporting.write("plan_predict", "Predictions of published runs", lines)


if __name__ == "__main__":
    main()
