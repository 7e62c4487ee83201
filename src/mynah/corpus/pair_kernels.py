"""Compiled loops over pairs of texts: see ``near_duplicates``, and ``compiled`` for the rules.

A pair, or a hash with a place, is one number of 64 bits. Grams are the hashes of the 5-grams of
many texts, one after another, none of them 0; ``ends`` says where those of a text end.
"""
# A parameter has the type that the signature above its kernel says.
# pyright: reportMissingParameterType=false

import numpy as np
from numba import types

from mynah.corpus.compiled import INT64S, UINT64S, compiled

__all__ = ["candidates", "choose", "first_equal", "similar"]

_HIGH, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
_ZERO, _ONE = np.uint64(0), np.uint64(1)


@compiled(types.uint64[::1](UINT64S, types.int64))
def candidates(packed, num_leaders):
    """Pair the members of each bucket with its first; ``packed`` is sorted, (hash, place)."""
    pairs = np.empty(0, np.uint64)
    for is_counted in (False, True):
        num_pairs = begin = 0
        for at in range(packed.size):
            if packed[at] >> _HIGH != packed[begin] >> _HIGH:
                begin = at
            num_leading = min(at - begin, num_leaders)
            if is_counted:
                for leader in range(num_leading):
                    first = (packed[begin + leader] & _LOW) << _HIGH
                    pairs[num_pairs + leader] = first | (packed[at] & _LOW)
            num_pairs += num_leading
        if not is_counted:
            pairs = np.empty(num_pairs, np.uint64)
    return pairs


@compiled(types.void(UINT64S, types.Array(types.uint64, 2, "C", readonly=True), types.int64[::1]))
def first_equal(packed, digests, first):
    """For each place the first with the same digest; ``packed`` is sorted, (hash, place)."""
    begin = 0
    for at in range(packed.size):
        if packed[at] >> _HIGH != packed[begin] >> _HIGH:
            begin = at
        place = np.int64(packed[at] & _LOW)
        for other in range(begin, at):
            earlier = np.int64(packed[other] & _LOW)
            is_same = digests[earlier, 0] == digests[place, 0]
            if is_same and digests[earlier, 1] == digests[place, 1]:
                first[place] = earlier
                break


@compiled(types.uint64(types.int64))
def _mask_for(num_grams):
    mask = 15
    while mask < 2 * num_grams:
        mask = 2 * mask + 1
    return np.uint64(mask)


@compiled(UINT64S(UINT64S, INT64S, types.int64))
def _grams_at(grams, ends, text):
    return grams[ends[text - 1] if text else 0 : ends[text]]


@compiled(types.int64(UINT64S, types.uint64[::1], types.uint64))
def _fill_table(grams, table, mask):
    """Put the grams into an open table, emptied first; return how many different ones there are."""
    table[: np.int64(mask) + 1] = 0
    num_different = 0
    for gram in grams:
        slot = (gram >> _HIGH) & mask
        while table[slot] != 0 and table[slot] != gram:
            slot = (slot + _ONE) & mask
        num_different += table[slot] == 0
        table[slot] = gram
    return num_different


@compiled(
    types.boolean(
        UINT64S, types.uint64[::1], types.uint64, types.int64, types.uint64[::1], types.float64
    )
)
def _is_alike(grams, table, mask, num_own, others, min_similarity):
    """Whether grams and the ``num_own`` of a table are alike enough; ends once they cannot be."""
    other_mask = _mask_for(grams.size)
    others[: np.int64(other_mask) + 1] = 0
    num_common = num_other = 0
    for at in range(grams.size):
        gram = grams[at]
        slot = (gram >> _HIGH) & other_mask
        while others[slot] != 0 and others[slot] != gram:
            slot = (slot + _ONE) & other_mask
        if others[slot] == gram:
            continue
        others[slot] = gram
        slot = (gram >> _HIGH) & mask
        while table[slot] != 0 and table[slot] != gram:
            slot = (slot + _ONE) & mask
        if table[slot] == gram:
            num_common += 1
            continue
        num_other += 1
        num_possible = min(num_own, num_common + grams.size - at - 1)
        if num_possible / (num_own + num_other) < min_similarity:
            return False
    return num_common / (num_own + num_other) >= min_similarity


@compiled(types.void(UINT64S, INT64S, INT64S, INT64S, types.float64, types.boolean[::1]))
def similar(grams, ends, left, right, min_similarity, out):
    """Whether the gram sets of each pair have that Jaccard similarity; best sorted by ``left``."""
    longest = 1
    for text in range(1, ends.size):
        longest = max(longest, ends[text] - ends[text - 1])
    if ends.size:
        longest = max(longest, ends[0])
    table = np.empty(np.int64(_mask_for(longest)) + 1, np.uint64)
    others = np.empty(table.size, np.uint64)
    mask, num_own = _ZERO, 0
    for pair in range(left.size):
        if pair == 0 or left[pair] != left[pair - 1]:
            own = _grams_at(grams, ends, left[pair])
            mask = _mask_for(own.size)
            num_own = _fill_table(own, table, mask)
        other = _grams_at(grams, ends, right[pair])
        out[pair] = other.size / num_own >= min_similarity and _is_alike(
            other, table, mask, num_own, others, min_similarity
        )


@compiled(types.void(UINT64S, types.int64[::1]))
def choose(pairs, near):
    """Give each later text the first survivor it is like; pairs are sorted, (later, earlier)."""
    for at in range(pairs.size):
        later, earlier = np.int64(pairs[at] >> _HIGH), np.int64(pairs[at] & _LOW)
        if near[later] < 0 and near[earlier] < 0:
            near[later] = earlier
