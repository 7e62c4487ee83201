"""Fetch the new part of a log into a folder aside, where it is verified before it is a mirror.

Reads a published log, which may be slow, huge or lie; writes tiles and entry bundles below the
staging folder it is given. What was fetched whole stays there for the next try.
"""

import base64
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import orjson

from mynah.errors import MachineError, RecordError
from mynah.record.statements import PREDICATES
from mynah.record.tiles import MAX_LEAF_BYTES, TreeReader
from mynah.record.tree import TILE_WIDTH, HashAt, leaf_hash, subtree_root, tile_path
from mynah.record.verify.sources import LogSource
from mynah.workspace import replace_file

__all__ = ["Download", "Limits", "remote_hashes"]

HASH_BYTES = 32
MAX_BUNDLE_BYTES = TILE_WIDTH * (MAX_LEAF_BYTES + 2)
MIN_BUNDLE_COST = 16 * 1024
"""What a bundle costs at least, on disk and in time, however small it is."""
ORDERED = f'"predicateType":"{PREDICATES}pause-ordered/v1"'.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one refresh of one log may cost; the next one goes on where it stopped."""

    max_bytes: int = 1 << 30
    max_s: float = 600.0


@dataclass(slots=True)
class Download:
    """One download: what is fetched, and what is left of the limits."""

    source: LogSource
    bytes_left: int
    until_s: float
    staging: Path

    def stage(self, reader: TreeReader | None, start: int, size: int) -> tuple[int, ...]:
        """Fetch bundles from leaf ``start`` on, and write all tiles that change."""
        for partial in [*self.staging.rglob("*.p")]:  # of an earlier try, for another tree head
            shutil.rmtree(partial)
        orders: list[int] = []
        hashes: list[bytes] = []
        for number in range(start // TILE_WIDTH, -(-size // TILE_WIDTH)):
            leaves = self._bundle(number, min(TILE_WIDTH, size - number * TILE_WIDTH))
            row = [leaf_hash(leaf) for leaf in leaves]
            self._write_row(0, number, row)
            if len(row) == TILE_WIDTH:
                hashes.append(subtree_root(row))
            first = number * TILE_WIDTH
            orders += [first + i for i, leaf in enumerate(leaves) if _is_order(leaf)]
        level = 1
        while size >> (8 * level):
            row = [*(reader.edge(level) if reader else ()), *hashes]
            number = (start >> (8 * level)) // TILE_WIDTH
            parts = [row[at : at + TILE_WIDTH] for at in range(0, len(row), TILE_WIDTH)]
            for place, part in enumerate(parts):
                self._write_row(level, number + place, part)
            hashes = [subtree_root(part) for part in parts if len(part) == TILE_WIDTH]
            level += 1
        return tuple(index for index in orders if index >= start)

    def _write_row(self, level: int, number: int, row: list[bytes]) -> None:
        replace_file(self.staging / tile_path(level, number, len(row)), b"".join(row))

    def _bundle(self, number: int, width: int) -> list[bytes]:
        """The leaves of one bundle: staged by an earlier try, or fetched now."""
        path = tile_path("entries", number, width)
        staged = self.staging / path
        if width == TILE_WIDTH and staged.is_file():
            return _unpack(staged.read_bytes(), width, path)[0]
        if self.bytes_left <= 0 or time.monotonic() > self.until_s:
            raise MachineError(
                f"{self.source.location} is too long or too slow to be mirrored at once",
                hint="refresh it again: what was fetched is kept, and it goes on from there",
            )
        data = self.source.read(path, max_bytes=MAX_BUNDLE_BYTES)
        if data is None and width < TILE_WIDTH:
            path = tile_path("entries", number)
            data = self.source.read(path, max_bytes=MAX_BUNDLE_BYTES)
        if data is None:
            raise _lacking(self.source, path)
        self.bytes_left -= max(MIN_BUNDLE_COST, len(data))
        leaves, used = _unpack(data, width, path)
        replace_file(staged, data[:used])
        return leaves


def _lacking(source: LogSource, path: str) -> RecordError:
    return RecordError(
        f"{source.location} has no {path}, which its tree head needs",
        hint="it may be publishing right now: refresh again in a minute, else ask who runs it",
    )


def remote_hashes(source: LogSource, size: int) -> HashAt:
    """``hash_at`` over the tiles that a log publishes, unverified."""
    tiles: dict[tuple[int, int], bytes] = {}

    def tile(level: int, number: int) -> bytes:
        if (level, number) not in tiles:
            width = min(TILE_WIDTH, (size >> (8 * level)) - number * TILE_WIDTH)
            paths = dict.fromkeys((tile_path(level, number, width), tile_path(level, number)))
            found = (source.read(p, max_bytes=TILE_WIDTH * HASH_BYTES) for p in paths)
            data = next((data for data in found if data is not None), None)
            if data is None:
                raise _lacking(source, next(iter(paths)))
            if len(data) < width * HASH_BYTES:
                raise RecordError(
                    f"{source.location}/{next(iter(paths))} is cut short", hint="ask who runs it"
                )
            tiles[level, number] = data[: width * HASH_BYTES]
        return tiles[level, number]

    def hash_at(height: int, number: int) -> bytes:
        level, up = divmod(height, 8)
        place, index = divmod(number << up, TILE_WIDTH)
        row = tile(level, place)[index * HASH_BYTES : (index + (1 << up)) * HASH_BYTES]
        return subtree_root([row[i : i + HASH_BYTES] for i in range(0, len(row), HASH_BYTES)])

    return hash_at


def _unpack(data: bytes, width: int, path: str) -> tuple[list[bytes], int]:
    """The first ``width`` leaves of a bundle, and the bytes they take."""
    leaves: list[bytes] = []
    at = 0
    for _ in range(width):
        end = at + 2 + int.from_bytes(data[at : at + 2])
        if at + 2 > len(data) or end > len(data):
            raise RecordError(
                f"{path} is cut short after {len(leaves)} of {width} leaves", hint="ask who runs it"
            )
        leaves.append(data[at + 2 : end])
        at = end
    return leaves, at


def _is_order(leaf: bytes) -> bool:
    """Whether a leaf may be a pause order; fast, for it looks at each leaf of a log."""
    try:
        return ORDERED in base64.b64decode(orjson.loads(leaf)["payload"])
    except (ValueError, KeyError, TypeError):
        return False
