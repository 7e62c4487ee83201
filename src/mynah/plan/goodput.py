"""How much of a run's wall-clock time makes progress, and where the rest goes.

Pure. ``run_goodput`` plays a run through many times, all trials side by side in numpy: failures
strike at random, are noticed, wait for a spare node, restart from the last finished checkpoint.
Every trial draws its own rates and times from the ranges of the config, so that the result holds
both what chance does and what nobody knows. The same seed gives the same result.

Failures are a Poisson process in wall-clock time, also while a run restarts: that is how published
rates are counted, and what rare independent failures of many parts add up to.

Arrays have a column for each trial, and a row for each replica group or spare node. One group is a
whole-world restart.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mynah.errors import ConfigError
from mynah.plan.checkpointing import CheckpointCost
from mynah.plan.failures import HOURS_PER_DAY, FailureConfig
from mynah.plan.ranges import Range

__all__ = ["LOSSES", "Goodput", "PlannedRun", "best_interval_s", "run_goodput", "spares_to_hold"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

SECONDS_PER_HOUR = 3600.0
LOSSES = ("detection", "waiting", "restart", "planned", "saving", "lost_work", "group_stall")
"""What takes time: unnoticed failures, missing spare nodes, restarts and warm-up, planned
interruptions, stalls of saving, work that is computed again, and stalls of the other groups."""
NEVER = 1e-30
"""Events an hour, in place of zero."""
EIGHTY_PERCENT = 1.2816
"""Standard deviations of a normal distribution between which 80% lie."""
MAX_DEVIATIONS = 2.0
"""No trial draws a figure further out: nobody has published what lies there."""
MAX_FAILURES = 3_000
"""A trial ends at about as many: by then chance has averaged out, and its shares are scaled."""
MAX_CELLS = 4e6
"""Trials times groups; more would not fit into the memory of a small machine."""
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
class Goodput:
    """What became of the hours of a run: low is the 10th, high the 90th percentile of trials."""

    goodput: Range
    """Share of the accelerators' wall-clock time that made progress."""
    num_failures: Range
    """Unplanned ones."""
    lost_h: Mapping[str, Range]
    """Hours of the whole run by cause, see ``LOSSES``; a group's hours count by its share."""
    spares_to_hold: int
    """Spare nodes with which in 95% of runs nobody waits for a repair."""
    num_spare_nodes: int
    """Spare nodes that this result is for."""
    interval_s: float
    """Seconds of training between saves."""
    run: PlannedRun
    num_trials: int
    seed: int

    def days_for(self, productive_days: float) -> Range:
        """Days of wall-clock time in which so many days of undisturbed training are done."""
        return self.goodput.through(lambda share: productive_days / max(share, NEVER))

    def to_json(self) -> dict[str, object]:
        """Return it for machines."""
        return {
            "goodput": self.goodput.to_json(),
            "num_failures": self.num_failures.to_json(),
            "lost_h": {name: hours.to_json() for name, hours in self.lost_h.items()},
            "spares_to_hold": self.spares_to_hold,
            "num_spare_nodes": self.num_spare_nodes,
            "interval_s": self.interval_s,
            "run": asdict(self.run),
            "num_trials": self.num_trials,
            "seed": self.seed,
        }


