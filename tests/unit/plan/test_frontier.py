"""Round a plan: more and fewer accelerators, calmer and rougher clusters."""

from dataclasses import replace

import pytest
from tests.fakes.small_plan import small_plan

from mynah.plan.frontier import FACTORS, frontier, goodput_by_rate
from mynah.plan.planning import PlanConfig, make_plan


def test_the_plan_itself_comes_first() -> None:
    plan = small_plan()
    first = next(frontier(plan))
    assert (first.gpus, first.best) == (16, plan.best)
    assert (first.days, first.usd) == (plan.outline.costs.days, plan.outline.costs.usd)


def test_more_accelerators_take_fewer_days() -> None:
    points = sorted(frontier(small_plan()), key=lambda point: point.gpus)
    assert 3 <= len(points) <= len(FACTORS) + 1
    days = [point.days.middle for point in points]
    assert days == sorted(days, reverse=True)
    assert all(point.days.low <= point.days.middle <= point.days.high for point in points)
    assert all(point.usd.low <= point.usd.middle <= point.usd.high for point in points)


def test_every_point_has_a_layout_of_its_own_size() -> None:
    plan = small_plan()
    for point in frontier(plan):
        assert point.best.num_accelerators <= point.gpus
        assert point.best.candidate.layout.world_size == point.best.num_accelerators
        assert point.best.fits
        assert point.best.batch_tokens <= plan.wanted.batch_tokens


def test_twice_the_machines_work_about_half_as_long() -> None:
    own, double = frontier(small_plan(), factors=(2.0,))
    assert double.gpus == 32
    assert double.days.middle == pytest.approx(own.days.middle / 2, rel=0.15)
    assert double.usd.middle == pytest.approx(own.usd.middle, rel=0.15)


def test_numbers_without_a_layout_are_left_out() -> None:
    assert [point.gpus for point in frontier(small_plan(), factors=(1 / 1000,))] == [16]


def test_a_price_of_your_own_is_the_price_of_every_point() -> None:
    dear = make_plan(PlanConfig(gpus=16, days=1.0, num_trials=50, usd_per_gpu_hour=100.0))
    own, double = frontier(dear, factors=(2.0,))
    hours = double.days.middle * 24 * 32
    assert double.usd.middle == pytest.approx(hours * 100 / 0.65)
    assert own.usd.middle == pytest.approx(24 * 16 * 100 / 0.65)


def test_the_more_breaks_the_less_gets_done() -> None:
    plan = small_plan()
    rough = replace(plan, config=replace(plan.config, seed=1))
    calm, *_, wild = goodput_by_rate(rough, (1e-6, 1e-3, 1e-1))
    assert calm.failures_per_accelerator_hour == 1e-6
    assert calm.goodput.middle > wild.goodput.middle
    assert 0 <= wild.goodput.low <= wild.goodput.middle <= wild.goodput.high <= 1


def test_without_failures_there_is_a_goodput_too() -> None:
    (calm,) = goodput_by_rate(small_plan(), (0.0,))
    assert calm.goodput.middle > 0.9


def test_the_same_plan_gives_the_same_curve() -> None:
    plan = small_plan()
    assert [*goodput_by_rate(plan, (1e-3,))] == [*goodput_by_rate(plan, (1e-3,))]
