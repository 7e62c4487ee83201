"""Replica groups under torchft: one is killed, the others go on, it comes back; same run.

The trainer itself, its record and its launcher; the end is compared with one process that nothing
happens to.
"""

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from tests.fakes.launched_run import LaunchedRun
from tests.fakes.recorded_training import train
from tests.fakes.tiny_network import Network, make_tiny_network

from mynah.errors import ConfigError
from mynah.model import load_checkpoint
from mynah.record.record import Record
from mynah.record.statements import Progress
from mynah.record.verify import verify_log
from mynah.train import (
    CheckpointConfig,
    LayoutConfig,
    OptimizerConfig,
    TrainConfig,
    latest_checkpoint,
    read_result,
    step_of,
)
from mynah.train.replica_manager import lighthouse, make_manager
from mynah.train.world import World

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.skipif(find_spec("torchft") is None, reason="mynah[ft] is not installed"),
]

NUM_STEPS = 160
STEP_S = "0.7"
"""A group may take a minute to come back on a busy machine, and there must be steps left."""
CHECKPOINT_EVERY_S = 2.0
Start = Callable[..., LaunchedRun]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return make_tiny_network(tmp_path_factory.mktemp("network"))


def recipe(network: Network, layout: LayoutConfig) -> TrainConfig:
    return network.config(
        num_steps=NUM_STEPS,
        layout=layout,
        # Slow enough to learn that sums in another order stay the same for a whole run.
        optimizer=OptimizerConfig(lr=3e-4),
        precision="float32",
        evaluate_every_s=CHECKPOINT_EVERY_S,
        checkpoint=CheckpointConfig(every_s=CHECKPOINT_EVERY_S),
    )


