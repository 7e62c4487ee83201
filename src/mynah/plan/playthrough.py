"""All trials of a run played through side by side, in numpy.

Pure. Failures strike at random, are noticed, wait for a spare node, restart from the last finished
checkpoint. Arrays have a column for each trial, and a row for each replica group or spare node.
One group is a whole-world restart.
"""

import numpy as np
import numpy.typing as npt

from mynah.plan.failures import HOURS_PER_DAY, FailureConfig
from mynah.plan.trials import (
    MAX_FAILURES,
    SECONDS_PER_HOUR,
    Floats,
    PlannedRun,
    Trials,
    wall_clock,
)

__all__ = ["LOSSES", "Playthrough"]

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

LOSSES = ("detection", "waiting", "restart", "planned", "saving", "lost_work", "group_stall")
"""What takes time: unnoticed failures, missing spare nodes, restarts and warm-up, planned
interruptions, stalls of saving, work that is computed again, and stalls of the other groups."""


class Playthrough:
    """All trials of a run, side by side, from one interruption to the next.

    Trials that are over drop out of the arrays; results are kept by the trial's own number.
    """

    def __init__(
        self,
        failures: FailureConfig,
        run: PlannedRun,
        drawn: Trials,
        *,
        interval_s: float,
        num_spares: int,
        seed: int,
    ) -> None:
        num_trials = len(drawn.horizon_h)
        shape = (run.num_groups, num_trials)
        self.failures = failures
        self.num_groups = run.num_groups
        self.clock = wall_clock(failures, run.days * HOURS_PER_DAY)
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
        self.drawn = Trials(
            **{name: getattr(self.drawn, name)[is_on] for name in self.drawn.__slots__}
        )
        for name, value in vars(self).items():
            if name not in ("useful_h", "num_failures") and isinstance(value, np.ndarray):
                setattr(self, name, value[..., is_on])
