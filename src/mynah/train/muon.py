"""Muon: a matrix moves by its orthogonalised momentum, whole matrix by whole matrix.

Reads gradients, changes weights and momentum in place; writes nothing.

Orthogonalising needs the whole matrix, and a rank holds a part of each. So matrices of one shape
are taken in rounds of as many as there are ranks that share them: one all-to-all along each axis
that cuts them makes each rank the owner of one whole matrix, and a second one brings the parts
back. A rank sends and receives its own parts twice, in the dtype of the products: as many bytes
whatever the number of ranks, and no rank does what another does (replicas apart).

Shapes: K matrices, A rows and B columns of a whole one; a part has fewer of either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor.placement_types import (
    _StridedShard,  # pyright: ignore[reportPrivateUsage]
)

from mynah.train.sharding import local

__all__ = ["Muon", "is_orthogonalised", "newton_schulz"]

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NUM_ITERATIONS = 5
"""Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/): singular values of any size
end near 1, in about 0.7..1.2, which trains as well as exactly 1."""
SMALLEST_NORM = 1e-7
UPDATE_SIZE = 0.2
"""Root mean square of an update in units of the learning rate, that of AdamW: one learning rate
and one weight decay fit both. Liu et al. 2025, section 2.2 (arXiv:2502.16982)."""


def is_orthogonalised(name: str, weight: Tensor) -> bool:
    """Whether ``weight`` is a matrix within a layer, or a stack of those of experts.

    Embedding, output matrix and routers are not: their rows are tokens and experts, each of which
    moves alone.
    """
    module = name.split(".")[-2:-1]
    return ".layers." in name and weight.ndim >= 2 and module not in (["gate"], ["router"])


def newton_schulz(x_KAB: Tensor) -> Tensor:
    """Pull all singular values of each matrix towards 1, in the dtype of ``x_KAB``.

    Source: Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/), a quintic iteration.
    """
    if x_KAB.numel() == 0:
        return x_KAB
    is_tall = x_KAB.shape[1] > x_KAB.shape[2]
    x_KAB = x_KAB.mT if is_tall else x_KAB
    x_KAB = x_KAB / x_KAB.norm(dim=(1, 2), keepdim=True).clamp(min=SMALLEST_NORM)
    a, b, c = COEFFICIENTS
    for _ in range(NUM_ITERATIONS):
        gram_KAA = x_KAB @ x_KAB.mT
        change_KAA = torch.baddbmm(gram_KAA, gram_KAA, gram_KAA, beta=b, alpha=c)
        x_KAB = torch.baddbmm(x_KAB, change_KAA, x_KAB, beta=a)
    return x_KAB.mT if is_tall else x_KAB


@dataclass(frozen=True, slots=True)
class Cut:
    """Ranks among which one dim of a stack of matrices is cut.

    Args:
        group: Their process group.
        place: This rank's place in it.
        dim: 1 for rows, 2 for columns.
        sizes: What each of them holds of that dim.
    """

    group: Any
    place: int
    dim: int
    sizes: tuple[int, ...]

    def gather(self, x_Kab: Tensor) -> Tensor:
        """Bring parts together: this rank gets its share of the K matrices, whole along ``dim``."""
        counts = chunk_sizes(len(x_Kab), len(self.sizes))
        shapes = [_resized(x_Kab, counts[self.place], self.dim, size) for size in self.sizes]
        parts = self._exchange(x_Kab.split(counts), shapes)
        return torch.cat(parts, dim=self.dim)

    def scatter(self, x_KAB: Tensor, num_matrices: int) -> Tensor:
        """Undo ``gather``: this rank gets its part of all ``num_matrices`` matrices."""
        counts = chunk_sizes(num_matrices, len(self.sizes))
        own = self.sizes[self.place]
        shapes = [_resized(x_KAB, count, self.dim, own) for count in counts]
        return torch.cat(self._exchange(x_KAB.split(self.sizes, dim=self.dim), shapes))

    def _exchange(self, parts: Sequence[Tensor], shapes: list[list[int]]) -> list[Tensor]:
        """Send one part to each rank, get one of the shape given from each."""
        sent = torch.cat([part.reshape(-1) for part in parts])
        counts = [torch.Size(shape).numel() for shape in shapes]
        received = sent.new_empty(sum(counts))
        dist.all_to_all_single(
            received, sent, counts, [part.numel() for part in parts], group=self.group
        )
        return [x.view(shape) for x, shape in zip(received.split(counts), shapes, strict=True)]


def chunk_sizes(length: int, num_chunks: int) -> list[int]:
    """How ``torch.chunk``, and with it a DTensor, cuts ``length``; the last may be empty."""
    full = -(-length // num_chunks)
    return [max(0, min(full, length - full * place)) for place in range(num_chunks)]


def _resized(like: Tensor, num_matrices: int, dim: int, size: int) -> list[int]:
    shape = [num_matrices, *like.shape[1:]]
    shape[dim] = size
    return shape


def cuts_of(weight: Tensor) -> list[Cut]:
    """How the matrices of ``weight`` are cut, innermost cut first; a stack's experts are not."""
    if not isinstance(weight, DTensor):
        return []
    mesh, first = weight.device_mesh, weight.ndim - 2
    axes = [
        (axis, placement)
        for axis, placement in enumerate(weight.placements)
        if isinstance(placement, Shard | _StridedShard)
        and placement.dim >= first
        and mesh.size(axis) > 1
    ]
    # FSDP over tensor parallelism cuts what is cut already, though its axis stands first.
    axes.sort(key=lambda one: isinstance(one[1], _StridedShard))
    extent = list(weight.shape[first:])
    cuts: list[Cut] = []
    for axis, placement in axes:
        dim = placement.dim - first
        sizes, place = chunk_sizes(extent[dim], mesh.size(axis)), mesh.get_local_rank(axis)
        cuts.append(Cut(mesh.get_group(axis), place, dim + 1, tuple(sizes)))
        extent[dim] = sizes[place]
    return cuts[::-1]


