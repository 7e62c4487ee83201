"""CAR files, version 1: blocks of DAG-CBOR after a header, each named by its hash.

Reads bytes; writes a spool. In memory stay 16 bytes a block. No length is believed before the
bytes are there, and no block that differs from its hash is given out.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from typing import IO, Any, Final, cast

import libipld
import numpy as np

from mynah.posts.readers.native import pick
from mynah.posts.values import BadValue

__all__ = ["BlockStore", "blocks_by_cid", "decoded", "read_blocks", "read_roots"]

MAX_BLOCK_BYTES: Final = 8 << 20
"""A record has at most 1 MiB, a node of a tree a few KiB."""
_MAX_HEADER_BYTES: Final = 1 << 16
_MAX_VARINT_BYTES: Final = 9
_MAX_CLASHES: Final = 8
_CHUNK_BYTES: Final = 1 << 20
_SHA256_V1: Final = b"\x12\x20"
"""Hash function and length, in a CID just before the hash."""
_DIGEST_BYTES: Final = 32
_CUT: Final = "the file ends inside a block"

Json = Any


def decoded(block: bytes) -> Json:
    """Decode a block of DAG-CBOR."""
    try:
        return libipld.decode_dag_cbor(block)
    except (ValueError, RecursionError) as error:
        raise BadValue("a block is no DAG-CBOR") from error


def blocks_by_cid(car: bytes) -> dict[bytes, bytes]:
    """Return the blocks of a small CAR, such as an event carries, that match their hash."""
    stream = BytesIO(car)
    read_roots(stream)
    return {
        cid: data
        for cid, data in read_blocks(stream)
        if sha256(data).digest() == cid[-_DIGEST_BYTES:]
    }


def _read_varint(stream: IO[bytes]) -> int | None:
    """Read an unsigned LEB128 number; ``None`` at the end of the stream."""
    number = 0
    for place in range(_MAX_VARINT_BYTES):
        byte = stream.read(1)
        if not byte:
            if place:
                raise BadValue(_CUT)
            return None
        number |= (byte[0] & 0x7F) << (7 * place)
        if byte[0] < 0x80:
            return number
    raise BadValue("a block's length is no number")


def read_roots(stream: IO[bytes]) -> list[bytes]:
    """Read the header; return the CIDs that it names, those of commits."""
    length = _read_varint(stream)
    if length is None or length > _MAX_HEADER_BYTES:
        raise BadValue("the file does not begin like a CAR file")
    header = decoded(stream.read(length))
    roots = pick(header, "roots")
    if pick(header, "version") != 1 or not isinstance(roots, list):
        raise BadValue("the file is no CAR file of version 1")
    return [root for root in cast("list[Json]", roots) if isinstance(root, bytes)]


def read_blocks(stream: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield CID and bytes of every block; one that is no record of ours is passed over."""
    while (length := _read_varint(stream)) is not None:
        if length > MAX_BLOCK_BYTES:
            _skip(stream, length)
            continue
        section = stream.read(length)
        if len(section) < length:
            raise BadValue(_CUT)
        end = _cid_end(section)
        if end:
            yield section[:end], section[end:]


def _skip(stream: IO[bytes], length: int) -> None:
    while length:
        skipped = len(stream.read(min(length, _CHUNK_BYTES)))
        if not skipped:
            raise BadValue(_CUT)
        length -= skipped


def _cid_end(section: bytes) -> int:
    """Return where the CID ends; 0 when it is not by SHA-256, as all of a repository's are."""
    if section.startswith(_SHA256_V1):
        return len(_SHA256_V1) + _DIGEST_BYTES
    is_ours = section[:1] == b"\x01" and section[1:2] < b"\x80" and section[2:4] == _SHA256_V1
    return 4 + _DIGEST_BYTES if is_ours else 0


@dataclass(slots=True)
class BlockStore:
    """Blocks in a spool, found by their hash, which is checked on the way out."""

    spool: IO[bytes]
    keys: "array[int]" = field(default_factory=lambda: array("Q"))
    offsets: "array[int]" = field(default_factory=lambda: array("Q"))
    sorted_keys: "np.ndarray[Any, np.dtype[np.uint64]]" = field(
        default_factory=lambda: np.empty(0, np.uint64)
    )
    order: "np.ndarray[Any, np.dtype[np.int64]]" = field(
        default_factory=lambda: np.empty(0, np.int64)
    )

    def add(self, cid: bytes, data: bytes) -> None:
        """Keep a block."""
        self.keys.append(_key(cid))
        self.offsets.append(self.spool.tell())
        self.spool.write(len(data).to_bytes(4, "little") + data)

    def finish(self) -> None:
        """Make the blocks ready to be found; none is added after it."""
        keys = np.frombuffer(self.keys, np.uint64)
        self.order = np.argsort(keys, kind="stable")
        self.sorted_keys = keys[self.order]

    def get(self, cid: Json) -> bytes | None:
        """Return a block; ``None`` when it is not there as its hash says."""
        if not isinstance(cid, bytes) or len(cid) < _DIGEST_BYTES:
            return None
        key = np.uint64(_key(cid))
        first = int(self.sorted_keys.searchsorted(key))
        # Eight bytes of a hash are one block's alone, unless somebody looked for a clash.
        for place in range(first, min(len(self.order), first + _MAX_CLASHES)):
            if self.sorted_keys[place] != key:
                break
            self.spool.seek(self.offsets[int(self.order[place])])
            data = self.spool.read(int.from_bytes(self.spool.read(4), "little"))
            if sha256(data).digest() == cid[-_DIGEST_BYTES:]:
                return data
        return None


def _key(cid: bytes) -> int:
    return int.from_bytes(cid[-_DIGEST_BYTES:][:8], "little")
