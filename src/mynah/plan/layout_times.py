"""Seconds of a step, as the trainer cuts layers and orders a pipeline.

Pure. ``mynah.plan.step`` knows a pipeline by its ranks and stages. The trainer counts embedding and
head as a layer each, so that its busiest rank may have one layer more or less than an even share,
and it knows a schedule that fills most of the wait: both are put in here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from mynah.model import LlamaConfig
from mynah.plan.constants import Constants
from mynah.plan.layout_memory import cut_of
from mynah.plan.layouts import SCHEDULES, Grid
from mynah.plan.setups import Floats, Setups
from mynah.plan.step import StepTimes, step_times

__all__ = ["PARTS", "Times", "layout_times"]

PARTS: Mapping[str, str] = {
    "products": "matrix products of the layers",
    "attention": "attention",
    "moving": "norms, rotation, activations, residuals",
    "recompute": "what is computed again",
    "tensor": "collectives of tensor parallelism",
    "exchange": "tokens on their way to experts",
    "context": "keys and values of other context ranks",
    "gather": "weights on their way",
    "launch": "kernels that wait for the host",
    "head": "output matrix, loss and embedding",
    "bubble": "ranks of the pipeline that wait",
    "send": "activations between stages",
    "reduce": "gradients on their way",
    "optimizer": "optimizer, and what every step costs",
}
"""What a step's seconds go to, and what each is."""
ENDS = ("head", "bubble", "send", "reduce", "optimizer")
"""Parts that do not grow with the layers of a rank."""
FOLDED_WAIT, SHORT_WAIT = 1.0 / 3.0, 2.0 / 3.0
"""Wait of zero_bubble over that of an interleaved pipeline of as many stages, with one and a half
rows a rank or more, and with fewer: torch's own order laid out in slots, by the rehearsal's rule
that a backward pass takes two forwards."""
SHORT_ROWS = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds of a step of N candidates."""

    step_s: Floats
    """The whole."""
    parts: Mapping[str, Floats]
    """By ``PARTS``; they add up to it."""


def layout_times(config: LlamaConfig, grid: Grid, setups: Setups, constants: Constants) -> Times:
    """Return what a step of each candidate takes.

    Args:
        config: The model.
        grid: The candidates.
        setups: Of the same.
        constants: Of the step model.
    """
    times = step_times(setups, constants)
    known = {one.name.removesuffix("_s"): getattr(times, one.name) for one in fields(StepTimes)}
    step_s = known.pop("step")
    ends = {name: known.pop(name) for name in ENDS}
    layers_s = step_s - sum(ends.values())
    held = setups.rank_layers
    free = np.minimum(np.round(held * grid.pipeline - setups.shapes.layers), 1.0)
    cuts = cut_of(config, grid)
    first, last = cuts[0], cuts[-1]
    most = np.max([cut.layers for cut in cuts], axis=0)
    share = most / held
    with_head = np.where(first.has_head, first.layers, last.layers)
    # The rank with the head has fewer layers, which the step model grants it where one is free.
    spared_s = layers_s * np.maximum(most - with_head - free, 0.0) / held
    wait = share * _wait(grid, setups)
    parts = {name: seconds * share for name, seconds in known.items()} | {
        "head": np.maximum(ends["head"] - spared_s, 0.0),
        "bubble": ends["bubble"] * wait,
        "send": ends["send"],
        "reduce": ends["reduce"],
        "optimizer": ends["optimizer"],
    }
    return Times(
        step_s=np.sum([parts[name] for name in PARTS], axis=0),
        parts={name: parts[name] for name in PARTS},
    )


def _wait(grid: Grid, setups: Setups) -> Floats:
    """Of the wait that a pipeline of as many stages has."""
    rows = setups.work.batch_rows / (grid.num_data * grid.micro)
    folded = np.where(rows >= SHORT_ROWS * grid.pipeline, FOLDED_WAIT, SHORT_WAIT)
    return np.where(grid.schedule == SCHEDULES.index("zero_bubble"), folded, 1.0)
