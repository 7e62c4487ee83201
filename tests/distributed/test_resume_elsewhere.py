"""A run that goes on with other numbers of ranks, in other layouts, and ends as if it had not."""

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.fakes.tiny_network import Network, make_tiny_network

from mynah.errors import PausedError
from mynah.model import load_checkpoint
from mynah.record.pausing import PauseTerms, order_pause
from mynah.record.record import Record
from mynah.train import DataConfig, LayoutConfig, TrainConfig, latest_checkpoint, write_run
from mynah.train.checkpoints import checkpoint_digest
from mynah.train.launching import Processes, launch

pytestmark = pytest.mark.distributed

STAGES = [
    (LayoutConfig(shard=2, replicate=2), 4),
    (LayoutConfig(context=2), 3),
    (LayoutConfig(), -1),
]
"""Four ranks for four steps, two for three more, one for the rest."""
NUM_STEPS = 12


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return make_tiny_network(tmp_path_factory.mktemp("network"))


def config_of(network: Network) -> TrainConfig:
    data = DataConfig(
        tokens_per_step=640, batch_tokens=192, max_document_tokens=192, heldout_max_tokens=600
    )
    return replace(network.config(num_steps=NUM_STEPS), data=data, precision="float32")


def train(run: Path, config: TrainConfig, layout: LayoutConfig, stop_after: int) -> None:
    write_run(run, replace(config, layout=layout))
    worker = [sys.executable, "-m", "tests.fakes.stopping_worker"]
    command = [*worker, str(run), str(run.parent / "model"), str(stop_after)]
    launch(command, Processes(group_size=layout.world_size), logs=run / "ranks")


def rows_of(run: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["step"]]


@pytest.fixture(autouse=True)
def worker_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Keys of its own: an order binds an identity, and with it all later tests.
    monkeypatch.setenv("MYNAH_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    here = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((here, os.environ.get("PYTHONPATH", ""))))


def test_four_ranks_then_two_then_one_end_where_one_does(network: Network, tmp_path: Path):
    config = config_of(network)
    train(tmp_path / "one" / "run", config, LayoutConfig(), -1)
    for layout, stop_after in STAGES:
        train(tmp_path / "many" / "run", config, layout, stop_after)
    one, many = rows_of(tmp_path / "one" / "run"), rows_of(tmp_path / "many" / "run")
    assert [row["step"] for row in many] == list(range(1, NUM_STEPS + 1))
    # The same documents in the same order, so the same tokens at every step.
    assert [row["tokens"] for row in many] == [row["tokens"] for row in one]
    assert [row["flop"] for row in many] == [row["flop"] for row in one]
    assert [row["loss"] for row in many] == pytest.approx([row["loss"] for row in one], abs=1e-6)
    assert many[-1]["heldout_bits_per_byte"] == pytest.approx(
        one[-1]["heldout_bits_per_byte"], abs=1e-6
    )
    ours, theirs = (load_checkpoint(tmp_path / name / "model")[1] for name in ("many", "one"))
    for name, weight in ours.items():
        torch.testing.assert_close(weight.float(), theirs[name].float(), rtol=1e-2, atol=1e-4)
    entry = Record.open(tmp_path / "many").register().runs["run"]
    assert entry.is_final
    assert entry.declared.num_devices == 4


def test_a_pause_order_stops_all_ranks_at_one_checkpoint(network: Network, tmp_path: Path):
    run, layout = tmp_path / "run", LayoutConfig(shard=2)
    config = config_of(network)
    train(run, config, layout, 3)
    record = Record.open(tmp_path)
    until_us = time.time_ns() // 1000 + 3_600_000_000
    signed = order_pause(record, PauseTerms(above="0", until_us=until_us, reason="look"))
    with pytest.raises(PausedError, match="is paused"):
        train(run, config, layout, -1)
    assert len(rows_of(run)) == 3
    entry = Record.open(tmp_path).register().runs["run"]
    assert entry.paused_by == signed.id
    checkpoint = latest_checkpoint(run / "checkpoints")
    assert checkpoint is not None
    assert entry.paused_checkpoint == checkpoint_digest(checkpoint)
    with pytest.raises(PausedError, match="is paused"):  # and no other layout gets past it
        train(run, config, LayoutConfig(), -1)
