"""What failures do to a plan: spare nodes, checkpoints, goodput.

Pure. The model is not known yet when spare nodes are chosen, and hardly matters for them.
"""

from dataclasses import dataclass, replace

from mynah.errors import ConfigError
from mynah.plan.checkpointing import (
    CheckpointCost,
    checkpoint_bytes,
    checkpoint_cost,
    planned_interval_s,
)
from mynah.plan.failures import mean_time_to_interrupt_h
from mynah.plan.goodput import Goodput, PlannedRun, best_interval_s, run_goodput, spares_to_hold
from mynah.plan.plan_config import PlanConfig
from mynah.plan.search import Judged

__all__ = ["QUICK_TRIALS", "Machines", "clipped_days"]

SECONDS_PER_HOUR = 3600.0
SPARE_SHARES = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)
"""Of the spare nodes with which hardly anyone waits, that are tried: fewer leave more to train."""
QUICK_TRIALS = 200
"""Of a play that only compares."""
REPAIRS = 3.0
"""A run as long as so many repairs shows how many nodes are away at once."""
ENOUGH_INTERRUPTIONS = 60
"""In each of 200 trials, to tell the best interval between saves."""
TYPICAL_WEIGHTS = 1_000_000_000
"""Of a model of which nothing is known yet."""
LEAST_DAYS, MOST_DAYS = 1 / 24, 3650.0
"""That can be played."""


def clipped_days(days: float) -> float:
    """The same, as far as it can be played."""
    return min(max(days, LEAST_DAYS), MOST_DAYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """The whole nodes of a plan."""

    config: PlanConfig
    num_nodes: int
    per_node: int
    """Accelerators of each."""

    def choose_spares(self, days: float) -> int:
        """Return the spare nodes that are given, or as many as let the cluster train most.

        Raises:
            ConfigError: None is left to train.
        """
        given, most = self.config.spares, self.num_nodes - 1
        if given is not None and given > most:
            raise ConfigError(
                f"{given:,} of {self.num_nodes:,} nodes are to stand by: none is left to train",
                hint=f"hold fewer: --set spares=NUMBER, at most {most:,}",
            )
        if given is not None:
            return given
        failures, whole = self.config.failures, self._run(self.num_nodes, days)
        enough = min(spares_to_hold(failures, whole, seed=self.config.seed), most)
        size = checkpoint_bytes(TYPICAL_WEIGHTS)
        cost = checkpoint_cost(size, self.config.storage, num_accelerators=whole.num_accelerators)
        interval_s = self.planned_s(cost, whole.num_accelerators)
        long_enough = max(REPAIRS * failures.repair_h.high / 24.0, 1.0)

        def progress(spares: int) -> float:
            some = self._run(self.num_nodes - spares, min(days, long_enough))
            some = replace(some, num_spare_nodes=spares)
            share = self._played(cost, some, interval_s, num_trials=QUICK_TRIALS).goodput
            # A cluster without spares does well until a node is away for a week: all ends count.
            return (share.low + share.middle + share.high) * some.num_accelerators

        tried = {round(share * enough) for share in SPARE_SHARES}
        return max(sorted(tried), key=progress)

    def spare_nodes(self, num_accelerators: int) -> int:
        """Nodes that stand by where so many accelerators train."""
        return self.num_nodes - num_accelerators // self.per_node

    def cost(self, judged: Judged, all_weights: int) -> CheckpointCost:
        """Of a checkpoint, which one replica group writes for all."""
        return checkpoint_cost(
            checkpoint_bytes(all_weights),
            self.config.storage,
            num_accelerators=judged.num_accelerators // self._groups(judged),
        )

    def planned_s(self, cost: CheckpointCost, num_accelerators: int) -> float:
        """Seconds between saves, by Daly's law."""
        mtti_h = mean_time_to_interrupt_h(self.config.failures, num_accelerators).middle
        return planned_interval_s(cost, mtti_s=min(mtti_h * SECONDS_PER_HOUR, 1e9))

    def best_s(self, judged: Judged, cost: CheckpointCost, days: float) -> float:
        """Seconds between saves: played on a run that is long enough, for it says nothing more."""
        mtti_h = mean_time_to_interrupt_h(self.config.failures, judged.num_accelerators).middle
        days = min(days, max(ENOUGH_INTERRUPTIONS * mtti_h / 24.0, 1.0))
        return best_interval_s(
            self.config.failures,
            cost,
            self._run_of(judged, days),
            near_s=self.planned_s(cost, judged.num_accelerators),
            seed=self.config.seed,
        )

    def play(
        self,
        judged: Judged,
        cost: CheckpointCost,
        days: float,
        *,
        interval_s: float,
        num_trials: int,
    ) -> Goodput:
        """Play a run in that layout through."""
        return self._played(cost, self._run_of(judged, days), interval_s, num_trials=num_trials)

    def progress(self, judged: Judged, all_weights: int) -> float:
        """Tokens a second of an accelerator less what failures take, by their expectation.

        A failure costs a replica group the way back, and the others a stall; one that all groups
        share costs all of them the way back and half an interval.
        """
        failures, groups = self.config.failures, self._groups(judged)
        world = judged.num_accelerators
        a_second = failures.failures_per_accelerator_hour.middle * world / SECONDS_PER_HOUR
        cost = self.cost(judged, all_weights)
        back_s = failures.detection_s.middle + failures.restart_s.middle + cost.read_s.middle
        all_s = back_s + self.planned_s(cost, world) / 2
        group_s = back_s / groups + failures.group_stall_s.middle * (1 - 1 / groups)
        shared = failures.stops_all_share
        lost = a_second * ((1 - shared) * group_s + shared * all_s)
        return judged.tokens_per_s.middle * max(1 - lost, 0.0)

    def _groups(self, judged: Judged) -> int:
        return judged.candidate.layout.replicate if self.config.replicas == "torchft" else 1

    def _run(self, num_nodes: int, days: float) -> PlannedRun:
        return PlannedRun(num_accelerators=num_nodes * self.per_node, days=clipped_days(days))

    def _run_of(self, judged: Judged, days: float) -> PlannedRun:
        world = judged.num_accelerators
        return replace(
            self._run(world // self.per_node, days),
            num_groups=self._groups(judged),
            num_spare_nodes=self.spare_nodes(world),
        )

    def _played(
        self, cost: CheckpointCost, run: PlannedRun, interval_s: float, *, num_trials: int
    ) -> Goodput:
        return run_goodput(
            self.config.failures,
            cost,
            run,
            interval_s=interval_s,
            num_trials=num_trials,
            seed=self.config.seed,
        )
