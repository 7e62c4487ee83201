"""How a step changes the weights: AdamW, or Muon for the matrices of layers and AdamW for the rest.

Reads gradients, changes weights and its own state in place; writes nothing. Weights may be
DTensors over any meshes: AdamW works element by element, so it runs on the parts that a rank
holds, and the same numbers come out in every layout. Muon is in ``muon.py``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import ConfigDict, Field
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn import Parameter
from torch.optim.adamw import adamw

from mynah.train.muon import Muon, is_orthogonalised
from mynah.train.sharding import local

__all__ = ["OptimizerConfig", "Optimizers", "make_optimizer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """AdamW, Loshchilov & Hutter 2019 (arXiv:1711.05101), or Muon, Jordan et al. 2024."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: Literal["adamw", "muon"] = "adamw"
    """Muon moves the matrices of layers and AdamW all else, with the same learning rate and
    weight decay: Muon's updates are scaled to the size of AdamW's."""
    lr: Annotated[float, Field(gt=0)] = 3e-4
    """Peak learning rate, reached at the end of warm-up."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Memory of the mean gradient."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Memory of the mean squared gradient."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the root of the squared mean."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Memory of the mean gradient in Muon; AdamW has ``beta1``."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Pull towards zero a step, times the learning rate; of matrices only."""
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients of a larger norm are scaled down to it."""
    spike_factor: Annotated[float, Field(ge=0)] = 20.0
    """A step is skipped when its gradient's norm is more than this many times the median of
    those before it; 0 skips none. Clipping bounds what one such step can do to the weights, so
    this is for a broken batch or a broken device, and well above what healthy steps show."""
    max_skipped_steps: Annotated[int, Field(ge=0)] = 20
    """Steps that are skipped, for a spike or for a loss or gradient that is not finite, before
    one more ends the run."""


class Optimizers:
    """One optimizer, or two, over all weights of this rank.

    Args:
        named_parameters: Trainable ones, under the names that their state gets.
        config: Which, and its numbers.
        product_dtype: Of Muon's products.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, Parameter]],
        config: OptimizerConfig,
        *,
        product_dtype: torch.dtype,
    ) -> None:
        self.config = config
        self.lr = config.lr
        self._weights = {name: weight for name, weight in named_parameters if weight.requires_grad}
        self._state: dict[str, dict[str, Tensor]] = {}
        has_muon = config.name == "muon"
        self._muon = Muon(
            {n: w for n, w in self._weights.items() if has_muon and is_orthogonalised(n, w)},
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            product_dtype=product_dtype,
        )
        rest = [name for name in self._weights if name not in self._muon.weights]
        self._decayed = [name for name in rest if self._weights[name].ndim > 1]
        self._kept = [name for name in rest if self._weights[name].ndim <= 1]

    def set_lr_share(self, share: float) -> None:
        """Set the learning rate of the steps to come, as a share of its peak."""
        self.lr = self.config.lr * share

    @torch.no_grad()
    def materialise_state(self) -> None:
        """Make the state of a run's beginning, all zeros, where there is none yet.

        A checkpoint is read into these tensors in place.
        """
        for name, weight in self._weights.items():
            if name in self._state:
                continue
            if name in self._muon.weights:
                self._state[name] = {"momentum_buffer": torch.zeros_like(weight)}
                continue
            self._state[name] = {
                "step": torch.zeros((), dtype=torch.float32, device=weight.device),
                "exp_avg": torch.zeros_like(weight),
                "exp_avg_sq": torch.zeros_like(weight),
            }

    def state_tensors(self) -> dict[str, Tensor]:
        """All state by ``<name of the weight>.<key>``, DTensors where the weights are.

        Keys: ``exp_avg``, ``exp_avg_sq`` and ``step`` of AdamW, ``momentum_buffer`` of Muon.
        Empty before the first step, unless ``materialise_state`` was called.
        """
        return {
            f"{name}.{key}": tensor
            for name, state in self._state.items()
            for key, tensor in state.items()
        }

    def zero_grad(self) -> None:
        """Let go of the gradients."""
        for weight in self._weights.values():
            weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every weight by its gradient; one that no token reached has a gradient of zero."""
        self.materialise_state()
        self._adamw(self._decayed, weight_decay=self.config.weight_decay)
        self._adamw(self._kept, weight_decay=0.0)
        names = self._muon.weights
        self._muon.step(
            {name: _gradient(self._weights[name]) for name in names},
            {name: local(self._state[name]["momentum_buffer"]) for name in names},
            self.lr,
        )

    def _adamw(self, names: list[str], *, weight_decay: float) -> None:
        if not names:
            return
        config = self.config
        states = [self._state[name] for name in names]
        # torch's function, not its class: a fused call takes no list of DTensors over different
        # meshes, and experts lie on another mesh than the rest. Their local parts it takes.
        adamw(
            [local(self._weights[name]) for name in names],
            [_gradient(self._weights[name]) for name in names],
            [local(state["exp_avg"]) for state in states],
            [local(state["exp_avg_sq"]) for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=config.beta1,
            beta2=config.beta2,
            lr=self.lr,
            weight_decay=weight_decay,
            eps=config.eps,
            maximize=False,
        )


def _gradient(weight: Parameter) -> Tensor:
    """This rank's part of the gradient, cut as the weight is."""
    gradient = weight.grad
    if gradient is None:
        return torch.zeros_like(local(weight))
    if isinstance(gradient, DTensor) and isinstance(weight, DTensor):
        gradient = gradient.redistribute(placements=weight.placements)
    return local(gradient)


def make_optimizer(
    named_parameters: Iterable[tuple[str, Parameter]],
    config: OptimizerConfig,
    *,
    product_dtype: torch.dtype = torch.bfloat16,
) -> Optimizers:
    """Make the optimizer that a recipe asks for.

    Args:
        named_parameters: This rank's, under Hugging Face's names: Muon tells by them what lies
            within a layer. Sharded already.
        config: Which, and its numbers.
        product_dtype: Of Muon's products; float32 where a run's precision is.
    """
    return Optimizers(named_parameters, config, product_dtype=product_dtype)
