"""From what is given to a whole plan: size, layout, time, money, failures, checkpoints.

Reads a recipe's shape and facts of hardware; writes nothing.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, cast

from mynah.model import num_weights
from mynah.plan.budget import Outline
from mynah.plan.checkpointing import CheckpointCost
from mynah.plan.costs import co2_tonnes
from mynah.plan.goodput import Goodput
from mynah.plan.launch import Launch, Site
from mynah.plan.layouts import Cluster
from mynah.plan.plan_config import PlanConfig, checked, load_plan_config
from mynah.plan.plan_recipe import launch_of, recipe_of
from mynah.plan.plan_rounds import Progress, Settled, settle
from mynah.plan.ranges import Range
from mynah.plan.search import Judged, Search, Wanted

__all__ = ["Plan", "PlanConfig", "Progress", "load_plan_config", "make_plan"]

SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run from size to bill. Ranges hold 80% of what may be."""

    config: PlanConfig
    settled: Settled
    """What the rounds of planning came to; the properties below name its parts."""

    @property
    def cluster(self) -> Cluster:
        """Accelerators that train."""
        return self.settled.cluster

    @property
    def wanted(self) -> Wanted:
        """What a step was to be: for ``why``."""
        return self.settled.wanted

    @property
    def outline(self) -> Outline:
        """Size, tokens, FLOP, loss, costs, thresholds."""
        return self.settled.outline

    @property
    def search(self) -> Search:
        """Layouts, the best first."""
        return self.settled.search

    @property
    def best(self) -> Judged:
        """The layout that the plan is made with."""
        return self.search.ranked[0]

    @property
    def goodput(self) -> Goodput:
        """What became of the hours, with the spare nodes that there are."""
        return self.settled.goodput

    @property
    def mtti_h(self) -> Range:
        """Hours between two interruptions."""
        return self.settled.mtti_h

    @property
    def checkpoint(self) -> CheckpointCost:
        """Of one checkpoint."""
        return self.settled.checkpoint

    @property
    def checkpoint_interval_s(self) -> float:
        """Best seconds of training between two."""
        return self.settled.interval_s

    @property
    def num_spare_nodes(self) -> int:
        """Nodes that wait for one to break, of all that there are."""
        return self.settled.num_spare_nodes

    @property
    def num_idle(self) -> int:
        """Accelerators beyond whole nodes, which nothing can be done with."""
        return self.settled.num_idle

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever reads the plan ought to know."""
        return self.settled.notes

    @property
    def tokens_per_s(self) -> Range:
        """Of all accelerators together, while nothing is broken."""
        count = self.cluster.num_accelerators
        return self.best.tokens_per_s.through(lambda speed: speed * count)

    @property
    def num_steps(self) -> Range:
        """Steps of the run."""
        step = self.best.batch_tokens
        return self.outline.tokens.through(lambda tokens: tokens / step)

    @property
    def training_days(self) -> Range:
        """Days of undisturbed training: where time is the limit, what failures leave of it."""
        tokens = self.outline.tokens
        if tokens.low < tokens.high:
            return self.outline.costs.days.times(self.goodput.goodput)
        some = tokens.middle / SECONDS_PER_DAY
        return self.tokens_per_s.through(lambda speed: some / speed)

    @property
    def co2_tonnes(self) -> Range | None:
        """Tonnes of CO2 equivalent, where the grid is known."""
        grid = self.config.kg_co2_per_kwh
        if grid is None:
            return None
        return co2_tonnes(self.outline.costs.energy_mwh, kg_per_kwh=grid)

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        found, best, carbon = self.outline, self.best, self.co2_tonnes
        whole = {
            "asked": asdict(self.config),
            "accelerator": self.cluster.accelerator.name,
            "num_accelerators": self.cluster.num_accelerators,
            "num_spare_nodes": self.num_spare_nodes,
            "num_idle_accelerators": self.num_idle,
            "shape": asdict(found.shape),
            "weights": num_weights(found.shape),
            "active_weights": found.active_weights,
            "best_active_weights": found.best_weights.to_json(),
            "tokens": found.tokens.to_json(),
            "flop": found.flop.to_json(),
            "loss": found.loss.to_json(),
            "overtraining": found.overtraining.to_json(),
            "largest_batch_tokens": found.batch_tokens.to_json(),
            "best": best.to_json(),
            "tokens_per_s": self.tokens_per_s.to_json(),
            "num_steps": self.num_steps.to_json(),
            "training_days": self.training_days.to_json(),
            "days": found.costs.days.to_json(),
            "gpu_hours": found.costs.gpu_hours.to_json(),
            "usd": found.costs.usd.to_json(),
            "gpu_usd": found.costs.gpu_usd.to_json(),
            "energy_mwh": found.costs.energy_mwh.to_json(),
            "power_mw": found.costs.power_mw.to_json(),
            "co2_tonnes": None if carbon is None else carbon.to_json(),
            "thresholds": [
                {
                    "name": one.threshold.name,
                    "flop": int(one.threshold.amount),
                    "is_certain": one.is_certain,
                }
                for one in found.passed
            ],
            "hours_between_interruptions": self.mtti_h.to_json(),
            "goodput": self.goodput.to_json(),
            "checkpoint": self.checkpoint.to_json(),
            "checkpoint_interval_s": self.checkpoint_interval_s,
            "search": self.search.to_json(),
            "notes": list(self.notes),
        }
        return {name: _finite(value) for name, value in whole.items()}

    def recipe_toml(self) -> str:
        """Return a recipe that ``mynah train run`` takes."""
        return recipe_of(self.config, self.settled)

    def launch(self, *, recipe: str, workspace: str, site: Site | None = None) -> Launch:
        """Return what its launch files are made from.

        Args:
            recipe: Where every node sees the recipe.
            workspace: Folder of the network as every node sees it.
            site: Where the nodes are.
        """
        return launch_of(self.config, self.settled, recipe=recipe, workspace=workspace, site=site)


def make_plan(config: PlanConfig, *, on_progress: Progress | None = None) -> Plan:
    """Work out a plan.

    Args:
        config: What is asked.
        on_progress: Told how far it is.

    Raises:
        ConfigError: Something is absurd, contradicts itself, or allows no useful run.
    """
    config = checked(config)
    settled = settle(config, on_progress=on_progress or _say_nothing)
    return Plan(config=config, settled=settled)


def _finite(value: Any) -> Any:
    """The same with ``None`` for what has no limit: JSON knows no infinity."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in cast("list[Any]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _say_nothing(what: str, share: float) -> None:
    """Nobody is listening."""
