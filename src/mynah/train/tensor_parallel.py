"""Tensor parallelism with sequence parallelism: each matrix cut over ranks that share a row.

Between blocks each rank holds its share of the row's tokens; inside attention and feed-forward all
tokens, but only its heads and its columns. So a block sends what plain tensor parallelism sends,
and norms and residuals take their share of the memory (Korthikanti et al. 2022,
arXiv:2205.05198). The embedding and the output matrix are cut by words.

Shapes: N tokens, C model width, V vocabulary.
"""

from functools import partial
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from mynah.model import Llama
from mynah.model.experts import FeedForward
from mynah.model.llama import Layer

__all__ = ["cut_tensors"]


def cut_tensors(part: Llama, axis: DeviceMesh) -> None:
    """Cut the matrices of ``part`` over ``axis``, in place.

    What goes from stage to stage of a pipeline is then ``(N / tensor, C)``; the hidden states that
    the last part returns are whole on every rank, and so must be the gradient that the loss gives
    them (``linear_cross_entropy`` adds it up over the words of all ranks).
    """
    model = part.model
    if model.embed_tokens is not None:
        _cut_embedding(model.embed_tokens, axis)
    for layer in part.layers():
        _cut_layer(layer, axis)
    if model.norm is not None:
        _cut(model.norm, axis, SequenceParallel(sequence_dim=0, use_local_output=True))
        gather = partial(_gather_output, axis.get_group())
        model.norm.register_forward_hook(gather)
    if part.lm_head is not None:
        _cut(part.lm_head, axis, ColwiseParallel())


def _cut_embedding(embedding: nn.Embedding, axis: DeviceMesh) -> None:
    """Cut the embedding by words; what it returns by tokens.

    Not by torch's ``RowwiseParallel``: there each rank's gradient is of all words, 8 times as
    much as its own (torch 2.13: 8.4 GB of float32 for 128,256 words of 16,384 channels).
    """
    weight = distribute_tensor(embedding.weight, axis, [Shard(0)], src_data_rank=None)
    embedding.register_parameter("weight", nn.Parameter(weight))

    def forward(ids_N: Tensor) -> Tensor:
        weight = embedding.weight
        assert isinstance(weight, DTensor)
        own_VC = weight.to_local()
        place_N = ids_N - axis.get_local_rank() * own_VC.shape[0]
        is_here_N = (place_N >= 0) & (place_N < own_VC.shape[0])
        part_NC = F.embedding(place_N.clamp(0, own_VC.shape[0] - 1), own_VC)
        part_NC = part_NC * is_here_N[:, None].to(part_NC.dtype)
        whole_NC = DTensor.from_local(part_NC, axis, [Partial()], run_check=False)
        return whole_NC.redistribute(placements=[Shard(0)]).to_local()

    looked_up: Any = forward
    embedding.forward = looked_up


def _cut_layer(layer: Layer, axis: DeviceMesh) -> None:
    tokens, whole = Shard(0), Replicate()
    attention, mlp = layer.self_attn, layer.mlp
    assert isinstance(mlp, FeedForward), "experts are not cut over the tensor axis"
    for norm in (layer.input_layernorm, layer.post_attention_layernorm):
        _cut(norm, axis, SequenceParallel(sequence_dim=0))
    # The gathered input stays a DTensor: the gradients of its three readers are added up where
    # they are, and sent once.
    reads_all = PrepareModuleInput(
        input_layouts=(tokens, None, None), desired_input_layouts=(whole, None, None)
    )
    _cut(attention, axis, reads_all)
    for matrix in (attention.q_proj, attention.k_proj, attention.v_proj):
        _cut(matrix, axis, ColwiseParallel())
    for norm in (attention.q_norm, attention.k_norm):
        if norm is not None:  # each rank normalises its own heads, the second dim
            _cut(norm, axis, SequenceParallel(sequence_dim=1, use_local_output=True))
    _cut(attention.o_proj, axis, RowwiseParallel(output_layouts=tokens))
    _cut(mlp, axis, PrepareModuleInput(input_layouts=(tokens,), desired_input_layouts=(whole,)))
    for matrix in (mlp.gate_proj, mlp.up_proj):
        _cut(matrix, axis, ColwiseParallel())
    _cut(mlp.down_proj, axis, RowwiseParallel(output_layouts=tokens))


class _GatherTokens(torch.autograd.Function):
    """All tokens on every rank; each takes its own share of the gradient, which is whole."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        own_NC, group = inputs
        ctx.begin, ctx.size = group.rank() * own_NC.shape[0], own_NC.shape[0]
        all_NC = own_NC.new_empty(group.size() * own_NC.shape[0], own_NC.shape[1])
        dist.all_gather_single(all_NC, own_NC.contiguous(), group=group)
        return all_NC

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        return gradients[0].narrow(0, ctx.begin, ctx.size), None


def _gather_output(group: ProcessGroup, module: nn.Module, inputs: Any, own_NC: Tensor) -> Tensor:
    all_NC = _GatherTokens.apply(own_NC, group)
    assert isinstance(all_NC, Tensor)
    return all_NC


def _cut(module: nn.Module, axis: DeviceMesh, style: ParallelStyle) -> None:
    # Every rank holds the same weights already: none sends them to the others.
    parallelize_module(module, axis, style, src_data_rank=None)