def run_goodput(
    failures: FailureConfig,
    cost: CheckpointCost,
    run: PlannedRun,
    *,
    interval_s: float,
    num_trials: int = 1_000,
    seed: int = 0,
) -> Goodput:
    """Play a run through and say how much of it made progress.

    Args:
        failures: What breaks, and what follows.
        cost: Of one checkpoint.
        run: What is rented, and how it is laid out.
        interval_s: Seconds of training between saves; a save that takes longer delays the next.
        num_trials: How often to play.
        seed: Of everything that is drawn.

    Raises:
        ConfigError: Nothing can be played with these numbers.
    """
    _check(run, interval_s=interval_s, num_trials=num_trials)
    drawn = _draw(failures, cost, run, num_trials=num_trials, seed=seed)
    enough = _peak_repairs(failures, run, drawn, seed=seed)
    num_spares = enough if run.num_spare_nodes == "enough" else run.num_spare_nodes
    played = _Play(failures, run, drawn, interval_s=interval_s, num_spares=num_spares, seed=seed)
    played.play()
    hours = run.days * HOURS_PER_DAY
    return Goodput(
        goodput=_percentiles(played.useful_h / drawn.horizon_h),
        num_failures=_percentiles(played.num_failures * (hours / drawn.horizon_h)),
        lost_h={
            name: _percentiles(lost * (hours / drawn.horizon_h))
            for name, lost in played.lost_h.items()
        },
        spares_to_hold=enough,
        num_spare_nodes=num_spares,
        interval_s=interval_s,
        run=run,
        num_trials=num_trials,
        seed=seed,
    )


def spares_to_hold(
    failures: FailureConfig, run: PlannedRun, *, num_trials: int = 1_000, seed: int = 0
) -> int:
    """Spare nodes with which in 95% of runs nobody waits for a repair.

    Raises:
        ConfigError: Nothing can be played with these numbers.
    """
    _check(run, interval_s=1.0, num_trials=num_trials)
    drawn = _draw(failures, _FREE, run, num_trials=num_trials, seed=seed)
    return _peak_repairs(failures, run, drawn, seed=seed)


def best_interval_s(
    failures: FailureConfig,
    cost: CheckpointCost,
    run: PlannedRun,
    *,
    near_s: float,
    num_trials: int = 200,
    seed: int = 0,
) -> float:
    """Seconds between saves that lose least when the run is played, a third to thrice ``near_s``.

    The same failures strike at every interval, and the mean loss is fitted by the law that saves
    and lost work follow, ``a / interval + b * interval + c``, which averages chance out.

    Args:
        failures: What breaks, and what follows.
        cost: Of one checkpoint.
        run: What is rented, and how it is laid out.
        near_s: Where to look, such as ``planned_interval_s``.
        num_trials: How often to play each interval.
        seed: Of everything that is drawn.
    """
    _check(run, interval_s=near_s, num_trials=num_trials)
    drawn = _draw(failures, cost, run, num_trials=num_trials, seed=seed)
    enough = _peak_repairs(failures, run, drawn, seed=seed)
    intervals_s = near_s * np.geomspace(1 / 3, 3, 11)
    losses: list[float] = []
    for interval_s in intervals_s.tolist():
        one = _Play(failures, run, drawn, interval_s=interval_s, num_spares=enough, seed=seed)
        one.play()
        losses.append(1 - float((one.useful_h / drawn.horizon_h).mean()))
    terms = np.stack([1 / intervals_s, intervals_s, np.ones_like(intervals_s)], axis=1)
    saving, lost, _ = np.linalg.lstsq(terms, np.array(losses), rcond=None)[0].tolist()
    first, last = float(intervals_s[0]), float(intervals_s[-1])
    if saving <= 0:
        return first
    return last if lost <= 0 else min(max((saving / lost) ** 0.5, first), last)


