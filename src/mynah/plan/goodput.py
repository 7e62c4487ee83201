"""How much of a run's wall-clock time makes progress, and where the rest goes.

Pure. ``run_goodput`` plays a run through many times and counts: what every trial draws is in
``trials``, how it goes in ``playthrough``. The same seed gives the same result.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from mynah.errors import ConfigError
from mynah.plan.checkpointing import CheckpointCost
from mynah.plan.failures import HOURS_PER_DAY, FailureConfig
from mynah.plan.playthrough import LOSSES, Playthrough
from mynah.plan.ranges import Range
from mynah.plan.trials import NEVER, Floats, PlannedRun, draw_trials, peak_repairs

__all__ = ["LOSSES", "Goodput", "PlannedRun", "best_interval_s", "run_goodput", "spares_to_hold"]

MAX_CELLS = 4e6
"""Trials times groups; more would not fit into the memory of a small machine."""


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
    drawn = draw_trials(failures, cost, run, num_trials=num_trials, seed=seed)
    enough = peak_repairs(failures, run, drawn, seed=seed)
    num_spares = enough if run.num_spare_nodes == "enough" else run.num_spare_nodes
    played = Playthrough(
        failures, run, drawn, interval_s=interval_s, num_spares=num_spares, seed=seed
    )
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
    drawn = draw_trials(failures, _FREE, run, num_trials=num_trials, seed=seed)
    return peak_repairs(failures, run, drawn, seed=seed)


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
    drawn = draw_trials(failures, cost, run, num_trials=num_trials, seed=seed)
    enough = peak_repairs(failures, run, drawn, seed=seed)
    intervals_s = near_s * np.geomspace(1 / 3, 3, 11)
    losses: list[float] = []
    for interval_s in intervals_s.tolist():
        one = Playthrough(failures, run, drawn, interval_s=interval_s, num_spares=enough, seed=seed)
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


_FREE = CheckpointCost(
    size_bytes=0.0,
    stall_s=Range.exactly(0.0),
    write_s=Range.exactly(0.0),
    read_s=Range.exactly(0.0),
)


def _percentiles(values: Floats) -> Range:
    low, middle, high = np.quantile(values, (0.1, 0.5, 0.9))
    return Range(low=float(low), middle=float(middle), high=float(high))