@pytest.fixture(scope="module")
def alone(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process that nothing happens to."""
    run = tmp_path_factory.mktemp("alone") / "run"
    network.write_run(run, recipe(network, LayoutConfig()))
    train(run, run.parent / "run-model")
    return run


@pytest.fixture
def start(network: Network, tmp_path: Path) -> Iterator[Start]:
    """Start replica groups on a run; those that a test leaves are ended."""
    started: list[LaunchedRun] = []

    def begin(*, size: int = 1) -> LaunchedRun:
        run = tmp_path / "run"
        if not run.exists():
            config = recipe(network, LayoutConfig(replicate=2, shard=size))
            network.write_run(run, replace(config, replicas="torchft"))
        (run / "slow").write_text(STEP_S)
        started.append(LaunchedRun(run, worker="tests.fakes.replica_worker"))
        return started[-1]

    yield begin
    for launched in started:
        launched.end()


def wait_for_groups(launched: LaunchedRun, number: int) -> None:
    """Return when the newest step is one of so many groups."""
    deadline_s = time.monotonic() + 90
    while not (rows := launched.steps()) or rows[-1]["num_groups"] != number:
        assert launched.process.poll() is None, f"ended early: {launched.said()}"
        assert time.monotonic() < deadline_s, f"no step of {number} groups: {launched.said()}"
        time.sleep(0.02)


def kill_and_wait(launched: LaunchedRun, group: int, *, rank: int = 0) -> None:
    """Kill one process of a group; the other group goes on, and then both do."""
    victim, seen = launched.workers()[group, rank], len(launched.steps())
    victim.kill()
    launched.wait_for_step(seen + 1)  # how soon is measured in benchmarks/train_faults.py
    wait_for_groups(launched, 1)
    wait_for_groups(launched, 2)


def speaking_group(launched: LaunchedRun) -> int:
    """Who holds the right to speak."""
    pid = int((launched.run / ".speaker").read_text().split()[1])
    (place,) = [place for place, worker in launched.workers().items() if worker.pid == pid]
    return place[0]


def finish(launched: LaunchedRun) -> None:
    (launched.run / "slow").unlink()
    assert launched.wait() == 0, launched.said()


def assert_same_end(launched: LaunchedRun, alone: Path) -> None:
    """Every step's loss, the weights, and what was counted; sums come in another order."""
    ours = {row["step"]: row for row in launched.steps()}
    theirs = {row["step"]: row for row in LaunchedRun.rows_of(alone) if row["step"]}
    assert [row["step"] for row in launched.steps()] == list(range(1, NUM_STEPS + 1))
    assert ours[NUM_STEPS]["loss"] == pytest.approx(theirs[NUM_STEPS]["loss"], rel=1e-6)
    losses = {step: row["loss"] for step, row in theirs.items()}
    assert {step: row["loss"] for step, row in ours.items()} == pytest.approx(losses, rel=1e-6)
    mine, wanted = read_result(launched.run), read_result(alone)
    assert mine is not None
    assert wanted is not None
    assert (mine.steps, mine.tokens) == (wanted.steps, wanted.tokens)
    assert mine.bits_per_byte == pytest.approx(wanted.bits_per_byte, rel=1e-5)
    weights = load_checkpoint(alone.parent / "run-model")[1]
    for name, weight in load_checkpoint(launched.model)[1].items():
        # One more bit or less where they are rounded to bfloat16.
        torch.testing.assert_close(weight, weights[name], atol=1e-4, rtol=2**-7)


def assert_whole_record(launched: LaunchedRun) -> list[Progress]:
    """The record proves what it says, and what it counts never falls; returns that."""
    record = Record.open(launched.run.parent)
    report = verify_log(record.folder / "log", keys=[str(record.key)], num_workers=1)
    assert [claim for claim in report.claims if claim.verdict == "contradicted"] == []
    told = [one.body for _, one in record.statements() if isinstance(one.body, Progress)]
    assert all(int(early.flop) <= int(late.flop) for early, late in pairwise(told))
    assert [body.is_final for body in told] == [False] * (len(told) - 1) + [True]
    return told


def test_whichever_group_dies_and_when_all_stop_the_run_is_the_same(start: Start, alone: Path):
    launched = start()
    wait_for_groups(launched, 2)
    before = speaking_group(launched)
    kill_and_wait(launched, 1 - before)
    assert speaking_group(launched) == before
    kill_and_wait(launched, before)
    assert speaking_group(launched) == 1 - before
    launched.process.send_signal(signal.SIGTERM)
    assert launched.wait(seconds=40) == 0, launched.said()
    saved = latest_checkpoint(launched.run / "checkpoints")
    assert saved is not None
    assert step_of(saved) == launched.steps()[-1]["step"] < NUM_STEPS
    again = start()
    finish(again)
    result = read_result(again.run)
    assert result is not None
    assert result.num_resumed_steps == step_of(saved)
    assert_same_end(again, alone)
    told = assert_whole_record(again)
    wanted = LaunchedRun.rows_of(alone)[-1]["flop"]
    assert wanted <= int(told[-1].flop) <= wanted * (1 + 2 / NUM_STEPS)


def test_a_group_of_two_processes_heals_whole(start: Start, alone: Path):
    launched = start(size=2)
    wait_for_groups(launched, 2)
    before: dict[Any, psutil.Process] = launched.workers()
    kill_and_wait(launched, 1, rank=1)
    after = launched.workers()
    assert [place for place in before if before[place] != after[place]] == [(1, 0), (1, 1)]
    finish(launched)
    assert_same_end(launched, alone)
    assert_whole_record(launched)


def test_a_lighthouse_must_be_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TORCHFT_LIGHTHOUSE", raising=False)
    with pytest.raises(ConfigError, match="TORCHFT_LIGHTHOUSE is ''"):
        make_manager(World(), state_dict=dict, load_state_dict=print)


def test_a_group_needs_a_number(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REPLICA_GROUP_ID", "first")
    with lighthouse() as address:
        monkeypatch.setenv("TORCHFT_LIGHTHOUSE", address)
        with pytest.raises(ConfigError, match="REPLICA_GROUP_ID is 'first'"):
            make_manager(World(), state_dict=dict, load_state_dict=print)
