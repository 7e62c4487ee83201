"""Steps that are skipped: not finite, or far larger than usual; and the end of patience."""

import json
import math
import random

import pytest

from mynah.errors import CheckpointError
from mynah.train.optimizers import OptimizerConfig
from mynah.train.spikes import LEAST, WINDOW, SpikeGuard

STEADY = OptimizerConfig(spike_factor=10.0, max_skipped_steps=3)


def seasoned(config: OptimizerConfig = STEADY) -> SpikeGuard:
    guard = SpikeGuard(config)
    for _ in range(LEAST):
        assert not guard.skips(2.0, 1.0)
    return guard


@pytest.mark.parametrize(
    ("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (2.0, math.nan), (2.0, math.inf)]
)
def test_what_is_not_finite_is_skipped_from_the_first_step(
    loss: float, norm: float, caplog: pytest.LogCaptureFixture
) -> None:
    guard = SpikeGuard(STEADY)
    assert guard.skips(loss, norm)
    assert guard.state == {"step": 1, "num_skipped": 1, "norms": []}
    assert "step 0 skipped: its" in caplog.text


def test_a_spike_is_skipped_and_does_not_move_the_median() -> None:
    guard = seasoned()
    assert not guard.skips(2.0, 9.9)
    assert guard.skips(2.0, 10.1)
    assert 10.1 not in guard.norms
    assert not guard.skips(2.0, 1.0)


def test_the_first_steps_and_a_factor_of_zero_know_no_spikes() -> None:
    assert not SpikeGuard(STEADY).skips(9.0, 1e9)
    guard = seasoned(OptimizerConfig(spike_factor=0))
    assert not guard.skips(2.0, 1e9)
    assert guard.skips(2.0, math.inf)


def test_after_gradients_of_zero_any_other_is_a_spike() -> None:
    guard = SpikeGuard(STEADY)
    guard.state = {"norms": [0.0] * WINDOW}
    assert not guard.skips(2.0, 0.0)
    assert guard.skips(2.0, 1e-3)


def test_one_more_than_the_budget_ends_the_run() -> None:
    guard = seasoned()
    for _ in range(3):
        assert guard.skips(math.nan, 1.0)
    with pytest.raises(CheckpointError, match="4 steps had a loss or gradient") as error:
        guard.skips(math.nan, 1.0)
    assert f"step {LEAST + 3} was the last" in error.value.message
    assert "optimizer.lr" in error.value.hint


def test_a_guard_that_was_saved_decides_as_one_that_was_not() -> None:
    draw = random.Random(4)
    norms = [draw.lognormvariate(0, 1.2) for _ in range(600)]
    config = OptimizerConfig(spike_factor=4.0, max_skipped_steps=10**6)
    whole = SpikeGuard(config)
    decided = [whole.skips(1.0, norm) for norm in norms]
    assert any(decided)
    for cut in (0, 1, LEAST, 300):
        first, second = SpikeGuard(config), SpikeGuard(config)
        again = [first.skips(1.0, norm) for norm in norms[:cut]]
        second.state = json.loads(json.dumps(first.state))
        again += [second.skips(1.0, norm) for norm in norms[cut:]]
        assert again == decided
        assert second.state == whole.state
    assert len(whole.norms) == WINDOW
