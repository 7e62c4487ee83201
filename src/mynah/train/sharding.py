"""Which part of a weight a rank holds, and filling it from the whole or from a rule.

Reads and writes tensors only; no rank asks another for anything.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

__all__ = ["draw", "fill", "local", "own_part"]


def own_part(weight: Tensor) -> tuple[slice, ...]:
    """Where this rank's part of a weight lies in the whole; all of it for a plain tensor."""
    if not isinstance(weight, DTensor):
        return tuple(slice(0, size) for size in weight.shape)
    shape, offset = compute_local_shape_and_global_offset(
        weight.shape, weight.device_mesh, weight.placements
    )
    return tuple(slice(start, start + size) for start, size in zip(offset, shape, strict=True))


@torch.no_grad()
def fill(weight: Tensor, whole: Tensor) -> None:
    """Copy this rank's part of ``whole`` into ``weight``, whatever dtype it is stored in."""
    local(weight).copy_(whole[own_part(weight)])


@torch.no_grad()
def draw(weight: Tensor, rows_of: Callable[[range], Tensor]) -> None:
    """Fill ``weight`` from a rule that gives some rows of the whole."""
    part = own_part(weight)
    rows = range(part[0].start, part[0].stop)
    if rows:
        local(weight).copy_(rows_of(rows)[(slice(None), *part[1:])])


def local(tensor: Tensor) -> Tensor:
    """Return what this rank stores of a tensor, in its own memory; all of a plain one."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
