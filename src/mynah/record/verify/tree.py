"""The Merkle tree of a published log, hashed again from its leaves (RFC 6962, C2SP tlog-tiles).

Reads entry bundles and tiles through a ``LogSource``; every published tile is compared with what
the leaves hash to, so that no bit of what the tree head commits to can differ unseen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from mynah.errors import RecordError
from mynah.record.verify.notes import Head, wrong
from mynah.record.verify.sources import LogSource

__all__ = [
    "WIDTH",
    "Tile",
    "Tree",
    "check_tile",
    "fold",
    "follow_path",
    "hash_leaf",
    "split_bundle",
    "tile_name",
    "verify_tree",
]

WIDTH = 256
HASH_BYTES = 32
MAX_BUNDLE_BYTES = WIDTH * (2 + 65_535)


def hash_leaf(leaf: bytes) -> bytes:
    """Hash of a leaf."""
    return sha256(b"\0" + leaf).digest()


def fold(row: Sequence[bytes]) -> bytes:
    """Root over a row of one or more hashes of equal height."""
    while len(row) > 1:
        last = row[-1:] if len(row) & 1 else []
        pairs = zip(row[::2], row[1::2], strict=False)
        row = [sha256(b"\1" + left + right).digest() for left, right in pairs]
        row.extend(last)
    return row[0]


def tile_name(level: int | str, number: int, width: int = WIDTH) -> str:
    """Path of a tile, or of an entry bundle (level ``entries``), below the log's prefix."""
    digits = str(number)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    path = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
    return f"tile/{level}/{path}" if width == WIDTH else f"tile/{level}/{path}.p/{width}"


def split_bundle(bundle: bytes, width: int) -> list[bytes]:
    """The first ``width`` leaves of a bundle; one of 256 may stand for a narrower one.

    Raises:
        RecordError: It is cut short, or has bytes too many.
    """
    leaves: list[bytes] = []
    start, end = 0, len(bundle)
    while start < end:
        stop = start + 2 + (bundle[start] << 8) + (bundle[start + 1] if start + 1 < end else 0)
        if stop > end or start + 2 > end:
            raise wrong("the entry bundle is cut short inside a leaf")
        leaves.append(bundle[start + 2 : stop])
        start = stop
    if len(leaves) not in (width, WIDTH):
        raise wrong(f"the entry bundle has {len(leaves)} leaves, not {width}")
    return leaves[:width]


def _read(source: LogSource, level: int | str, number: int, width: int) -> bytes:
    """A tile or bundle; where the narrow one is gone, the full one that replaced it."""
    limit = WIDTH * HASH_BYTES if level != "entries" else MAX_BUNDLE_BYTES
    found = source.read(tile_name(level, number, width), max_bytes=limit)
    if found is None and width < WIDTH:
        found = source.read(tile_name(level, number), max_bytes=limit)
    if found is None:
        raise wrong(f"{tile_name(level, number, width)} is not published")
    return found


def _check_published(source: LogSource, level: int, number: int, row: Sequence[bytes]) -> None:
    found = _read(source, level, number, len(row))
    if len(found) not in (len(row) * HASH_BYTES, WIDTH * HASH_BYTES):
        raise wrong(f"{tile_name(level, number, len(row))} has {len(found)} bytes")
    if found[: len(row) * HASH_BYTES] != b"".join(row):
        raise wrong(f"{tile_name(level, number, len(row))} holds other hashes than the leaves have")


@dataclass(frozen=True, slots=True)
class Tile:
    """Up to 256 leaves and their hashes, checked against the published tile."""

    leaves: list[bytes]
    row: list[bytes]


def check_tile(source: LogSource, number: int, size: int) -> Tile:
    """Read the bundle ``number`` of a log of ``size`` leaves and hash it.

    Raises:
        RecordError: The bundle is malformed or missing, or the tile over it differs.
    """
    width = min(WIDTH, size - number * WIDTH)
    leaves = split_bundle(_read(source, "entries", number, width), width)
    row = [sha256(b"\0" + leaf).digest() for leaf in leaves]
    _check_published(source, 0, number, row)
    return Tile(leaves, row)


@dataclass(slots=True)
class Tree:
    """Roots of the tiles of a log, in their order; the last row if it is not full."""

    source: LogSource
    size: int
    roots: list[bytes] = field(default_factory=lambda: [])
    tail: list[bytes] = field(default_factory=lambda: [])

    def root(self, size: int) -> bytes:
        """Root of the first ``size`` leaves.

        Raises:
            RecordError: A tile that is needed again is not what it was.
        """
        if size == 0:
            return sha256(b"").digest()
        number, width = divmod(size, WIDTH)
        parts: list[bytes] = []
        start = 0
        while start < number:  # perfect subtrees, the largest first
            step = 1 << ((number - start).bit_length() - 1)
            parts.append(fold(self.roots[start : start + step]))
            start += step
        if width:
            parts.append(fold(self._row(number)[:width]))
        root = parts.pop()
        while parts:
            root = sha256(b"\1" + parts.pop() + root).digest()
        return root

    def _row(self, number: int) -> list[bytes]:
        if number == len(self.roots):
            return self.tail
        raw = _read(self.source, 0, number, WIDTH)
        row = [raw[i : i + HASH_BYTES] for i in range(0, len(raw), HASH_BYTES)]
        if len(raw) != WIDTH * HASH_BYTES or fold(row) != self.roots[number]:
            raise wrong(f"{tile_name(0, number)} changed while the log was read")
        return row

    def check_upper(self) -> Iterator[str]:
        """Compare every published tile above the leaves; yield what differs."""
        row, level = self.roots, 1
        while row:
            for number in range(0, -(-len(row) // WIDTH)):
                part = row[number * WIDTH : (number + 1) * WIDTH]
                try:
                    _check_published(self.source, level, number, part)
                except RecordError as error:
                    yield error.message
            full = len(row) // WIDTH
            row = [fold(row[n * WIDTH : (n + 1) * WIDTH]) for n in range(full)]
            level += 1

    def add(self, row: Sequence[bytes]) -> None:
        """Take the hashes of the next tile."""
        if len(row) == WIDTH:
            self.roots.append(fold(row))
        else:
            self.tail = list(row)


def verify_tree(source: LogSource, head: Head) -> Tree:
    """Hash the whole log and compare it with its tiles and its tree head; no leaf is read.

    Raises:
        RecordError: The first thing that differs.
    """
    tree = Tree(source, head.size)
    for number in range(-(-head.size // WIDTH)):
        tree.add(check_tile(source, number, head.size).row)
    for fault in tree.check_upper():
        raise wrong(fault)
    if tree.root(head.size) != head.root:
        raise wrong("the leaves hash to another root than the tree head says")
    return tree


def follow_path(found: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Root that a leaf hash at ``index`` of ``size`` leads to by way of ``path``.

    Raises:
        RecordError: The path has another length than the tree's shape asks for.
    """
    if not 0 <= index < size:
        raise wrong(f"leaf {index} is not in a tree of {size} leaves")
    sides: list[bool] = []  # from the root down: whether the leaf is in the right half
    start, end = 0, size
    while end - start > 1:
        middle = start + (1 << ((end - start - 1).bit_length() - 1))
        sides.append(index >= middle)
        start, end = (middle, end) if index >= middle else (start, middle)
    if len(sides) != len(path):
        raise wrong(f"the proof of leaf {index} has {len(path)} hashes, not {len(sides)}")
    for is_right, other in zip(reversed(sides), path, strict=True):
        both = other + found if is_right else found + other
        found = sha256(b"\1" + both).digest()
    return found
