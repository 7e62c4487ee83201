"""What breaks in a cluster, how often, and how long it takes to train again.

Reads nothing: published rates and times stand here, each with its source, and ``FailureConfig``
takes their spread as its defaults. Rates differ between clusters of the same hardware by far more
than between kinds of hardware, so give your own where you have counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast

import numpy as np
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from mynah.plan.ranges import Range

__all__ = [
    "CAUSES",
    "PUBLISHED_RATES",
    "PUBLISHED_RECOVERIES",
    "Cause",
    "FailureConfig",
    "Figure",
    "Published",
    "failures_without",
    "mean_time_to_interrupt_h",
    "spread_of",
]

HOURS_PER_DAY = 24.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One figure that somebody published."""

    source: str
    """Short name; figures of one source are left out together."""
    where: str
    """Paper, section, and how the figure follows from what stands there."""
    value: float
    """In the unit of the table that it stands in."""


PUBLISHED_RATES = (
    Published(
        source="Llama 3",
        where="arXiv:2407.21783, 3.3.4: 419 unplanned in 54 days on 16,384 H100",
        value=419 / (16_384 * 54 * HOURS_PER_DAY),
    ),
    Published(
        source="RSC-1",
        where="arXiv:2410.21680: 6.50 node failures per 1,000 node-days, 8 A100 each",
        value=6.50 / (1_000 * 8 * HOURS_PER_DAY),
    ),
    Published(
        source="RSC-2",
        where="arXiv:2410.21680: 2.34 node failures per 1,000 node-days, 8 A100 each",
        value=2.34 / (1_000 * 8 * HOURS_PER_DAY),
    ),
    Published(
        source="OPT-175B",
        where="arXiv:2205.01068, 2.5: 35 manual and 70 automatic restarts, 60 days, 992 A100",
        value=105 / (992 * 60 * HOURS_PER_DAY),
    ),
    Published(
        source="BLOOM",
        where="BigScience chronicles of tr11-176B: one accelerator a week, 384 A100",
        value=1 / (384 * 7 * HOURS_PER_DAY),
    ),
    Published(
        source="Lablup B200",
        where="arXiv:2605.09370: 10 failed accelerators in 55 days, 504 B200",
        value=10 / (504 * 55 * HOURS_PER_DAY),
    ),
)
"""Unplanned interruptions per accelerator and hour of wall-clock time, one a cluster."""

PUBLISHED_RECOVERIES = (
    Published(
        source="MegaScale",
        where="arXiv:2402.15627, 6.3: detected and diagnosed in under 10 minutes on average, caught"
        " up within 15: an upper bound",
        value=600 + 900,
    ),
    Published(
        source="Lablup B200",
        where="arXiv:2605.09370: median of 11 minutes to an automatic retry",
        value=660,
    ),
    Published(
        source="FT-HSDP",
        where="arXiv:2602.00277, abstract: a stall of 10 minutes when all restart, 100,000 GPUs",
        value=600,
    ),
    Published(
        source="Crusoe",
        where="AutoClusters, 2025: a failed node found and replaced in under 5 minutes",
        value=300,
    ),
)
"""Seconds from a failure until all train again, where nobody has to get up for it."""

DETECTION_SHARE = 600 / (600 + 900)
"""Of those seconds; MegaScale is the only source that tells the two apart. Goodput does not depend
on it, only which of the two a loss is booked under."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A kind of failure, and what it takes with it."""

    name: str
    count: int
    """Of the 419 unplanned interruptions of Llama 3 405B (arXiv:2407.21783, table 5)."""
    takes_node: bool
    """Whether a machine is away for repair."""
    stops_all: bool
    """Whether replica groups that share the cause stop together."""


CAUSES = (
    Cause(name="accelerator and its memory", count=262, takes_node=True, stops_all=False),
    Cause(name="silent data corruption", count=6, takes_node=True, stops_all=False),
    Cause(name="network card", count=7, takes_node=True, stops_all=False),
    Cause(name="rest of the host", count=14, takes_node=True, stops_all=False),
    Cause(name="unplanned maintenance of a host", count=32, takes_node=True, stops_all=False),
    Cause(name="network switch or cable", count=35, takes_node=False, stops_all=False),
    Cause(name="software", count=56, takes_node=False, stops_all=True),
    Cause(name="timeout without a known cause", count=7, takes_node=False, stops_all=False),
)
"""Rows of that table, added up by what they take with them."""

NUM_CAUSES = sum(cause.count for cause in CAUSES)


def spread_of(published: Sequence[Published], *, without: str = "") -> Range:
    """Median, 10th and 90th percentile of published figures.

    Args:
        published: A table of this module.
        without: A source that is left out, because it is what a prediction is compared with.
    """
    values = [one.value for one in published if one.source != without]
    low, middle, high = np.quantile(values, (0.1, 0.5, 0.9))
    return Range(low=float(low), middle=float(middle), high=float(high))


