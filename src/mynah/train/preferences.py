"""Direct preference optimisation: of two replies to one prompt, make the chosen one likelier.

Source: Rafailov et al. 2023, "Direct Preference Optimization" (arXiv:2305.18290), equation 7.

Reads an artifact of preferences; writes what ``reference`` keeps in the folder of a run. Shapes: N
tokens of a row, P pairs of a row, S = 2 P replies of a row (chosen and other of each pair, by
turns), C model width, V vocabulary, K sums, M pairs in all.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from pydantic import ConfigDict, Field
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup

from mynah.errors import DataError
from mynah.train.data import Batch, DataOrder, Piece
from mynah.train.mesh import Mesh
from mynah.train.pairs import PairSource, documents_of, in_order, lay_pairs, pairs_digest
from mynah.train.reference import (
    compute_reference,
    log_probabilities,
    read_reference,
    write_reference,
)
from mynah.train.world import World
from mynah.workspace import Artifact, canonical_json

if TYPE_CHECKING:  # these modules import the objectives' configs
    from mynah.train.config import DataConfig
    from mynah.train.engine import Engine

__all__ = ["DpoConfig", "PreferenceObjective", "dpo"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DpoConfig:
    """Direct preference optimisation, Rafailov et al. 2023 (arXiv:2305.18290)."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    beta: Annotated[float, Field(gt=0)] = 0.1
    """How much a nat of preference beyond the base model's own is worth: small values let the
    weights go far from the base, large ones keep them near."""


def dpo(
    preferences: Artifact, data: "DataConfig", config: DpoConfig, *, base_digest: str
) -> "PreferenceObjective":
    """Learn the pairs of an artifact; measure on those that it holds out.

    A pair must fit a row, ``data.batch_tokens``, whatever the layout: longer ones are left out.

    Args:
        preferences: The pairs.
        data: Which of them a step reads.
        config: How far from the base.
        base_digest: Of the base, whose log-probabilities are what the weights are compared with.

    Raises:
        DataError: No pair fits.
    """
    max_tokens = min(data.batch_tokens, data.tokens_per_step)
    train, heldout = (
        PairSource.open(preferences, part, max_tokens=max_tokens) for part in ("train", "heldout")
    )
    if train.num_left_out == len(train.shard):
        raise DataError(
            f"none of the {len(train.shard)} preference pairs fits a row of {max_tokens} tokens "
            "(the smaller of data.batch_tokens and data.tokens_per_step)",
            hint=f"set data.batch_tokens and data.tokens_per_step to {train.shard.sizes.min() - 1} "
            "at least",
        )
    if left_out := train.num_left_out + heldout.num_left_out:
        logger.warning(
            "%d of %d preference pairs are longer than a row of %d tokens and are left out",
            left_out,
            len(train.shard) + len(heldout.shard),
            max_tokens,
        )
    order = DataOrder(
        train,
        seed=data.seed,
        tokens_per_step=data.tokens_per_step,
        max_tokens=max_tokens,
        cut=documents_of,
    )
    facts = {"base": base_digest, "pairs": pairs_digest(preferences)}
    return PreferenceObjective(
        order, _first_pairs(heldout, data.heldout_max_tokens), config, facts=facts
    )


def _first_pairs(source: PairSource, max_tokens: int) -> tuple[Piece, ...]:
    """Pairs in order until ``max_tokens`` are reached, one at least."""
    pieces = source.pieces()
    ends = np.cumsum([length for _, (_, _, length) in pieces])
    return tuple(pieces[: max(1, int(np.searchsorted(ends, max_tokens, side="right")))])


