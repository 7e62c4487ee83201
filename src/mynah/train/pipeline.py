"""Rows through the stages of a pipeline, forward and backward; without a pipeline, one by one.

Reads rows of one step and the parts of this rank; adds to the gradients of their weights. The
schedules are torch's own: 1F1B and interleaved (Narayanan et al. 2021, arXiv:2104.04473),
zero-bubble in a V (Qi et al. 2023, arXiv:2401.10241, section 6).

Shapes: N tokens of a row on this rank, C model width.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed.fsdp import FSDPModule

from mynah.model import Llama, LlamaConfig, Packing, Part
from mynah.train.layout import LayoutConfig
from mynah.train.mesh import Mesh

__all__ = ["Pipeline", "Row", "make_parts"]


class Row(Protocol):
    """A packed row, such as ``Batch``, already cut for this rank's place in the context axis."""

    @property
    def ids_N(self) -> Tensor:
        """Tokens, on the device."""
        ...

    @property
    def packing(self) -> Packing:
        """How documents lie in them."""
        ...


AnyRow = TypeVar("AnyRow", bound=Row)


def make_parts(config: LlamaConfig, layout: LayoutConfig, pipeline_rank: int) -> list[Part]:
    """Say which layers each stage of one rank of the pipeline holds, in the order of the stages.

    Embedding and head count as a layer each: 126 layers on 16 ranks of 8 stages come out even.
    What does not come out even goes to the earliest stages, one layer each; so the last stage,
    whose head is the most work, never has more layers than another.
    """
    num_stages = layout.num_stages
    least, over = divmod(config.num_hidden_layers + 2, num_stages)
    parts: list[Part] = []
    for stage in _stages_of(layout, pipeline_rank):
        begin = stage * least + min(stage, over)
        end = begin + least + (stage < over)
        is_last = stage == num_stages - 1
        # The embedding stands at 0, so layer i at i + 1.
        layers = range(max(0, begin - 1), min(config.num_hidden_layers, end - 1))
        parts.append(Part(layers, has_embedding=stage == 0, has_head=is_last))
    return parts


def _rank_of(layout: LayoutConfig, stage: int) -> int:
    """Rank of the pipeline that holds a stage."""
    if layout.schedule == "zero_bubble" and stage >= layout.pipeline:
        return layout.num_stages - 1 - stage
    return stage % layout.pipeline


def _stages_of(layout: LayoutConfig, pipeline_rank: int) -> list[int]:
    """Stages of a rank, ascending: in a V they lie down and up again, else in loops."""
    if layout.schedule == "zero_bubble":
        return [pipeline_rank, layout.num_stages - 1 - pipeline_rank]
    return list(range(pipeline_rank, layout.num_stages, layout.pipeline))


