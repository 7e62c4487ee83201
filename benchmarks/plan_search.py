"""A search of all layouts, and a whole plan: seconds, and CPU seconds.

The shape of ``recipes/405b_10240gpu.toml`` on 10,240 H100, in bfloat16 and in float8 besides; then
`mynah plan run` for 10,000 H100 and 90 days, which tries sizes, numbers of machines, layouts, and
plays failures.

    python benchmarks/plan_search.py --repeat 5
"""

import argparse
import statistics
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import reporting

from mynah.model import LlamaConfig
from mynah.plan.hardware import find_accelerator
from mynah.plan.layouts import Cluster
from mynah.plan.plan_config import PlanConfig
from mynah.plan.planning import make_plan
from mynah.plan.search import Wanted, search_layouts

RECIPE = Path(__file__).parents[1] / "recipes" / "405b_10240gpu.toml"
BATCH_TOKENS = 20_971_520


def timed(work: Callable[[], object], repeat: int) -> str:
    walls, cpus = [], []
    for _ in range(repeat):
        began, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - began)
        cpus.append(time.process_time() - cpu)
    return (
        f"{statistics.median(walls):.2f} | {min(walls):.2f} to {max(walls):.2f} "
        f"| {statistics.median(cpus):.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    shape = LlamaConfig(**tomllib.loads(RECIPE.read_text())["shape"])
    cluster = Cluster(accelerator=find_accelerator("H100"), num_accelerators=10_240)
    lines = [
        "| what | median, s | least to most, s | CPU, s | tried | run and fit |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, precisions in (
        ("bfloat16", ("bfloat16",)),
        ("bfloat16 and float8", ("bfloat16", "float8")),
    ):
        wanted = Wanted(row_tokens=8192, batch_tokens=BATCH_TOKENS, precisions=precisions)
        found = search_layouts(shape, cluster, wanted)
        took = timed(lambda asked=wanted: search_layouts(shape, cluster, asked), options.repeat)
        lines.append(
            f"| 405B on 10,240, {name} | {took} | {found.num_tried:,} | {found.num_fitting:,} |"
        )
    asked = PlanConfig(gpus=10_000, gpu="H100-SXM-80GB", days=90.0)
    lines.append(f"| a whole plan, 10,000 for 90 days | {timed(lambda: make_plan(asked), 3)} | | |")
    lines += ["", "Wanted: a search for 10,240 in under 10 s on 2 cores."]
    reporting.write("plan_search", "Search of layouts", lines)


if __name__ == "__main__":
    main()
