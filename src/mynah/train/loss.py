"""Cross-entropy of a large vocabulary in slices of rows: no more than a slice of logits exists.

The logits of 1,024 tokens over 49,152 words are 200 MB in float32, and again for their gradient.
``linear_cross_entropy`` makes the gradient on the way, so that nothing is computed twice: three
matrix products a slice, as many as the plain loss has. ``token_losses`` keeps the tokens' losses
apart; its backward pass makes each slice's logits anew, a fourth product.

The output matrix may be spread over the ranks of the axis ``tensor``, each with the rows of its
own words (vocabulary parallel, Shoeybi et al. 2019, section 3, arXiv:1909.08053). Every rank of
the axis then holds the same hidden states, gets the same losses and the same gradient of them.

Reads and writes nothing. Shapes: N tokens, C model width, V vocabulary (what a rank holds of it
where it is spread), S tokens of a slice, T ranks of the axis.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup
from torch.distributed.tensor import DTensor, Shard

__all__ = ["linear_cross_entropy", "token_losses"]

SLICE_TOKENS = 512
"""Tokens whose logits exist at once; 512 over 49,152 words are 50 MB in bfloat16."""
FEW_TOKENS = 64
"""Tokens whose logits exist in float32, on a CPU; 64 over 16,384 words fit the cache of two
cores."""


@dataclass(frozen=True, slots=True)
class _Words:
    """Which words' rows of the output matrix this rank holds."""

    group: ProcessGroup | None = None
    """Ranks that hold the others; none when this one holds all."""
    first: int = 0

    def place(self, target_S: Tensor, num_words: int) -> tuple[Tensor, Tensor]:
        """Row of each target here, ``(S, 1)``, and one where it is here, else zero."""
        if self.group is None:
            return target_S[:, None], torch.ones_like(target_S[:, None], dtype=torch.float32)
        place_S1 = target_S[:, None] - self.first
        is_here_S1 = (place_S1 >= 0) & (place_S1 < num_words)
        return place_S1.clamp(0, num_words - 1), is_here_S1.float()

    def log_sum_and_logit(
        self, logits_SV: Tensor, place_S1: Tensor, is_here_S1: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Log of the sum over all words, and the target's logit, wherever it is: ``(S,)`` each."""
        logit_S = (logits_SV.gather(1, place_S1) * is_here_S1)[:, 0]
        return self.over_ranks(logits_SV.logsumexp(-1), logit_S)

    def to_loss(self, logits_SV: Tensor, target_S: Tensor, weight_S: Tensor) -> Tensor:
        """The summed loss, where nobody asks for a gradient."""
        place_S1, is_here_S1 = self.place(target_S, logits_SV.shape[1])
        log_sum_S, logit_S = self.log_sum_and_logit(logits_SV.float(), place_S1, is_here_S1)
        return ((log_sum_S - logit_S) * weight_S).sum()

    def to_gradient(self, logits_FV: Tensor, target_F: Tensor, weight_F: Tensor) -> Tensor:
        """Turn logits, in place, into the gradient of the loss that is returned.

        One exponential a logit, in float32, of few tokens at a time: what is between the first
        pass and the last stays in the processor's cache.
        """
        place_F1, is_here_F1 = self.place(target_F, logits_FV.shape[1])
        wide_FV = logits_FV.float()
        logit_F1 = wide_FV.gather(1, place_F1) * is_here_F1
        most_F1 = wide_FV.amax(-1, keepdim=True)
        log_sum_F1 = most_F1 + wide_FV.sub_(most_F1).exp_().sum(-1, keepdim=True).log()
        log_all_F1, logit_F1 = self.over_ranks(log_sum_F1, logit_F1)
        weight_F1 = weight_F[:, None]
        wide_FV.mul_(weight_F1 * (most_F1 - log_all_F1).exp())
        wide_FV.scatter_add_(1, place_F1, -weight_F1 * is_here_F1)
        logits_FV.copy_(wide_FV)
        return ((log_all_F1 - logit_F1) * weight_F1).sum()

    def over_ranks(self, log_sum: Tensor, logit: Tensor) -> tuple[Tensor, Tensor]:
        """Log of the sum over all ranks' words, and the target's logit, wherever it is."""
        if self.group is None:
            return log_sum, logit
        # One message for both, and each rank adds up the same numbers in the same order.
        own_2S = torch.stack((log_sum, logit))
        all_T2S = own_2S.new_empty(self.group.size(), *own_2S.shape)
        dist.all_gather(list(all_T2S), own_2S, group=self.group)
        return all_T2S[:, 0].logsumexp(0), all_T2S[:, 1].sum(0)

    def add_up(self, grad_hidden_NC: Tensor) -> Tensor:
        """Add the parts of the gradient that come from the other ranks' words, in place."""
        if self.group is not None:
            dist.all_reduce(grad_hidden_NC, group=self.group)
        return grad_hidden_NC


def _slices(num_tokens: int, slice_tokens: int) -> Iterator[slice]:
    for start in range(0, num_tokens, slice_tokens):
        yield slice(start, start + slice_tokens)


def _to_gradient(
    logits_SV: Tensor, log_sum_S: Tensor, place_S1: Tensor, is_here_S1: Tensor
) -> Tensor:
    """Turn logits into the gradient of the losses with respect to them, in place."""
    grad_SV = logits_SV.sub_(log_sum_S[:, None]).exp_()
    return grad_SV.scatter_add_(1, place_S1, -is_here_S1)


class LinearCrossEntropy(torch.autograd.Function):
    """``cross_entropy(hidden @ head.T, target)`` weighted by token, summed."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        """Loss, with both gradients kept for the backward pass."""
        hidden_NC, head_VC, target_N, weight_N, words, slice_tokens, is_recording = inputs
        matrix_VC = head_VC.to(hidden_NC.dtype)
        # needs_input_grad is true under no_grad too, where nobody will ask for a gradient.
        needs_gradient = is_recording and any(ctx.needs_input_grad[:2])
        needed = slice(None if needs_gradient else 0)
        grad_hidden_NC = torch.empty_like(hidden_NC[needed])
        grad_head_VC = torch.zeros_like(head_VC[needed], dtype=torch.float32)
        loss = torch.zeros((), dtype=torch.float32, device=hidden_NC.device)
        # Elsewhere there is no cache to stay in, and with other ranks each time is a message.
        is_cached = hidden_NC.device.type == "cpu" and words.group is None
        few_tokens = FEW_TOKENS if is_cached else slice_tokens
        for part in _slices(hidden_NC.shape[0], slice_tokens):
            logits_SV = hidden_NC[part] @ matrix_VC.T
            judge = words.to_gradient if needs_gradient else words.to_loss
            for few in _slices(len(logits_SV), few_tokens):
                loss += judge(logits_SV[few], target_N[part][few], weight_N[part][few])
            if not needs_gradient:
                continue
            grad_hidden_NC[part] = logits_SV @ matrix_VC
            grad_head_VC += logits_SV.T @ hidden_NC[part]
        if needs_gradient:
            ctx.save_for_backward(words.add_up(grad_hidden_NC), grad_head_VC)
            ctx.head_dtype = head_VC.dtype
        return loss

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Scale the kept gradients in place; torch refuses to do it to them a second time."""
        grad_hidden_NC, grad_head_VC = ctx.saved_tensors
        (grad_loss,) = gradients
        grad_head_VC = grad_head_VC.mul_(grad_loss).to(ctx.head_dtype)
        return grad_hidden_NC.mul_(grad_loss), grad_head_VC, *(None,) * 5


class TokenLosses(torch.autograd.Function):
    """``cross_entropy(hidden @ head.T, target)`` of each token."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        """Losses; of the logits, only the log of their sum is kept."""
        hidden_NC, head_VC, target_N, words, slice_tokens = inputs
        matrix_VC = head_VC.to(hidden_NC.dtype)
        nll_N = hidden_NC.new_empty(hidden_NC.shape[0], dtype=torch.float32)
        log_sum_N = torch.empty_like(nll_N)
        for part in _slices(hidden_NC.shape[0], slice_tokens):
            logits_SV = (hidden_NC[part] @ matrix_VC.T).float()
            place_S1, is_here_S1 = words.place(target_N[part], logits_SV.shape[1])
            log_sum_S, logit_S = words.log_sum_and_logit(logits_SV, place_S1, is_here_S1)
            nll_N[part], log_sum_N[part] = log_sum_S - logit_S, log_sum_S
        ctx.save_for_backward(hidden_NC, head_VC, target_N, log_sum_N)
        ctx.words, ctx.slice_tokens = words, slice_tokens
        return nll_N

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Make the logits of each slice anew, and from them both gradients."""
        hidden_NC, head_VC, target_N, log_sum_N = ctx.saved_tensors
        (grad_nll_N,) = gradients
        matrix_VC = head_VC.to(hidden_NC.dtype)
        grad_hidden_NC = torch.empty_like(hidden_NC)
        grad_head_VC = torch.zeros_like(head_VC, dtype=torch.float32)
        for part in _slices(hidden_NC.shape[0], ctx.slice_tokens):
            logits_SV = (hidden_NC[part] @ matrix_VC.T).float()
            place_S1, is_here_S1 = ctx.words.place(target_N[part], logits_SV.shape[1])
            grad_SV = _to_gradient(logits_SV, log_sum_N[part], place_S1, is_here_S1)
            grad_SV = grad_SV.mul_(grad_nll_N[part, None]).to(hidden_NC.dtype)
            grad_hidden_NC[part] = grad_SV @ matrix_VC
            grad_head_VC += grad_SV.T @ hidden_NC[part]
        grad_hidden_NC = ctx.words.add_up(grad_hidden_NC)
        return grad_hidden_NC, grad_head_VC.to(head_VC.dtype), None, None, None


def linear_cross_entropy(
    hidden_NC: Tensor,
    head_VC: Tensor,
    target_N: Tensor,
    weight_N: Tensor,
    *,
    slice_tokens: int = SLICE_TOKENS,
) -> Tensor:
    """Sum over tokens of ``weight * -log p(target)``, in nats; its gradient can be asked for once.

    Args:
        hidden_NC: Hidden states, in the dtype the products shall use (bfloat16 under autocast).
        head_VC: Output matrix, usually float32; its gradient comes in its own dtype. A ``DTensor``
            whose rows are sharded over one axis is what this rank holds of it; its gradient is
            sharded likewise.
        target_N: Token to predict at each place, in 0..V-1, of the whole vocabulary.
        weight_N: Weight of each place; 0 where nothing is to be predicted.
        slice_tokens: Tokens whose logits exist at once.
    """
    head_VC, words = _own_words(head_VC)
    inputs = (hidden_NC, head_VC, target_N, weight_N, words, slice_tokens, torch.is_grad_enabled())
    loss = LinearCrossEntropy.apply(*inputs)
    assert isinstance(loss, Tensor)
    return loss


def token_losses(
    hidden_NC: Tensor, head_VC: Tensor, target_N: Tensor, *, slice_tokens: int = SLICE_TOKENS
) -> Tensor:
    """``-log p(target)`` of each token, ``nll_N`` in nats and float32.

    Args:
        hidden_NC: As for ``linear_cross_entropy``, and so are the others.
        head_VC: Output matrix.
        target_N: Token to predict at each place.
        slice_tokens: Tokens whose logits exist at once.
    """
    head_VC, words = _own_words(head_VC)
    nll_N = TokenLosses.apply(hidden_NC, head_VC, target_N, words, slice_tokens)
    assert isinstance(nll_N, Tensor)
    return nll_N


def _own_words(head_VC: Tensor) -> tuple[Tensor, _Words]:
    """The rows of the output matrix that are here, and which they are."""
    if not isinstance(head_VC, DTensor):
        return head_VC, _Words()
    mesh, (placement, *others) = head_VC.device_mesh, head_VC.placements
    assert not others, "the output matrix must be gathered over every axis but tensor"
    if not isinstance(placement, Shard):
        return head_VC.to_local(), _Words()
    assert placement.dim == 0, "the output matrix is sharded by words"
    # As DTensor cuts: every rank but the last ones has this many rows.
    num_words = -(-head_VC.shape[0] // mesh.size())
    words = _Words(mesh.get_group(), mesh.get_local_rank() * num_words)
    # Its backward makes the gradient a DTensor with the same placement.
    return head_VC.to_local(), words