class Muon:
    """Jordan et al. 2024, with the step size of Liu et al. 2025 (arXiv:2502.16982).

    Args:
        weights: Matrices, or stacks of them, by name.
        momentum: Share of the running mean that stays each step, with Nesterov's look ahead.
        weight_decay: Pull towards zero a step, times the learning rate.
        product_dtype: Of the iteration's products, and of what is sent between ranks. The
            iteration itself is insensitive to bfloat16; comparing layouts needs float32.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        *,
        momentum: float,
        weight_decay: float,
        product_dtype: torch.dtype,
    ) -> None:
        self.weights = dict(weights)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.product_dtype = product_dtype
        self._rounds = list(self._plan())

    def _plan(self) -> list[list[str]]:
        """Matrices that go together: of one shape, cut alike, at most one for each owner."""
        numbers: dict[Any, int] = {}  # equal kinds get equal numbers, by first appearance
        kind: dict[str, int] = {}
        for name, weight in self.weights.items():
            where = (weight.device_mesh, weight.placements) if isinstance(weight, DTensor) else None
            key = (weight.shape, weight.device, weight.dtype, where)
            kind[name] = numbers.setdefault(key, len(numbers))
        rounds: list[list[str]] = []
        for _, group in groupby(sorted(kind, key=lambda name: kind[name]), lambda name: kind[name]):
            names = list(group)
            weight = self.weights[names[0]]
            owners = 1
            for cut in cuts_of(weight) if weight.ndim == 2 else ():
                owners *= len(cut.sizes)
            rounds += [names[start : start + owners] for start in range(0, len(names), owners)]
        return rounds

    @torch.no_grad()
    def step(self, gradient: Mapping[str, Tensor], buffer: Mapping[str, Tensor], lr: float) -> None:
        """Move every matrix.

        Args:
            gradient: This rank's part of each, as the weight is cut.
            buffer: Running mean of the gradients, likewise; changed in place.
            lr: Learning rate.
        """
        for names in self._rounds:
            ahead: list[Tensor] = []
            for name in names:
                mean = buffer[name].lerp_(gradient[name], 1.0 - self.momentum)
                ahead.append(gradient[name].lerp(mean, self.momentum).to(self.product_dtype))
            weight = self.weights[names[0]]
            x_Kab = torch.stack(ahead) if weight.ndim == 2 else ahead[0]
            moved = self._orthogonalised(x_Kab, cuts_of(weight))
            scale = UPDATE_SIZE * max(weight.shape[-2:]) ** 0.5
            for name, change in zip(names, moved if weight.ndim == 2 else [moved], strict=True):
                part = local(self.weights[name])
                part.mul_(1.0 - lr * self.weight_decay).add_(change, alpha=-lr * scale)

    def _orthogonalised(self, x_Kab: Tensor, cuts: list[Cut]) -> Tensor:
        counts: list[int] = []
        for cut in cuts:
            counts.append(len(x_Kab))
            x_Kab = cut.gather(x_Kab)
        x_Kab = newton_schulz(x_Kab)
        for cut, count in zip(reversed(cuts), reversed(counts), strict=True):
            x_Kab = cut.scatter(x_Kab, count)
        return x_Kab
