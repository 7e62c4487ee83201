"""Which tokens a step reads: a pure function of seed, corpus and step.

Reads ``train.bin`` of a corpus and of the dialogues. Resuming needs no cursor but the step, and
"which step first saw post P" is arithmetic.

Shapes: N tokens of a step, M pieces of documents.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mynah.corpus import TokenShard
from mynah.errors import ConfigError
from mynah.model import Packing, pack

__all__ = [
    "Batch",
    "CorpusSource",
    "DataOrder",
    "DialogueSource",
    "DocumentSource",
    "Piece",
    "make_batch",
]


class DocumentSource(Protocol):
    """Token documents by number, and the places whose prediction counts."""

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of each document."""
        ...

    def tokens(self, number: int) -> np.ndarray:
        """Tokens of one document."""
        ...

    def weights(self, number: int) -> np.ndarray:
        """Weight of predicting each of its tokens; of the first it is not used."""
        ...


class CorpusSource:
    """Documents of a token shard, each begun by the token that ended the one before.

    Args:
        shard: Its documents end with ``boundary``.
        boundary: The end-of-text token; every other token is predicted.
    """

    def __init__(self, shard: TokenShard, *, boundary: int) -> None:
        self.shard = shard
        self.boundary = np.array([boundary])

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of each document, the one before it included."""
        return np.asarray(self.shard.sizes) + 1

    def tokens(self, number: int) -> np.ndarray:
        """Tokens of one document."""
        return np.concatenate((self.boundary, self.shard[number]))

    def weights(self, number: int) -> np.ndarray:
        """Every token counts, but those that stand where a post was taken back."""
        is_word = self.shard[number] != self.boundary[0]
        weights = np.concatenate(([True], is_word))
        weights[-1] = is_word.any()
        return weights.astype(np.float64)


class DialogueSource:
    """Dialogues of a token shard; only what the assistant says is learned.

    Args:
        shard: Each document is one dialogue in ChatML.
        reply_starts: Index of the first token of each dialogue's reply.
        boundary: The end-of-text token: it stands where a post was taken back.
    """

    def __init__(self, shard: TokenShard, *, reply_starts: np.ndarray, boundary: int) -> None:
        self.shard = shard
        self.reply_starts = reply_starts
        self.boundary = boundary

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of each dialogue."""
        return np.asarray(self.shard.sizes)

    def tokens(self, number: int) -> np.ndarray:
        """Tokens of one dialogue."""
        return self.shard[number]

    def weights(self, number: int) -> np.ndarray:
        """One on the reply, none before it, nor where a post was taken back."""
        tokens = self.shard[number]
        is_reply = np.arange(len(tokens)) >= self.reply_starts[number]
        return is_reply & (tokens != self.boundary)


ROW_MULTIPLE = 64
"""oneDNN makes and keeps a kernel for every shape it meets: rows of any length cost 37 MB a step
and time to make them; of few lengths, neither."""

