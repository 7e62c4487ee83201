"""From time, money, tokens or a shape to a run, and what is refused on the way."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest

from mynah.errors import ConfigError
from mynah.model import LlamaConfig, active_weights, num_weights
from mynah.plan.budget import Budget, Outline, Speed, outline
from mynah.plan.costs import Prices, own_price, power_of, rental_prices
from mynah.plan.hardware import find_accelerator
from mynah.plan.ranges import Range
from mynah.plan.scaling import best_size
from mynah.plan.shapes import PUBLISHED, Sparsity, flop_per_token

H100 = find_accelerator("H100")
SPEED = Range(low=3.6e14, middle=4.0e14, high=4.4e14)
GOODPUT = Range(low=0.85, middle=0.9, high=0.95)
LLAMA = {one.name: one.config for one in PUBLISHED}


def made(
    budget: Budget, *, speed: Speed | float | None = None, prices: Prices | None = None
) -> Outline:
    return outline(
        budget,
        speed or (lambda shape: SPEED),
        goodput=GOODPUT,
        prices=prices or rental_prices(H100),
        power=power_of(H100),
    )


def of(num_gpus: float = 10_000, **given: object) -> Budget:
    return replace(Budget(num_gpus=int(num_gpus), accelerator=H100), **given)  # pyright: ignore


def refused(budget: Budget, message: str, hint: str = "") -> ConfigError:
    with pytest.raises(ConfigError, match=message) as caught:
        made(budget)
    assert hint in caught.value.hint
    return caught.value


def test_days_become_a_run_of_the_best_size():
    run = made(of(days=90.0))
    assert run.costs.days == Range.exactly(90.0)
    # 10,000 x 90 days x 400 TFLOP/s x 0.9
    assert run.flop.middle == pytest.approx(1e4 * 90 * 86_400 * 4e14 * 0.9)
    assert run.flop.low == pytest.approx(1e4 * 90 * 86_400 * 3.6e14 * 0.85)
    best = best_size(6.0 * run.active_weights * run.tokens.middle)
    assert run.active_weights == pytest.approx(best.middle, rel=0.03)
    assert run.best_weights.low < run.active_weights < run.best_weights.high
    assert run.overtraining.middle == pytest.approx(1, rel=0.05)
    assert run.notes == ()
    assert run.all_weights == num_weights(run.shape)


def test_tokens_and_time_agree_with_the_flop():
    run = made(of(days=90.0))
    each = flop_per_token(run.shape, row_tokens=8192)
    assert run.tokens.middle * each == pytest.approx(run.flop.middle)
    back = made(of(shape=run.shape, tokens=run.tokens.middle))
    assert back.costs.days.middle == pytest.approx(90.0)
    assert back.flop == Range.exactly(run.flop.middle)
    assert back.costs.days.low < 90 < back.costs.days.high


def test_money_becomes_time():
    run = made(of(usd=1e8))
    assert run.costs.usd == Range.exactly(1e8)
    assert run.costs.days.low < run.costs.days.middle < run.costs.days.high
    known = made(of(usd=1e8), prices=own_price(2.0, covers_all=True))
    assert known.costs.days.middle == pytest.approx(1e8 / 2.0 / 24 / 1e4)
    assert known.costs.days.low == known.costs.days.high
    assert known.costs.gpu_usd == Range.exactly(1e8)


def test_spares_cost_and_do_not_compute():
    without, with_spares = made(of(days=90.0)), made(of(days=90.0, num_spares=500))
    assert with_spares.flop == without.flop
    assert with_spares.costs.usd.middle == pytest.approx(1.05 * without.costs.usd.middle)
    assert made(of(usd=1e8, num_spares=500)).flop.middle < made(of(usd=1e8)).flop.middle


@pytest.mark.parametrize(
    ("usd", "days"),
    [(1e12, 90.0), (2e7, 17.2)],  # what limits: time, money
)
def test_of_time_and_money_the_scarcer_limits(usd: float, days: float):
    run = made(of(days=90.0, usd=usd))
    assert run.costs.days.middle == pytest.approx(days, rel=0.01)
    assert run.costs.days.high <= 90
    assert run.costs.usd.high <= usd


def test_tokens_alone_get_the_size_that_they_are_best_for():
    run = made(of(tokens=15e12))
    assert run.tokens == Range.exactly(15e12)
    assert run.overtraining.middle == pytest.approx(1, rel=0.05)
    assert run.costs.days.low < run.costs.days.middle < run.costs.days.high


def test_a_shape_alone_gets_the_tokens_that_are_best_for_it():
    run = made(of(shape=LLAMA["Llama 3.1 405B"]))
    assert run.shape == LLAMA["Llama 3.1 405B"]
    assert run.overtraining.middle == pytest.approx(1, rel=0.05)


def test_tokens_in_limited_time_get_a_model_that_is_done_in_it():
    run = made(of(tokens=15e12, days=30.0))
    assert 0.95 * 30 < run.costs.days.middle <= 30
    assert run.overtraining.middle > 2
    few = made(of(tokens=1e12, days=90.0))
    assert few.costs.days.middle < 2
    assert "the run is done after" in " ".join(few.notes)


def test_405b_on_the_cluster_that_trained_it():
    # 54 days of 16,384 for a part of the run are in the report, 30.84M hours for all of it.
    run = made(of(16_384, shape=LLAMA["Llama 3.1 405B"], tokens=15.6e12))
    assert run.flop.middle == pytest.approx(3.8e25, rel=0.05)
    assert run.costs.gpu_hours.low < 30.84e6 < run.costs.gpu_hours.high
    assert {one.threshold.flop for one in run.passed if one.is_certain} == {
        "1e23",
        "1e25",
        "2.1e25",
    }


@pytest.mark.parametrize("given", [{"days": 90.0}, {"usd": 3e7}, {"tokens": 2e12}])
def test_service_makes_the_model_smaller(given: dict[str, float]):
    alone, served = made(of(**given)), made(of(**given, served_tokens=1e13))
    assert served.active_weights < alone.active_weights
    assert served.overtraining.middle > alone.overtraining.middle


def test_a_mixture_has_more_weights_and_fewer_active_ones():
    dense, sparse = made(of(days=90.0)), made(of(days=90.0, sparsity=Sparsity()))
    assert sparse.active_weights < dense.active_weights < sparse.all_weights
    assert sparse.tokens.middle > dense.tokens.middle
    assert sparse.loss.low < dense.loss.low
    assert "assumption" in " ".join(sparse.notes)


def test_more_days_give_no_higher_loss():
    runs = [made(of(256, days=days)) for days in (1.0, 4.0, 5.0, 30.0, 300.0)]
    for run, longer in pairwise(runs):
        # Shapes come in steps, and a step is worth less than a thousandth of a nat.
        assert longer.loss.middle < run.loss.middle + 1e-3
        assert longer.flop.middle > run.flop.middle


def test_speed_may_depend_on_the_shape():
    asked: list[LlamaConfig] = []

    def speed(shape: LlamaConfig) -> Range:
        asked.append(shape)
        return Range.exactly(5e14 if active_weights(shape) < 2e11 else 3e14)

    run = made(of(days=30.0), speed=speed)
    assert run.flop_per_s == speed(run.shape)
    assert len(set(asked)) == len(asked) - 1  # each once, and once here
    assert made(of(days=30.0), speed=4e14).flop_per_s == Range.exactly(4e14)


def test_time_without_money_and_back():
    days = made(of(days=30.0), prices=own_price(2.0, covers_all=True))
    money = made(of(usd=days.costs.usd.middle), prices=own_price(2.0, covers_all=True))
    assert money.shape == days.shape
    assert money.flop.middle == pytest.approx(days.flop.middle)


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({}, "nothing that says for how long", "--days, --budget, --tokens or --recipe"),
        ({"num_gpus": 0, "days": 1.0}, "--gpus is 0", "from 1 to"),
        ({"num_gpus": -8, "days": 1.0}, "--gpus is -8", "from 1 to"),
        ({"num_gpus": 10**9, "days": 1.0}, "--gpus is 1,000,000,000", "10,000,000"),
        ({"days": 0.0}, "--days is 0", "from"),
        ({"days": float("nan")}, "--days is nan", "from"),
        ({"days": float("inf")}, "--days is inf", "to 3,650"),
        ({"usd": -5.0}, "--budget is -5 USD", "from"),
        ({"tokens": 3.0}, "--tokens is 3", "1,000,000"),
        ({"days": 9.0, "served_tokens": -1.0}, "--serve-tokens is -1", "from 0"),
        ({"days": 9.0, "row_tokens": 0}, "a row is 0", "from 1"),
        ({"tokens": 1e16}, "is wanted", "5e\\+12"),
    ],
)
def test_what_no_run_can_be_is_refused(given: dict[str, float], message: str, hint: str):
    budget = replace(of(), **given)  # pyright: ignore
    with pytest.raises(ConfigError, match=message) as caught:
        made(budget)
    assert re.search(hint, caught.value.hint)


@pytest.mark.parametrize(
    ("budget", "hint"),
    [
        (of(usd=5.0), "raise --budget"),
        (of(days=5 / 1440), "raise --days"),
        (of(days=5 / 1440, usd=1e9), "raise --days"),
        (of(1, usd=5.0), "raise --budget"),
        (of(16, shape=LLAMA["Llama 3.1 70B"], days=2.0), "leave the shape"),
        (of(8, tokens=15e12, days=2.0), "lower --tokens"),
        (of(shape=LLAMA["Llama 3.1 405B"], tokens=15.6e12, days=30.0), "raise --days"),
        (of(shape=LLAMA["Llama 3.1 405B"], tokens=15.6e12, usd=1e6), "--budget"),
    ],
    ids=str,
)
def test_too_little_is_refused_with_the_smallest_useful_plan(budget: Budget, hint: str):
    error = refused(budget, "the smallest useful plan needs", hint)
    assert re.search(r"needs [\d,.]+ (minutes|hours|days|years), about [\d,]+ USD", error.message)


def test_what_the_smallest_plan_needs_is_enough():
    error = refused(of(usd=5.0), "smallest useful plan")
    needed = re.search(r"about ([\d,]+) USD", error.message)
    assert needed is not None
    assert made(of(usd=float(needed[1].replace(",", "")) + 1)).active_weights > 0.1e9


def test_fewer_accelerators_may_do():
    error = refused(of(usd=1000.0), "1,000 USD of 10,000", "take fewer accelerators: --gpus ")
    fewer = int(error.hint.rpartition(" ")[2])
    assert made(of(fewer, usd=1000.0)).costs.usd == Range.exactly(1000.0)


def test_a_run_of_centuries_is_refused():
    error = refused(of(8, tokens=1e13), "take 8 H100-SXM-80GB [\\d,.]+ years", "--gpus ")
    enough = int(error.hint.rpartition(" ")[2])
    assert made(of(enough, tokens=1e13)).costs.days.middle == pytest.approx(365, rel=0.01)


def test_a_speed_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="said to achieve 0 FLOP/s"):
        made(of(days=1.0), speed=lambda shape: Range.exactly(0.0))


@pytest.mark.parametrize("goodput", [0.0, -0.5, 1.5, float("nan")])
def test_a_goodput_that_is_no_share_is_refused(goodput: float):
    share = Range.exactly(goodput)
    prices, power = rental_prices(H100), power_of(H100)
    with pytest.raises(ConfigError, match="goodput is said"):
        outline(of(days=1.0), 4e14, goodput=share, prices=prices, power=power)


def test_more_tokens_than_people_wrote_are_pointed_out():
    run = made(of(days=90.0, shape=LLAMA["Llama 3.1 8B"]))
    assert "more than people have published" in " ".join(run.notes)


def test_the_ends_of_the_range_are_pointed_out():
    run = made(of(tokens=15e12, days=90.0))
    assert run.costs.days.high > 90
    assert "takes longer than --days" in " ".join(run.notes)
    dear = made(of(tokens=1e12, shape=LLAMA["Llama 3.1 70B"], usd=2e6))
    assert "costs more than --budget" in " ".join(dear.notes)
