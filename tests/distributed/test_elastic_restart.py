"""A worker is killed in the middle of a run: all start again and end where they would have."""

import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from tests.fakes.launched_run import LaunchedRun
from tests.fakes.tiny_network import Network, make_tiny_network

from mynah.model import load_checkpoint
from mynah.train import CheckpointConfig, LayoutConfig, latest_checkpoint, read_result, step_of

pytestmark = pytest.mark.distributed

NUM_STEPS = 24
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return make_tiny_network(tmp_path_factory.mktemp("network"))


def write_run(network: Network, folder: Path) -> Path:
    config = network.config(
        num_steps=NUM_STEPS,
        layout=LayoutConfig(shard=2),
        checkpoint=CheckpointConfig(every_s=0.0, keep_last=2),
    )
    return network.write_run(folder, config)


Start = Callable[..., LaunchedRun]


@pytest.fixture
def start(network: Network, tmp_path: Path) -> Iterator[Start]:
    """Start a run of two processes; one that a test leaves is ended."""
    started: list[LaunchedRun] = []

    def begin(name: str = "run", starter: Sequence[str] = ()) -> LaunchedRun:
        run = tmp_path / name
        launched = LaunchedRun(run if run.exists() else write_run(network, run), starter)
        started.append(launched)
        return launched

    yield begin
    for launched in started:
        launched.end()


@pytest.fixture(scope="module")
def unbroken(network: Network, tmp_path_factory: pytest.TempPathFactory) -> LaunchedRun:
    """The run that nothing happens to."""
    launched = LaunchedRun(write_run(network, tmp_path_factory.mktemp("unbroken") / "run"))
    assert launched.wait() == 0, launched.said()
    return launched


def losses_of(launched: LaunchedRun) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in launched.steps()}


def assert_same_end(launched: LaunchedRun, unbroken: LaunchedRun) -> None:
    """Every step's loss and every weight, bit for bit."""
    assert losses_of(launched) == losses_of(unbroken)
    assert len(losses_of(launched)) == NUM_STEPS
    ours, theirs = load_checkpoint(launched.model)[1], load_checkpoint(unbroken.model)[1]
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_worker_changes_nothing(start: Start, unbroken: LaunchedRun, rank: int):
    launched = start()
    launched.wait_for_step(4 + 7 * rank)
    launched.workers()[0, rank].kill()
    assert launched.wait() == 0, launched.said()
    log = (launched.run / "ranks" / "rank-00001.log").read_text()
    assert "-- start 1" in log
    result = read_result(launched.run)
    assert result is not None
    assert result.num_resumed_steps > 0
    assert_same_end(launched, unbroken)


def test_torchrun_starts_again_as_well(start: Start, unbroken: LaunchedRun):
    """As on a cluster: torch's own agent, which knows nothing of this package."""
    launched = start(starter=(*TORCHRUN, "--max-restarts", "2"))
    launched.wait_for_step(5)
    launched.workers()[0, 1].kill()
    assert launched.wait() == 0, launched.said()
    result = read_result(launched.run)
    assert result is not None
    assert result.num_resumed_steps > 0
    assert_same_end(launched, unbroken)


def test_a_request_to_stop_saves_and_the_same_command_goes_on(start: Start, unbroken: LaunchedRun):
    launched = start()
    launched.wait_for_step(6)
    launched.process.send_signal(signal.SIGTERM)
    assert launched.wait(seconds=40) == 0, launched.said()
    assert read_result(launched.run) is None
    saved = latest_checkpoint(launched.run / "checkpoints")
    assert saved is not None
    assert step_of(saved) == max(losses_of(launched)) < NUM_STEPS
    again = start()
    assert again.wait() == 0, again.said()
    assert_same_end(again, unbroken)


def test_workers_save_and_end_when_the_launcher_is_killed(start: Start, unbroken: LaunchedRun):
    launched = start()
    launched.wait_for_step(3)
    workers = launched.workers()
    assert set(workers) == {(0, 0), (0, 1)}
    launched.process.kill()
    launched.process.wait()
    for worker in workers.values():
        worker.wait(60)
    again = start()
    assert again.wait() == 0, again.said()
    assert_same_end(again, unbroken)
