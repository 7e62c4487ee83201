"""Tiles and entry bundles of a log on disk (C2SP tlog-tiles), each checked before it is used.

Reads a folder with ``tile/``; writes nothing. Every tile is checked against the one above it,
those at the right edge against the root of the tree, and every leaf against its tile: what is
read here is what the tree head was signed for, or an error that names the file.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mynah.errors import RecordError
from mynah.record.notes import TreeHead
from mynah.record.tree import TILE_WIDTH, leaf_hash, node_hash, tile_path, tree_root

__all__ = ["MAX_LEAF_BYTES", "RESTORE", "TILE_HEIGHT", "TreeReader", "pack_bundle", "unpack_bundle"]

MAX_LEAF_BYTES = 65_535
"""Entry bundles give a leaf's length two bytes."""
TILE_HEIGHT = 8
HASH_BYTES = 32
MAX_TILES = 512
"""Kept in memory, about 35 kB each."""
RESTORE = "put the record back: mynah record restore WORKSPACE --from DIR|URL"

Rows = list[list[bytes]]
"""Hashes of a tile, then of each pair of them, and so on up to one."""


def rows_above(hashes: list[bytes]) -> Rows:
    """The hashes of a tile and the roots of all complete subtrees over them."""
    rows = [hashes]
    while len(rows[-1]) > 1:
        row = rows[-1]
        rows.append([node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)])
    return rows


def pack_bundle(leaves: Sequence[bytes]) -> bytes:
    """Leaves as an entry bundle holds them: two bytes of length before each."""
    return b"".join(part for leaf in leaves for part in (len(leaf).to_bytes(2), leaf))


def unpack_bundle(data: bytes, *, name: object) -> list[bytes]:
    """The inverse of ``pack_bundle``.

    Raises:
        RecordError: The last leaf of ``name`` is cut short.
    """
    leaves: list[bytes] = []
    at = 0
    while at < len(data):
        begin = at + 2
        at = begin + int.from_bytes(data[at:begin])
        if begin > len(data) or at > len(data):
            raise RecordError(f"{name} is cut short: its last leaf is not whole", hint=RESTORE)
        leaves.append(data[begin:at])
    return leaves


def _place(height: int, number: int) -> tuple[int, int, int, int]:
    """Level and number of the tile that has a subtree, then its row and place in it."""
    level, within = divmod(height, TILE_HEIGHT)
    tile, index = divmod(number, TILE_WIDTH >> within)
    return level, tile, within, index


