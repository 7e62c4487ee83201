"""Expert parallelism: the experts of a layer dealt over ranks, tokens sent to where theirs are.

Reads and writes nothing. Shapes: M choices of this rank in the order of all experts, P choices
that this rank's experts get from all ranks, E experts, C model width.
"""

from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Shard, distribute_tensor

from mynah.model import Experts, MoE
from mynah.train.sharding import local

__all__ = ["ExpertExchange", "deal_experts"]


class _Swap(torch.autograd.Function):
    """Rows to other ranks and theirs here; gradients go back the way they came."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        x_MC, sent, received, group = inputs
        ctx.sent, ctx.received, ctx.group = sent, received, group
        return _swap(x_MC, sent, received, group)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        return _swap(gradients[0], ctx.received, ctx.sent, ctx.group), None, None, None


def _swap(x_MC: Tensor, sent: list[int], received: list[int], group: ProcessGroup) -> Tensor:
    y_PC = x_MC.new_empty(sum(received), *x_MC.shape[1:])
    dist.all_to_all_single(y_PC, x_MC.contiguous(), received, sent, group=group)
    return y_PC


def swap_rows(x_MC: Tensor, sent: list[int], received: list[int], group: ProcessGroup) -> Tensor:
    """Send ``sent[r]`` rows to rank r of ``group``, and get ``received[r]`` rows from it."""
    y_PC = _Swap.apply(x_MC, sent, received, group)
    assert isinstance(y_PC, Tensor)
    return y_PC


class ExpertExchange(nn.Module):
    """What takes the place of ``LocalExchange`` where experts are dealt over ranks.

    Args:
        axis: The ranks that hold the experts; each as many, in their order.
    """

    def __init__(self, axis: DeviceMesh) -> None:
        super().__init__()
        self.group = axis.get_group()
        self.num_ranks = axis.size()
        self._sent: list[int] = []
        self._received: list[list[int]] = []

    def send(self, x_MC: Tensor, counts: list[int]) -> tuple[Tensor, list[int]]:
        """Send each choice to the rank that has its expert.

        Returns:
            ``y_PC``, expert by expert, within one rank by rank, and how many are of each.
        """
        own = len(counts) // self.num_ranks
        by_rank = [counts[first : first + own] for first in range(0, len(counts), own)]
        self._sent = [sum(part) for part in by_rank]
        self._received = self.swap_counts(by_rank, x_MC.device)
        y_PC = swap_rows(x_MC, self._sent, self._sums(), self.group)
        blocks = y_PC.split([count for part in self._received for count in part])
        y_PC = torch.cat([block for expert in range(own) for block in blocks[expert::own]])
        return y_PC, [sum(part[expert] for part in self._received) for expert in range(own)]

    def give_back(self, y_PC: Tensor) -> Tensor:
        """Send each row back to where its token is."""
        own = len(self._received[0])
        sizes = [part[expert] for expert in range(own) for part in self._received]
        blocks = y_PC.split(sizes)
        y_PC = torch.cat(
            [block for rank in range(self.num_ranks) for block in blocks[rank :: self.num_ranks]]
        )
        return swap_rows(y_PC, self._sums(), self._sent, self.group)

    def _sums(self) -> list[int]:
        return [sum(part) for part in self._received]

    def swap_counts(self, by_rank: list[list[int]], device: torch.device) -> list[list[int]]:
        """Tell each rank how many choices of each of its experts come; return what each told.

        The second wait for the device, after ``MoE.count``. The fake backend has no other ranks:
        there they are taken to have chosen like this one.
        """
        if dist.get_backend(self.group) == "fake":
            return [by_rank[self.group.rank()]] * self.num_ranks
        sent = torch.tensor(by_rank, device=device)
        received = torch.empty_like(sent)
        dist.all_to_all_single(received, sent, group=self.group)
        return received.tolist()


def deal_experts(layer: MoE, axis: DeviceMesh) -> None:
    """Deal the experts of ``layer`` over ``axis``, in place: each rank keeps its share of them."""
    experts = layer.experts
    for name, weight in list(experts.named_parameters()):
        dealt = distribute_tensor(weight, axis, [Shard(0)], src_data_rank=None)
        experts.register_parameter(name, nn.Parameter(dealt))
    stacks: Any = partial(_own_stacks, experts)
    experts.stacks = stacks
    layer.exchange = ExpertExchange(axis)


def _own_stacks(experts: Experts) -> tuple[Tensor, Tensor, Tensor]:
    """The experts of this rank; their gradients become DTensors again on the way back."""
    stacks = (experts.gate_EIC, experts.up_EIC, experts.down_ECI)
    gate, up, down = (local(stack) for stack in stacks)
    return gate, up, down
