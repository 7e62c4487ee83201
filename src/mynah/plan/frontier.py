"""The same run on more and on fewer accelerators, and in clusters that break more and less often.

Pure. Reads a plan that is made and goes once round it: what its figures would be, had one thing
been asked otherwise.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mynah.errors import ConfigError
from mynah.plan.checkpointing import expected_goodput, planned_interval_s
from mynah.plan.costs import Prices, costs_of, own_price, power_of, rental_prices
from mynah.plan.failures import mean_time_to_interrupt_h
from mynah.plan.goodput import run_goodput
from mynah.plan.planning import Plan
from mynah.plan.ranges import Range
from mynah.plan.search import Judged, search_worlds

__all__ = ["FACTORS", "Point", "Weather", "frontier", "goodput_by_rate"]

SECONDS_PER_HOUR, SECONDS_PER_DAY = 3600.0, 86_400.0
MAX_INTERRUPTIONS = 200
"""That a curve's point is played through: a rate's share of time settles by then."""
NUM_TRIALS = 100
FACTORS = (1 / 8, 1 / 4, 1 / 2, 2, 4, 8)
"""Accelerators over those of the plan."""
MAX_LEFT = 6
"""Nodes that may be left over, where that makes a number that divides better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A plan's model and tokens on some number of accelerators."""

    gpus: int
    """That are paid for: as the plan's, they train, stand by, or are left over."""
    best: Judged
    """Their fastest layout."""
    days: Range
    usd: Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What a failure rate leaves of the time."""

    failures_per_accelerator_hour: float
    goodput: Range


def frontier(plan: Plan, *, factors: tuple[float, ...] = FACTORS) -> Iterator[Point]:
    """Yield the plan's own point, then those with fewer and with more accelerators.

    Each has its own search over layouts and the same step, at most, since a larger one would not
    help learning. Losses to failures are the plan's, scaled by the law that they follow. What
    would take longer and cost more is no point of a frontier and left out.

    Args:
        plan: What is varied.
        factors: Accelerators over those of the plan.
    """
    own = _own(plan)
    yield own
    slowest = own
    for factor in sorted((one for one in factors if one < 1), reverse=True):
        point = _point(plan, factor)
        if point is not None and point.days.middle > slowest.days.middle:
            yield (slowest := point)
    fastest = own
    for factor in sorted(one for one in factors if one > 1):
        point = _point(plan, factor)
        if point is not None and point.days.middle < fastest.days.middle:
            yield (fastest := point)


def _own(plan: Plan) -> Point:
    costs = plan.outline.costs
    return Point(gpus=plan.config.gpus, best=plan.best, days=costs.days, usd=costs.usd)


def _point(plan: Plan, factor: float) -> Point | None:
    """A point; ``None`` where so many have no layout."""
    node = plan.cluster.accelerators_per_node
    gpus = round(plan.config.gpus * factor / node) * node
    training = gpus - math.ceil(plan.num_spare_nodes * factor) * node
    worlds = [training - left * node for left in range(MAX_LEFT) if training - left * node > 0]
    if not worlds:
        return None
    cluster = replace(plan.cluster, num_accelerators=worlds[0])
    asked = replace(plan.wanted, num_shown=1)
    try:
        best = search_worlds(plan.outline.shape, cluster, asked, worlds=worlds).ranked[0]
    except ConfigError:
        return None  # nothing fits on so few, or divides among so many
    days = _days(plan, best)
    kind = plan.cluster.accelerator
    costs = costs_of(days, gpus, kind, prices=_prices(plan), power=power_of(kind))
    return Point(gpus=gpus, best=best, days=days, usd=costs.usd)


def _days(plan: Plan, best: Judged) -> Range:
    """Of the plan's tokens, with that layout and the failures of so many accelerators."""
    count = best.num_accelerators
    here = _lost_share(plan, plan.best.num_accelerators)
    lost = _lost_share(plan, count) / max(here, 1e-9)
    goodput = plan.goodput.goodput.through(lambda share: max(1 - (1 - share) * lost, 0.01))
    a_second = best.tokens_per_s.times(goodput)
    tokens = plan.outline.tokens.middle
    return a_second.through(lambda rate: tokens / (rate * count * SECONDS_PER_DAY))


def _prices(plan: Plan) -> Prices:
    config = plan.config
    if config.usd_per_gpu_hour is not None:
        return own_price(config.usd_per_gpu_hour)
    return rental_prices(plan.cluster.accelerator, is_reserved=config.is_reserved)


def _lost_share(plan: Plan, count: int) -> float:
    """Share of the time that so many accelerators lose, by Daly's law."""
    failures = plan.config.failures
    mtti_s = mean_time_to_interrupt_h(failures, count).middle * SECONDS_PER_HOUR
    recovery_s = failures.detection_s.middle + failures.restart_s.middle
    cost = plan.checkpoint
    return 1 - expected_goodput(
        planned_interval_s(cost, mtti_s=mtti_s),
        stall_s=cost.stall_s.middle,
        recovery_s=recovery_s + cost.read_s.middle,
        mtti_s=mtti_s,
    )


def goodput_by_rate(plan: Plan, rates: tuple[float, ...]) -> Iterator[Weather]:
    """Play the plan's run through at other failure rates, each known exactly.

    Checkpoints are saved as often as is best for the rate, and there are spare nodes enough, so
    that what is seen is the rate's doing. Runs are cut where chance has averaged out.

    Args:
        plan: Whose cluster, checkpoint and groups.
        rates: Failures per accelerator and hour.
    """
    own_h = mean_time_to_interrupt_h(plan.config.failures, plan.best.num_accelerators).middle
    # The plan's interval was found by playing; elsewhere it changes as the law does.
    found = plan.checkpoint_interval_s / _interval_s(plan, own_h)
    for rate in rates:
        failures = replace(plan.config.failures, failures_per_accelerator_hour=Range.exactly(rate))
        mtti_h = mean_time_to_interrupt_h(failures, plan.best.num_accelerators).middle
        days = min(plan.goodput.run.days, max(MAX_INTERRUPTIONS * mtti_h / 24, 1 / 24))
        run = replace(plan.goodput.run, days=days, num_spare_nodes="enough")
        interval_s = found * _interval_s(plan, mtti_h)
        played = run_goodput(
            failures, plan.checkpoint, run, interval_s=interval_s, num_trials=NUM_TRIALS,
            seed=plan.config.seed,
        )  # fmt: skip
        yield Weather(failures_per_accelerator_hour=rate, goodput=played.goodput)


def _interval_s(plan: Plan, mtti_h: float) -> float:
    """Seconds between two saves by Daly's law, where each group restarts for itself."""
    groups = plan.goodput.run.num_groups
    return planned_interval_s(plan.checkpoint, mtti_s=mtti_h * groups * SECONDS_PER_HOUR)
