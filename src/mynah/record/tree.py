"""The Merkle tree of RFC 6962 over tiles of 256 hashes (C2SP tlog-tiles): hashes and proofs.

Pure: hashes come from a function, paths are strings. ``record.verify`` has code of its own.
"""

import hashlib
from collections.abc import Callable, Sequence

from mynah.record.notes import fault

__all__ = [
    "TILE_WIDTH",
    "HashAt",
    "check_consistency",
    "check_inclusion",
    "consistency_proof",
    "inclusion_proof",
    "leaf_hash",
    "node_hash",
    "subtree_root",
    "tile_path",
    "tile_widths",
    "tree_root",
]

TILE_WIDTH = 256
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of a tree without leaves."""

HashAt = Callable[[int, int], bytes]
"""``hash_at(height, number)``: root of the complete subtree over leaves
``number * 2**height`` up to ``(number + 1) * 2**height``."""


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of one leaf."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def subtree_root(hashes: Sequence[bytes]) -> bytes:
    """Root over 1 to 256 neighbouring hashes of one height."""
    row = list(hashes)
    while len(row) > 1:
        above = [node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        row = [*above, row[-1]] if len(row) % 2 else above
    return row[0]


def tile_path(level: int | str, number: int, width: int = TILE_WIDTH) -> str:
    """Path of a tile below the log's folder; ``level`` is 0 and up, or ``entries``."""
    parts = [f"{number % 1000:03d}"]
    while number >= 1000:
        number //= 1000
        parts.append(f"x{number % 1000:03d}")
    suffix = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(reversed(parts))}{suffix}"


def tile_widths(size: int) -> list[tuple[int, int, int]]:
    """The rightmost tile of each level of a tree: (level, number, width), partial ones only."""
    tiles: list[tuple[int, int, int]] = []
    level = 0
    while size:
        if size % TILE_WIDTH:
            tiles.append((level, size // TILE_WIDTH, size % TILE_WIDTH))
        size //= TILE_WIDTH
        level += 1
    return tiles


def _split(size: int) -> int:
    """Largest power of two below ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def _range_root(start: int, end: int, hash_at: HashAt) -> bytes:
    """Root over leaves ``start`` up to ``end``; ``start`` is aligned as in RFC 6962."""
    size = end - start
    height = size.bit_length() - 1
    if size == 1 << height and start % size == 0:
        return hash_at(height, start >> height)
    middle = start + _split(size)
    return node_hash(_range_root(start, middle, hash_at), _range_root(middle, end, hash_at))


def tree_root(size: int, hash_at: HashAt) -> bytes:
    """Root of the first ``size`` leaves."""
    return _range_root(0, size, hash_at) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, hash_at: HashAt) -> list[bytes]:
    """Hashes from the leaf's sibling up to a child of the root (RFC 6962, section 2.1.1)."""
    if not 0 <= index < size:
        raise fault(
            f"leaf {index} is not in a tree of {size}", hint="ask for a leaf below the tree's size"
        )
    start, end = 0, size
    proof: list[bytes] = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_range_root(middle, end, hash_at))
            end = middle
        else:
            proof.append(_range_root(start, middle, hash_at))
            start = middle
    return proof[::-1]


def consistency_proof(old: int, new: int, hash_at: HashAt) -> list[bytes]:
    """Hashes that show a tree of ``new`` leaves to begin with those of ``old`` (section 2.1.2)."""
    if not 0 <= old <= new:
        raise fault(f"a tree of {new} leaves cannot go on from {old}", hint="swap the two sizes")
    if old in (0, new):
        return []
    start, end = 0, new
    proof: list[bytes] = []
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(_range_root(middle, end, hash_at))
            end = middle
        else:
            proof.append(_range_root(start, middle, hash_at))
            start = middle
    if start > 0:
        proof.append(_range_root(start, end, hash_at))
    return proof[::-1]


def check_inclusion(
    leaf: bytes, index: int, *, size: int, root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree with ``root`` has the leaf hash ``leaf`` at ``index``.

    Raises:
        RecordError: It does not, or the proof has another length.

    Source: RFC 9162, section 2.1.3.2.
    """
    number, last = index, size - 1
    found = leaf
    if not 0 <= index < size:
        raise fault(f"leaf {index} is not in a tree of {size}")
    for step in proof:
        if last == 0:
            raise fault("the inclusion proof is too long")
        if number & 1 or number == last:
            found = node_hash(step, found)
            while not number & 1 and number:
                number >>= 1
                last >>= 1
        else:
            found = node_hash(found, step)
        number >>= 1
        last >>= 1
    if last or found != root:
        raise fault(f"the inclusion proof of leaf {index} does not lead to the root")


def check_consistency(
    old: int, new: int, *, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that a tree of ``new`` leaves begins with the one of ``old``.

    Raises:
        RecordError: It does not: history was rewritten; or the proof has another length.

    Source: RFC 9162, section 2.1.4.2.
    """
    rewritten = fault(f"the log of {new} leaves does not go on from the one of {old}: a fork")
    if not 0 <= old <= new or (old in (0, new) and proof):
        raise rewritten
    if old == 0:
        if old_root != EMPTY_ROOT:
            raise rewritten
        return
    if old == new:
        if old_root != new_root:
            raise rewritten
        return
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise rewritten
    number, last = old - 1, new - 1
    while number & 1:
        number >>= 1
        last >>= 1
    first = second = path[0]
    for step in path[1:]:
        if last == 0:
            raise rewritten
        if number & 1 or number == last:
            first, second = node_hash(step, first), node_hash(step, second)
            while not number & 1 and number:
                number >>= 1
                last >>= 1
        else:
            second = node_hash(second, step)
        number >>= 1
        last >>= 1
    if last or first != old_root or second != new_root:
        raise rewritten
