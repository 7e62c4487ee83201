"""Context parallelism: the tokens of one row cut over ranks, keys and values gathered.

Each row is cut into twice as many chunks as there are ranks; rank r takes chunks r and 2c-1-r, so
that all ranks have equally many pairs of causal attention. Every rank gathers the keys and values
of the whole row, which with grouped queries are small, and attends from its own tokens (Llama 3,
section 3.3.2, arXiv:2407.21783).

A document that begins in a chunk needs nothing from elsewhere, and one that is cut off at a
chunk's end does not either: attention is causal. So only the first tokens of a chunk, where they
continue a document, read gathered keys; the rest is the model's own attention.

Reads and writes nothing. Shapes: N tokens of this rank, R of the row, M of a stretch, L of the
keys it reads; H query heads, K key heads, W width of a head.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.device_mesh import DeviceMesh

from mynah.model import Packing, pack
from mynah.train.data import Batch

__all__ = ["ContextAttention", "ContextPacking", "cut_row"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """One of the two stretches of a row that a rank attends from.

    Args:
        own: Its tokens, among those of the rank.
        begin: Place in the row of its first token.
        first_key: Place in the row of the first key that it reads: before ``begin`` where its
            first document began earlier.
        num_continued: Its first tokens that continue that document; 0 if it begins here.
        rest: The documents that begin in it; none where all of it continues one.
        query_ends: End of each document's queries, counted from ``begin``; a 0 in front.
        key_ends: End of each document's keys, counted from ``first_key``; a 0 in front.
        longest: Most queries and most keys of a document.
    """

    own: slice
    begin: int
    first_key: int
    num_continued: int
    rest: Packing | None
    query_ends: Tensor
    key_ends: Tensor
    longest: tuple[int, int]

    def to(self, device: torch.device | str) -> "Chunk":
        """The same chunk with its tensors on ``device``."""
        return replace(
            self,
            rest=None if self.rest is None else self.rest.to(device),
            query_ends=self.query_ends.to(device),
            key_ends=self.key_ends.to(device),
        )


@dataclass(frozen=True, slots=True)
class ContextPacking(Packing):
    """Where documents lie in a rank's two chunks of a row; ``ends`` are those of the whole row.

    Args:
        chunks: Both, in the order of the row.
    """

    chunks: tuple[Chunk, ...] = ()

    def to(self, device: torch.device | str) -> "ContextPacking":
        """The same packing with its tensors on ``device``."""
        return replace(
            self,
            position_N=self.position_N.to(device),
            ends=self.ends.to(device),
            real_N=None if self.real_N is None else self.real_N.to(device),
            chunks=tuple(chunk.to(device) for chunk in self.chunks),
        )


def cut_row(row: Batch, *, context_rank: int, num_context: int) -> Batch:
    """Return this context rank's tokens of a row, its packing that of ``ContextAttention``.

    Reads the values of ``packing.ends``, so it must see the row on the host, and not as fake
    tensors. One rank gets the row itself.

    Args:
        row: The whole row; its tokens divide by twice ``num_context``.
        context_rank: Whose tokens are asked for.
        num_context: Ranks that share the row.
    """
    if num_context == 1:
        return row
    packing = row.packing
    ends = cast("list[int]", packing.ends.tolist())
    size = ends[-1] // (2 * num_context)
    begins = [size * place for place in (context_rank, 2 * num_context - 1 - context_rank)]
    place_N = torch.cat([torch.arange(begin, begin + size) for begin in begins])
    own = ContextPacking(
        position_N=packing.position_N[place_N],
        groups=(),
        ends=packing.ends,
        max_length=packing.max_length,
        real_N=None if packing.real_N is None else packing.real_N[place_N],
        chunks=tuple(
            _chunk(ends, begin, size, own=slice(place * size, (place + 1) * size))
            for place, begin in enumerate(begins)
        ),
    )
    return row.at(place_N, own)


def _chunk(ends: list[int], begin: int, size: int, *, own: slice) -> Chunk:
    """Say what ``size`` tokens of a row from ``begin`` on attend to.

    Args:
        ends: Where the documents of the row end, from a leading 0.
        begin: First token of the chunk.
        size: Its tokens.
        own: Where the rank has them.
    """
    first_key = max(end for end in ends if end <= begin)
    borders = [end - begin for end in ends if begin < end < begin + size]
    query_ends = [0, *borders, size]
    before = begin - first_key
    key_ends = [0, *(end + before for end in query_ends[1:])]
    lengths = [stop - start for start, stop in pairwise(query_ends)]
    own_lengths = lengths[1:] if before else lengths
    return Chunk(
        own=own,
        begin=begin,
        first_key=first_key,
        num_continued=lengths[0] if before else 0,
        rest=pack(own_lengths) if own_lengths else None,
        query_ends=torch.tensor(query_ends, dtype=torch.int32),
        key_ends=torch.tensor(key_ends, dtype=torch.int32),
        longest=(max(lengths), max(stop - start for start, stop in pairwise(key_ends))),
    )


class _GatherRow(torch.autograd.Function):
    """Tokens of all ranks in the order of the row; gradients are added up and cut again.

    Torch's own differentiable all-gather gives wrong gradients for tensors whose strides are
    permuted (measured, torch 2.13): hence this one, on contiguous memory. The queries pass
    through it unchanged so that its backward runs on every rank: one that begins all of its
    documents itself reads no gathered key, and the others would wait for it.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        q_NHW, x_NKW, group = inputs
        ctx.group = group
        num = group.size()
        out_RKW = x_NKW.new_empty(num * x_NKW.shape[0], *x_NKW.shape[1:])
        dist.all_gather_single(out_RKW, x_NKW.contiguous(), group=group)
        chunks = out_RKW.chunk(2 * num)
        # Rank r sent chunks r and 2 * num - 1 - r.
        return q_NHW.view_as(q_NHW), torch.cat([*chunks[0::2], *reversed(chunks[1::2])])

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        grad_NHW, grad_RKW = gradients
        num = ctx.group.size()
        chunks = grad_RKW.chunk(2 * num)
        pairs = zip(chunks[:num], reversed(chunks[num:]), strict=True)
        ordered_RKW = torch.cat([chunk for pair in pairs for chunk in pair])
        grad_NKW = grad_RKW.new_empty(grad_RKW.shape[0] // num, *grad_RKW.shape[1:])
        dist.reduce_scatter_single(grad_NKW, ordered_RKW, group=ctx.group)
        return grad_NHW, grad_NKW, None


class ContextAttention(nn.Module):
    """What takes the place of ``Attention.attend`` where a row is cut over ranks.

    Args:
        attend: The model's own, for documents that begin in a chunk.
        axis: The ranks that share a row.
    """

    def __init__(self, attend: nn.Module, axis: DeviceMesh) -> None:
        super().__init__()
        self.attend = attend
        self.group = axis.get_group()

    def forward(
        self, q_NHW: Tensor, k_NKW: Tensor, v_NKW: Tensor, packing: ContextPacking
    ) -> Tensor:
        """Mix each token with the earlier ones of its own document, wherever they are.

        Args:
            q_NHW: Queries of this rank's two chunks.
            k_NKW: Their keys, rotated.
            v_NKW: Their values.
            packing: From ``cut_row``.

        Returns:
            ``(N, H * W)``.
        """
        both_NKW = torch.cat((k_NKW, v_NKW), -1)  # in one message
        q_NHW, both_RKW = cast("Any", _GatherRow.apply(q_NHW, both_NKW, self.group))
        k_RKW, v_RKW = both_RKW.chunk(2, -1)
        is_fused = q_NHW.is_cuda and q_NHW.dtype in (torch.bfloat16, torch.float16)
        parts: list[Tensor] = []
        for chunk in packing.chunks:
            if is_fused:
                parts.append(_attend_fused(q_NHW[chunk.own], k_RKW, v_RKW, chunk))
                continue
            first = slice(chunk.own.start, chunk.own.start + chunk.num_continued)
            if chunk.num_continued:
                keys = slice(chunk.first_key, chunk.begin + chunk.num_continued)
                parts.append(attend_from_the_end(q_NHW[first], k_RKW[keys], v_RKW[keys]))
            if chunk.rest is not None:
                rest = slice(first.stop, chunk.own.stop)
                parts.append(self.attend(q_NHW[rest], k_NKW[rest], v_NKW[rest], chunk.rest))
        return torch.cat(parts)


def _attend_fused(q_MHW: Tensor, k_RKW: Tensor, v_RKW: Tensor, chunk: Chunk) -> Tensor:
    """Attend from a whole chunk at once; memory grows with its tokens, not with their pairs.

    The kernel aligns a document's last query with its last key, which is what a document that
    began in an earlier chunk needs.
    """
    from torch.nn.attention.varlen import varlen_attn  # brings the compiler: seconds of imports

    keys = slice(chunk.first_key, chunk.begin + q_MHW.shape[0])
    out_MHW = varlen_attn(
        q_MHW,
        k_RKW[keys],
        v_RKW[keys],
        chunk.query_ends,
        chunk.key_ends,
        *chunk.longest,
        window_size=(-1, 0),
        enable_gqa=True,
    )
    assert isinstance(out_MHW, Tensor)
    return out_MHW.flatten(1)


def attend_from_the_end(q_MHW: Tensor, k_LKW: Tensor, v_LKW: Tensor) -> Tensor:
    """Attend from the last M of a document's L tokens to all of them up to each; ``(M, H * W)``."""
    num_queries, num_keys = q_MHW.shape[0], k_LKW.shape[0]
    place_M = torch.arange(num_keys - num_queries, num_keys, device=q_MHW.device)
    may_see_ML = torch.arange(num_keys, device=q_MHW.device) <= place_M[:, None]
    out_1HMW = F.scaled_dot_product_attention(
        *(x.transpose(0, 1)[None] for x in (q_MHW, k_LKW, v_LKW)),
        attn_mask=may_see_ML,
        enable_gqa=True,
    )
    return out_1HMW[0].transpose(0, 1).flatten(1)
