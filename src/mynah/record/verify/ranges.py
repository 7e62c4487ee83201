"""A range of tiles of a log, checked by one process: hashes, envelopes, signatures.

Reads through a ``LogSource``; hands back hashes and the fields that the fold needs, so that the
expensive part of a million leaves runs on every core.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from typing import Any

from mynah.errors import DataError, MachineError, RecordError
from mynah.record.verify.leaves import read_leaf
from mynah.record.verify.sources import LogSource
from mynah.record.verify.tree import WIDTH, check_tile

__all__ = ["Found", "Range", "check_range", "check_ranges"]

TILES_A_RANGE = 8
"""2,048 leaves: 0.2 s of work, so that a process that starts late still finds some."""
Json = Any


@dataclass(frozen=True, slots=True)
class Range:
    """Tiles ``first`` up to ``stop`` of a log of ``size`` leaves."""

    source: LogSource
    size: int
    public: bytes
    """The log's key."""
    first: int
    stop: int


@dataclass(slots=True)
class Found:
    """What a range holds."""

    stop: int
    rows: list[list[bytes]] = field(default_factory=lambda: [])
    """Leaf hashes of each tile, up to the first that is at fault."""
    leaves: list[tuple[int, str, dict[str, Json]]] = field(default_factory=lambda: [])
    """Index, kind and fields of each leaf that is well formed and truly signed."""
    signers: dict[str, int] = field(default_factory=lambda: {})
    """Vkeys, and the first leaf of each."""
    leaf_faults: list[tuple[int, str]] = field(default_factory=lambda: [])
    tile_faults: list[tuple[int, str]] = field(default_factory=lambda: [])
    """First leaf of the tile, and what is wrong with it."""
    unreadable: tuple[str, str] | None = None
    """Message and hint, when the source failed: our errors do not travel between processes."""


def check_range(part: Range) -> Found:
    """Check the tiles of a range and every leaf in them; see ``Found``."""
    found = Found(part.stop)
    for number in range(part.first, part.stop):
        start = number * WIDTH
        try:
            tile = check_tile(part.source, number, part.size)
        except (RecordError, DataError) as error:
            found.tile_faults.append((start, error.message))
            continue
        except MachineError as error:
            found.unreadable = (error.message, error.hint)
            return found
        if found.tile_faults:
            continue  # what comes after a hole cannot be added up
        found.rows.append(tile.row)
        for index, data in enumerate(tile.leaves, start):
            try:
                leaf = read_leaf(data, part.public)
            except RecordError as error:
                found.leaf_faults.append((index, error.message))
                continue
            found.signers.setdefault(leaf.signer, index)
            found.leaves.append((index, leaf.kind, leaf.body))
    return found


def _readable(found: Found) -> Found:
    if found.unreadable:
        message, hint = found.unreadable
        raise MachineError(message, hint=hint)
    return found


def check_ranges(whole: Range, *, num_workers: int) -> Iterator[Found]:
    """Check a log range by range, in order; on several processes when it is worth their start.

    Raises:
        MachineError: The source failed, or the system ended one of the processes.
    """
    steps = range(whole.first, whole.stop, TILES_A_RANGE)
    parts = (replace(whole, first=n, stop=min(n + TILES_A_RANGE, whole.stop)) for n in steps)
    num_workers = num_workers or min(len(os.sched_getaffinity(0)), len(steps) // 4)
    if num_workers <= 1:
        yield from map(_readable, map(check_range, parts))
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of our threads
    with ProcessPoolExecutor(num_workers, mp_context=context) as pool:
        waiting: deque[Future[Found]] = deque()
        try:
            for part in parts:
                waiting.append(pool.submit(check_range, part))
                if len(waiting) > 3 * num_workers:  # what is done and not yet taken stays small
                    yield _readable(waiting.popleft().result())
            while waiting:
                yield _readable(waiting.popleft().result())
        except BrokenProcessPool as error:
            raise MachineError(
                "a process that checks the log was ended by the system",
                hint="it needs some 100 MB a process: free some memory, or use fewer",
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)
