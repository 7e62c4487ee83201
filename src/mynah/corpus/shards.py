"""Token shards in Megatron's layout, which other trainers read too.

Writes and reads ``<prefix>.bin`` (tokens, little-endian, end to end), ``<prefix>.idx`` and the
sidecar ``<prefix>.meta.parquet`` (document to posts). The index holds, little-endian::

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
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mynah.errors import DataError

__all__ = [
    "META_SCHEMA",
    "ShardWriter",
    "TokenShard",
    "pair_starts_path",
    "shard_path",
    "write_shard",
]

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
        pa.field("post_tokens", pa.list_(pa.int32()), nullable=False),
    ]
)
"""The posts of a document are its first ``post_tokens[0]`` tokens, the next ``post_tokens[1]``, and
so on; what is left ends the document. No ``post_tokens``: each post may be all over it."""

ROW_GROUP_DOCUMENTS = 65_536
_SLICE_DOCUMENTS = 1 << 20

Lists = pa.Array | Sequence[Sequence[Any]]


class ShardWriter:
    """Writes the three files of a shard, batch by batch.

    The files do not depend on how documents are cut into batches. What stays in memory is four
    bytes a document and one row group of the sidecar. Used as a context manager: leaving it
    writes the index; after an exception there is none, so nobody takes the shard for whole.

    Args:
        prefix: Path without the ending, as in ``corpus/abc/train``.
        vocab_size: Decides how wide a token is stored.
    """

    def __init__(self, prefix: Path, *, vocab_size: int) -> None:
        self._prefix = prefix
        self._code = 8 if vocab_size < _MAX_UINT16_VOCAB else 4
        self._dtype = _DTYPES[self._code]
        self._lengths: list[npt.NDArray[np.int32]] = []
        self._pending: list[pa.Table] = []
        self.num_documents = 0
        """Documents appended so far."""
        self.num_tokens = 0
        """Tokens appended so far."""
        self._bin = shard_path(prefix, ".bin").open("wb")
        self._meta = pq.ParquetWriter(
            shard_path(prefix, ".meta.parquet"), META_SCHEMA, compression="zstd"
        )

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
        else:
            self._bin.close()
            self._meta.close()

    def append(
        self,
        tokens: npt.NDArray[Any],
        lengths: npt.NDArray[Any],
        *,
        post_ids: Lists,
        post_tokens: Lists,
    ) -> None:
        """Append documents.

        Args:
            tokens: Those of all the documents end to end, each with its end-of-text token.
            lengths: Tokens of each document.
            post_ids: The posts that each document was made of, in order.
            post_tokens: How many tokens each of them is, in order from the document's first; empty
                where a document is not its posts end to end.
        """
        assert len(lengths) == len(post_ids) == len(post_tokens), "every document has its posts"
        sizes = np.asarray(lengths, dtype=np.int32)
        assert int(sizes.sum(dtype=np.int64)) == len(tokens), "lengths are those of the tokens"
        self._bin.write(np.ascontiguousarray(tokens, dtype=self._dtype).data)
        self._lengths.append(sizes)
        first = self.num_documents
        columns = [
            pa.array(np.arange(first, first + len(sizes))),
            _lists(post_ids, pa.string()),
            _lists(post_tokens, pa.int32()),
        ]
        self._pending.append(pa.table(columns, schema=META_SCHEMA))
        self.num_documents += len(sizes)
        self.num_tokens += len(tokens)
        if sum(table.num_rows for table in self._pending) >= ROW_GROUP_DOCUMENTS:
            self._write_row_groups()

    def finish(self) -> None:
        """Write what is left of the sidecar, and the index."""
        self._write_row_groups()
        for table in self._pending:
            self._meta.write_table(table)
        self._meta.close()
        self._bin.close()
        lengths = np.concatenate([np.empty(0, np.int32), *self._lengths])
        with shard_path(self._prefix, ".idx").open("wb") as stream:
            stream.write(_HEADER.pack(_MAGIC, _VERSION, self._code, len(lengths), len(lengths) + 1))
            stream.write(lengths.astype("<i4", copy=False).data)
            for _, starts in _slices_of_starts(lengths, self._dtype.itemsize):
                stream.write(starts.data)
            for at in range(0, len(lengths) + 1, _SLICE_DOCUMENTS):
                end = min(at + _SLICE_DOCUMENTS, len(lengths) + 1)
                stream.write(np.arange(at, end, dtype="<i8").data)

    def _write_row_groups(self) -> None:
        """Write the whole row groups there are; equal rows give equal bytes however they came."""
        table = pa.concat_tables([META_SCHEMA.empty_table(), *self._pending])
        at = 0
        while table.num_rows - at >= ROW_GROUP_DOCUMENTS:
            self._meta.write_table(table.slice(at, ROW_GROUP_DOCUMENTS).combine_chunks())
            at += ROW_GROUP_DOCUMENTS
        rest = table.slice(at).combine_chunks()
        self._pending = [rest] if rest.num_rows else []


def write_shard(
    prefix: Path,
    documents: Iterable[Sequence[int]],
    *,
    post_ids: Sequence[Sequence[str]],
    vocab_size: int,
) -> int:
    """Write the three files of a shard whose documents are one post each, or are made over posts.

    Args:
        prefix: Path without the ending, as in ``corpus/abc/train``.
        documents: Tokens of each document, streamed.
        post_ids: The posts that each document was made of.
        vocab_size: Decides how wide a token is stored.

    Returns:
        The number of tokens.
    """
    stream = iter(documents)
    with ShardWriter(prefix, vocab_size=vocab_size) as writer:
        while batch := list(islice(stream, ROW_GROUP_DOCUMENTS)):
            lengths = np.fromiter(map(len, batch), np.int32, len(batch))
            ids = post_ids[writer.num_documents : writer.num_documents + len(batch)]
            writer.append(
                np.fromiter(chain.from_iterable(batch), np.int64, int(lengths.sum())),
                lengths,
                post_ids=ids,
                post_tokens=[
                    [length] if len(named) == 1 else []
                    for length, named in zip(lengths.tolist(), ids, strict=True)
                ],
            )
    assert writer.num_documents == len(post_ids), "every document has its posts"
    return writer.num_tokens


def _lists(values: Lists, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array):
        return cast("pa.Array[Any]", values).cast(pa.list_(kind))
    return pa.array(values, pa.list_(kind))


def _slices_of_starts(
    lengths: npt.NDArray[np.int32], width: int
) -> Iterator[tuple[slice, npt.NDArray[np.int64]]]:
    """Yield the byte at which each document begins, a million documents at a time."""
    before = 0
    for at in range(0, len(lengths), _SLICE_DOCUMENTS):
        part = slice(at, at + _SLICE_DOCUMENTS)
        widths = lengths[part].astype("<i8") * width
        starts = np.cumsum(widths) - widths + before
        yield part, starts
        before = int(starts[-1] + widths[-1])


class TokenShard:
    """The documents of a shard, memory-mapped: opening costs nothing, reading a page or two."""

    def __init__(self, path_prefix: Path) -> None:
        """Open ``<path_prefix>.bin`` and ``.idx``.

        Raises:
            DataError: A file is missing, or the two do not fit one another.
        """
        self._index_path = shard_path(path_prefix, ".idx")
        self._tokens_path = shard_path(path_prefix, ".bin")
        for path in (self._index_path, self._tokens_path):
            if not path.is_file():
                raise DataError(f"there is no {path}", hint=_REBUILD)
        self.dtype, num_documents = self._read_header()
        self.sizes: npt.NDArray[np.int32]
        """Tokens in each document."""
        self._starts: npt.NDArray[np.int64]
        self.sizes, self._starts = self._map_index(num_documents)
        self.num_tokens: int = int(self.sizes.sum(dtype=np.int64))
        """Tokens of all documents together."""
        self._check_pointers()
        self._tokens = _map(self._tokens_path, self.dtype, self.num_tokens)

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """Return the tokens of a document, a view of the file that cannot be written."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"document {index} of {len(self)}")
        start = self.position(index)
        return self._tokens[start : start + int(self.sizes[index])]

    def read(self, position: int, length: int) -> npt.NDArray[Any]:
        """Return ``length`` tokens of the stream of all documents, a view as of a document.

        Args:
            position: The first one, from 0.
            length: How many; documents are end to end, so it may hold parts of several.
        """
        if position < 0 or length < 0 or position + length > self.num_tokens:
            raise IndexError(f"tokens {position} to {position + length} of {self.num_tokens}")
        return self._tokens[position : position + length]

    def position(self, index: int) -> int:
        """Return where in the stream of tokens a document begins."""
        return int(self._starts[index]) // self.dtype.itemsize

    def close(self) -> None:
        """Let go of the file; views that were given out stay valid until they are dropped."""
        self._tokens = np.empty(0, self.dtype)

    def _read_header(self) -> tuple[np.dtype[Any], int]:
        with self._index_path.open("rb") as stream:
            header = stream.read(_HEADER.size)
        num_bytes = os.path.getsize(self._index_path)
        if len(header) < _HEADER.size:
            raise self._broken(f"has {num_bytes} bytes, its header alone has {_HEADER.size}")
        magic, version, code, num_sequences, num_indices = _HEADER.unpack(header)
        if magic != _MAGIC:
            raise self._broken("does not begin with MMIDIDX: it is no index of tokens")
        if version != _VERSION:
            raise self._broken(f"has format version {version}, this package reads {_VERSION}")
        if code not in _DTYPES:
            raise self._broken(f"has token type {code}, this package reads 4 and 8")
        expected = _HEADER.size + num_sequences * 12 + num_indices * 8
        if num_bytes != expected or num_indices != num_sequences + 1:
            raise self._broken(
                f"has {num_bytes:,} bytes; {num_sequences:,} documents need {expected:,}"
            )
        return _DTYPES[code], num_sequences

    def _map_index(self, num_documents: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        raw = _map(self._index_path, np.dtype(np.uint8), os.path.getsize(self._index_path))
        at = _HEADER.size
        sizes = np.frombuffer(raw, "<i4", num_documents, at)
        return sizes, np.frombuffer(raw, "<i8", num_documents, at + sizes.nbytes)

    def _check_pointers(self) -> None:
        width = self.dtype.itemsize
        fits = len(self) == 0 or bool(self.sizes.min() >= 0)
        for part, starts in _slices_of_starts(self.sizes, width) if fits else ():
            fits = fits and np.array_equal(self._starts[part], starts)
        if not fits:
            raise self._broken("has lengths and positions that do not fit one another")
        num_bytes = os.path.getsize(self._tokens_path)
        if num_bytes != self.num_tokens * width:
            raise DataError(
                f"{self._tokens_path} has {num_bytes:,} bytes, its index says "
                f"{self.num_tokens * width:,}",
                hint=_REBUILD,
            )

    def _broken(self, what: str) -> DataError:
        return DataError(f"{self._index_path} {what}", hint=_REBUILD)


_REBUILD = "delete that corpus folder and run the same command again to rebuild it"


def _map(path: Path, dtype: np.dtype[Any], length: int) -> npt.NDArray[Any]:
    """Map a file; a plain array of it, whose slices cost a tenth of a ``memmap``'s."""
    if not length:  # an empty file cannot be mapped
        return np.empty(0, dtype)
    return np.memmap(path, dtype=dtype, mode="r").view(np.ndarray)


def shard_path(prefix: Path, ending: str) -> Path:
    """Return the path of one of a shard's files."""
    return prefix.with_name(prefix.name + ending)


def pair_starts_path(prefix: Path) -> Path:
    """Return where the starts of the pairs of a shard are, as in ``preferences/abc/train``."""
    return prefix.with_name(f"{prefix.name}.starts.npy")
