"""Goodput as the planner predicts it, beside what runs of thousands of accelerators published.

Reads ``../shared/data/failures/failures.csv``; what is assumed of each row, and why some cannot be
predicted, stands with the test that asserts it. Times come from other sources than the row itself.
Then how far the analytic law, Young's and Daly's intervals are from the simulation, and what the
simulation costs.

    python benchmarks/plan_goodput.py --trial
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import reporting

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.integration.plan.test_published_goodput import VERDICTS, read_rows  # noqa: E402

from mynah.plan.checkpointing import (  # noqa: E402
    CheckpointCost,
    daly_interval_s,
    expected_goodput,
    first_order_goodput,
    young_interval_s,
)
from mynah.plan.failures import FailureConfig  # noqa: E402
from mynah.plan.goodput import PlannedRun, best_interval_s, run_goodput  # noqa: E402
from mynah.plan.ranges import Range  # noqa: E402

DATA = ROOT.parent / "shared" / "data"
SECONDS_PER_HOUR = 3600
RUN = PlannedRun(num_accelerators=10_000, days=90)
STALL_S = 30.0


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def published(data: Path) -> list[str]:
    """One line a row that has a goodput, or enough to predict one."""
    rows = read_rows(data)
    lines = [
        "| row | published | predicted (10%, median, 90%) | points off | what it rests on |",
        "|---|---:|---:|---:|---|",
    ]
    for name, verdict in VERDICTS.items():
        told, found, off = "-", "-", "-"
        if verdict.published is not None:
            told = ("over " if verdict.is_bound else "") + percent(verdict.published)
        if verdict.predict is not None:
            one = verdict.predict(rows[name]).goodput
            found = f"{percent(one.low)}, **{percent(one.middle)}**, {percent(one.high)}"
            if verdict.published is not None:
                off = f"{100 * (one.middle - verdict.published):+.1f}"
        off = f"**{off}**" if verdict.is_scored else off
        lines.append(f"| {name} | {told} | {found} | {off} | {verdict.why} |")
    return lines


def known(rate: float) -> FailureConfig:
    return replace(
        FailureConfig(),
        failures_per_accelerator_hour=Range.exactly(rate),
        planned_per_day=Range.exactly(0.0),
        detection_s=Range.exactly(252.0),
        restart_s=Range.exactly(378.0),
    )


def analytic() -> list[str]:
    """The simulation beside the laws that it must follow where they hold."""
    stall_s = Range.exactly(STALL_S)
    cost = CheckpointCost(
        size_bytes=0.0, stall_s=stall_s, write_s=stall_s, read_s=Range.exactly(0.0)
    )
    lines = [
        "| failures an hour | interval, s | simulated | exact law | first order | Young | Daly "
        "| simulated optimum |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for rate in (1e-5, 2e-5, 5e-5, 1e-4):
        mtti_s = SECONDS_PER_HOUR / (rate * RUN.num_accelerators)
        times = {"stall_s": STALL_S, "recovery_s": 630.0, "mtti_s": mtti_s}
        daly_s = daly_interval_s(STALL_S, mtti_s)
        found = run_goodput(known(rate), cost, RUN, interval_s=daly_s, num_trials=500)
        best_s = best_interval_s(known(rate), cost, RUN, near_s=daly_s)
        lines.append(
            f"| {rate * RUN.num_accelerators:.1f} | {daly_s:.0f} "
            f"| {percent(found.goodput.middle)} | {percent(expected_goodput(daly_s, **times))} "
            f"| {percent(first_order_goodput(daly_s, **times))} "
            f"| {young_interval_s(STALL_S, mtti_s):.0f} | {daly_s:.0f} | {best_s:.0f} |"
        )
    return lines


def costs() -> list[str]:
    """Seconds of CPU, and what groups change."""
    lines = [
        "| groups | CPU, s | goodput (10%, median, 90%) | failures | spare nodes for 95% |",
        "|---:|---:|---:|---:|---:|",
    ]
    stall_s = Range.exactly(6.3)
    cost = CheckpointCost(size_bytes=0.0, stall_s=stall_s, write_s=stall_s, read_s=stall_s)
    for num_groups in (1, 8, 64):
        began = time.process_time()
        run = replace(RUN, num_groups=num_groups)
        found = run_goodput(FailureConfig(), cost, run, interval_s=480)
        took_s = time.process_time() - began
        one = found.goodput
        lines.append(
            f"| {num_groups} | {took_s:.2f} "
            f"| {percent(one.low)}, {percent(one.middle)}, {percent(one.high)} "
            f"| {found.num_failures.middle:.0f} | {found.spares_to_hold} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of public data")
    parser.add_argument("--trial", dest="is_trial", action="store_true", help="write no result")
    options = parser.parse_args()
    lines = [
        "## Published runs, in percent",
        "",
        *published(options.data),
        "",
        "A bold difference counts: its row gives the rate. No default is fitted to a row.",
        "",
        "## Laws beside the simulation: 10,000 accelerators, 90 days, a save blocks for 30 s",
        "",
        *analytic(),
        "",
        "## Default rates and times, 10,000 accelerators, 90 days, 1,000 trials",
        "",
        *costs(),
    ]
    if options.is_trial:
        print("\n".join(lines))
        return
    reporting.write("plan_goodput", "Goodput of published runs", lines)


if __name__ == "__main__":
    main()