class TreeReader:
    """One tree of a log: what stands in its tiles, checked against its root."""

    def __init__(
        self, folder: Path, head: TreeHead, *, edges: "dict[tuple[int, int], Rows] | None" = None
    ) -> None:
        """Read the right edge, unless the caller has just made it.

        Raises:
            RecordError: It does not give the root; names a tile that is missing or broken.
        """
        self.folder = folder
        self.head = head
        self._tiles: dict[tuple[int, int], Rows] = {}
        self._bundle: tuple[int, list[bytes]] = (-1, [])
        self._edges = self._read_edges() if edges is None else edges
        if tree_root(head.size, self.hash_at) != head.root:
            raise RecordError(
                f"the tiles in {folder} do not give the root hash of the tree head of {head.size} "
                "leaves: one at the right edge was changed",
                hint=RESTORE,
            )

    def _read_edges(self) -> dict[tuple[int, int], Rows]:
        edges: dict[tuple[int, int], Rows] = {}
        for level in range(TILE_HEIGHT):
            number, width = divmod(self._num_hashes(level), TILE_WIDTH)
            if width:
                edges[level, number] = rows_above(self._read_hashes(level, number, width))
        return edges

    def grown(self, leaves: Sequence[bytes]) -> "tuple[TreeReader, dict[str, bytes]]":
        """The tree with more leaves, and the files that it has and this one lacks."""
        number, width = divmod(self.head.size, TILE_WIDTH)
        row = [*(self.bundle(number) if width else ()), *leaves]
        files: dict[str, bytes] = {}
        for at in range(0, len(row), TILE_WIDTH):
            part = row[at : at + TILE_WIDTH]
            path = tile_path("entries", number + at // TILE_WIDTH, len(part))
            files[path] = pack_bundle(part)
        size = self.head.size + len(leaves)
        edges = dict(self._edges)
        fresh = [leaf_hash(leaf) for leaf in leaves]
        level = 0
        while fresh:
            fresh = self._grow_level(level, fresh, files=files, edges=edges)
            level += 1
        keys = {(lv, (size >> (TILE_HEIGHT * lv)) // TILE_WIDTH) for lv in range(TILE_HEIGHT)}
        edges = {key: rows for key, rows in edges.items() if key in keys}

        def hash_at(height: int, number: int) -> bytes:
            level, tile, within, index = _place(height, number)
            return edges[level, tile][within][index]

        root = tree_root(size, hash_at)
        tree = TreeReader(self.folder, TreeHead(self.head.origin, size, root), edges=edges)
        tree._tiles = self._tiles
        tree._bundle = (size // TILE_WIDTH, row[len(row) - size % TILE_WIDTH :])
        return tree, files

    def _grow_level(
        self,
        level: int,
        fresh: list[bytes],
        *,
        files: dict[str, bytes],
        edges: dict[tuple[int, int], Rows],
    ) -> list[bytes]:
        """Add hashes to a level; return those that full tiles give to the level above."""
        number = self._num_hashes(level) // TILE_WIDTH
        hashes = [*self.edge(level), *fresh]
        above: list[bytes] = []
        for at in range(0, len(hashes), TILE_WIDTH):
            part = hashes[at : at + TILE_WIDTH]
            files[tile_path(level, number, len(part))] = b"".join(part)
            rows = rows_above(part)
            if len(part) == TILE_WIDTH:
                above.append(rows[-1][0])
            else:
                edges[level, number] = rows
            number += 1
        return above

    def edge(self, level: int) -> list[bytes]:
        """Hashes of the partial tile of a level; none where the level ends with a full one."""
        rows = self._edges.get((level, self._num_hashes(level) // TILE_WIDTH))
        return list(rows[0]) if rows else []

    def hash_at(self, height: int, number: int) -> bytes:
        """Root of a complete subtree; see ``tree.HashAt``."""
        level, tile, within, index = _place(height, number)
        return self._rows(level, tile)[within][index]

    def bundle(self, number: int) -> list[bytes]:
        """The leaves of one entry bundle."""
        if self._bundle[0] == number:
            return self._bundle[1]
        width = min(TILE_WIDTH, self.head.size - number * TILE_WIDTH)
        path, data = self._read("entries", number, width)
        leaves = unpack_bundle(data, name=path)
        if len(leaves) < width or (len(leaves) > width and path == self._path(number, width)):
            raise RecordError(f"{path} has {len(leaves)} leaves, not {width}", hint=RESTORE)
        hashes = self._rows(0, number)[0]
        for place, leaf in enumerate(leaves[:width]):
            if leaf_hash(leaf) != hashes[place]:
                raise RecordError(
                    f"{path} was changed: leaf {number * TILE_WIDTH + place} is not in the tree",
                    hint=RESTORE,
                )
        self._bundle = (number, leaves[:width])
        return self._bundle[1]

    def leaf(self, index: int) -> bytes:
        """One leaf."""
        number, place = divmod(index, TILE_WIDTH)
        return self.bundle(number)[place]

    def leaves(self, start: int, stop: int) -> Iterator[bytes]:
        """Leaves from ``start`` up to ``stop``."""
        while start < stop:
            number, place = divmod(start, TILE_WIDTH)
            part = self.bundle(number)[place : place + stop - start]
            yield from part
            start += len(part)

    def _num_hashes(self, level: int) -> int:
        return self.head.size >> (TILE_HEIGHT * level)

    def _path(self, number: int, width: int) -> Path:
        return self.folder / tile_path("entries", number, width)

    def _rows(self, level: int, number: int) -> Rows:
        found = self._edges.get((level, number)) or self._tiles.get((level, number))
        if found is None:
            found = rows_above(self._read_hashes(level, number, TILE_WIDTH))
            if found[-1][0] != self.hash_at(TILE_HEIGHT * (level + 1), number):
                path = self.folder / tile_path(level, number)
                raise RecordError(
                    f"{path} was changed: it does not give the hash in the tile above", hint=RESTORE
                )
            if len(self._tiles) >= MAX_TILES:
                self._tiles.clear()
            self._tiles[level, number] = found
        return found

    def _read_hashes(self, level: int, number: int, width: int) -> list[bytes]:
        path, data = self._read(level, number, width)
        wanted = width * HASH_BYTES
        is_exact = path == self.folder / tile_path(level, number, width)
        if len(data) < wanted or (len(data) > wanted and is_exact):
            raise RecordError(f"{path} has {len(data)} bytes, not {wanted}", hint=RESTORE)
        return [data[at : at + HASH_BYTES] for at in range(0, wanted, HASH_BYTES)]

    def _read(self, level: int | str, number: int, width: int) -> tuple[Path, bytes]:
        """Read a tile, or one that begins with it: a writer may have gone on meanwhile."""
        exact = self.folder / tile_path(level, number, width)
        full = self.folder / tile_path(level, number)
        wider = range(width + 1, TILE_WIDTH) if width < TILE_WIDTH else ()
        partial = full.with_name(f"{full.name}.p")
        for path in (exact, full, *(partial / str(w) for w in wider), full):
            try:
                return path, path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                continue
        raise RecordError(f"{exact} is missing", hint=RESTORE)
