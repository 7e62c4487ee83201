"""Compiled loops that make signatures of texts: see ``signatures``, and ``compiled`` for the rules.

They see the UTF-8 of Arrow strings. A key is the comparison key of a text as code points; grams
are 64-bit hashes of its 5-grams.
"""
# A parameter has the type that the signature above its kernel says.
# pyright: reportMissingParameterType=false

import numpy as np
from numba import types

from mynah.corpus.compiled import BYTES, INT64S, UINT32S, compiled

__all__ = ["grams_of", "keys_of", "signatures"]

BOOLS = types.Array(types.boolean, 1, "C", readonly=True)
GRAM = 5
NUM_ROWS = 5
NUM_MINHASH_BANDS = 20
NUM_CUTS = 4
"""Bands, after those of MinHash, that each leave out one quarter of the words."""
NUM_LANES = 104
"""20 bands of 5 hashes, filled up to whole vectors of 8: four more are cheaper than a remainder."""
MAX_CUT_CHARS = 512
"""From this length on one edit changes so little that MinHash is certain to see the pair."""

SEPARATOR, SKIPPED, MARK = 0, 1, np.uint32(1 << 31)
"""What a table of letters says about a code point that is not kept as it is."""
LAST_TABLED, LAST_LETTER = 0x20000, 0x323B0
"""The table ends at the second; up to the third all are ideographs."""

_K0, _K1, _K2, _K3, _K4 = (
    np.uint64(0x9E3779B97F4A7C15),
    np.uint64(0xC2B2AE3D27D4EB4F),
    np.uint64(0x165667B19E3779F9),
    np.uint64(0xD6E8FEB86659FD93),
    np.uint64(0xA0761D6478BD642F),
)
_MIX_A, _MIX_B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_HIGH, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
_ZERO, _ONE = np.uint64(0), np.uint64(1)


@compiled(types.uint64(types.uint64))
def _mixed(value):
    value ^= value >> np.uint64(30)
    value *= _MIX_A
    value ^= value >> np.uint64(27)
    value *= _MIX_B
    return value ^ (value >> np.uint64(31))


@compiled(types.int64(BYTES, types.int64, types.int64, UINT32S, types.uint32[::1]))
def _write_key(data, begin, end, letters, key):
    """Write the comparison key of ``data[begin:end]``; return its length, 0 if it has no word.

    A space is written for the first sign of a gap and no branch depends on it: words are short,
    the processor could not guess their ends. Places are unsigned: three times as fast, for
    there is then no index from the end to ask for.
    """
    at, stop = np.uint64(begin), np.uint64(end)
    num_chars, num_letters, is_gap = _ZERO, _ZERO, _ONE
    while at < stop:
        point = np.uint32(data[at])
        at += _ONE
        if point < 0x80:
            value = letters[point]
        else:
            num_more = 1 if point < 0xE0 else 2 if point < 0xF0 else 3
            point &= np.uint32(0x3F >> num_more)
            last = min(at + np.uint64(num_more), stop)
            while at < last:
                point = np.uint32((point << np.uint32(6)) | np.uint32(data[at] & 0x3F))
                at += _ONE
            value = np.uint32(SEPARATOR)
            if point < LAST_TABLED:
                value = letters[point]
            elif point < LAST_LETTER:
                value = point
            if value == SKIPPED or (is_gap and value & MARK):
                continue
            value &= ~MARK
        is_separator = np.uint64(value == SEPARATOR)
        key[num_chars] = np.uint32(32) if is_separator else value
        num_chars += _ONE - (is_separator & is_gap)
        num_letters += np.uint64((value != SEPARATOR) & (value != 35) & (value != 64))
        is_gap = is_separator
    return np.int64(num_chars - is_gap) if num_letters else 0


@compiled(types.int64(types.uint32[::1], types.int64, types.uint64[::1]))
def _write_grams(key, num_chars, grams):
    """Hash every 5-gram; a shorter key is one gram, filled up with nothing. None is 0."""
    key[num_chars : num_chars + GRAM] = 0
    num_grams = max(1, num_chars - GRAM + 1)
    for at in range(num_grams):
        value = np.uint64(key[at]) * _K0 + np.uint64(key[at + 1]) * _K1
        value += np.uint64(key[at + 2]) * _K2 + np.uint64(key[at + 3]) * _K3
        value += np.uint64(key[at + 4]) * _K4
        value ^= value >> _HIGH
        grams[at] = max(value * _MIX_A, np.uint64(1))
    return num_grams


@compiled(types.void(types.uint32[::1], types.int64, types.uint64[::1], types.uint64[::1]))
def _write_digest(key, num_chars, grams, digest):
    """128 bits of the whole key: every fifth gram and the last."""
    num_grams = max(1, num_chars - GRAM + 1)
    first, second = np.uint64(num_chars), _K4
    for at in range(0, num_grams, GRAM):
        first = _mixed(first ^ grams[at])
        second = (second ^ grams[at]) * _K1
        second ^= second >> np.uint64(29)
    last = grams[num_grams - 1]
    digest[0] = _mixed(first ^ last)
    digest[1] = _mixed((second ^ last) * _K2)


