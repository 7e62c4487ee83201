"""How much a text repeats itself: one measure for a held key, a laugh, a word or a line again.

Pure functions over a column of texts. Distinct pairs of neighbouring characters, as a share of all
pairs: ordinary text of 100 characters has about three in four, ``hahahaha`` has two in all. Scripts
without blanks are measured like any other.
"""
# A parameter of the kernel has the type that the signature above it says.
# pyright: reportMissingParameterType=false

import numpy as np
import numpy.typing as npt
import polars as pl
from numba import types

from mynah.corpus.compiled import INT64S, UINT32S, compiled

__all__ = ["repetitive_share"]

BLOCK_CHARACTERS = 200
"""Texts are measured block by block, since a long text repeats pairs as any does."""
_NUM_SLOTS = 1024


def repetitive_share(texts: pl.Series, *, min_distinct_pairs: float) -> npt.NDArray[np.float32]:
    """Return the share of each text that lies in blocks with too few distinct pairs."""
    lowered = texts.str.to_lowercase()
    lengths = lowered.str.len_chars().cast(pl.Int64).to_numpy()
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    points = np.frombuffer("".join(lowered).encode("utf-32-le", "surrogatepass"), np.uint32)
    shares = np.zeros(len(texts), np.float32)
    _measure(points, offsets, min_distinct_pairs, shares)
    return shares


@compiled(types.void(UINT32S, INT64S, types.float64, types.float32[::1]))
def _measure(points, offsets, min_distinct_pairs, shares):
    slots = np.zeros(_NUM_SLOTS, np.uint64)
    stamps = np.zeros(_NUM_SLOTS, np.int64)
    stamp = 0
    for row in range(len(shares)):
        first, last = offsets[row], offsets[row + 1]
        num_repetitive = 0
        start = first
        while start < last:
            end = min(start + BLOCK_CHARACTERS, last)
            if last - end < BLOCK_CHARACTERS // 2:  # a short rest belongs to its block
                end = last
            stamp += 1
            num_distinct = 0
            for place in range(start, end - 1):
                pair = (np.uint64(points[place]) << np.uint64(32)) | np.uint64(points[place + 1])
                mixed = (pair * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(54)
                while stamps[mixed] == stamp and slots[mixed] != pair:
                    mixed = (mixed + np.uint64(1)) % np.uint64(_NUM_SLOTS)
                if stamps[mixed] != stamp:
                    stamps[mixed] = stamp
                    slots[mixed] = pair
                    num_distinct += 1
            if num_distinct < min_distinct_pairs * (end - start - 1):
                num_repetitive += end - start
            start = end
        if last > first:
            shares[row] = num_repetitive / (last - first)
