"""What chance and ignorance draw for each trial of a run, before it is played.

Pure. Every trial draws its own rates and times from the ranges of the config, so that the result
holds both what chance does and what nobody knows. The same seed draws the same.

Failures are a Poisson process in wall-clock time, also while a run restarts: that is how published
rates are counted, and what rare independent failures of many parts add up to.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mynah.plan.checkpointing import CheckpointCost
from mynah.plan.failures import HOURS_PER_DAY, FailureConfig
from mynah.plan.ranges import Range

__all__ = [
    "MAX_FAILURES",
    "NEVER",
    "SECONDS_PER_HOUR",
    "Floats",
    "PlannedRun",
    "Trials",
    "draw_trials",
    "peak_repairs",
    "wall_clock",
]

Floats = npt.NDArray[np.float64]

SECONDS_PER_HOUR = 3600.0
NEVER = 1e-30
"""Events an hour, in place of zero."""
EIGHTY_PERCENT = 1.2816
"""Standard deviations of a normal distribution between which 80% lie."""
MAX_DEVIATIONS = 2.0
"""No trial draws a figure further out: nobody has published what lies there."""
MAX_FAILURES = 3_000
"""A trial ends at about as many: by then chance has averaged out, and its shares are scaled."""
CALM_SHARE = 0.95
"""Of runs, in which nobody waits for a spare node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """What is rented, for how long, and in how many groups it trains."""

    num_accelerators: int
    """That train; spare nodes come on top."""
    days: float
    """Of wall-clock time."""
    num_groups: int = 1
    """Replica groups that live and die apart (torchft); 1 restarts the whole world. Planned stops
    and causes that groups share still stop all."""
    num_spare_nodes: int | Literal["enough"] = "enough"
    """Idle nodes that take the place of broken ones; enough is ``spares_to_hold``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """What each trial has drawn for itself; hours, but for the rates, which are an hour's."""

    horizon_h: Floats
    failure_rate: Floats
    planned_rate: Floats
    detection_h: Floats
    restart_h: Floats
    group_stall_h: Floats
    repair_h: Floats
    stall_h: Floats
    write_h: Floats


def draw_trials(
    failures: FailureConfig, cost: CheckpointCost, run: PlannedRun, *, num_trials: int, seed: int
) -> Trials:
    """Draw once a trial: who notices late restarts late, and slow storage is slow both ways."""
    rng = np.random.default_rng((seed, 0))
    deviations = rng.standard_normal((6, num_trials)).clip(-MAX_DEVIATIONS, MAX_DEVIATIONS)
    rates, speeds, planned, repairs, storage, stalls = deviations / EIGHTY_PERCENT
    failure_rate = _spread(failures.failures_per_accelerator_hour, rates) * run.num_accelerators
    restart_s = _spread(failures.restart_s, speeds) + _spread(failures.warmup_s, speeds)
    planned_rate = _spread(failures.planned_per_day, planned) / HOURS_PER_DAY
    all_events = failure_rate * failures.early_factor + planned_rate
    hours = np.full(num_trials, run.days * HOURS_PER_DAY)
    return Trials(
        horizon_h=np.minimum(hours, MAX_FAILURES / np.maximum(all_events, NEVER)),
        failure_rate=np.maximum(failure_rate, NEVER),
        planned_rate=np.maximum(planned_rate, NEVER),
        detection_h=_spread(failures.detection_s, speeds) / SECONDS_PER_HOUR,
        restart_h=(restart_s + _spread(cost.read_s, storage)) / SECONDS_PER_HOUR,
        group_stall_h=_spread(failures.group_stall_s, stalls) / SECONDS_PER_HOUR,
        repair_h=_spread(failures.repair_h, repairs),
        stall_h=_spread(cost.stall_s, storage) / SECONDS_PER_HOUR,
        write_h=_spread(cost.write_s, storage) / SECONDS_PER_HOUR,
    )


def _spread(figure: Range, deviations: Floats) -> Floats:
    """Values with the figure's median, 10th and 90th percentile, at -1, 0 and 1 ``deviations``.

    The logarithm has half a normal distribution on either side; where the low is zero, the value.
    """
    if figure.low > 0:
        low, middle, high = np.log([figure.low, figure.middle, figure.high])
        side = np.where(deviations < 0, middle - low, high - middle)
        return np.exp(middle + side * deviations)
    side = np.where(deviations < 0, figure.middle - figure.low, figure.high - figure.middle)
    return np.maximum(figure.middle + side * deviations, 0.0)


def wall_clock(failures: FailureConfig, horizon_h: float) -> Callable[[Floats], Floats]:
    """From failures, counted by the lasting rate's hours, to hours of the run.

    With ``early_factor`` above 1 the first hours hold more failures, so they pass sooner.
    """
    if failures.early_factor == 1:
        return lambda hours: hours
    fall_h = failures.early_days * HOURS_PER_DAY
    grid = np.concatenate([[0.0], np.geomspace(fall_h / 1e3, horizon_h + fall_h, 2_000)])
    counted = grid + (failures.early_factor - 1) * fall_h * -np.expm1(-grid / fall_h)
    beyond = counted[-1] - grid[-1]

    def real_hours(hours: Floats) -> Floats:
        inside = np.interp(hours, counted, grid)
        return np.where(hours > counted[-1], hours - beyond, inside)

    return real_hours


def peak_repairs(failures: FailureConfig, run: PlannedRun, drawn: Trials, *, seed: int) -> int:
    """Most nodes that are away at once, in 95% of trials."""
    rng = np.random.default_rng((seed, 1))
    clock = wall_clock(failures, run.days * HOURS_PER_DAY)
    excess_h = (failures.early_factor - 1) * failures.early_days * HOURS_PER_DAY
    counted_h = drawn.horizon_h + excess_h  # at least what the early failures add
    num_events = rng.poisson(drawn.failure_rate * failures.node_share * counted_h)
    trial = np.repeat(np.arange(len(num_events)), num_events)
    drawn_at = np.sort(trial + rng.random(len(trial)))
    at_h = clock((drawn_at - trial) * counted_h[trial])
    # A trial's hours lie between its number and the next, those after its end at the next.
    place = trial + np.minimum(at_h / drawn.horizon_h[trial], 1.0) * (1 - 1e-9)
    first = np.concatenate([[0], np.cumsum(num_events)])
    gone = np.searchsorted(place, place - drawn.repair_h[trial] / drawn.horizon_h[trial])
    away = np.arange(len(place)) - np.maximum(gone, first[trial]) + 1
    away = np.where(at_h < drawn.horizon_h[trial], away, 0)
    peaks = np.zeros(len(num_events), dtype=np.int64)
    np.maximum.at(peaks, trial, away)
    return int(np.quantile(peaks, CALM_SHARE, method="higher"))
