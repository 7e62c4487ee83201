"""Norm of all gradients of a run, wherever they lie, and clipping by it."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate

from mynah.train.mesh import Mesh
from mynah.train.sharding import local

__all__ = ["clip"]


def clip(parameters: Iterable[Tensor], max_norm: float, mesh: Mesh) -> float:
    """Scale gradients down to ``max_norm`` where their norm over all ranks is larger.

    Args:
        parameters: This rank's: DTensors over any part of the mesh, or plain tensors.
        max_norm: Largest norm.
        mesh: Every gradient element of the run is counted once, however many ranks hold it.

    Returns:
        The norm before clipping, the same number on every rank; not finite when a gradient is not
        (then nothing is scaled).
    """
    pieces: dict[int, list[Tensor]] = {}
    for weight in parameters:
        if weight.grad is not None:
            pieces.setdefault(_num_holders(weight.grad, mesh), []).append(local(weight.grad))
    squares = [
        torch.nn.utils.get_total_norm(own).double().square() / num_holders
        for num_holders, own in pieces.items()
    ]
    norm = math.sqrt(mesh.sum_over_all(torch.stack(squares).sum()).item())
    # As torch's clip_grad_norm_, the small number included.
    if math.isfinite(norm) and (scale := max_norm / (norm + 1e-6)) < 1.0:
        kernels: Any = torch  # one for all of them has no public name
        for own in pieces.values():
            kernels._foreach_mul_(own, scale)
    return norm


def _num_holders(gradient: Tensor, mesh: Mesh) -> int:
    """Ranks of this stage of the pipeline that hold the same elements of ``gradient``."""
    if not isinstance(gradient, DTensor):
        return 1
    over = gradient.device_mesh
    copies = mesh.layout.world_size // mesh.layout.pipeline // over.size()
    for axis, placement in enumerate(gradient.placements):
        assert not placement.is_partial(), "a gradient that is not added up yet"
        if isinstance(placement, Replicate):
            copies *= over.size(axis)
    return copies
