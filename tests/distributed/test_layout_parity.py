"""Every layout computes what one process computes: losses, gradients, norms, evaluations.

One launch of two processes and one of four run all of them; see ``tests/fakes/layout_worker.py``.
"""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.layout_worker import CASES, NUM_STEPS, Case, name_of

pytestmark = pytest.mark.distributed

WORKER = Path(__file__).parents[1] / "fakes" / "layout_worker.py"
ALL = [(world_size, case) for world_size in (2, 4) for case in CASES[world_size]]

Results = dict[int, list[dict[str, Any]]]
"""By world size and rank: what each case came to."""


def launch(folder: Path, world_size: int) -> list[dict[str, Any]]:
    """Run the worker on ``world_size`` ranks; return what each wrote."""
    command = [sys.executable, "-W", "error", str(WORKER), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    logs = [folder / f"log.{world_size}.{rank}" for rank in range(world_size)]
    with ExitStack() as stack:
        processes: list[subprocess.Popen[bytes]] = []
        for rank, log in enumerate(logs):
            process = subprocess.Popen(
                [*command, str(rank), str(world_size)],
                env=environment,
                stdout=stack.enter_context(log.open("w")),
                stderr=subprocess.STDOUT,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        codes = [process.wait(timeout=600) for process in processes]
    assert codes == [0] * world_size, "\n".join(log.read_text()[-3000:] for log in logs)
    files = (folder / f"{world_size}.{rank}.json" for rank in range(world_size))
    return [json.loads(file.read_bytes()) for file in files]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("layouts")
    return {world_size: launch(folder, world_size) for world_size in (1, 2, 4)}


@pytest.mark.parametrize(("world_size", "case"), ALL, ids=[name_of(case) for _, case in ALL])
def test_a_layout_equals_one_process(results: Results, world_size: int, case: Case) -> None:
    (alone,) = (run for name, run in results[1][0].items() if name.split()[0] == case[0])
    for rank in results[world_size]:
        found = rank[name_of(case)]
        assert len(found["losses"]) == NUM_STEPS
        assert found["losses"] == pytest.approx(alone["losses"], abs=1e-5, rel=0)
        assert found["heldout"] == pytest.approx(alone["heldout"], abs=1e-5, rel=0)
        assert found["norms"] == pytest.approx(alone["norms"], rel=1e-4)
        assert found["worst_gradient"][0] <= 1e-4, found["worst_gradient"]


@pytest.mark.parametrize(("world_size", "case"), ALL, ids=[name_of(case) for _, case in ALL])
def test_all_ranks_see_the_same_numbers(results: Results, world_size: int, case: Case) -> None:
    first, *others = (rank[name_of(case)] for rank in results[world_size])
    for other in others:
        assert other["losses"] == first["losses"]
        assert other["norms"] == first["norms"]


def test_the_model_learns(results: Results) -> None:
    for run in results[1][0].values():
        assert run["losses"][-1] < run["losses"][0] - 0.3
        assert run["heldout"][1] < run["heldout"][0] - 0.3
