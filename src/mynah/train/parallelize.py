"""Parallelism from outside: a plain model becomes one rank's share of it, in place.

Reads a model and a mesh; writes nothing. The model knows nothing of it.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import Shard
from torch.utils.checkpoint import checkpoint

from mynah.model import Llama, MoE
from mynah.model.llama import Layer
from mynah.train.context_parallel import ContextAttention
from mynah.train.expert_parallel import deal_experts
from mynah.train.layout import LayoutConfig
from mynah.train.mesh import Mesh
from mynah.train.sharding import local
from mynah.train.tensor_parallel import cut_tensors

__all__ = ["parallelize"]


def parallelize(part: Llama, mesh: Mesh, layout: LayoutConfig, *, is_bfloat16: bool) -> None:
    """Cut ``part`` over the mesh: experts, tensors, context, recomputation, then FSDP.

    Works on the meta device too: then call ``part.to_empty(device=...)`` and fill the weights,
    which are DTensors, afterwards. On a mesh that is alone only recomputation is put in.

    Args:
        part: The layers of one stage, whole, the same weights on every rank (or on meta).
        mesh: From ``build_mesh(layout, ...)``.
        layout: The degrees; checked.
        is_bfloat16: Whether weights are gathered in bfloat16 (gradients add up in float32).
    """
    expert, tensor, context = (mesh.axis(name) for name in ("expert", "tensor", "context"))
    if expert is not None:
        for mixture in part.mixtures():
            deal_experts(mixture, expert)
    if tensor is not None:
        cut_tensors(part, tensor)
    for layer in part.layers():
        if context is not None:
            layer.self_attn.attend = ContextAttention(layer.self_attn.attend, context)
        if layout.recompute == "layers":
            _recompute(layer)
    if not mesh.is_alone:
        _shard(part, mesh, layout, is_bfloat16=is_bfloat16)


def _recompute(layer: Layer) -> None:
    """Make the layer's backward compute its forward again.

    Its own forward is wrapped, not the module: names of weights stay, and FSDP's hooks, which
    gather the weights, stay outside. Nothing in a layer draws random numbers.
    """
    settings: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
    if isinstance(layer.mlp, MoE):
        settings["context_fn"] = lambda: (nullcontext(), _Uncounted(layer))
    forward: Any = partial(checkpoint, layer.forward, **settings)
    layer.forward = forward


class _Uncounted(AbstractContextManager[None]):
    """A mixture counts what its experts are chosen for in training: the first time only."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def __enter__(self) -> None:
        self.layer.train(False)

    def __exit__(self, *_: object) -> None:
        self.layer.train(True)


def _shard(part: Llama, mesh: Mesh, layout: LayoutConfig, *, is_bfloat16: bool) -> None:
    dtype = torch.bfloat16 if is_bfloat16 else torch.float32
    # Inputs are left as they are: the angles of rotary positions are float32 for a reason.
    policy = MixedPrecisionPolicy(
        param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    # A stage of a pipeline keeps its weights gathered until its last row's backward, as torch's
    # schedules expect: gathering them again for each row would cost more than it saves.
    settings: dict[str, Any] = {
        "mp_policy": policy,
        "reshard_after_forward": layout.pipeline == 1,
    }
    for mixture in part.mixtures():
        over = mesh.expert_weights or mesh.dense
        assert over is not None
        placement = partial(_stack_placement, num_shards=over.size(over.ndim - 1))
        fully_shard(mixture.experts, mesh=over, shard_placement_fn=placement, **settings)
    for layer in part.layers():
        fully_shard(layer, mesh=mesh.dense, **settings)
    # Not after the forward of the whole: the loss reads the output matrix after it.
    settings["reshard_after_forward"] = False
    fully_shard(part, mesh=mesh.dense, **settings)
    for module in part.modules():
        if isinstance(module, FSDPModule):
            # Gradients are sums, never means: each rank's loss is already divided by the weight
            # of the whole step. Gloo has no other reduction than the plain sum, either.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def _stack_placement(weight: nn.Parameter, *, num_shards: int) -> Shard | None:
    """Cut a stack of fewer experts than there are ranks within the experts, if that comes out."""
    own = local(weight)
    if own.shape[0] < num_shards and own.shape[1] % num_shards == 0:
        return Shard(1)
    return None
