"""Duplicates among short texts: the same words, or nearly.

MinHash over character 5-grams (20 bands of 5 rows) proposes pairs, the true Jaccard similarity
of their 5-grams decides. Posts are too short for the word 5-grams that web corpora use: there
they find little more than half of planted near duplicates.

Source: Broder 1997, "On the resemblance and containment of documents".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mynah.progress import NO_PROGRESS, Progress

__all__ = ["Duplicates", "find_duplicates"]

_GRAM = 5
_NUM_BANDS = 20
_NUM_ROWS = 5
_BATCH_CHARS = 1 << 17
"""Characters hashed at once: small enough for a core's cache, twice as fast as a large block."""
_MAX_IN_BUCKET = 16
"""Survivors of one bucket that a text is compared with; more only happens to boilerplate."""

UInt32s = npt.NDArray[np.uint32]
UInt64s = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """For each text the index of the survivor it repeats, -1 where it is one itself."""

    exact: npt.NDArray[np.int64]
    near: npt.NDArray[np.int64]


def find_duplicates(
    keys: Sequence[str], *, min_similarity: float, progress: Progress = NO_PROGRESS
) -> Duplicates:
    """Find repeats in ``keys``; of texts that repeat one another the first survives.

    A text is a near duplicate only of a survivor, never of another duplicate, so that a chain of
    small changes does not end far from where it began.

    Args:
        keys: Comparison keys, in the order of precedence.
        min_similarity: Jaccard similarity of character 5-grams from which two are the same.
        progress: Told how many of the keys were looked at.
    """
    exact = np.full(len(keys), -1, dtype=np.int64)
    first: dict[str, int] = {}
    for index, key in enumerate(keys):
        found = first.setdefault(key, index)
        if found != index:
            exact[index] = found
    distinct = np.array([i for key, i in first.items() if key], dtype=np.int64)
    near = np.full(len(keys), -1, dtype=np.int64)
    if distinct.size:
        texts = [keys[int(i)] for i in distinct]
        found_near = _near(texts, min_similarity, progress)
        is_near = found_near >= 0
        near[distinct[is_near]] = distinct[found_near[is_near]]
    return Duplicates(exact, near)


def _near(texts: Sequence[str], min_similarity: float, progress: Progress) -> npt.NDArray[np.int64]:
    survivor = np.full(len(texts), -1, dtype=np.int64)
    buckets = _shared_buckets(_band_hashes(texts, progress))
    members: list[list[int]] = [[] for _ in range(int(buckets.max(initial=-1)) + 1)]
    grams = lru_cache(maxsize=4096)(_grams)
    for index in np.flatnonzero((buckets >= 0).any(axis=1)).tolist():
        own = [bucket for bucket in buckets[index].tolist() if bucket >= 0]
        candidates = sorted({other for bucket in own for other in members[bucket]})
        for other in candidates:
            if _is_similar(texts, other, index, min_similarity) and (
                _jaccard(grams(texts[other]), grams(texts[index])) >= min_similarity
            ):
                survivor[index] = other
                break
        else:
            for bucket in own:
                if len(members[bucket]) < _MAX_IN_BUCKET:
                    members[bucket].append(index)
    return survivor


def _is_similar(texts: Sequence[str], a: int, b: int, min_similarity: float) -> bool:
    """Whether the lengths leave it possible: a set a quarter the size cannot overlap by half."""
    short, long = sorted((len(texts[a]), len(texts[b])))
    # Repeated grams make a set smaller than its text, hence the slack of two.
    return short * 2 >= min_similarity * long


def _grams(text: str) -> frozenset[str]:
    return frozenset(text[i : i + _GRAM] for i in range(max(1, len(text) - _GRAM + 1)))


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    num_common = len(a & b)
    return num_common / (len(a) + len(b) - num_common)


def _shared_buckets(bands: UInt64s) -> npt.NDArray[np.int64]:
    """Number the buckets that hold two texts or more; -1 for a text alone in its bucket."""
    out = np.full(bands.shape, -1, dtype=np.int64)
    num_buckets = 0
    for band in range(bands.shape[1]):
        _, inverse, counts = np.unique(bands[:, band], return_inverse=True, return_counts=True)
        is_shared = counts > 1
        numbers = np.where(is_shared, np.cumsum(is_shared) - 1 + num_buckets, -1)
        out[:, band] = numbers[inverse]
        num_buckets += int(is_shared.sum())
    return out


def _band_hashes(texts: Sequence[str], progress: Progress) -> UInt64s:
    """Hash each text's MinHash signature, band by band: ``(texts, bands)``."""
    generator = np.random.default_rng(20_230_411)  # fixed: the same texts, the same duplicates
    size = _NUM_BANDS * _NUM_ROWS
    factors = generator.integers(0, 2**32, size, dtype=np.uint32) | np.uint32(1)
    offsets = generator.integers(0, 2**32, size, dtype=np.uint32)
    out = np.empty((len(texts), _NUM_BANDS), dtype=np.uint64)
    begin = 0
    while begin < len(texts):
        end, num_chars = begin, 0
        while end < len(texts) and (end == begin or num_chars < _BATCH_CHARS):
            num_chars += len(texts[end])
            end += 1
        hashes, starts = _gram_hashes(texts[begin:end])
        out[begin:end] = _bands_of(hashes, starts, factors, offsets)
        progress(end, len(texts), note="comparing")
        begin = end
    return out


def _gram_hashes(texts: Sequence[str]) -> tuple[UInt32s, npt.NDArray[np.int64]]:
    """Hash every 5-gram of every text; the grams of a text begin at its ``starts``."""
    padded = [text.ljust(_GRAM) for text in texts]
    lengths = np.array([len(text) for text in padded], dtype=np.int64)
    codes = np.frombuffer("".join(padded).encode("utf-32-le"), dtype=np.uint32)
    hashes = np.zeros(codes.size - _GRAM + 1, dtype=np.uint64)
    for place in range(_GRAM):
        hashes = (hashes ^ codes[place : place + hashes.size]) * np.uint64(0x100000001B3)
    hashes ^= hashes >> np.uint64(29)
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    # Leave out the grams that begin in one text and end in the next.
    ends = np.cumsum(lengths)
    is_inside = np.ones(codes.size, dtype=bool)
    for place in range(1, _GRAM):
        is_inside[ends - place] = False
    mixed = (hashes >> np.uint64(32)).astype(np.uint32)[is_inside[: hashes.size]]
    num_grams = lengths - _GRAM + 1
    return mixed, np.cumsum(num_grams) - num_grams


def _bands_of(
    hashes: UInt32s, starts: npt.NDArray[np.int64], factors: UInt32s, offsets: UInt32s
) -> UInt64s:
    out = np.empty((starts.size, _NUM_BANDS), dtype=np.uint64)
    mixed = np.empty_like(hashes)
    shifted = np.empty_like(hashes)
    for band in range(_NUM_BANDS):
        key = np.full(starts.size, 1_469_598_103_934_665_603 + band, dtype=np.uint64)
        for row in range(band * _NUM_ROWS, (band + 1) * _NUM_ROWS):
            np.multiply(hashes, factors[row], out=mixed)
            mixed += offsets[row]
            np.right_shift(mixed, np.uint32(15), out=shifted)
            mixed ^= shifted
            key = (key ^ np.minimum.reduceat(mixed, starts)) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(31)
        out[:, band] = key
    return out
