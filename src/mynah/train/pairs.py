"""Preference pairs as a run reads them: which there are, and how they lie in a row.

Reads a shard of preference pairs; writes nothing. Shapes: N tokens of a row, P pairs of a row,
S = 2 P replies of a row, M pairs of a shard.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from mynah.corpus import TokenShard
from mynah.corpus.shards import pair_starts_path
from mynah.train.data import Batch, Piece, make_batch
from mynah.workspace import Artifact, canonical_json

__all__ = ["PairSource", "documents_of", "in_order", "lay_pairs", "pairs_digest"]


class PairSource:
    """Preference pairs of a token shard; only the replies count.

    Args:
        shard: Each document is a pair: two dialogues in ChatML with one prompt, the chosen first.
        starts_M3: Index of the chosen reply's first token, of the second dialogue's first token,
            and of the other reply's first token.
        boundary: The end-of-text token: it stands where a pair was taken back.
        max_tokens: A pair of more tokens is left out: cut in two, there is nothing to compare.
    """

    def __init__(
        self, shard: TokenShard, *, starts_M3: np.ndarray, boundary: int, max_tokens: int
    ) -> None:
        self.shard = shard
        self.starts_M3 = starts_M3
        self.boundary = boundary
        self.max_tokens = max_tokens

    @classmethod
    def open(cls, preferences: Artifact, part: str, *, max_tokens: int) -> "PairSource":
        """Open ``train`` or ``heldout`` of an artifact of preferences."""
        prefix = preferences.folder / part
        return cls(
            TokenShard(prefix),
            starts_M3=np.load(pair_starts_path(prefix)),
            boundary=int(preferences.counts["end_of_text"]),
            max_tokens=max_tokens,
        )

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of each pair; none of those that are left out."""
        sizes_M = np.asarray(self.shard.sizes)
        return np.where(sizes_M - 1 <= self.max_tokens, sizes_M, 0)

    @property
    def num_left_out(self) -> int:
        """Pairs that are too long."""
        return len(self.shard) - int(np.count_nonzero(self.sizes))

    def tokens(self, number: int) -> np.ndarray:
        """Tokens of one pair, its two dialogues end to end."""
        return self.shard[number]

    def weights(self, number: int) -> np.ndarray:
        """One on the replies, none before them, nor where a pair was taken back."""
        tokens = self.shard[number]
        chosen, second, other = self.starts_M3[number]
        place = np.arange(len(tokens))
        is_reply = ((place >= chosen) & (place < second)) | (place >= other)
        return is_reply & (tokens != self.boundary)

    def lengths(self, number: int) -> list[int]:
        """Tokens of the two documents that a pair is in a row.

        The first one's last token predicts the second one's first, which counts nothing.
        """
        second = int(self.starts_M3[number][1])
        return [second, int(self.shard.sizes[number]) - 1 - second]

    def pieces(self) -> list[Piece]:
        """Every pair that is not left out."""
        return [(self, (n, 0, int(size) - 1)) for n, size in enumerate(self.sizes) if size]


def pairs_digest(preferences: Artifact) -> str:
    """Say which pairs an artifact has, whether or not one of them has been taken back since."""
    lasting = {
        name: facts["sha256"]
        for name, facts in preferences.files.items()
        if not name.endswith(".bin")
    }
    return hashlib.sha256(canonical_json([preferences.snapshot, lasting])).hexdigest()


def in_order(pieces: Sequence[Piece]) -> list[Piece]:
    """Pieces as ``make_batch`` lays them."""
    return sorted(pieces, key=lambda piece: piece[1][2])


def documents_of(piece: Piece) -> list[int]:
    """Tokens of each of the two documents that a pair is in a row."""
    source, (number, _, _) = piece
    assert isinstance(source, PairSource), "preferences are read from pairs"
    return source.lengths(number)


def lay_pairs(pieces: Sequence[Piece], *, row_tokens: int | None) -> Batch:
    """A row of pairs, each two documents of which neither sees the other.

    Args:
        pieces: Whole pairs.
        row_tokens: As for ``make_batch``.

    Returns:
        A batch whose weight is the number of its pairs, those that were taken back not counted.
        Its extras: ``reply_N``, the reply that a token is of, 0..S-1, chosen and other of each
        pair by turns (what fills the row is of none, and says S); ``counts_P``, one for a pair
        that counts, else zero.
    """
    batch = make_batch(pieces, row_tokens=row_tokens, cut=documents_of)
    pieces = in_order(pieces)
    lengths_S = [length for piece in pieces for length in documents_of(piece)]
    num_filling = len(batch.ids_N) - batch.num_tokens
    # What fills the row is of no reply: its sum is dropped.
    reply = np.repeat([2 * len(pieces), *range(2 * len(pieces))], [num_filling, *lengths_S])
    counts = [source.weights(number).any() for source, (number, _, _) in pieces]
    extra = {
        "reply_N": torch.from_numpy(reply),
        "counts_P": torch.from_numpy(np.array(counts, dtype=np.float32)),
    }
    return replace(batch, weight=float(sum(counts)), extra=extra)
