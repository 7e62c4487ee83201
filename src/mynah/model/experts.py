"""The feed-forward half of a block: one gated MLP, or a mixture of many.

A sparse layer sends each token to the few experts that its router scores highest. Balance comes
from a bias that is added to the scores for choosing only and shifted after each step towards
experts that had too little: no loss is added, so what is learned is the text alone.

Shapes: N tokens of the row, C model width, E experts, k experts of a token, M = N * k choices,
P choices that the experts of this process get, I width inside an MLP.
"""

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mynah.model.config import LlamaConfig

__all__ = ["Exchange", "Experts", "FeedForward", "LocalExchange", "MoE", "Router"]


class FeedForward(nn.Module):
    """SwiGLU, Shazeer 2020 (arXiv:2002.05202)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x_NC: Tensor) -> Tensor:
        """Gate, widen, narrow."""
        return self.down_proj(F.silu(self.gate_proj(x_NC)) * self.up_proj(x_NC))


class Router(nn.Module):
    """The weights of a router: a direction for each expert, and the bias that balances them."""

    e_score_correction_bias: Tensor

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.num_experts, config.hidden_size))
        self.register_buffer("e_score_correction_bias", torch.zeros(config.num_experts))


class Experts(nn.Module):
    """Gated MLPs, stacked along the first dim so that they can be dealt out to processes."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        num, inner, width = (
            config.num_experts,
            config.expert_intermediate_size,
            config.hidden_size,
        )
        self.gate_EIC = nn.Parameter(torch.empty(num, inner, width))
        self.up_EIC = nn.Parameter(torch.empty(num, inner, width))
        self.down_ECI = nn.Parameter(torch.empty(num, width, inner))

    def stacks(self) -> tuple[Tensor, Tensor, Tensor]:
        """Gate, up and down of the experts that this process computes, as plain tensors."""
        return self.gate_EIC, self.up_EIC, self.down_ECI

    def forward(self, y_PC: Tensor, counts: list[int]) -> Tensor:
        """Pass each token through its expert.

        Every expert's weights take part, also without a token: their gradient is then zero, not
        missing, and all processes reduce the same ones.

        Args:
            y_PC: Tokens in the order of their experts.
            counts: How many are of each expert in ``stacks``.
        """
        gate, up, down = (stack.to(y_PC.dtype) for stack in self.stacks())
        if _can_group(y_PC, gate):
            ends_E = torch.tensor(counts, device=y_PC.device).cumsum(0).to(torch.int32)
            inner_PI = F.silu(_grouped(y_PC, gate, ends_E)) * _grouped(y_PC, up, ends_E)
            return _grouped(inner_PI, down, ends_E)
        parts = zip(y_PC.split(counts), gate.unbind(), up.unbind(), down.unbind(), strict=True)
        return torch.cat(
            [F.linear(F.silu(F.linear(y, g)) * F.linear(y, u), d) for y, g, u, d in parts]
        )


def _can_group(y_PC: Tensor, gate_EIC: Tensor) -> bool:
    """One kernel for all experts: on GPUs, in bfloat16, with rows of whole 16 bytes."""
    is_aligned = all(size % 8 == 0 for size in gate_EIC.shape[1:])
    is_bfloat = y_PC.dtype == torch.bfloat16
    return y_PC.is_cuda and is_bfloat and is_aligned and y_PC.shape[0] > 0


def _grouped(y_PC: Tensor, weight_EIC: Tensor, ends_E: Tensor) -> Tensor:
    return F.grouped_mm(y_PC, weight_EIC.transpose(-2, -1), offs=ends_E)


class Exchange(Protocol):
    """How choices reach the process that has their expert, and what it says comes back.

    A layer calls ``send`` and then ``give_back``, once each in a forward, in this order; what finds
    the way back may be kept between the two. Both are differentiable in their tensor. A module
    that has no weights, so that it may stand in another's place.
    """

    def send(self, x_MC: Tensor, counts: list[int]) -> tuple[Tensor, list[int]]:
        """Bring choices to their experts.

        Args:
            x_MC: This process's choices in the order of all E experts.
            counts: How many are of each expert; adds up to M.

        Returns:
            ``y_PC``, the choices of all processes for the experts that this process has, in the
            order of these and, within one, in an order that is the same every time; and how many
            are of each of them.
        """
        ...

    def give_back(self, y_PC: Tensor) -> Tensor:
        """Bring what experts said of ``y_PC``, row for row, back to the order of ``x_MC``."""
        ...


class LocalExchange(nn.Module):
    """Where every process has all experts: choices stay where they are."""

    def send(self, x_MC: Tensor, counts: list[int]) -> tuple[Tensor, list[int]]:
        """Return the same rows and counts."""
        return x_MC, counts

    def give_back(self, y_PC: Tensor) -> Tensor:
        """Return the same rows."""
        return y_PC


