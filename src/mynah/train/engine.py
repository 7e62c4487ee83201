"""What one rank computes in a step: forward, backward, clip, update. The same on any mesh.

Reads rows of tokens; changes its weights. It knows nothing of corpora, checkpoints, the record or
the clock: a run drives it with real rows, a rehearsal with fake tensors.

Shapes: N tokens of a row (of this rank's share of it, under context parallelism), C model width,
V vocabulary.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from mynah.model import Llama, LlamaConfig, initial_weight
from mynah.train.config import Recipe
from mynah.train.context_parallel import cut_row
from mynah.train.data import ROW_MULTIPLE, Batch
from mynah.train.gradients import clip
from mynah.train.layout import check_layout
from mynah.train.mesh import Mesh
from mynah.train.optimizers import make_optimizer
from mynah.train.parallelize import parallelize
from mynah.train.pipeline import Pipeline, make_parts
from mynah.train.replicas import ReplicaGroups
from mynah.train.sharding import draw, fill
from mynah.train.spikes import SpikeGuard

__all__ = ["Engine", "Measure", "Outcome", "RowLoss"]


class RowLoss(Protocol):
    """What a step minimises: part of an objective."""

    def loss(self, hidden_NC: Tensor, head_VC: Tensor, batch: Batch, mesh: Mesh) -> Tensor:
        """Sum of the loss over a row."""
        ...


Measure = Callable[[Tensor, Tensor, Batch, Mesh], Tensor]
"""Sums over a row, as one flat tensor, of hidden states and the output matrix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a step came to; the same on every rank."""

    loss: float
    """Mean over what counts, before the update."""
    grad_norm: float
    """Of all gradients together, before clipping."""
    is_skipped: bool
    """Whether the weights were left as they were."""
    is_undone: bool = False
    """Whether a replica group died in it: nothing has changed, and the same step is to be begun
    again by those that are left."""


UNDONE = Outcome(loss=math.nan, grad_norm=math.nan, is_skipped=False, is_undone=True)


class Engine:
    """Weights, optimizer and mesh of one rank.

    Made on the ``meta`` device: no memory is taken until ``load`` or ``initialise`` fills the
    weights, each rank its own part only.

    Args:
        config: The model.
        recipe: How to train it.
        mesh: Where this rank stands; its layout is that of the recipe, or of one replica group.
        device: Where its tensors live.

    Raises:
        ConfigError: The layout does not fit the model, or something it needs is not installed.
    """

    def __init__(
        self, config: LlamaConfig, recipe: Recipe, mesh: Mesh, *, device: torch.device
    ) -> None:
        self.config = config
        self.recipe = recipe
        self.mesh = mesh
        self.device = device
        layout = mesh.layout
        check_layout(
            layout,
            config,
            world_size=mesh.world_size,
            row_tokens=recipe.row_tokens(device.type) or ROW_MULTIPLE,
            is_compiled=recipe.is_compiled,
            is_float8=recipe.precision == "float8",
        )
        self.parts: list[Llama] = []
        for part in make_parts(config, layout, mesh.pipeline_rank):
            with torch.device("meta"):
                model = Llama(config, part=part)
            if recipe.precision == "float8":
                from mynah.train.float8 import convert_to_float8  # needs an extra

                convert_to_float8(model, device)
            if recipe.is_compiled:
                from mynah.train.compiling import compile_model  # seconds of imports

                compile_model(model, device_type=device.type)
            parallelize(model, mesh, layout, is_bfloat16=recipe.precision != "float32")
            self.parts.append(model)
        self.spikes = SpikeGuard(recipe.optimizer)
        self.pipeline = Pipeline(
            self.parts,
            mesh,
            layout,
            row_tokens=recipe.data.batch_tokens,
            is_bfloat16=recipe.precision != "float32",
        )

    def materialise(self) -> None:
        """Take the memory of this rank's weights, whatever they hold, and make the optimizer."""
        for part in self.parts:
            part.to_empty(device=self.device)
            for mixture in part.mixtures():
                mixture.load_E.zero_()
        dtype = torch.float32 if self.recipe.precision == "float32" else torch.bfloat16
        self.optimizer = make_optimizer(
            self.named_parameters(), self.recipe.optimizer, product_dtype=dtype
        )
        self.optimizer.materialise_state()

    def initialise(self, *, seed: int) -> None:
        """Draw fresh weights; each is the same on any mesh."""
        self.materialise()
        for name, weight in self._named_weights():
            draw(weight, partial(_rows, name, self.config, seed))

    def load(self, weights: Iterator[tuple[str, Tensor]]) -> None:
        """Fill the weights from a stream of whole tensors under the model's own names."""
        self.materialise()
        places = dict(self._named_weights())
        for name, tensor in weights:
            if name in places:
                fill(places[name], tensor)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Weights of this rank under the names of the whole model."""
        for part in self.parts:
            yield from part.named_parameters()

    def parameters(self) -> list[nn.Parameter]:
        """Weights of this rank."""
        return [weight for _, weight in self.named_parameters()]

    def _named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Parameters and what else a checkpoint of the model holds, such as experts' biases."""
        for part in self.parts:
            yield from part.state_dict(keep_vars=True).items()

    def named_state(self) -> dict[str, Tensor]:
        """All that a checkpoint must hold, under names that no mesh changes."""
        state = {f"model.{name}": tensor.detach() for name, tensor in self._named_weights()}
        for name, tensor in self.optimizer.state_tensors().items():
            state[f"optimizer.{name}"] = tensor
        return state

    @property
    def head_VC(self) -> Tensor:
        """The output matrix; only of a rank that holds the last layers."""
        return self.parts[-1].head_VC

    def step(
        self,
        rows: Sequence[Batch],
        objective: RowLoss,
        *,
        lr_share: float,
        groups: ReplicaGroups | None = None,
    ) -> Outcome:
        """Train on one step's rows of this rank.

        Args:
            rows: As many on every data rank; rows that count nothing fill up.
            objective: What to minimise.
            lr_share: Learning rate as a share of its peak.
            groups: Others that read the rest of the step's rows, where there are such; they have
                begun it together.

        Raises:
            CheckpointError: Too many steps were skipped.
        """
        self.optimizer.set_lr_share(lr_share)
        loss = self._gradients(rows, objective, groups)
        if loss is None:
            self._rebalance(is_skipped=True)
            self.optimizer.zero_grad()
            return UNDONE
        norm = clip(self.parameters(), self.recipe.optimizer.clip_norm, self.mesh)
        is_skipped = self.spikes.skips(loss, norm)
        if not is_skipped:
            self.optimizer.step()
        self._rebalance(is_skipped=is_skipped)
        self.optimizer.zero_grad()
        return Outcome(loss=loss, grad_norm=norm, is_skipped=is_skipped)

    def _gradients(
        self, rows: Sequence[Batch], objective: RowLoss, groups: ReplicaGroups | None
    ) -> float | None:
        """Add up the gradients of a step, and its experts' loads, over all ranks and groups.

        Returns:
            Its mean loss; ``None`` when a group died before all of them had the sums.
        """
        own = torch.tensor(sum(row.weight for row in rows), dtype=torch.float64)
        weight = float(self.mesh.sum_over_data(own.to(self.device)))
        if groups is None:
            return self._backward(rows, objective, weight=max(1.0, weight))
        told = groups.agree([weight])
        if told is not None:
            loss = self._backward(rows, objective, weight=max(1.0, told[0]))
            groups.sum_gradients(self.parameters())
            groups.sum_tensors(self._loads())
            told = groups.agree([loss])
        is_kept = groups.should_commit()
        return told[0] if told is not None and is_kept else None

    def _backward(self, rows: Sequence[Batch], objective: RowLoss, *, weight: float) -> float:
        """Forward and backward of this mesh; return its share of the loss.

        Args:
            rows: Of this rank.
            objective: What to minimise.
            weight: Of the whole step; losses are divided by it.
        """

        def loss_of_row(hidden_NC: Tensor, row: Batch) -> Tensor:
            hidden_NC = self._for_loss(hidden_NC)
            return objective.loss(hidden_NC, self.head_VC, row, self.mesh) / weight

        for part in self.parts:
            part.train()
        with self._autocast():  # around them all: weights are rounded once a step
            losses = self.pipeline.step([self._cut(row) for row in rows], loss_of_row)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for loss in losses:
            total += loss.detach()
        for load_E in self._loads():
            self.mesh.sum_over_rows(load_E)
        return float(self.mesh.sum_over_losses(total))

    @torch.no_grad()
    def evaluate(self, rows: Sequence[Batch], measure: Measure, *, num_sums: int) -> list[float]:
        """Add up ``measure`` over the rows of all ranks.

        Args:
            rows: Of this rank, as many on every data rank.
            measure: Sums over one row, ``num_sums`` of them.
            num_sums: How many; ranks without the last layers have none to count.
        """
        total = torch.zeros(num_sums, dtype=torch.float64, device=self.device)

        def measure_row(hidden_NC: Tensor, row: Batch) -> Tensor:
            return measure(self._for_loss(hidden_NC), self.head_VC, row, self.mesh)

        for part in self.parts:
            part.eval()
        with self._autocast():
            found = self.pipeline.evaluate([self._cut(row) for row in rows], measure_row)
        for sums in found:
            total += sums
        return self.mesh.sum_over_losses(total).tolist()

    def _cut(self, row: Batch) -> Batch:
        """This rank's share of a row, on its device."""
        num_context = self.recipe.layout.context
        own = cut_row(row, context_rank=self.mesh.context_rank, num_context=num_context)
        return own.to(self.device)

    def _for_loss(self, hidden_NC: Tensor) -> Tensor:
        return hidden_NC if self.recipe.precision == "float32" else hidden_NC.bfloat16()

    def _autocast(self) -> AbstractContextManager[object]:
        if self.recipe.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _rebalance(self, *, is_skipped: bool) -> None:
        """Shift the experts' biases towards even loads, by what all ranks saw."""
        for part in self.parts:
            for mixture in part.mixtures():
                if is_skipped:
                    mixture.load_E.zero_()
                else:
                    mixture.rebalance(mixture.load_E)

    def _loads(self) -> list[Tensor]:
        """How many tokens each expert of each layer of this rank got in this step."""
        return [mixture.load_E for part in self.parts for mixture in part.mixtures()]


def _rows(name: str, config: LlamaConfig, seed: int, rows: range) -> Tensor:
    return initial_weight(name, config, seed=seed, rows=rows)