Piece = tuple[DocumentSource, tuple[int, int, int]]
"""A source, and (document, start, predictions) of a piece of it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Tokens to read, tokens to predict, and how documents lie in them.

    The row is filled up at its beginning with documents that count nothing.
    """

    ids_N: Tensor
    target_N: Tensor
    weight_N: Tensor
    packing: Packing
    num_tokens: int
    """Tokens read, those that fill the row not counted."""
    weight: float = 0.0
    """What the row adds to the number that its step's loss is divided by: the sum of ``weight_N``,
    unless the objective counts something else than tokens."""
    extra: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    """What else an objective needs. As everywhere, a name says the shape: what ends in ``_N`` has
    a value for each token of the row, and is cut with the row; the rest is the whole row's."""

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on ``device``."""
        return replace(
            self,
            ids_N=self.ids_N.to(device),
            target_N=self.target_N.to(device),
            weight_N=self.weight_N.to(device),
            packing=self.packing.to(device),
            extra={name: tensor.to(device) for name, tensor in self.extra.items()},
        )

    def at(self, place_N: Tensor, packing: Packing) -> "Batch":
        """Some places of the row, as a rank reads that shares it with others.

        Args:
            place_N: Index of each place, in the order wanted, on the device of the batch.
            packing: Of these places.
        """
        return replace(
            self,
            ids_N=self.ids_N[place_N],
            target_N=self.target_N[place_N],
            weight_N=self.weight_N[place_N],
            packing=packing,
            extra={
                name: tensor[place_N] if name.endswith("_N") else tensor
                for name, tensor in self.extra.items()
            },
        )


class DataOrder:
    """The order of pieces of documents, epoch by epoch.

    Args:
        source: Documents.
        seed: Each epoch's permutation is drawn from (seed, epoch).
        tokens_per_step: A step takes the pieces whose last token falls in its own stretch of
            this many tokens, so that every piece is in exactly one step of an epoch.
        max_tokens: Longer documents are cut into pieces of this many tokens.
        cut: As for ``make_batch``: tokens of each document that a piece is in its row.
    """

    def __init__(
        self,
        source: DocumentSource,
        *,
        seed: int,
        tokens_per_step: int,
        max_tokens: int,
        cut: "Callable[[Piece], list[int]] | None" = None,
    ) -> None:
        if max_tokens < 1:
            raise ConfigError(
                f"a step has room for {tokens_per_step} tokens of a source, it needs one at least",
                hint="raise data.tokens_per_step, or choose another data.dialogue_share",
            )
        if tokens_per_step < max_tokens:
            raise ConfigError(
                f"data.tokens_per_step is {tokens_per_step}, less than one document's "
                f"{max_tokens} (data.max_document_tokens)",
                hint="raise the one or lower the other",
            )
        self.source = source
        self.seed = seed
        self.tokens_per_step = tokens_per_step
        self.max_tokens = max_tokens
        # A document of n tokens has n - 1 predictions; a piece starts on the last token of the
        # piece before, so that none is lost.
        predictions = np.maximum(source.sizes.astype(np.int64) - 1, 0)
        pieces = -(-predictions // max_tokens)
        self.document_M = np.repeat(np.arange(len(predictions)), pieces)
        first_M = np.repeat(np.cumsum(pieces) - pieces, pieces)
        self.start_M = (np.arange(len(self.document_M)) - first_M) * max_tokens
        self.length_M = np.minimum(predictions[self.document_M] - self.start_M, max_tokens)
        self._pairs_M = self.length_M * (self.length_M + 1) // 2
        if cut is not None:
            rows = zip(self.document_M, self.start_M, self.length_M, strict=True)
            lengths = (cut((source, (int(d), int(s), int(n)))) for d, s, n in rows)
            pairs = [sum(n * (n + 1) // 2 for n in parts) for parts in lengths]
            self._pairs_M = np.array(pairs, dtype=np.int64)
        self.steps_per_epoch = max(1, -(-int(self.length_M.sum()) // tokens_per_step))
        self._epoch = -1
        self._order_M = np.empty(0, dtype=np.int64)
        self._end_M = np.empty(0, dtype=np.int64)

    def _enter(self, epoch: int) -> None:
        if epoch == self._epoch:
            return
        generator = np.random.default_rng([self.seed, epoch])
        self._order_M = generator.permutation(len(self.document_M))
        self._end_M = self.length_M[self._order_M].cumsum()
        self._epoch = epoch

    def pieces(self, step: int) -> list[tuple[int, int, int]]:
        """Return (document, start, predictions) of each piece that ``step`` reads, from 0."""
        return [
            (int(self.document_M[m]), int(self.start_M[m]), int(self.length_M[m]))
            for m in self._chosen(step)
        ]

    def _chosen(self, step: int) -> np.ndarray:
        epoch, place = divmod(step, self.steps_per_epoch)
        self._enter(epoch)
        first, last = np.searchsorted(
            self._end_M,
            (place * self.tokens_per_step, (place + 1) * self.tokens_per_step),
            side="right",
        )
        return self._order_M[int(first) : int(last)]

    def work_at(self, step: int) -> tuple[int, int]:
        """Tokens that ``step`` reads, and pairs of tokens in attention, as ``work_of`` adds up."""
        chosen = self._chosen(step)
        return int(self.length_M[chosen].sum()), int(self._pairs_M[chosen].sum())

    def work_of(self, num_steps: int) -> tuple[int, int]:
        """Tokens that the first ``num_steps`` steps read, and pairs of tokens in attention.

        A pair is a token and itself or one before it in its document. Exact, and quick for any
        number of steps.
        """
        num_epochs, place = divmod(num_steps, self.steps_per_epoch)
        pairs_M = self._pairs_M
        self._enter(num_epochs)
        last = np.searchsorted(self._end_M, place * self.tokens_per_step, side="right")
        part = self._order_M[: int(last)]
        num_tokens = num_epochs * int(self.length_M.sum()) + int(self.length_M[part].sum())
        return num_tokens, num_epochs * int(pairs_M.sum()) + int(pairs_M[part].sum())

    def step_of(self, document: int, *, epoch: int = 0) -> int:
        """Return the first step of ``epoch`` that reads ``document``; the inverse of ``pieces``."""
        self._enter(epoch)
        places = np.flatnonzero(self.document_M[self._order_M] == document)
        if len(places) == 0:
            raise IndexError(f"document {document} has no piece")
        place = (int(self._end_M[places[0]]) - 1) // self.tokens_per_step
        return epoch * self.steps_per_epoch + place

    def steps_of(self, document: int, *, num_steps: int) -> list[int]:
        """Return the steps before ``num_steps``, from 0, that read a piece of ``document``."""
        found: set[int] = set()
        for epoch in range(-(-num_steps // self.steps_per_epoch)):
            self._enter(epoch)
            places = np.flatnonzero(self.document_M[self._order_M] == document)
            in_epoch = (self._end_M[places] - 1) // self.tokens_per_step
            found.update((epoch * self.steps_per_epoch + in_epoch).tolist())
        return sorted(step for step in found if step < num_steps)


def _one_document(piece: Piece) -> list[int]:
    _, (_, _, length) = piece
    return [length]


def make_batch(
    chosen: Sequence[Piece],
    *,
    row_tokens: int | None = None,
    cut: Callable[[Piece], list[int]] = _one_document,
) -> Batch:
    """Lay pieces end to end, the shortest first.

    Args:
        chosen: Pieces; none make a row that counts nothing.
        row_tokens: Tokens of the row, those that fill it included; ``None`` is the next multiple
            of ``ROW_MULTIPLE``.
        cut: Tokens of each document that a piece is in the row: a piece may be several, of which
            none sees another. By default it is one.
    """
    chosen = sorted(chosen, key=lambda piece: piece[1][2])
    lengths = [length for piece in chosen for length in cut(piece)]
    num_tokens = sum(lengths)
    if row_tokens is None:
        row_tokens = max(1, -(-num_tokens // ROW_MULTIPLE)) * ROW_MULTIPLE
    num_filling = row_tokens - num_tokens
    assert num_filling >= 0, f"{num_tokens} tokens do not fit into a row of {row_tokens}"
    # Short documents: attention over one long one would cost more than that over the rest.
    num_full, rest = divmod(num_filling, ROW_MULTIPLE)
    filling = [rest] * (rest > 0) + [ROW_MULTIPLE] * num_full
    ids_N, target_N = np.zeros((2, row_tokens), dtype=np.int64)
    weight_N = np.zeros(row_tokens, dtype=np.float32)
    at = num_filling
    for source, (document, start, length) in chosen:
        place = slice(at, at + length)
        tokens = source.tokens(document)[start : start + length + 1]
        ids_N[place], target_N[place] = tokens[:-1], tokens[1:]
        weight_N[place] = source.weights(document)[start + 1 : start + length + 1]
        at += length
    return Batch(
        ids_N=torch.from_numpy(ids_N),
        target_N=torch.from_numpy(target_N),
        weight_N=torch.from_numpy(weight_N),
        packing=pack(filling + lengths, num_filling=num_filling),
        num_tokens=num_tokens,
        weight=float(weight_N.sum()),
    )