class _Rows(torch.autograd.Function):
    """``x[index]``, whose gradient is an index as well: no atomic additions, in no order."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        x_NC, index_M, back_M, repeats = inputs
        ctx.save_for_backward(back_M)
        ctx.repeats = repeats
        return x_NC[index_M]

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        (back_M,) = ctx.saved_tensors
        grad_MC = gradients[0][back_M]
        if ctx.repeats > 1:
            grad_MC = grad_MC.unflatten(0, (-1, ctx.repeats)).sum(1)
        return grad_MC, None, None, None


def _take_rows(x_NC: Tensor, index_M: Tensor, *, back_M: Tensor, repeats: int) -> Tensor:
    """Return ``x_NC[index_M]``.

    Args:
        x_NC: Rows.
        index_M: Every row, ``repeats`` times.
        back_M: Where in ``index_M`` the rows stand: those of row 0 first, then those of row 1.
        repeats: How often each row is taken.
    """
    out = _Rows.apply(x_NC, index_M, back_M, repeats)
    assert isinstance(out, Tensor)
    return out


class MoE(nn.Module):
    """Token-choice experts with sigmoid scores, balanced without an auxiliary loss.

    Source: DeepSeek-AI 2024, section 2.1.2 (arXiv:2412.19437); Wang et al. 2024
    (arXiv:2408.15664). Fine-grained and shared experts: Dai et al. 2024 (arXiv:2401.06066).
    """

    load_E: Tensor
    """Choices of real tokens since the last ``rebalance``, added up by forwards in training."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.num_chosen = config.num_experts_per_token
        self.scale = config.routed_scaling_factor
        self.gate = Router(config)
        self.experts = Experts(config)
        self.shared_experts: FeedForward | None = None
        if config.num_shared_experts:
            inner = config.num_shared_experts * config.expert_intermediate_size
            self.shared_experts = FeedForward(config.hidden_size, inner)
        self.exchange: Exchange = LocalExchange()
        load_E = torch.zeros(config.num_experts, dtype=torch.int64)
        self.register_buffer("load_E", load_E, persistent=False)

    def forward(self, x_NC: Tensor, real_N: Tensor | None = None) -> Tensor:
        """Add up what the chosen and the shared experts make of each token.

        Args:
            x_NC: Tokens.
            real_N: False where a token only fills the row; its choices are not counted.
        """
        weight_Nk, expert_Nk = self.route(x_NC)
        if self.training and torch.is_grad_enabled():
            self._add_load(expert_Nk, real_N)
        counts = self.count(expert_Nk)
        sorted_M = expert_Nk.flatten().argsort(stable=True)
        place_M = torch.empty_like(sorted_M)
        place_M[sorted_M] = torch.arange(len(sorted_M), device=sorted_M.device)
        narrow_NC = x_NC.to(_product_dtype(x_NC))  # before it travels, not after
        x_MC = _take_rows(
            narrow_NC, sorted_M // self.num_chosen, back_M=place_M, repeats=self.num_chosen
        )
        y_PC, local_counts = self.exchange.send(x_MC, counts)
        out_MC = self.exchange.give_back(self.experts(y_PC, local_counts))
        out_MC = _take_rows(out_MC, place_M, back_M=sorted_M, repeats=1)
        out_NkC = out_MC.unflatten(0, (-1, self.num_chosen))
        out_NC = (weight_Nk[:, None].to(out_NkC.dtype) @ out_NkC)[:, 0]
        return out_NC if self.shared_experts is None else out_NC + self.shared_experts(x_NC)

    def route(self, x_NC: Tensor) -> tuple[Tensor, Tensor]:
        """Choose experts: ``weight_Nk``, which add up to the scale, and ``expert_Nk``.

        In float32 whatever the products run in: near ties decide which expert learns.
        """
        with torch.autocast(x_NC.device.type, enabled=False):
            score_NE = F.linear(x_NC.float(), self.gate.weight.float()).sigmoid()
        biased_NE = score_NE.detach() + self.gate.e_score_correction_bias
        expert_Nk = biased_NE.topk(self.num_chosen, dim=-1).indices
        weight_Nk = score_NE.gather(-1, expert_Nk)
        weight_Nk = weight_Nk / (weight_Nk.sum(-1, keepdim=True) + 1e-20)
        return weight_Nk * self.scale, expert_Nk

    def count(self, expert_Nk: Tensor) -> list[int]:
        """Choices of each of the E experts, on the host: the layer's only wait for its device."""
        return _histogram(expert_Nk, self.load_E).tolist()

    @torch.no_grad()
    def _add_load(self, expert_Nk: Tensor, real_N: Tensor | None) -> None:
        one = None if real_N is None else real_N[:, None].expand_as(expert_Nk)
        self.load_E += _histogram(expert_Nk, self.load_E, one)

    @torch.no_grad()
    def rebalance(self, load_E: Tensor, *, speed: float = 1e-3) -> None:
        """Shift the bias towards experts with less than their share; begin to count anew.

        Args:
            load_E: Choices of a step, summed over all processes; int64, so that every layout
                shifts alike.
            speed: How much a step shifts. Source: Wang et al. 2024, section 4.3.
        """
        excess_E = load_E * load_E.numel() - load_E.sum()
        bias_E = self.gate.e_score_correction_bias
        bias_E -= speed * excess_E.sign().to(bias_E.dtype)
        self.load_E.zero_()


def _histogram(expert_Nk: Tensor, like_E: Tensor, real_Nk: Tensor | None = None) -> Tensor:
    """Choices of each expert. ``bincount`` has a shape that fake tensors do not know."""
    chosen_M = expert_Nk.flatten()
    one_M = torch.ones_like(chosen_M) if real_Nk is None else real_Nk.flatten().to(chosen_M.dtype)
    return torch.zeros_like(like_E).scatter_add_(0, chosen_M, one_M)


def _product_dtype(x_NC: Tensor) -> torch.dtype:
    """What matrix products of ``x_NC`` run in here."""
    device = x_NC.device.type
    is_cast = torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if is_cast else x_NC.dtype