def _as_range(value: Any) -> Any:
    """A bare number of a recipe is a figure that is known."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Range.exactly(float(value))
    if isinstance(value, dict):
        unknown = sorted(set(cast("dict[str, Any]", value)) - {"low", "middle", "high"})
        if unknown:
            raise ValueError(f"a range has low, middle and high, found {', '.join(unknown)}")
    return cast("Any", value)


def _check_range(value: Range) -> Range:
    if not 0 <= value.low <= value.middle <= value.high < np.inf:
        raise ValueError("a range rises from low over middle to high, none of them below zero")
    return value


Figure = Annotated[Range, BeforeValidator(_as_range), AfterValidator(_check_range)]
"""A range as a recipe writes it: a number, or a table of ``low``, ``middle`` and ``high``."""

RATE = spread_of(PUBLISHED_RATES)
RECOVERY_S = spread_of(PUBLISHED_RECOVERIES)
DETECTION_S = RECOVERY_S.through(lambda seconds: DETECTION_SHARE * seconds)
RESTART_S = RECOVERY_S.through(lambda seconds: (1 - DETECTION_SHARE) * seconds)
PLANNED_PER_DAY = Range(low=0.0, middle=0.5 * 47 / 54, high=47 / 54)
NOTHING = Range.exactly(0.0)
GROUP_STALL_S = Range(low=5.0, middle=30.0, high=180.0)
REPAIR_H = Range(low=1.0, middle=24.0, high=168.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureConfig:
    """How often a cluster breaks, and what follows. Each range holds 80% of what may be."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    failures_per_accelerator_hour: Figure = RATE
    """Unplanned interruptions per accelerator and hour, from ``PUBLISHED_RATES``."""
    planned_per_day: Figure = PLANNED_PER_DAY
    """Planned interruptions of the whole run a day. Llama 3 (arXiv:2407.21783, 3.3.4) had 47 in 54
    days, for firmware, kernels and changes of the run; the low is a cluster that is left alone."""
    detection_s: Figure = DETECTION_S
    """Seconds until a failure is noticed and its node is known, from ``PUBLISHED_RECOVERIES``."""
    restart_s: Figure = RESTART_S
    """Seconds from there until ranks step again, from ``PUBLISHED_RECOVERIES``; reading the
    checkpoint comes on top."""
    warmup_s: Figure = NOTHING
    """Seconds that the first steps lose to compiling and cold caches. Published restarts contain
    it; set it where yours do not."""
    group_stall_s: Figure = GROUP_STALL_S
    """Seconds that the other replica groups lose when one dies and comes back, the step that is
    given up included. Low: torchft's heartbeat times out after 5 s; high: 3 minutes on 100,000 GPUs
    (arXiv:2602.00277, abstract); the middle is their geometric mean."""
    node_share: Annotated[float, Field(ge=0, le=1)] = (
        sum(cause.count for cause in CAUSES if cause.takes_node) / NUM_CAUSES
    )
    """Share of failures that take a node away for repair, from ``CAUSES``."""
    stops_all_share: Annotated[float, Field(ge=0, le=1)] = (
        sum(cause.count for cause in CAUSES if cause.stops_all) / NUM_CAUSES
    )
    """Share of failures that no replica group outlives, such as a bug that all run; ``CAUSES``."""
    repair_h: Figure = REPAIR_H
    """Hours until a node is back. Nobody publishes it, so this is an assumption: a reset and a test
    take an hour, a part of tomorrow's delivery a day, a return to the maker a week."""
    early_factor: Annotated[float, Field(ge=1, le=100)] = 1.0
    """Failure rate of the first hour as a multiple of the lasting one. 1 for machines that have
    been burnt in; of a fresh batch 3-10% fail (stas00/ml-engineering, fault tolerance)."""
    early_days: Annotated[float, Field(gt=0, le=365)] = 14.0
    """Days in which the excess of ``early_factor`` falls to a third (1/e)."""


def failures_without(source: str) -> FailureConfig:
    """The default rate and times as they would be if ``source`` had published none.

    Planned stops and causes stay: only Llama 3 counts them, so give that run its own.
    """
    recovery_s = spread_of(PUBLISHED_RECOVERIES, without=source)
    return FailureConfig(
        failures_per_accelerator_hour=spread_of(PUBLISHED_RATES, without=source),
        detection_s=recovery_s.through(lambda seconds: DETECTION_SHARE * seconds),
        restart_s=recovery_s.through(lambda seconds: (1 - DETECTION_SHARE) * seconds),
    )


def mean_time_to_interrupt_h(failures: FailureConfig, num_accelerators: int) -> Range:
    """Hours between two interruptions of a job that needs every accelerator, planned ones included.

    Independent rare failures of many parts add up to a Poisson process whatever each part's own
    law is (Palm and Khintchine), so that rates add up. A rate of zero gives infinity.
    """

    def mean_h(rate: float, planned: float) -> float:
        per_hour = rate * num_accelerators + planned / HOURS_PER_DAY
        return 1 / per_hour if per_hour else float("inf")

    rate, planned = failures.failures_per_accelerator_hour, failures.planned_per_day
    return Range(
        low=mean_h(rate.high, planned.high),
        middle=mean_h(rate.middle, planned.middle),
        high=mean_h(rate.low, planned.low),
    )
