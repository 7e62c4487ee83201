"""Cross-entropy of a large vocabulary in slices of rows, with the gradient made on the way.

The logits of 1,024 tokens over 49,152 words are 200 MB in float32, and again for their gradient.
Here each slice's logits live only until its share of the gradient is added up, and nothing is
computed twice: three matrix products a slice, as many as the plain loss has.

Shapes: N tokens, C model width, V vocabulary, S tokens of a slice.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["linear_cross_entropy"]


class LinearCrossEntropy(torch.autograd.Function):
    """``cross_entropy(hidden @ head.T, target)`` weighted by token, summed."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        """Loss, with both gradients kept for the backward pass."""
        hidden_NC, head_VC, target_N, weight_N, slice_tokens, is_recording = inputs
        matrix_VC = head_VC.to(hidden_NC.dtype)
        grad_hidden_NC = torch.empty_like(hidden_NC)
        grad_head_VC = torch.zeros_like(head_VC, dtype=torch.float32)
        # needs_input_grad is true under no_grad too, where nobody will ask for a gradient.
        needs_gradient = is_recording and any(ctx.needs_input_grad[:2])
        loss = torch.zeros((), dtype=torch.float32, device=hidden_NC.device)
        for start in range(0, hidden_NC.shape[0], slice_tokens):
            part = slice(start, start + slice_tokens)
            logits_SV = (hidden_NC[part] @ matrix_VC.T).float()
            log_sum_S = logits_SV.logsumexp(-1)
            target_S1 = target_N[part, None]
            loss += ((log_sum_S - logits_SV.gather(1, target_S1)[:, 0]) * weight_N[part]).sum()
            if not needs_gradient:
                continue
            grad_SV = logits_SV.sub_(log_sum_S[:, None]).exp_()
            grad_SV.scatter_add_(1, target_S1, grad_SV.new_full(target_S1.shape, -1.0))
            grad_SV = grad_SV.mul_(weight_N[part, None]).to(hidden_NC.dtype)
            grad_hidden_NC[part] = grad_SV @ matrix_VC
            grad_head_VC += grad_SV.T @ hidden_NC[part]
        if needs_gradient:
            ctx.save_for_backward(grad_hidden_NC, grad_head_VC.to(head_VC.dtype))
        return loss

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Scale the kept gradients; each is used once, so in place."""
        grad_hidden_NC, grad_head_VC = ctx.saved_tensors
        (grad_loss,) = gradients
        if grad_loss != 1.0:
            grad_hidden_NC = grad_hidden_NC * grad_loss
            grad_head_VC = grad_head_VC * grad_loss
        return grad_hidden_NC, grad_head_VC, None, None, None, None


def linear_cross_entropy(
    hidden_NC: Tensor,
    head_VC: Tensor,
    target_N: Tensor,
    weight_N: Tensor,
    *,
    slice_tokens: int = 256,
) -> Tensor:
    """Sum over tokens of ``weight * -log p(target)``, in nats.

    Args:
        hidden_NC: Hidden states, in the dtype the products shall use (bfloat16 under autocast).
        head_VC: Output matrix, usually float32; its gradient comes in its own dtype.
        target_N: Token to predict at each place, in 0..V-1.
        weight_N: Weight of each place; 0 where nothing is to be predicted.
        slice_tokens: Tokens whose logits exist at once; 256 over 49,152 words are 50 MB.
    """
    inputs = (hidden_NC, head_VC, target_N, weight_N, slice_tokens, torch.is_grad_enabled())
    loss = LinearCrossEntropy.apply(*inputs)
    assert isinstance(loss, Tensor)
    return loss
