"""Rehearsals of every shipped recipe of more than a laptop, against the formulas.

    python benchmarks/rehearsal.py [--recipe 405b_10240gpu] [--ranks 0 6000 10239]

Each rehearsal is a `mynah train rehearse --json` of its own, on one core: time from its start to
its end, imports included, and its peak memory, as the kernel counts them. A result file says how
far FLOP and peak memory of the rehearsed rank are from the closed formulas of
src/mynah/train/formulas.py.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reporting import write

RECIPES = Path(__file__).parents[1] / "recipes"
RANKS = {
    "1b_1gpu": [0],
    "8b_8gpu": [0, 7],
    "16b_moe_64gpu": [0, 63],
    "70b_512gpu": [0, 511],
    # First and last stage of the pipeline, and one of its middle.
    "405b_10240gpu": [0, 6000, 10239],
}
LIMIT_S, LIMIT_BYTES = 90, 8e9


@dataclass
class Measured:
    """One rehearsal."""

    recipe: str
    rank: int
    wall_s: float
    cpu_s: float
    own_bytes: int
    found: dict[str, Any]

    @property
    def flop_ratio(self) -> float:
        """Rehearsed over formula."""
        return self.found["flop"] / self.found["expected"]["flop"]

    @property
    def memory_ratio(self) -> float:
        """Peak, rehearsed over formula."""
        expected = self.found["expected"]
        names = self.found["memory"]
        return self.found["peak_memory_bytes"] / sum(expected[name] for name in names)


def measure(recipe: str, rank: int) -> Measured:
    """Rehearse one rank in a process of its own."""
    command = [str(Path(sys.executable).parent / "mynah"), "train", "rehearse", "--json"]
    command += [str(RECIPES / f"{recipe}.toml"), "--rank", str(rank)]
    core = min(os.sched_getaffinity(0))
    began = time.perf_counter()
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    ) as process:
        assert process.stdout is not None
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{recipe}, rank {rank}: exit code {process.returncode}")
    cpu_s = usage.ru_utime + usage.ru_stime
    return Measured(recipe, rank, wall_s, cpu_s, usage.ru_maxrss * 1024, json.loads(out))


def memory_lines(measured: Measured) -> list[str]:
    """Memory by category, of one rank."""
    expected, memory = measured.found["expected"], measured.found["memory"]
    lines = [
        "",
        f"Memory of {measured.recipe}, rank {measured.rank} ({place(measured)}):",
        "",
        "| at the peak, GB | rehearsed | formula |",
        "|---|---|---|",
    ]
    lines += [
        f"| {name} | {num_bytes / 1e9:.3f} | {expected[name] / 1e9:.3f} |"
        for name, num_bytes in memory.items()
    ]
    return lines


def place(measured: Measured) -> str:
    """Which stage of how many rows."""
    found = measured.found
    stage = found["place"]["pipeline"]
    return f"pipeline rank {stage}, {found['num_rows']} rows of {found['row_tokens']} tokens"


def main() -> None:
    """Measure, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", choices=RANKS, action="append")
    parser.add_argument("--ranks", type=int, nargs="+")
    options = parser.parse_args()
    done = [
        measure(recipe, rank)
        for recipe in options.recipe or RANKS
        for rank in options.ranks or RANKS[recipe]
    ]
    lines = [
        "| recipe | rank | wall s | CPU s | own peak GB | FLOP of the rank | / formula "
        "| computed again | peak memory GB | / formula |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.recipe} | {one.rank} | {one.wall_s:.1f} | {one.cpu_s:.1f} "
        f"| {one.own_bytes / 1e9:.2f} | {one.found['flop']:.6g} | {one.flop_ratio:.6f} "
        f"| {one.found['recomputed_flop'] / one.found['flop']:.1%} "
        f"| {one.found['peak_memory_bytes'] / 1e9:.2f} | {one.memory_ratio:.4f} |"
        for one in done
    ]
    for one in done:
        lines += memory_lines(one)
    large = [one for one in done if one.recipe.startswith("405b")]
    if large:
        lines += [
            "",
            f"405B at 10,240 ranks: at most {max(one.wall_s for one in large):.1f} s, "
            f"{max(one.cpu_s for one in large):.1f} of them on the core (wanted: under {LIMIT_S}), "
            f"and {max(one.own_bytes for one in large) / 1e9:.2f} GB "
            f"(under {LIMIT_BYTES / 1e9:.0f}); FLOP within "
            f"{max(abs(one.flop_ratio - 1) for one in large):.4%} (0.5%), memory within "
            f"{max(abs(one.memory_ratio - 1) for one in large):.2%} (5%).",
        ]
    write("rehearsal", "Rehearsals against the formulas", lines)


if __name__ == "__main__":
    main()
