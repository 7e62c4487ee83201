"""Attention of a packed row on a CPU: documents of like length padded to one another, products.

Forward and backward are written out, for all groups of a row at once: what torch derives from the
plain operations fills and adds a whole row for every slice of it, and scatters where a gather
does. Reads and writes nothing.

Shapes: N tokens of the row, M of one group of D documents, L tokens of its longest, H query heads,
K key heads, G queries of one key head, W width of a head, X width of all query heads, B = D * K,
S queries of a block, R = G * S, T keys that the block may see, P = D * L.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["Group", "padded_attention"]

BLOCK_TOKENS = 128
"""Queries of a document that are multiplied at once, with the keys up to the last of them: what
causality bars past it is not computed. Smaller blocks save less than their calls cost: of
documents of 512 tokens, blocks of 64, 128, 256 and 512 took 22.7, 18.8, 19.3 and 22.7 ms."""


@dataclass(frozen=True, slots=True)
class Group:
    """Neighbouring documents of like length, padded to the longest of them for attention.

    Args:
        tokens: The stretch of the row that they take, M tokens.
        padded_DL: Index into M of each place of a padded row; places past a document's end
            repeat its last token, which causal attention keeps out of every real place.
        unpadded_M: Index into D * L of each token.
    """

    tokens: slice
    padded_DL: Tensor
    unpadded_M: Tensor

    @property
    def is_even(self) -> bool:
        """Whether all its documents are as long as their row: then nothing is moved."""
        return self.padded_DL.numel() == self.tokens.stop - self.tokens.start

    def pad(self, x_NHW: Tensor) -> Tensor:
        """Its documents one under another, ``(D, L, H, W)``."""
        x_MHW = x_NHW[self.tokens]
        if not self.is_even:
            x_MHW = x_MHW.index_select(0, self.padded_DL.flatten())
        return x_MHW.view(*self.padded_DL.shape, *x_NHW.shape[1:])

    def pad_gradient(self, grad_NX: Tensor) -> Tensor:
        """Like ``pad``, ``(D, L, X)``; zero past a document's end, where nobody reads."""
        grad_PX = grad_NX[self.tokens]
        if not self.is_even:
            wide_PX = grad_NX.new_zeros(self.padded_DL.numel(), grad_NX.shape[1])
            grad_PX = wide_PX.index_copy_(0, self.unpadded_M, grad_PX)
        return grad_PX.view(*self.padded_DL.shape, -1)

    def put(self, x_DLKGW: Tensor, row_NX: Tensor) -> None:
        """Write its tokens back to their places in the row."""
        x_PX = x_DLKGW.reshape(self.padded_DL.numel(), -1)
        if self.is_even:
            row_NX[self.tokens] = x_PX
        else:
            torch.index_select(x_PX, 0, self.unpadded_M, out=row_NX[self.tokens])


def _queries_first(x_DLHW: Tensor, num_key_heads: int) -> Tensor:
    """``(D, L, K * G, W)`` to ``(B, G, L, W)``."""
    return x_DLHW.unflatten(2, (num_key_heads, -1)).permute(0, 2, 3, 1, 4).flatten(0, 1)


def _tokens_first(x_BGLW: Tensor, num_key_heads: int) -> Tensor:
    """``(B, G, L, W)`` to ``(D, L, K, G, W)``."""
    return x_BGLW.unflatten(0, (-1, num_key_heads)).permute(0, 3, 1, 2, 4)


def _keys_first(x_DLKW: Tensor) -> Tensor:
    """``(D, L, K, W)`` to ``(B, L, W)``."""
    return x_DLKW.transpose(1, 2).flatten(0, 1)


def _blocks(length: int) -> Iterator[slice]:
    for start in range(0, length, BLOCK_TOKENS):
        yield slice(start, min(start + BLOCK_TOKENS, length))


def _weights(q_BGSW: Tensor, k_BTW: Tensor, queries: slice) -> Tensor:
    """Softmax of the scores of a block, ``(B, R, T)``."""
    score_BRT = torch.bmm(q_BGSW.flatten(1, 2), k_BTW.transpose(1, 2))
    size = queries.stop - queries.start
    bar_SS = score_BRT.new_full((size, size), float("-inf")).triu_(1)
    score_BRT.unflatten(1, (-1, size))[..., queries].add_(bar_SS)
    return score_BRT.softmax(-1)


