"""Exact and near duplicates among posts of any number, in little memory.

Reads cleaned texts and their signatures from Arrow files on disk; they stay there, mapped into
memory. What is held besides are some numbers a text: about 60 bytes.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mynah.corpus.near_duplicates import (
    MAX_PLACES,
    candidate_pairs,
    choose_survivors,
    packed,
    verified,
)
from mynah.corpus.signatures import NUM_BANDS
from mynah.progress import NO_PROGRESS, Progress

__all__ = ["Duplicates", "find_duplicates"]

_BANDS_AT_ONCE = 4
_PAIRS_AT_ONCE = 1 << 14
"""Pairs whose texts are brought together in memory, for each thread."""

Int64s = npt.NDArray[np.int64]
UInt32s = npt.NDArray[np.uint32]
UInt64s = npt.NDArray[np.uint64]
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Duplicates:
    """For each row the row of the survivor it repeats, -1 where it is one itself.

    A copy of a near duplicate names that one in ``exact``, whose ``near`` names the survivor.
    """

    exact: Int64s
    near: Int64s


def find_duplicates(
    parts: Sequence[Path],
    precedence: Int64s,
    *,
    min_similarity: float,
    num_threads: int,
    progress: Progress = NO_PROGRESS,
) -> Duplicates:
    """Find the rows that repeat one another; of those the first in precedence survives.

    What is found depends on texts and precedence alone, not on the number of threads or parts.

    Args:
        parts: Arrow IPC files, not compressed, with the columns ``text`` (large strings),
            ``key`` and ``bands`` (``SIGNATURE_SCHEMA``); rows are numbered through all of them.
        precedence: The place of each row in the order of precedence, a permutation.
        min_similarity: Jaccard similarity of character 5-grams from which two are the same.
        num_threads: Threads to compare with.
        progress: Told how many of the rows were compared.
    """
    with ExitStack() as stack:
        batches = [batch for path in parts for batch in _open(path, stack)]
        rows = _Rows(batches, precedence)
        pool = stack.enter_context(ThreadPoolExecutor(num_threads))
        exact = _exact(rows)
        is_distinct = rows.has_key & (exact[rows.places] < 0)
        pairs = np.empty(0, dtype=np.uint64)
        for begin in range(0, NUM_BANDS, _BANDS_AT_ONCE):
            bands = rows.bands(range(begin, min(begin + _BANDS_AT_ONCE, NUM_BANDS)), is_distinct)
            places = rows.places[is_distinct]
            found = pool.map(candidate_pairs, bands, [places] * len(bands))
            pairs = _without_repeats([pairs, *found])
            progress(len(rows.places) * (begin + 1) / NUM_BANDS, len(rows.places), note="comparing")
        near = choose_survivors(_alike(pairs, rows, pool, min_similarity), len(rows.places))
        progress(len(rows.places), len(rows.places), note="comparing")
        return Duplicates(rows.by_row(exact), rows.by_row(near))


def _open(path: Path, stack: ExitStack) -> Iterator[pa.RecordBatch]:
    reader = pa.ipc.open_file(stack.enter_context(pa.memory_map(str(path))))
    for number in range(reader.num_record_batches):
        yield reader.get_batch(number)


class _Rows:
    """The rows of all batches by number, and their places in the order of precedence."""

    def __init__(self, batches: Sequence[pa.RecordBatch], precedence: Int64s):
        self._batches = batches
        self._begins = np.cumsum([0, *(batch.num_rows for batch in batches)])
        if len(precedence) != self._begins[-1] or len(precedence) >= MAX_PLACES:
            raise ValueError(f"{len(precedence)} places for {self._begins[-1]} rows")
        self.places = precedence.astype(np.uint32)
        self.row_at = np.empty(len(precedence), dtype=np.uint32)
        self.row_at[self.places] = np.arange(len(precedence), dtype=np.uint32)
        self.has_key = self._joined(
            [b.column("key").is_valid().to_numpy(zero_copy_only=False) for b in batches], np.bool_
        )

    @staticmethod
    def _joined(arrays: Sequence[npt.NDArray[Scalar]], dtype: type[Scalar]) -> npt.NDArray[Scalar]:
        return np.concatenate(arrays) if arrays else np.empty(0, dtype=dtype)

    def digests(self) -> UInt64s:
        """Return the keys in the order of places."""
        out = np.empty((len(self.places), 2), dtype=np.uint64)
        for batch, begin in zip(self._batches, self._begins[:-1], strict=True):
            key = batch.column("key")
            values = np.frombuffer(key.buffers()[1], dtype=np.uint64).reshape(-1, 2)
            own = self.places[begin : begin + batch.num_rows]
            out[own] = values[key.offset : key.offset + batch.num_rows]
        return out

    def bands(self, numbers: range, is_wanted: npt.NDArray[np.bool_]) -> list[UInt32s]:
        """Return some bands of the wanted rows, each one array."""
        found: list[list[UInt32s]] = [[] for _ in numbers]
        for batch, begin in zip(self._batches, self._begins[:-1], strict=True):
            flat = batch.column("bands").flatten().to_numpy()
            wanted = flat.reshape(-1, NUM_BANDS)[:, numbers.start : numbers.stop]
            chosen = wanted[is_wanted[begin : begin + batch.num_rows]]
            for band, values in zip(found, chosen.T, strict=True):
                band.append(np.ascontiguousarray(values))
        return [self._joined(band, np.uint32) for band in found]

    def texts(self, rows: Int64s) -> pa.Array:
        """Return the texts of rows, which are sorted, as one array in memory."""
        cuts = np.searchsorted(rows, self._begins)
        taken = [
            batch.column("text").take(pa.array(rows[first:last] - begin))
            for batch, begin, first, last in zip(
                self._batches, self._begins[:-1], cuts[:-1], cuts[1:], strict=True
            )
            if first < last
        ]
        return pa.concat_arrays(taken)

    def by_row(self, by_place: Int64s) -> Int64s:
        """Turn places into rows, both as index and as value."""
        found = by_place[self.places]
        is_found = found >= 0
        found[is_found] = self.row_at[found[is_found]]
        return found


def _exact(rows: _Rows) -> Int64s:
    """For each place the first with the same key, -1 for that one itself and where none is."""
    from mynah.corpus import pair_kernels as kernels

    digests = rows.digests()
    places = rows.places[rows.has_key]
    order = packed(digests[places, 0] >> np.uint64(32), places)
    order.sort()
    first = np.full(len(rows.places), -1, dtype=np.int64)
    kernels.first_equal(order, digests, first)
    return first


def _without_repeats(pairs: Sequence[UInt64s]) -> UInt64s:
    joined = np.concatenate(pairs)
    joined.sort()
    is_first = np.ones(joined.size, dtype=np.bool_)
    np.not_equal(joined[1:], joined[:-1], out=is_first[1:])
    return joined[is_first]


def _alike(pairs: UInt64s, rows: _Rows, pool: ThreadPoolExecutor, min_similarity: float) -> UInt64s:
    """Keep the pairs whose texts are alike enough."""

    def checked(begin: int) -> UInt64s:
        some = pairs[begin : begin + _PAIRS_AT_ONCE]
        places = np.concatenate([some >> np.uint64(32), some & np.uint64(0xFFFFFFFF)])
        wanted, index = np.unique(rows.row_at[places], return_inverse=True)
        left, right = index[: some.size], index[some.size :]
        texts = rows.texts(wanted.astype(np.int64))
        return some[verified((left, right), texts, min_similarity=min_similarity)]

    found = list(pool.map(checked, range(0, pairs.size, _PAIRS_AT_ONCE)))
    return np.concatenate(found) if found else pairs
