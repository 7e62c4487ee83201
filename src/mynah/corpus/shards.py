"""Token shards in Megatron's layout, which other trainers read too.

Writes and reads ``<prefix>.bin`` (tokens, little-endian, end to end), ``<prefix>.idx`` and the
sidecar ``<prefix>.meta.parquet`` (document to post ids). The index holds, little-endian::

    9 bytes   magic "MMIDIDX", two zero bytes
    uint64    version, 1
    uint8     type of a token: 8 is uint16, 4 is int32
    uint64    number of sequences S
    uint64    number of document indices D = S + 1
    int32[S]  tokens in each sequence
    int64[S]  byte at which each begins in the .bin
    int64[D]  sequence at which each document begins, and S at the end

A sequence here is always a whole document.

Source: NVIDIA Megatron-LM, ``megatron/core/datasets/indexed_dataset.py``.
"""

import os
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mynah.errors import DataError

__all__ = ["TokenShard", "write_shard"]

_MAGIC = b"MMIDIDX\x00\x00"
_VERSION = 1
_HEADER = struct.Struct("<9sQBQQ")
_DTYPES: dict[int, np.dtype[Any]] = {4: np.dtype("<i4"), 8: np.dtype("<u2")}
_MAX_UINT16_VOCAB = 65_500
"""As in Megatron: from here on a token takes four bytes."""

META_SCHEMA = pa.schema(
    [
        pa.field("document", pa.int64(), nullable=False),
        pa.field("post_ids", pa.list_(pa.string()), nullable=False),
    ]
)


def write_shard(
    prefix: Path,
    documents: Iterable[Sequence[int]],
    *,
    post_ids: Sequence[Sequence[str]],
    vocab_size: int,
) -> int:
    """Write the three files of a shard; return the number of tokens.

    Args:
        prefix: Path without the ending, as in ``corpus/abc/train``.
        documents: Tokens of each document, streamed.
        post_ids: The posts that each document was made of.
        vocab_size: Decides how wide a token is stored.
    """
    code = 8 if vocab_size < _MAX_UINT16_VOCAB else 4
    dtype = _DTYPES[code]
    sizes: list[int] = []
    with _path(prefix, ".bin").open("wb") as stream:
        for tokens in documents:
            stream.write(np.asarray(tokens, dtype=dtype).tobytes())
            sizes.append(len(tokens))
    assert len(sizes) == len(post_ids), "every document has its posts"
    lengths = np.array(sizes, dtype="<i4")
    ends = np.cumsum(lengths, dtype="<i8")
    with _path(prefix, ".idx").open("wb") as stream:
        stream.write(_HEADER.pack(_MAGIC, _VERSION, code, len(sizes), len(sizes) + 1))
        stream.write(lengths.tobytes())
        stream.write(((ends - lengths) * dtype.itemsize).astype("<i8").tobytes())
        stream.write(np.arange(len(sizes) + 1, dtype="<i8").tobytes())
    meta = pa.table(
        [pa.array(range(len(sizes)), pa.int64()), pa.array(post_ids, pa.list_(pa.string()))],
        schema=META_SCHEMA,
    )
    pq.write_table(meta, _path(prefix, ".meta.parquet"), compression="zstd")
    return int(ends[-1]) if sizes else 0


class TokenShard:
    """The documents of a shard, memory-mapped: opening costs nothing, reading a page or two."""

    def __init__(self, path_prefix: Path) -> None:
        """Open ``<path_prefix>.bin`` and ``.idx``.

        Raises:
            DataError: A file is missing, or the two do not fit one another.
        """
        self._index_path = _path(path_prefix, ".idx")
        self._tokens_path = _path(path_prefix, ".bin")
        for path in (self._index_path, self._tokens_path):
            if not path.is_file():
                raise DataError(f"there is no {path}", hint=_REBUILD)
        index = self._index_path.read_bytes()
        self.dtype, num_documents = self._read_header(index)
        at = _HEADER.size
        self.sizes: npt.NDArray[np.int32] = np.frombuffer(index, "<i4", num_documents, at)
        """Tokens in each document."""
        at += self.sizes.nbytes
        self._starts: npt.NDArray[np.int64] = np.frombuffer(index, "<i8", num_documents, at)
        self._check_pointers()
        self._tokens = self._map()

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """Return the tokens of a document, a view of the file that cannot be written."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"document {index} of {len(self)}")
        start = int(self._starts[index]) // self.dtype.itemsize
        return self._tokens[start : start + int(self.sizes[index])]

    @property
    def num_tokens(self) -> int:
        """Tokens of all documents together."""
        return int(self.sizes.sum(dtype=np.int64))

    def close(self) -> None:
        """Let go of the file; views that were given out stay valid until they are dropped."""
        self._tokens = np.empty(0, self.dtype)

    def _read_header(self, index: bytes) -> tuple[np.dtype[Any], int]:
        if len(index) < _HEADER.size:
            raise self._broken(f"has {len(index)} bytes, its header alone has {_HEADER.size}")
        magic, version, code, num_sequences, num_indices = _HEADER.unpack_from(index)
        if magic != _MAGIC:
            raise self._broken("does not begin with MMIDIDX: it is no index of tokens")
        if version != _VERSION:
            raise self._broken(f"has format version {version}, this package reads {_VERSION}")
        if code not in _DTYPES:
            raise self._broken(f"has token type {code}, this package reads 4 and 8")
        expected = _HEADER.size + num_sequences * 12 + num_indices * 8
        if len(index) != expected or num_indices != num_sequences + 1:
            raise self._broken(
                f"has {len(index):,} bytes; {num_sequences:,} documents need {expected:,}"
            )
        return _DTYPES[code], num_sequences

    def _check_pointers(self) -> None:
        num_bytes = os.path.getsize(self._tokens_path)
        widths = self.sizes.astype(np.int64) * self.dtype.itemsize
        expected = np.cumsum(widths) - widths
        if (self.sizes < 0).any() or not np.array_equal(self._starts, expected):
            raise self._broken("has lengths and positions that do not fit one another")
        if num_bytes != int(widths.sum()):
            raise DataError(
                f"{self._tokens_path} has {num_bytes:,} bytes, its index says "
                f"{int(widths.sum()):,}",
                hint=_REBUILD,
            )

    def _map(self) -> npt.NDArray[Any]:
        if not self.num_tokens:  # an empty file cannot be mapped
            return np.empty(0, self.dtype)
        return np.memmap(self._tokens_path, dtype=self.dtype, mode="r")

    def _broken(self, what: str) -> DataError:
        return DataError(f"{self._index_path} {what}", hint=_REBUILD)


_REBUILD = "delete that corpus folder and run the same command again to rebuild it"


def _path(prefix: Path, ending: str) -> Path:
    return prefix.with_name(prefix.name + ending)