class PaddedAttention(torch.autograd.Function):
    """``softmax(q k / sqrt(W)) v`` within each document."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        """All groups of a row, one after another."""
        q_NHW, k_NKW, v_NKW, groups = inputs
        out_NX = torch.empty_like(q_NHW).flatten(1)
        saved: list[Tensor] = []
        for group in groups:
            q_BGLW = _queries_first(group.pad(q_NHW), k_NKW.shape[1]) * q_NHW.shape[-1] ** -0.5
            k_BLW, v_BLW = _keys_first(group.pad(k_NKW)), _keys_first(group.pad(v_NKW))
            out_BGLW = torch.empty_like(q_BGLW)
            weights: list[Tensor] = []
            for queries in _blocks(q_BGLW.shape[2]):
                seen = slice(queries.stop)
                weights.append(_weights(q_BGLW[:, :, queries], k_BLW[:, seen], queries))
                out_BRW = torch.bmm(weights[-1], v_BLW[:, seen])
                out_BGLW[:, :, queries] = out_BRW.unflatten(1, (q_BGLW.shape[1], -1))
            group.put(_tokens_first(out_BGLW, k_NKW.shape[1]), out_NX)
            saved += [q_BGLW, k_BLW, v_BLW, *weights]
        ctx.save_for_backward(*saved)
        ctx.groups, ctx.num_key_heads, ctx.width = groups, *k_NKW.shape[1:]
        return out_NX

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Gradients of the queries, keys and values of the whole row."""
        (grad_NX,) = gradients
        saved: Iterator[Tensor] = iter(ctx.saved_tensors)
        rows: list[Tensor] = []
        for group in ctx.groups:
            q_BGLW, k_BLW, v_BLW = next(saved), next(saved), next(saved)
            weights = [next(saved) for _ in _blocks(k_BLW.shape[1])]
            grad_BGLW = _queries_first(
                group.pad_gradient(grad_NX).unflatten(-1, (-1, q_BGLW.shape[-1])),
                ctx.num_key_heads,
            )
            found = _gradients(grad_BGLW, q_BGLW, k_BLW, v_BLW, weights)
            if not rows:
                widths = [x.shape[1] * ctx.num_key_heads * x.shape[-1] for x in found]
                rows = [grad_NX.new_empty(len(grad_NX), width) for width in widths]
            for x, row in zip(found, rows, strict=True):
                group.put(_tokens_first(x, ctx.num_key_heads), row)
        # What was saved may be looked up once only, when a layer is computed again.
        return *(row.unflatten(1, (-1, ctx.width)) for row in rows), None


def _gradients(
    grad_BGLW: Tensor, q_BGLW: Tensor, k_BLW: Tensor, v_BLW: Tensor, weights: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the padded queries, keys ``(B, 1, L, W)`` and values of one group."""
    grad_q_BGLW = torch.empty_like(q_BGLW)
    wide = torch.promote_types(k_BLW.dtype, torch.float32)
    # The last block sees all keys: its product is what the others' are added to.
    grad_k_BLW = grad_v_BLW = k_BLW
    for queries, weight_BRT in reversed(list(zip(_blocks(k_BLW.shape[1]), weights, strict=True))):
        seen = slice(queries.stop)
        q_BRW, grad_BRW = (x[:, :, queries].flatten(1, 2) for x in (q_BGLW, grad_BGLW))
        grad_weight_BRT = torch.bmm(grad_BRW, v_BLW[:, seen].transpose(1, 2))
        grad_score_BRT = torch.ops.aten._softmax_backward_data(
            grad_weight_BRT, weight_BRT, -1, weight_BRT.dtype
        )
        part_v_BTW = torch.bmm(weight_BRT.transpose(1, 2), grad_BRW)
        part_k_BTW = torch.bmm(grad_score_BRT.transpose(1, 2), q_BRW)
        if len(weights) == 1:
            grad_k_BLW, grad_v_BLW = part_k_BTW, part_v_BTW
        elif queries.stop == k_BLW.shape[1]:
            grad_k_BLW, grad_v_BLW = part_k_BTW.to(wide), part_v_BTW.to(wide)
        else:
            grad_k_BLW[:, seen] += part_k_BTW
            grad_v_BLW[:, seen] += part_v_BTW
        grad_q_BRW = torch.bmm(grad_score_BRT, k_BLW[:, seen])
        grad_q_BGLW[:, :, queries] = grad_q_BRW.unflatten(1, (q_BGLW.shape[1], -1))
    grad_q_BGLW *= q_BGLW.shape[-1] ** -0.5
    return grad_q_BGLW, grad_k_BLW.to(k_BLW.dtype)[:, None], grad_v_BLW.to(k_BLW.dtype)[:, None]


def padded_attention(
    q_NHW: Tensor, k_NKW: Tensor, v_NKW: Tensor, groups: tuple[Group, ...]
) -> Tensor:
    """Causal attention within each document of a row, ``(N, X)``.

    Its weights are kept for the backward pass, half of L * L a document and head: for documents
    of up to some thousand tokens.

    Args:
        q_NHW: Queries, already rotated.
        k_NKW: Keys; each head serves H / K query heads.
        v_NKW: Values.
        groups: Of the row, in its order; together they are all of it.
    """
    out_NX = PaddedAttention.apply(q_NHW, k_NKW, v_NKW, groups)
    assert isinstance(out_NX, Tensor)
    return out_NX