class PreferenceObjective:
    """Raise the chosen reply's log-probability over the other's, by what the base says of them.

    Args:
        order: Of a ``PairSource``.
        held_out: Pairs that ``measures`` are taken of.
        config: How far from the base.
        facts: What the reference is a function of.
    """

    name = "dpo"
    measure_names = ("loss", "preferred", "margin", "pairs")

    def __init__(
        self,
        order: DataOrder,
        held_out: tuple[Piece, ...],
        config: DpoConfig,
        *,
        facts: dict[str, str],
    ) -> None:
        self.orders = (order,)
        self.held_out = held_out
        self.config = config
        self.facts = facts
        self.reference: dict[tuple[int, int], np.ndarray] = {}
        """The base's log-probabilities of both replies, of each pair of either source."""

    def batch(self, pieces: Sequence[Piece], *, row_tokens: int | None) -> Batch:
        """Lay pairs end to end, each as two documents of which neither sees the other."""
        batch = lay_pairs(pieces, row_tokens=row_tokens)
        found = [self.reference[self._key(piece)] for piece in in_order(pieces)]
        reference_S = torch.from_numpy(np.array(found, dtype=np.float32).reshape(-1))
        return replace(batch, extra={**batch.extra, "reference_S": reference_S})

    def weight(self, batch: Batch) -> float:
        """Pairs, but those that were taken back."""
        return batch.weight

    def loss(self, hidden_NC: Tensor, head_VC: Tensor, batch: Batch, mesh: Mesh) -> Tensor:
        """Sum over pairs of ``-log sigmoid(beta * margin)``, in nats."""
        margin_P = self._margins(hidden_NC, head_VC, batch, mesh)
        loss_P = F.softplus(-self.config.beta * margin_P) * batch.extra["counts_P"]
        return loss_P.sum() / mesh.size("context")

    def measures(self, hidden_NC: Tensor, head_VC: Tensor, batch: Batch, mesh: Mesh) -> Tensor:
        """Loss, pairs whose chosen reply gained more on the base than the other, margins, pairs."""
        margin_P = self._margins(hidden_NC, head_VC, batch, mesh).double()
        loss_P = F.softplus(-self.config.beta * margin_P)
        # A tie, as before the first step, is half a pair: nothing has been learned.
        preferred_P = (margin_P.sign() + 1.0) / 2.0
        sums_KP = torch.stack((loss_P, preferred_P, margin_P, torch.ones_like(margin_P)))
        return (sums_KP * batch.extra["counts_P"]).sum(1) / mesh.size("context")

    def metrics(self, sums: Sequence[float]) -> dict[str, float]:
        """Means over held-out pairs; the margin is a difference of rewards, beta included."""
        loss, preferred, margin, pairs = sums
        pairs = max(1.0, pairs)
        return {
            "heldout_dpo_loss": loss / pairs,
            "heldout_pair_accuracy": preferred / pairs,
            "heldout_reward_margin": self.config.beta * margin / pairs,
        }

    def prepare(self, engine: "Engine", run_folder: Path, world: World) -> None:
        """Read the reference, or compute it with the engine's weights; all ranks share the work.

        Called with the base's weights in the engine, before a checkpoint is loaded. A reference
        that is of something else, or damaged, is computed anew.
        """
        (order,) = self.orders
        assert isinstance(order.source, PairSource), "preferences are read from pairs"
        pieces = [*order.source.pieces(), *self.held_out]
        keys = [self._key(piece) for piece in pieces]
        numbers = hashlib.sha256(canonical_json(keys)).hexdigest()
        facts = {**self.facts, "numbers": numbers}
        kept = read_reference(run_folder, facts) if world.is_main else None
        values_M2: np.ndarray | None = world.broadcast_object(kept)
        if values_M2 is None:
            # Held-out pairs in rows of their own, as they are measured: to the last bit, the base
            # then prefers neither reply to what it was.
            parts = (order.source.pieces(), self.held_out)
            values_M2 = np.concatenate([compute_reference(engine, part) for part in parts if part])
            if world.is_main:
                write_reference(run_folder, facts, values_M2)
            logger.info("the base's log-probabilities of %d pairs are computed", len(pieces))
        self.reference = dict(zip(keys, values_M2, strict=True))

    def _key(self, piece: Piece) -> tuple[int, int]:
        source, (number, _, _) = piece
        return int(source is self.orders[0].source), number

    def _margins(self, hidden_NC: Tensor, head_VC: Tensor, batch: Batch, mesh: Mesh) -> Tensor:
        """How much more the chosen reply has gained on the base than the other, in nats."""
        context = mesh.axis("context")
        sums_S = log_probabilities(hidden_NC, head_VC, batch)
        if context is not None:
            summed_S = _SumOverRanks.apply(sums_S, context.get_group())
            assert isinstance(summed_S, Tensor)
            sums_S = summed_S
        gain_P2 = (sums_S - batch.extra["reference_S"]).view(len(sums_S) // 2, 2)
        return gain_P2[:, 0] - gain_P2[:, 1]


class _SumOverRanks(torch.autograd.Function):
    """Add up over a group; a gradient is added up likewise, as every rank uses the sum."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        x_S, ctx.group = inputs
        return _all_reduced(x_S, ctx.group)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        (grad_S,) = gradients
        return _all_reduced(grad_S, ctx.group), None


def _all_reduced(x_S: Tensor, group: ProcessGroup) -> Tensor:
    total_S = x_S.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total_S, group=group)
    return total_S
