"""Near duplicates in three steps, each a pure function that a cluster can run by itself.

Bands propose pairs, the Jaccard similarity of the character 5-grams decides, and of the texts
that are alike the first in the order of precedence survives. A text has a *place* in that order,
0 first. A pair is one number, the earlier place in the upper 32 bits and the later in the lower,
so that sorting pairs sorts them by the earlier place.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mynah.corpus.signatures import gram_hashes

__all__ = ["candidate_pairs", "choose_survivors", "packed", "verified"]

MAX_PLACES = 1 << 32
_NUM_LEADERS = 8
"""Members of a bucket that all its others are compared with. Up to nine that is every pair; more
than nine in a bucket are boilerplate, and one of its first survives."""

Int64s = npt.NDArray[np.int64]
UInt32s = npt.NDArray[np.uint32]
UInt64s = npt.NDArray[np.uint64]


def packed(upper: npt.NDArray[np.integer], lower: npt.NDArray[np.integer]) -> UInt64s:
    """Put two numbers of 32 bits into one of 64."""
    return upper.astype(np.uint64) << np.uint64(32) | lower.astype(np.uint64)


def candidate_pairs(hashes: UInt32s, places: npt.NDArray[np.integer]) -> UInt64s:
    """Pair the texts with equal hashes in one band: at most 8 pairs a text, sorted, no repeats.

    Args:
        hashes: The band of each text; 0 is alone.
        places: The place of each, below 2**32, no two alike.
    """
    from mynah.corpus import pair_kernels as kernels

    is_shared = hashes != 0
    order = packed(hashes[is_shared], places[is_shared])
    order.sort()
    pairs = kernels.candidates(order, _NUM_LEADERS)
    pairs.sort()
    return pairs


def verified(
    pairs: tuple[Int64s, Int64s], texts: pa.Array, *, min_similarity: float
) -> npt.NDArray[np.bool_]:
    """Say of each pair whether the 5-grams of the comparison keys are alike enough.

    Args:
        pairs: Two arrays of indices into ``texts``; sorted by the first it is fastest.
        texts: Cleaned texts, as they were signed.
        min_similarity: Jaccard similarity from which a pair is one of near duplicates.
    """
    from mynah.corpus import pair_kernels as kernels

    left, right = pairs
    grams, ends = gram_hashes(texts)
    out = np.empty(left.size, dtype=np.bool_)
    kernels.similar(grams, ends, left, right, float(min_similarity), out)
    return out


def choose_survivors(pairs: UInt64s, num_places: int) -> Int64s:
    """Give each place the survivor it repeats, -1 to a survivor.

    In the order of precedence: a text is a near duplicate only of a survivor, never of another
    duplicate, so that a chain of small changes does not end far from where it began.
    """
    from mynah.corpus import pair_kernels as kernels

    near = np.full(num_places, -1, dtype=np.int64)
    turned = pairs << np.uint64(32) | pairs >> np.uint64(32)
    turned.sort()
    kernels.choose(turned, near)
    return near
