"""Bits per byte on held-out posts: a loss that models with different tokenizers share.

Reads ``heldout.bin``; writes nothing.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from mynah.train.data import Batch, CorpusSource, Piece, make_batch
from mynah.train.engine import Engine
from mynah.train.loss import linear_cross_entropy
from mynah.train.mesh import Mesh
from mynah.train.rows import deal

__all__ = ["HeldOut", "nats"]

BATCH_TOKENS = 1024
"""Tokens of one row, where rows may have any length; bounds the memory, not the result."""


def nats(hidden_NC: Tensor, head_VC: Tensor, batch: Batch, mesh: Mesh) -> Tensor:
    """Sum of the weighted loss over a row, ``(1,)``; a measure for ``Engine.evaluate``."""
    return linear_cross_entropy(hidden_NC, head_VC, batch.target_N, batch.weight_N)[None]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The held-out documents an evaluation reads, laid into rows, and their size as text."""

    rows: tuple[tuple[Piece, ...], ...]
    num_bytes: int
    row_tokens: int | None = None
    """Tokens of each row; ``None`` where they differ."""

    @classmethod
    def select(
        cls,
        source: CorpusSource,
        *,
        sizes_bytes: list[int],
        max_tokens: int,
        max_document_tokens: int,
        row_tokens: int | None = None,
    ) -> "HeldOut":
        """Take whole documents in order until ``max_tokens`` are reached, at least one.

        Args:
            source: Held-out documents.
            sizes_bytes: UTF-8 bytes of each document's text.
            max_tokens: Tokens to read at the most.
            max_document_tokens: Longer documents are read in pieces, as in training.
            row_tokens: Tokens of each row, where they must be equal.
        """
        rows: list[list[Piece]] = [[]]
        num_tokens = in_row = num_bytes = 0
        for number, size in enumerate(source.sizes.tolist()):
            if num_tokens and num_tokens + size > max_tokens:
                break
            for start in range(0, size - 1, max_document_tokens):
                length = min(max_document_tokens, size - 1 - start)
                if in_row and in_row + length > (row_tokens or BATCH_TOKENS):
                    rows.append([])
                    in_row = 0
                rows[-1].append((source, (number, start, length)))
                in_row += length
            num_tokens += size
            num_bytes += sizes_bytes[number]
        return cls(tuple(tuple(row) for row in rows if row), num_bytes, row_tokens)

    def bits_per_byte(self, engine: Engine) -> float:
        """Bits that the model needs a byte of held-out text; every rank reads its share."""
        mesh = engine.mesh
        plan = deal(self.rows, data_rank=mesh.data_rank, num_data=mesh.num_data)
        rows = [make_batch(row, row_tokens=self.row_tokens) for row in plan.rows]
        rows += [make_batch((), row_tokens=self.row_tokens) for _ in range(plan.num_empty)]
        (total,) = engine.evaluate(rows, nats, num_sums=1)
        return total / math.log(2) / self.num_bytes