class Pipeline:
    """Runs rows through the parts of this rank.

    Args:
        parts: From ``make_parts``, parallelized, in the same order.
        mesh: The mesh they were parallelized over.
        layout: The degrees.
        row_tokens: Tokens of every row before it is cut over ``context``; without a pipeline,
            rows may be of any length.
        is_bfloat16: Whether activations between stages are bfloat16.
    """

    def __init__(
        self,
        parts: list[Llama],
        mesh: Mesh,
        layout: LayoutConfig,
        *,
        row_tokens: int,
        is_bfloat16: bool,
    ) -> None:
        self.parts = parts
        self.mesh = mesh
        self.layout = layout
        self.row_tokens = row_tokens
        self.dtype = torch.bfloat16 if is_bfloat16 else torch.float32
        self._schedule: tuple[int, Any] | None = None

    def num_rows(self, wanted: int) -> int:
        """Rows that a step must bring so that ``wanted`` fit, 1 at least.

        1F1B needs a row for each stage; interleaved runs rounds of equally many rows, of about as
        many as there are ranks; zero-bubble takes any number.
        """
        ranks, rows = self.layout.pipeline, max(1, wanted)
        if ranks > 1 and self.layout.schedule == "1f1b":
            return max(ranks, rows)
        if self.layout.schedule == "interleaved":
            while rows % max(1, rows // ranks):
                rows += 1
        return rows

    def step(
        self, rows: Sequence[AnyRow], loss_of_row: Callable[[Tensor, AnyRow], Tensor]
    ) -> list[Tensor]:
        """Forward and backward of all rows; gradients add up in the parameters.

        Args:
            rows: As many on every data rank, and as many as ``num_rows`` says.
            loss_of_row: Called on the last stage with the hidden states and their row; returns
                what is to be added up (already divided by the weight of the whole step).

        Returns:
            The losses, detached, in the order of the rows; empty where the last stage is not.
        """
        if self.layout.pipeline > 1:
            return self._scheduled(rows, loss_of_row)
        (part,) = self.parts
        losses: list[Tensor] = []
        for number, row in enumerate(rows):
            if isinstance(part, FSDPModule):
                # Each row's gradients are scattered at once, for whole ones have no room; over
                # replicas they are added up with the last row only.
                is_last = number == len(rows) - 1
                part.set_is_last_backward(is_last)
                part.set_requires_all_reduce(is_last)
            loss = loss_of_row(part(row.ids_N, row.packing), row)
            loss.backward()
            losses.append(loss.detach())
        return losses

    def _scheduled(
        self, rows: Sequence[AnyRow], loss_of_row: Callable[[Tensor, AnyRow], Tensor]
    ) -> list[Tensor]:
        if self._schedule is None or self._schedule[0] != len(rows):
            # The old one's buffers go first: each row has its own.
            self._schedule = None
            self._schedule = (len(rows), self._make_schedule(len(rows)))
        _, schedule = self._schedule
        losses: list[Tensor] = []

        def loss(hidden_NC: Tensor, row: AnyRow) -> Tensor:
            value = loss_apart(hidden_NC, partial(_of_row, loss_of_row, row))
            losses.append(value.detach())
            return value

        schedule._loss_fn = loss
        for stage in schedule.stages_here:
            stage.has_backward = True
            stage.clear_runtime_states()
        # What step() does, but for cutting one large batch into rows: these are rows already.
        schedule._step_microbatches(
            [(row.ids_N,) for row in rows],
            [{"packing": row.packing} for row in rows],
            list(rows),
            return_outputs=False,
        )
        return losses

    def _make_schedule(self, num_rows: int) -> Any:
        numbers = _stages_of(self.layout, self.mesh.pipeline_rank)
        stages: list[Any] = [
            self._stage(part, number) for part, number in zip(self.parts, numbers, strict=True)
        ]
        # Losses are sums already: nothing is divided by the number of rows.
        settings: dict[str, Any] = {"scale_grads": False, "loss_fn": loss_apart}
        from mynah.train.stages import make_schedule

        schedule = make_schedule(self.layout.schedule, stages, num_rows, settings)
        schedule.stages_here = stages
        return schedule

    def _stage(self, part: Llama, number: int) -> Any:
        """One stage, its shapes known beforehand: nothing is asked of the others at run time."""
        from mynah.train.stages import Stage

        assert self.mesh.grid is not None
        tokens = self.row_tokens // self.layout.context
        between = (tokens // self.layout.tensor, part.config.hidden_size)
        states: dict[str, Any] = {"dtype": self.dtype, "device": "meta", "requires_grad": True}
        is_last = number == self.layout.num_stages - 1
        whole = (tokens, part.config.hidden_size)
        ids_N = torch.empty(tokens, dtype=torch.int64, device="meta")
        return Stage(
            part,
            number,
            self.layout.num_stages,
            next(part.parameters()).device,
            input_args=ids_N if number == 0 else torch.empty(between, **states),
            output_args=torch.empty(whole if is_last else between, **states),
            group=self.mesh.grid.get_group("pipeline"),
        )

    @torch.no_grad()
    def evaluate(
        self, rows: Sequence[AnyRow], loss_of_row: Callable[[Tensor, AnyRow], Tensor]
    ) -> list[Tensor]:
        """Losses of any number of rows, of any lengths, without gradients; else as ``step``."""
        numbers = _stages_of(self.layout, self.mesh.pipeline_rank)
        found: list[Tensor] = []
        inputs: list[Tensor] = []
        for part, number in zip(self.parts, numbers, strict=True):
            is_from_here = number - 1 in numbers
            outputs: list[Tensor] = []
            sent: list[Any] = []
            for place, row in enumerate(rows):
                if number == 0:
                    x = row.ids_N
                else:
                    x = inputs[place] if is_from_here else self._receive(part, number, row)
                out_NC = part(x, row.packing)
                if number == self.layout.num_stages - 1:
                    found.append(loss_of_row(out_NC, row))
                    continue
                outputs.append(out_NC.contiguous())
                if number + 1 not in numbers:
                    sent.append(self._send(outputs[-1], number))
            for work in sent:
                work.wait()
            inputs = outputs
            if isinstance(part, FSDPModule):
                part.reshard()  # the root stays whole after a forward, for the loss
        return found

    def _receive(self, part: Llama, number: int, row: Row) -> Tensor:
        """What the stage before ``number`` made of a row."""
        tokens = row.ids_N.shape[0] // self.layout.tensor
        x_NC = torch.empty(
            tokens, part.config.hidden_size, dtype=self.dtype, device=row.ids_N.device
        )
        source = _rank_of(self.layout, number - 1)
        dist.recv(x_NC, group=self._group(), group_src=source)
        return x_NC

    def _send(self, x_NC: Tensor, number: int) -> Any:
        """Send what stage ``number`` made of a row to the next one."""
        return dist.isend(x_NC, group=self._group(), group_dst=_rank_of(self.layout, number + 1))

    def _group(self) -> dist.ProcessGroup:
        assert self.mesh.grid is not None
        return self.mesh.grid.get_group("pipeline")


def _of_row(
    loss_of_row: Callable[[Tensor, AnyRow], Tensor], row: AnyRow, hidden_NC: Tensor
) -> Tensor:
    return loss_of_row(hidden_NC, row)


class _Apart(torch.autograd.Function):
    """A loss whose gradient with respect to the hidden states is known already."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        _, value, grad_hidden_NC = inputs
        ctx.save_for_backward(grad_hidden_NC)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        (grad_hidden_NC,) = ctx.saved_tensors
        return grad_hidden_NC * gradients[0], None, None


def loss_apart(hidden_NC: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Take a loss and all its gradients now, and leave only that of the states to the schedule.

    Zero-bubble schedules run a stage's backward twice, for its input and for its weights. The
    loss must not be run twice: it gives its gradients once. What it adds to the output matrix's
    gradient does not wait for the backward of the stage.
    """
    apart_NC = hidden_NC.detach().requires_grad_()
    value = loss(apart_NC)
    value.backward()
    out = _Apart.apply(hidden_NC, value.detach(), apart_NC.grad)
    assert isinstance(out, Tensor)
    return out
