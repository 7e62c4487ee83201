"""What a run learns: documents (``pretrain``), replies (``sft``); ``preferences`` has the third.

An objective says which documents a step reads, how they become a row, what is minimised over the
row and what is measured on held-out rows. One loop drives all three.

Reads the sidecar of dialogues; writes nothing. Shapes: N tokens of a row, C model width, V
vocabulary, K sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl
import torch
from torch import Tensor

from mynah.corpus.shards import shard_path
from mynah.corpus.split import hold_out
from mynah.errors import DataError
from mynah.train.data import Batch, DataOrder, DocumentSource, Piece, make_batch
from mynah.train.loss import linear_cross_entropy
from mynah.train.mesh import Mesh
from mynah.train.world import World

if TYPE_CHECKING:  # these modules import the objectives' configs
    from mynah.train.config import DataConfig
    from mynah.train.engine import Engine

__all__ = [
    "HeldOutSplit",
    "Objective",
    "PartSource",
    "TokenObjective",
    "data_order",
    "pretrain",
    "sft",
]

HELD_OUT_SHARE = 0.02
"""Share of posts whose dialogues an ``sft`` run keeps for measuring. A dialogue shows about four,
so that about one dialogue in twelve is held out."""


class Objective(Protocol):
    """What a run learns, on any mesh.

    Sums are over a row. Ranks that share a row under context parallelism each return their part;
    ranks of one tensor group return the same.
    """

    @property
    def name(self) -> str:
        """``pretrain``, ``sft`` or ``dpo``, as in a recipe."""
        ...

    @property
    def orders(self) -> tuple[DataOrder, ...]:
        """What a step reads: the pieces of each of these."""
        ...

    @property
    def held_out(self) -> tuple[Piece, ...]:
        """What ``measures`` are taken of; nothing when it has none."""
        ...

    @property
    def measure_names(self) -> tuple[str, ...]:
        """Names of the K sums of ``measures``."""
        ...

    def batch(self, pieces: Sequence[Piece], *, row_tokens: int | None) -> Batch:
        """Lay pieces into a row.

        Args:
            pieces: None make a row that counts nothing.
            row_tokens: Tokens of the row; ``None`` fills it up to a handy length.
        """
        ...

    def weight(self, batch: Batch) -> float:
        """What a whole row adds to the number that its step's loss is divided by."""
        ...

    def loss(self, hidden_NC: Tensor, head_VC: Tensor, batch: Batch, mesh: Mesh) -> Tensor:
        """Sum of the loss over a row, in nats."""
        ...

    def measures(self, hidden_NC: Tensor, head_VC: Tensor, batch: Batch, mesh: Mesh) -> Tensor:
        """The K sums over a row."""
        ...

    def metrics(self, sums: Sequence[float]) -> dict[str, float]:
        """What the sums over all held-out rows say, by the names of ``metrics.jsonl``."""
        ...

    def prepare(self, engine: "Engine", run_folder: Path, world: World) -> None:
        """Compute what the first step needs, or read it back.

        Called once by every rank, with the base's weights in the engine: before the first step,
        and before a checkpoint is loaded.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenObjective:
    """Predict every token that counts: ``pretrain`` and ``sft``, by what their sources count."""

    name: str
    orders: tuple[DataOrder, ...]
    held_out: tuple[Piece, ...] = ()
    measure_names: tuple[str, ...] = ("nats", "tokens")

    def batch(self, pieces: Sequence[Piece], *, row_tokens: int | None) -> Batch:
        """Lay pieces end to end, each a document of its own."""
        return make_batch(pieces, row_tokens=row_tokens)

    def weight(self, batch: Batch) -> float:
        """Tokens that count."""
        return batch.weight

    def loss(self, hidden_NC: Tensor, head_VC: Tensor, batch: Batch, mesh: Mesh) -> Tensor:
        """Cross-entropy of the tokens that count."""
        return linear_cross_entropy(hidden_NC, head_VC, batch.target_N, batch.weight_N)

    def measures(self, hidden_NC: Tensor, head_VC: Tensor, batch: Batch, mesh: Mesh) -> Tensor:
        """Nats, and the tokens that they are of."""
        nats = self.loss(hidden_NC, head_VC, batch, mesh)
        return torch.stack((nats, batch.weight_N.sum())).double()

    def metrics(self, sums: Sequence[float]) -> dict[str, float]:
        """Mean loss of a held-out reply's token, in nats."""
        nats, tokens = sums
        return {"heldout_reply_nats": nats / max(1.0, tokens)}

    def prepare(self, engine: "Engine", run_folder: Path, world: World) -> None:
        """Nothing to compute."""


