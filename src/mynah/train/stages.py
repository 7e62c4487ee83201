"""Torch's stages and schedules of a pipeline; loaded by runs that have one.

Reads and writes nothing. They bring torch's compiler: half a second of imports.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.pipelining import (
    PipelineStage,
    Schedule1F1B,
    ScheduleInterleaved1F1B,
    ScheduleZBVZeroBubble,
)

__all__ = ["Stage", "make_schedule"]


class Stage(PipelineStage):
    """A stage whose shapes are given: under the fake backend, where no vote can be read, too."""

    def _warmup_forward_vote(
        self, has_backward: bool, received_acc: Tensor | None = None
    ) -> Tensor:
        if dist.get_backend(self.group) == "fake":
            return torch.tensor([1])
        return super()._warmup_forward_vote(has_backward, received_acc)

    def _warmup_backward_result(self, received_result: Tensor | None = None) -> Tensor:
        if dist.get_backend(self.group) == "fake":
            return torch.tensor([1])
        return super()._warmup_backward_result(received_result)


def make_schedule(name: str, stages: list[Any], num_rows: int, settings: dict[str, Any]) -> Any:
    """Make the schedule ``name`` of a layout for so many rows a step.

    Args:
        name: As in ``LayoutConfig.schedule``.
        stages: Of this rank.
        num_rows: Rows of a step.
        settings: Passed on.
    """
    match name:
        case "interleaved":
            return ScheduleInterleaved1F1B(stages, num_rows, **settings)
        case "zero_bubble":
            return ScheduleZBVZeroBubble(stages, num_rows, **settings)
        case _:
            return Schedule1F1B(stages[0], num_rows, **settings)
