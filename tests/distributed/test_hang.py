"""Two processes of which one stands still: the other says so, says where, and ends; so do both.

This file is also what each of them runs: ``python test_hang.py RANK FOLDER HOW``.
"""

import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from mynah.train.health import HealthConfig, StepTimes
from mynah.train.watchdog import EXIT_CODE, Watchdog
from mynah.train.world import World

pytestmark = pytest.mark.distributed

HANG_AFTER_S = {"sleep": (3.0, 6.0), "stop": (3.0, 90.0), "slow": (90.0, 90.0)}
"""Of each rank: the one that waits speaks first, before the other's end cuts its wait short."""
LIMIT_S = 240.0
"""On the most loaded machine; alone it takes a few seconds."""


def work(rank: int, folder: Path, how: str) -> None:
    """Train on nothing, forever, until something stands still."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    world = World(rank, 2)
    health = HealthConfig(
        hang_after_s=HANG_AFTER_S[how][rank], report_every_steps=2, straggler_ratio=2.0
    )
    times = StepTimes(health, world)
    with Watchdog(folder, health, rank=rank, world_size=2) as watchdog:
        for step in range(8 if how == "slow" else 10**9):
            watchdog.beat(step, "rows")
            with times.own():
                read_rows(step if rank == 1 else 0, how)
            watchdog.beat(step, "step")
            dist.all_reduce(torch.ones(3))
            times.after_step(step + 1, flop=1e6)
            if step == 20:
                (folder / f"ready-{rank}").touch()
    dist.destroy_process_group()


def work_alone(folder: Path) -> None:
    """Beat for three seconds or more; a silence of two is a hang."""
    with Watchdog(folder, HealthConfig(hang_after_s=2.0), rank=0) as watchdog:
        for step in range(200):
            watchdog.beat(step, "step")
            time.sleep(0.015)
            if step == 90:
                (folder / "ready-0").touch()


def read_rows(step: int, how: str) -> None:
    if how == "sleep" and step == 30:
        time.sleep(10**6)
    time.sleep(0.2 if how == "slow" and step else 0.01)


class Pair:
    """The two processes, and what they said."""

    def __init__(self, folder: Path, how: str) -> None:
        self.folder = folder
        self.processes = [
            subprocess.Popen(
                [sys.executable, __file__, str(rank), str(folder), how],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(2)
        ]

    def end(self, rank: int) -> tuple[int, str]:
        said = self.processes[rank].communicate(timeout=LIMIT_S)[0]
        return self.processes[rank].returncode, said

    def report(self, rank: int) -> str:
        return (self.folder / "ranks" / f"hang-{rank:05d}.txt").read_text()


@pytest.fixture
def pairs(tmp_path: Path) -> Iterator[list[Pair]]:
    started: list[Pair] = []
    yield started
    for pair in started:
        for process in pair.processes:
            process.kill()
            process.communicate()


def test_a_sleep_in_the_data_path_ends_both(pairs: list[Pair], tmp_path: Path) -> None:
    pair = Pair(tmp_path, "sleep")
    pairs.append(pair)
    (code, said), (other_code, other_said) = pair.end(0), pair.end(1)
    assert (code, other_code) == (EXIT_CODE, EXIT_CODE), said + other_said
    assert "ERROR rank 0 hangs at step 30 in phase 'step'" in said
    assert "waiting in gloo:all_reduce" in said
    assert "ERROR rank 1 hangs at step 30 in phase 'rows'" in other_said
    assert "waiting in" not in other_said
    assert "in read_rows" in pair.report(1)
    waiting = pair.report(0)
    assert "step: 30\nphase: step\n" in waiting
    assert "in all_reduce" in waiting
    latest = waiting.split("Collectives, latest first:\n")[1].splitlines()[0]
    assert latest.startswith("gloo:all_reduce ")
    assert "NOT FINISHED, in [[3]], out [[3]], test_hang.py" in latest
    assert "30 step\n" in waiting.split("Phases, latest first")[1]
    for rank in range(2):
        dump = (tmp_path / "ranks" / f"flight_recorder_{rank}").read_bytes()
        assert [entry["retired"] for entry in pickle.loads(dump)["entries"]][-1] is (rank == 1)
        heart = json.loads((tmp_path / "ranks" / f"heartbeat-{rank:05d}.json").read_bytes())
        assert heart["rank"] == rank
        assert heart["pid"] == pair.processes[rank].pid


def test_a_stopped_process_is_noticed_by_the_other(pairs: list[Pair], tmp_path: Path) -> None:
    pair = Pair(tmp_path, "stop")
    pairs.append(pair)
    until = time.monotonic() + LIMIT_S
    while not all((tmp_path / f"ready-{rank}").exists() for rank in range(2)):
        assert time.monotonic() < until
        assert all(process.poll() is None for process in pair.processes)
        time.sleep(0.05)
    pair.processes[1].send_signal(signal.SIGSTOP)
    code, said = pair.end(0)
    assert code == EXIT_CODE, said
    assert "in phase 'step'" in said
    assert "waiting in gloo:all_" in said
    # What is stopped cannot end itself: an agent kills it. Let go on, it fails, its peer is gone.
    pair.processes[1].send_signal(signal.SIGCONT)
    code, said = pair.end(1)
    assert code == 1, said
    assert "hangs" not in said


def test_time_that_a_process_was_stopped_is_no_hang(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, __file__, "0", str(tmp_path), "alone"])
    try:
        until = time.monotonic() + LIMIT_S
        while not (tmp_path / "ready-0").exists():
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGSTOP)
        time.sleep(4.0)
        process.send_signal(signal.SIGCONT)
        assert process.wait(LIMIT_S) == 0
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / "ranks" / "heartbeat-00000.json").exists()
    assert not (tmp_path / "ranks" / "hang-00000.txt").exists()


def test_a_slow_rank_is_named_and_nobody_ends(pairs: list[Pair], tmp_path: Path) -> None:
    pair = Pair(tmp_path, "slow")
    pairs.append(pair)
    (code, said), (other_code, other_said) = pair.end(0), pair.end(1)
    assert (code, other_code) == (0, 0), said + other_said
    assert "WARNING step 6: 1 of 2 ranks are slow" in said
    assert "rank 1 on " in said
    assert "slow" not in other_said


if __name__ == "__main__":
    if sys.argv[3] == "alone":
        work_alone(Path(sys.argv[2]))
    else:
        work(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