def data_order(source: DocumentSource, data: "DataConfig", *, tokens: int) -> DataOrder:
    """The order in which a run reads a source, ``tokens`` of it a step."""
    return DataOrder(
        source,
        seed=data.seed,
        tokens_per_step=tokens,
        max_tokens=min(data.max_document_tokens, tokens),
    )


def pretrain(
    documents: DocumentSource, dialogues: DocumentSource | None, data: "DataConfig"
) -> TokenObjective:
    """Learn documents, and dialogues beside them for their share of each step's tokens.

    Args:
        documents: Of the corpus.
        dialogues: ``None`` leaves their share to the documents.
        data: Which of them a step reads.
    """
    share = data.dialogue_share if dialogues is not None else 0.0
    orders = [data_order(documents, data, tokens=round(data.tokens_per_step * (1.0 - share)))]
    if dialogues is not None and share > 0.0 and len(dialogues.sizes):
        orders.append(data_order(dialogues, data, tokens=round(data.tokens_per_step * share)))
    return TokenObjective(name="pretrain", orders=tuple(orders))


def sft(dialogues: DocumentSource, split: "HeldOutSplit", data: "DataConfig") -> TokenObjective:
    """Learn the replies of dialogues; measure on the dialogues of the split.

    Args:
        dialogues: Their weights are one on the reply and zero before it.
        split: Which of them are never trained on.
        data: Which of them a step reads.
    """
    kept = PartSource(dialogues, ~split.is_held_out)
    return TokenObjective(
        name="sft",
        orders=(data_order(kept, data, tokens=data.tokens_per_step),),
        held_out=split.pieces(dialogues, data),
    )


class PartSource:
    """Some documents of a source, under the numbers they have there; the rest have no tokens.

    Args:
        source: All of them.
        is_in: Of each document, whether it is one of them.
    """

    def __init__(self, source: DocumentSource, is_in: np.ndarray) -> None:
        self.source = source
        self.is_in = is_in

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of each document; none of those left out."""
        return np.where(self.is_in, self.source.sizes, 0)

    def tokens(self, number: int) -> np.ndarray:
        """Tokens of one document."""
        return self.source.tokens(number)

    def weights(self, number: int) -> np.ndarray:
        """Weight of predicting each of its tokens."""
        return self.source.weights(number)


@dataclass(frozen=True, slots=True)
class HeldOutSplit:
    """Which dialogues are kept for measuring: decided by a hash, before training.

    Posts are chosen by the hash of their id, and a dialogue is held out when it shows one of them.
    So no post that was chosen is ever learned from, and every held-out dialogue shows one. As the
    split is of ids, it stays what it is when a post is taken back.
    """

    is_held_out: np.ndarray
    """Of each dialogue."""

    @classmethod
    def of_dialogues(cls, prefix: Path, *, share: float = HELD_OUT_SHARE) -> "HeldOutSplit":
        """Split the dialogues of a shard.

        Args:
            prefix: Of the shard, as in ``dialogues/abc/train``.
            share: Of posts, to hold out.

        Raises:
            DataError: There are too few dialogues to train on some and hold out others.
        """
        meta = pl.read_parquet(shard_path(prefix, ".meta.parquet"), glob=False)
        shown = meta.select("document", "post_ids").explode("post_ids")
        is_chosen = hold_out(shown["post_ids"].fill_null(""), fraction=share)
        held_out = shown.filter(is_chosen)["document"].unique().implode()
        is_held_out = meta["document"].is_in(held_out).to_numpy()
        if is_held_out.all():
            raise DataError(
                f"{prefix} has {len(is_held_out)} dialogues, too few to train on some and hold "
                "out others",
                hint="give mynah more posts: dialogues are made of posts that share topics",
            )
        return cls(is_held_out)

    def pieces(self, dialogues: DocumentSource, data: "DataConfig") -> tuple[Piece, ...]:
        """The held-out dialogues an evaluation reads: in order, one at least."""
        pieces: list[Piece] = []
        room = data.heldout_max_tokens
        for number in np.flatnonzero(self.is_held_out).tolist():
            length = int(dialogues.sizes[number]) - 1
            if length > data.max_document_tokens or length < 1:
                continue  # cut in two, a reply would be measured without its posts
            if pieces and length > room:
                break
            pieces.append((dialogues, (number, 0, length)))
            room -= length
        return tuple(pieces)
