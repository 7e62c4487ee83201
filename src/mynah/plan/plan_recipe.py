"""A plan as a recipe that ``mynah train run`` takes, and as a launch.

Pure but for the recipe that a plan was made from, whose other tables are kept. Learning rate and
step follow one law, that of Bi et al. 2024 (DeepSeek LLM, arXiv:2401.02954), section 3.1; the rest
of the optimizer is that of their section 2.3.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from mynah.config import dump_toml, parse_config
from mynah.model import LlamaConfig
from mynah.plan.launch import Launch, Site
from mynah.plan.layout_memory import step_recipe
from mynah.plan.plan_config import PlanConfig, recipe_values
from mynah.plan.plan_rounds import Settled
from mynah.train.checkpoints import CheckpointConfig
from mynah.train.config import OptimizerConfig, Recipe, ScheduleConfig

__all__ = ["PlannedRecipe", "launch_of", "recipe_of"]

KEPT = ("optimizer", "schedule", "health", "pool", "objective", "dpo")
"""What a plan leaves to the recipe that it was made from."""
WARMUP_STEPS, WARMUP_SHARE = 2000, 0.01
"""At most so many steps (their section 2.3), and so much of a short run."""
DECAY_SHARE = 0.1
"""Warm-up, stable, decay: Hu et al. 2024, section 4 (arXiv:2404.06395)."""
KEEP_LAST = 3
"""One may be found damaged, and one be in writing."""
EVALUATE_EVERY_S, RECORD_EVERY_S = 3600.0, 600.0
"""An evaluation stops thousands of accelerators; the record is read by people."""
LEAST_RESTARTS = 20
LEAST_GRACE_S, MOST_GRACE_S = 300, 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRecipe(Recipe):
    """A recipe for a model from scratch."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    base: str = "scratch"
    """Model to go on from."""
    shape: LlamaConfig
    """Of that model."""


def recipe_of(config: PlanConfig, settled: Settled) -> str:
    """Return the recipe of the best layout.

    Args:
        config: What was asked; of its recipe, ``KEPT`` is taken over.
        settled: What came of it.
    """
    best = settled.search.ranked[0]
    flop, tokens = settled.outline.flop.middle, settled.outline.tokens.middle
    num_steps = max(1, math.ceil(tokens / best.batch_tokens))
    step = step_recipe(best.candidate, row_tokens=best.row_tokens, num_rows=best.num_rows)
    planned: dict[str, Any] = {one.name: getattr(step, one.name) for one in fields(step)} | {
        "replicas": config.replicas,
        "evaluate_every_s": EVALUATE_EVERY_S,
        "record_every_s": RECORD_EVERY_S,
        "optimizer": OptimizerConfig(lr=_learning_rate(flop), weight_decay=0.1),
        "schedule": ScheduleConfig(
            num_steps=num_steps,
            max_minutes=math.inf,
            warmup_steps=min(WARMUP_STEPS, math.ceil(WARMUP_SHARE * num_steps)),
            decay_share=DECAY_SHARE,
        ),
        "checkpoint": CheckpointConfig(
            every_s=round(settled.interval_s, 1),
            keep_last=KEEP_LAST,
            is_async=config.storage.is_async,
        ),
    }
    kept = _kept(config)
    if "schedule" in kept:
        kept["schedule"] = replace(kept["schedule"], num_steps=num_steps, max_minutes=math.inf)
    shape = settled.outline.shape
    return _head(config, settled) + dump_toml(PlannedRecipe(shape=shape, **(planned | kept)))


def _learning_rate(flop: float) -> float:
    """Best peak learning rate for a run of so much compute."""
    return float(f"{0.3118 * flop**-0.1250:.3g}")


def _kept(config: PlanConfig) -> dict[str, Any]:
    """What the recipe that the plan was made from says itself, checked."""
    if not config.recipe:
        return {}
    path = Path(config.recipe)
    values: Mapping[str, Any] = recipe_values(path)
    own = {name: values[name] for name in KEPT if name in values}
    found = parse_config(Recipe, own, source=config.recipe)
    return {name: getattr(found, name) for name in own}


def _head(config: PlanConfig, settled: Settled) -> str:
    best = settled.search.ranked[0]
    lines = [
        f"{best.num_accelerators:,} {settled.cluster.accelerator.name} in {best.candidate.name}",
        f"planned: {best.step_s.middle:.3g} s a step, {best.needed_bytes / 1e9:.1f} GB of "
        f"{best.capacity_bytes / 1e9:.1f}, {settled.outline.costs.days.middle:.3g} days",
    ]
    return "".join(f"# {line}\n" for line in lines) + "\n"


def launch_of(
    config: PlanConfig, settled: Settled, *, recipe: str, workspace: str, site: Site | None
) -> Launch:
    """Return what launch files are made from.

    Args:
        config: What was asked.
        settled: What came of it.
        recipe: Where every node sees the recipe.
        workspace: Folder of the network as every node sees it.
        site: Where the nodes are.
    """
    layout, cluster = settled.search.ranked[0].candidate.layout, settled.cluster
    per_node = cluster.accelerators_per_node
    groups = layout.replicate if config.replicas == "torchft" else 1
    failures, write_s = settled.goodput.num_failures.high, settled.checkpoint.write_s.high
    return Launch(
        recipe=recipe,
        workspace=workspace,
        layout=layout,
        num_nodes=cluster.num_accelerators // per_node,
        num_accelerators_per_node=per_node,
        replicas=config.replicas,
        num_spare_nodes=settled.num_spare_nodes // groups * groups,
        max_restarts=min(10_000, max(LEAST_RESTARTS, math.ceil(1.5 * failures))),
        grace_s=min(MOST_GRACE_S, max(LEAST_GRACE_S, math.ceil(2 * write_s))),
        site=site or Site(),
    )
