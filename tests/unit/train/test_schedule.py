"""Warm-up, stable, decay, by steps and by minutes."""

import pytest

from mynah.train import ScheduleConfig
from mynah.train.schedule import learning_rate_share, run_share

BY_STEPS = ScheduleConfig(
    num_steps=100, max_minutes=1e9, warmup_steps=10, decay_share=0.5, final_share=0.1
)


def rate(config: ScheduleConfig, *, step: int, elapsed_s: float = 0.0) -> float:
    share = run_share(config, step=step, elapsed_s=elapsed_s)
    return learning_rate_share(config, step=step, share=share)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.1), (4, 0.5), (9, 1.0), (10, 1.0), (50, 1.0), (75, 0.55), (99, 0.118), (100, 0.1)],
)
def test_the_rate_follows_the_steps(step: int, expected: float):
    assert rate(BY_STEPS, step=step) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("elapsed_s", "expected"), [(0.0, 1.0), (60.0, 1.0), (90.0, 0.55), (120.0, 0.1), (999.0, 0.1)]
)
def test_the_rate_follows_the_minutes(elapsed_s: float, expected: float):
    config = ScheduleConfig(max_minutes=2.0, decay_share=0.5, final_share=0.1)
    assert rate(config, step=500, elapsed_s=elapsed_s) == pytest.approx(expected, abs=1e-3)


def test_the_nearer_end_counts():
    config = ScheduleConfig(num_steps=10, max_minutes=1.0)
    assert run_share(config, step=5, elapsed_s=6.0) == 0.5
    assert run_share(config, step=5, elapsed_s=45.0) == 0.75
    assert run_share(config, step=10, elapsed_s=0.0) == 1.0
    assert run_share(config, step=11, elapsed_s=0.0) == 1.0


def test_a_decay_that_begins_inside_the_warm_up_is_still_smooth():
    config = ScheduleConfig(num_steps=4, max_minutes=1e9, warmup_steps=8, decay_share=1.0)
    rates = [rate(config, step=step) for step in range(5)]
    assert all(0.0 < value <= 0.5 for value in rates)


def test_no_warm_up_and_no_decay():
    config = ScheduleConfig(num_steps=4, max_minutes=1e9, warmup_steps=0, decay_share=0.0)
    assert [rate(config, step=step) for step in range(4)] == [1.0] * 4
