"""What a run has used: exact FLOP, the plan and the count agree, and nothing ever shrinks."""

import json
from pathlib import Path

import pytest
from tests.fakes.tiny_model import tiny_config
from tests.fakes.tiny_network import Network

from mynah.record.runs import Spent
from mynah.train import batch_flop, step_flop, steps_flop
from mynah.train.run import make_trainer
from mynah.train.spent import keep_spent, spent_before


@pytest.mark.parametrize("num_steps", [1, 7, 90])
def test_the_plan_is_the_sum_of_the_steps(network: Network, tmp_path: Path, num_steps: int):
    run = network.write_run(tmp_path / "run", network.config())
    trainer = make_trainer(network.config(), run)
    config, orders = trainer.engine.config, trainer.objective.orders
    counted = 0
    for step in range(num_steps):
        trainer.counters.step = step
        rows = trainer.rows()
        flop = sum(batch_flop(config, row) for row in rows)
        assert step_flop(config, orders, step) == flop
        counted += flop
    assert max(order.steps_per_epoch for order in orders) < 45  # 90 are several epochs
    assert steps_flop(config, orders, num_steps) == counted


def test_flop_by_hand(network: Network, tmp_path: Path):
    """One document of ``n`` tokens through the tiny model, weight by weight."""
    from mynah.corpus import TokenShard
    from mynah.train import CorpusSource, make_batch

    source = CorpusSource(TokenShard(network.corpus.folder / "train"), boundary=0)
    n = int(source.sizes[0]) - 1
    config = tiny_config(512)
    weights = 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 96) + 512 * 64
    attention = 2 * 2 * 64 * (n * (n + 1) // 2)
    batch = make_batch([(source, (0, 0, n))])
    assert len(batch.ids_N) > n  # what fills the row does not count
    assert batch_flop(config, batch) == 6 * (n * weights + attention)


def write_lines(run: Path, *flops: int) -> None:
    rows = [{"step": 0, "elapsed_s": 0.0}]
    rows += [{"step": 1, "flop": f, "device_s": f / 4, "spent_tokens": f * 2} for f in flops]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (run / "metrics.jsonl").write_text(text + '{"step": 9, "flo')


def test_lines_and_the_file_are_read_any_number_of_times(tmp_path: Path):
    assert spent_before(tmp_path) == Spent()
    write_lines(tmp_path, 10, 20, 2**70)
    for _ in range(3):
        spent = spent_before(tmp_path)
        assert spent == Spent(flop=2**70, device_s=2**70 / 4, tokens=2**71)
        keep_spent(tmp_path, spent)
    (tmp_path / "metrics.jsonl").unlink()
    assert spent_before(tmp_path) == spent


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"flop": 3, "more": 1}'])
def test_a_damaged_file_leaves_the_lines(tmp_path: Path, content: bytes):
    (tmp_path / "spent.json").write_bytes(content)
    write_lines(tmp_path, 5)
    assert spent_before(tmp_path).flop == 5
