"""A rehearsal sends what a real run sends: four processes on gloo, each message counted."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.counting_worker import CONFIG, LAYOUTS, recipe

from mynah.train.rehearsal import rehearse

pytestmark = pytest.mark.distributed

WORLD_SIZE = 4
WORKER = Path(__file__).parents[1] / "fakes" / "counting_worker.py"

Messages = dict[str, list[list[Any]]]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> list[Messages]:
    """Messages of each layout, by rank."""
    folder = tmp_path_factory.mktemp("counts")
    logs = [folder / f"log.{rank}" for rank in range(WORLD_SIZE)]
    with ExitStack() as stack:
        processes: list[subprocess.Popen[bytes]] = []
        for rank, log in enumerate(logs):
            process = subprocess.Popen(
                [sys.executable, str(WORKER), str(folder), str(rank), str(WORLD_SIZE)],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=stack.enter_context(log.open("w")),
                stderr=subprocess.STDOUT,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        codes = [process.wait(timeout=200) for process in processes]
    assert codes == [0] * WORLD_SIZE, logs[0].read_text()[-3000:]
    return [json.loads((folder / f"{rank}.json").read_bytes()) for rank in range(WORLD_SIZE)]


@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_rehearsed_rank_sends_what_a_real_one_sends(
    real: list[Messages], name: str, rank: int
) -> None:
    rehearsed = rehearse(recipe(name), CONFIG, world_size=WORLD_SIZE, rank=rank)
    # At the first step torch's pipelining asks all stages, by int32, whether shapes are known.
    sent = [message for message in real[rank][name] if message[3] != "int32"]
    assert sorted(sent) == sorted(list(astuple(message)) for message in rehearsed.messages)