def _check(run: PlannedRun, *, interval_s: float, num_trials: int) -> None:
    bounds: tuple[tuple[str, float, float, float], ...] = (
        ("accelerators", run.num_accelerators, 1, 1e8),
        ("days", run.days, 1 / HOURS_PER_DAY, 3_650),
        ("replica groups", run.num_groups, 1, min(run.num_accelerators, 4_096)),
        ("seconds between saves", interval_s, 1e-3, 1e9),
        ("trials", num_trials, 1, min(10_000, MAX_CELLS / max(run.num_groups, 1))),
    )
    for name, value, least, most in bounds:
        if not least <= value <= most:
            raise ConfigError(
                f"a run of {value:g} {name} cannot be played",
                hint=f"give {least:g} to {most:,.0f} {name}",
            )
    if run.num_spare_nodes != "enough" and not 0 <= run.num_spare_nodes <= 1e6:
        raise ConfigError(
            f"{run.num_spare_nodes} spare nodes cannot be held", hint="give 0 or more, or 'enough'"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
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


_FREE = CheckpointCost(
    size_bytes=0.0,
    stall_s=Range.exactly(0.0),
    write_s=Range.exactly(0.0),
    read_s=Range.exactly(0.0),
)


def _draw(
    failures: FailureConfig, cost: CheckpointCost, run: PlannedRun, *, num_trials: int, seed: int
) -> _Drawn:
    """Draw once a trial: who notices late restarts late, and slow storage is slow both ways."""
    rng = np.random.default_rng((seed, 0))
    deviations = rng.standard_normal((6, num_trials)).clip(-MAX_DEVIATIONS, MAX_DEVIATIONS)
    rates, speeds, planned, repairs, storage, stalls = deviations / EIGHTY_PERCENT
    failure_rate = _spread(failures.failures_per_accelerator_hour, rates) * run.num_accelerators
    restart_s = _spread(failures.restart_s, speeds) + _spread(failures.warmup_s, speeds)
    planned_rate = _spread(failures.planned_per_day, planned) / HOURS_PER_DAY
    all_events = failure_rate * failures.early_factor + planned_rate
    hours = np.full(num_trials, run.days * HOURS_PER_DAY)
    return _Drawn(
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


def _percentiles(values: Floats) -> Range:
    low, middle, high = np.quantile(values, (0.1, 0.5, 0.9))
    return Range(low=float(low), middle=float(middle), high=float(high))


def _clock(failures: FailureConfig, horizon_h: float) -> Callable[[Floats], Floats]:
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


def _peak_repairs(failures: FailureConfig, run: PlannedRun, drawn: _Drawn, *, seed: int) -> int:
    """Most nodes that are away at once, in 95% of trials."""
    rng = np.random.default_rng((seed, 1))
    clock = _clock(failures, run.days * HOURS_PER_DAY)
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


class _Play:
    """All trials of a run, side by side, from one interruption to the next.

    Trials that are over drop out of the arrays; results are kept by the trial's own number.
    """

    def __init__(
        self,
        failures: FailureConfig,
        run: PlannedRun,
        drawn: _Drawn,
        *,
        interval_s: float,
        num_spares: int,
        seed: int,
    ) -> None:
        num_trials = len(drawn.horizon_h)
        shape = (run.num_groups, num_trials)
        self.failures = failures
        self.num_groups = run.num_groups
        self.clock = _clock(failures, run.days * HOURS_PER_DAY)
        self.rng = np.random.default_rng((seed, 2))
        # Results, by number of the trial.
        self.useful_h = np.zeros(num_trials)
        self.num_failures = np.zeros(num_trials)
        self.lost_h = {name: np.zeros(num_trials) for name in LOSSES}
        # What follows has a column for each trial that is still played.
        self.trial = np.arange(num_trials)
        self.drawn = drawn
        self.interval_h = np.maximum(interval_s / SECONDS_PER_HOUR, drawn.write_h - drawn.stall_h)
        self.now_h = np.zeros(num_trials)
        self.counted_h = np.zeros(num_trials)
        self.next_failure_h = self._later_failure()
        self.next_planned_h = self._later_planned()
        self.age_h = np.zeros(num_trials)
        """Of training since all began at a checkpoint."""
        self.fresh_h = np.zeros(num_trials)
        """Work of that time; until it is saved it may be lost."""
        self.stall_due_h = np.zeros(num_trials)
        self.spare_at_h = np.zeros((min(max(num_spares, 1), MAX_FAILURES), num_trials))
        """When each spare node can be had, a ring: repairs end in the order in which they began."""
        self.has_spares = num_spares > 0
        self.num_taken = np.zeros(num_trials, dtype=np.int64)
        # The last time that each group went down: from when, until when, and how that divides.
        self.down_h = np.zeros(shape)
        self.up_h = np.zeros(shape)
        self.notice_h = np.zeros(shape)
        self.wait_h = np.zeros(shape)
        self.is_planned = np.zeros(shape, dtype=np.bool_)

    def play(self) -> None:
        """Go on until every trial has reached its end."""
        while len(self.trial):
            next_h = np.minimum(self.next_failure_h, self.next_planned_h)
            self._train(np.minimum(next_h, self.drawn.horizon_h))
            is_on = next_h < self.drawn.horizon_h
            on = np.flatnonzero(is_on)
            if len(on):
                self._interrupt(on)
            # Dropping rows copies all arrays, so it waits until it is worth it.
            if len(on) <= 0.9 * len(is_on):
                self._end(is_on)

    def _train(self, until_h: Floats) -> None:
        """Train, save and stall until then, with the groups that are up."""
        up_h = until_h - np.maximum(self.up_h, self.now_h)
        np.maximum(up_h, 0.0, out=up_h)
        ran_h, alive_h = up_h.mean(axis=0), up_h.max(axis=0)
        stalled_h = np.minimum(self.stall_due_h, alive_h)
        share = np.divide(ran_h, alive_h, out=np.zeros_like(ran_h), where=alive_h > 0)
        self.stall_due_h -= stalled_h
        ran_h -= stalled_h * share
        stall_h = self.drawn.stall_h
        saving_h = ran_h * (stall_h / (self.interval_h + stall_h))
        self.age_h += alive_h - stalled_h
        self.fresh_h += ran_h - saving_h
        self.now_h = until_h
        self._lose("saving", saving_h)
        self._lose("group_stall", stalled_h * share)

    def _interrupt(self, on: Ints) -> None:
        """Let the next failure or planned interruption of these trials happen."""
        chances = self.rng.random((3, len(on)))
        is_planned = self.next_planned_h[on] < self.next_failure_h[on]
        is_shared = chances[0] < self.failures.stops_all_share
        stops_all = is_planned | is_shared | (self.num_groups == 1)
        takes_node = ~is_planned & (chances[1] < self.failures.node_share)
        group = (chances[2] * self.num_groups).astype(np.int64)
        failed, planned = on[~is_planned], on[is_planned]
        self.num_failures[self.trial[failed]] += 1
        wait_h = np.zeros(len(on))
        wait_h[takes_node] = self._take_spares(on[takes_node])
        self._keep(planned)
        for groups, some in ((group[~stops_all], ~stops_all), (slice(None), stops_all)):
            if some.any():
                self._stop(groups, on[some], wait_h=wait_h[some], is_planned=is_planned[some])
        self._roll_back(failed)
        self.next_failure_h[failed] = self._later_failure(failed)
        self.next_planned_h[planned] = self._later_planned(planned)

    def _stop(self, groups: Ints | slice, rows: Ints, *, wait_h: Floats, is_planned: Flags) -> None:
        """Take one group of each trial down, or all; those that are down begin anew."""
        self._settle(groups, rows)
        drawn, now_h = self.drawn, self.now_h[rows]
        restart_h = drawn.restart_h[rows]
        notice_h = np.where(is_planned, 0.0, drawn.detection_h[rows])
        back_h = now_h + notice_h + wait_h + restart_h
        saved_h = np.maximum(self.up_h[groups, rows], now_h + drawn.stall_h[rows] + restart_h)
        self.up_h[groups, rows] = np.where(is_planned, saved_h, back_h)
        self.down_h[groups, rows] = now_h
        self.notice_h[groups, rows] = notice_h
        self.wait_h[groups, rows] = wait_h
        self.is_planned[groups, rows] = is_planned

    def _settle(self, groups: Ints | slice, rows: Ints) -> None:
        """Book the last time that groups were down, as far as it has passed."""
        until_h = np.minimum(self.now_h[rows], self.up_h[groups, rows])
        passed_h = np.maximum(until_h - self.down_h[groups, rows], 0.0)
        notice_h = np.minimum(passed_h, self.notice_h[groups, rows])
        wait_h = np.minimum(passed_h - notice_h, self.wait_h[groups, rows])
        rest_h = passed_h - notice_h - wait_h
        planned_h = np.where(self.is_planned[groups, rows], rest_h, 0.0)
        for name, hours in (
            ("detection", notice_h),
            ("waiting", wait_h),
            ("restart", rest_h - planned_h),
            ("planned", planned_h),
        ):
            all_h = hours if hours.ndim == 1 else hours.sum(axis=0)
            self.lost_h[name][self.trial[rows]] += all_h / self.num_groups

    def _roll_back(self, failed: Ints) -> None:
        """Where no group is up, go back to the last finished save; else the others stall."""
        is_dead = (self.up_h.min(axis=0) >= self.now_h)[failed]
        dead, alive = failed[is_dead], failed[~is_dead]
        self.stall_due_h[alive] += self.drawn.group_stall_h[alive]
        stall_h, age_h = self.drawn.stall_h[dead], self.age_h[dead]
        cycle_h = self.interval_h[dead] + stall_h
        finished = np.floor((age_h - (self.drawn.write_h[dead] - stall_h)) / cycle_h)
        kept_h = np.maximum(finished, 0.0) * cycle_h
        share = np.divide(kept_h, age_h, out=np.zeros_like(age_h), where=age_h > 0)
        lost_h = self.fresh_h[dead] * (1 - np.minimum(share, 1.0))
        self.lost_h["lost_work"][self.trial[dead]] += lost_h
        self.fresh_h[dead] -= lost_h
        self.stall_due_h[dead] = 0.0
        self._keep(dead)

    def _keep(self, rows: Ints) -> None:
        """Work of these rows is on disk; all begin there."""
        self.useful_h[self.trial[rows]] += self.fresh_h[rows]
        self.fresh_h[rows] = 0.0
        self.age_h[rows] = 0.0

    def _take_spares(self, rows: Ints) -> Floats:
        """Hours until a node can be had; the broken one becomes a spare when it is repaired."""
        now_h, repair_h = self.now_h[rows], self.drawn.repair_h[rows]
        if not self.has_spares:
            return repair_h
        place = self.num_taken[rows] % len(self.spare_at_h)
        wait_h = np.maximum(self.spare_at_h[place, rows] - now_h, 0.0)
        self.spare_at_h[place, rows] = now_h + repair_h
        self.num_taken[rows] += 1
        return wait_h

    def _later_failure(self, rows: Ints | slice = slice(None)) -> Floats:
        mean_h = 1 / self.drawn.failure_rate[rows]
        self.counted_h[rows] += mean_h * self.rng.standard_exponential(len(mean_h))
        return self.clock(self.counted_h[rows])

    def _later_planned(self, rows: Ints | slice = slice(None)) -> Floats:
        mean_h = 1 / self.drawn.planned_rate[rows]
        return self.now_h[rows] + mean_h * self.rng.standard_exponential(len(mean_h))

    def _lose(self, name: str, hours: Floats) -> None:
        self.lost_h[name][self.trial] += hours

    def _end(self, is_on: Flags) -> None:
        """Book what is left of the trials that are over, and drop them."""
        over = np.flatnonzero(~is_on)
        self._settle(slice(None), over)
        self._keep(over)
        self.drawn = _Drawn(
            **{name: getattr(self.drawn, name)[is_on] for name in self.drawn.__slots__}
        )
        for name, value in vars(self).items():
            if name not in ("useful_h", "num_failures") and isinstance(value, np.ndarray):
                setattr(self, name, value[..., is_on])