@compiled(types.void(types.uint64[::1], types.int64, UINT32S, UINT32S, types.uint32[::1]))
def _write_minima(grams, num_grams, factors, addends, minima):
    """MinHash: 104 plain hashes, four grams at a time so that the minima are seldom stored."""
    for lane in range(NUM_LANES):
        minima[lane] = np.uint32(0xFFFFFFFF)
    for at in range(0, num_grams, 4):
        a = np.uint32(grams[at] >> _HIGH)
        b = np.uint32(grams[min(at + 1, num_grams - 1)] >> _HIGH)
        c = np.uint32(grams[min(at + 2, num_grams - 1)] >> _HIGH)
        d = np.uint32(grams[min(at + 3, num_grams - 1)] >> _HIGH)
        for lane in range(NUM_LANES):
            factor, addend = factors[lane], addends[lane]
            e = np.uint32(a * factor + addend)
            f = np.uint32(b * factor + addend)
            g = np.uint32(c * factor + addend)
            h = np.uint32(d * factor + addend)
            minima[lane] = min(minima[lane], min(min(e, f), min(g, h)))


@compiled(types.void(types.uint32[::1], types.int64, types.uint32[::1]))
def _write_cuts(key, num_chars, out):
    """For each quarter of the words the hash of the other three: 0 for a long text.

    A key of fewer than four words, as in scripts without spaces, is cut between characters.
    """
    out[:] = 0
    if num_chars >= MAX_CUT_CHARS:
        return
    num_parts = 1
    for at in range(num_chars):
        num_parts += key[at] == 32
    is_by_word = num_parts >= NUM_CUTS
    if not is_by_word:
        num_parts = num_chars
    hashes = np.empty(NUM_CUTS, np.uint64)
    at = part = 0
    for cut in range(NUM_CUTS):
        end = num_parts * (cut + 1) // NUM_CUTS
        value = _K3
        while at < num_chars and part < end:
            value = (value ^ np.uint64(key[at])) * _K1
            part += key[at] == 32 or not is_by_word
            at += 1
            if at == num_chars:
                part = end
        hashes[cut] = _mixed(value)
    for cut in range(NUM_CUTS):
        value = np.uint64(num_parts)
        for other in range(NUM_CUTS):
            if other != cut:
                value = _mixed(value ^ hashes[other]) + _K2
        out[cut] = max(np.uint32(value >> _HIGH), np.uint32(1))


@compiled(
    types.void(
        BYTES, INT64S, BOOLS, types.UniTuple(UINT32S, 3),
        types.Tuple((types.uint64[:, ::1], types.uint32[:, ::1], types.boolean[::1])),
    )
)  # fmt: skip
def signatures(data, offsets, is_valid, hashing, out):
    """Fill digests, bands and has_key (``out``) of every text.

    ``hashing`` is the table of letters, the factors and the addends.
    """
    letters, factors, addends = hashing
    digests, bands, has_key = out
    longest = 0
    for text in range(offsets.size - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    key, grams = np.empty(longest + GRAM, np.uint32), np.empty(longest + 1, np.uint64)
    minima = np.empty(NUM_LANES, np.uint32)
    for text in range(offsets.size - 1):
        has_key[text] = False
        num_chars = 0
        if is_valid[text]:
            num_chars = _write_key(data, offsets[text], offsets[text + 1], letters, key)
        if num_chars == 0:
            digests[text] = 0
            bands[text] = 0
            continue
        has_key[text] = True
        num_grams = _write_grams(key, num_chars, grams)
        _write_digest(key, num_chars, grams, digests[text])
        _write_minima(grams, num_grams, factors, addends, minima)
        for band in range(NUM_MINHASH_BANDS):
            value = np.uint64(band)
            for row in range(band * NUM_ROWS, (band + 1) * NUM_ROWS):
                value = (value ^ np.uint64(minima[row])) * _K0
                value ^= value >> np.uint64(31)
            bands[text, band] = max(np.uint32(value >> _HIGH), np.uint32(1))
        _write_cuts(key, num_chars, bands[text, NUM_MINHASH_BANDS:])


@compiled(types.int64[::1](BYTES, INT64S, UINT32S, types.uint32[::1]))
def keys_of(data, offsets, letters, out):
    """Write the keys of all texts one after another; return where each ends."""
    ends = np.empty(offsets.size - 1, np.int64)
    at = 0
    for text in range(ends.size):
        at += _write_key(data, offsets[text], offsets[text + 1], letters, out[at:])
        ends[text] = at
    return ends


@compiled(types.int64[::1](BYTES, INT64S, UINT32S, types.uint64[::1]))
def grams_of(data, offsets, letters, out):
    """Write the gram hashes of all texts one after another; return where each ends."""
    longest = 0
    for text in range(offsets.size - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    key = np.empty(longest + GRAM, np.uint32)
    ends = np.empty(offsets.size - 1, np.int64)
    at = 0
    for text in range(ends.size):
        num_chars = _write_key(data, offsets[text], offsets[text + 1], letters, key)
        at += _write_grams(key, num_chars, out[at:])
        ends[text] = at
    return ends
