"""Documents to tokens: chunk by chunk, on whoever the engine is, written in order.

Writes the token shards ``train`` and ``heldout`` and ``documents.parquet`` of a corpus.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from mynah.corpus.documents import SEPARATOR, Chosen
from mynah.corpus.engine import Engine
from mynah.corpus.prepared import Prepared
from mynah.corpus.shards import ShardWriter
from mynah.corpus.tokens import DocumentEncoder
from mynah.progress import Progress

__all__ = ["DOCUMENTS_SCHEMA", "Written", "write_documents"]

DOCUMENTS_SCHEMA = pa.schema(
    [
        pa.field("document", pa.int64(), nullable=False),
        pa.field("is_heldout", pa.bool_(), nullable=False),
        pa.field("post_id", pa.string(), nullable=False),
        pa.field("lang", pa.string()),
        pa.field("num_tokens", pa.int32(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)
"""One row a post, in the order of documents and turns; ``document`` counts within its shard."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Written:
    """What a corpus came to."""

    num_documents: int
    num_tokens: int
    num_bytes: int
    """UTF-8 bytes of the texts and what separates them."""


@dataclass(frozen=True, slots=True)
class _Task:
    prepared: Prepared
    rows: npt.NDArray[np.int64]
    tokenizer: Path


@dataclass(frozen=True, slots=True)
class _Encoded:
    texts: pa.Array
    tokens: npt.NDArray[np.uint32]
    offsets: npt.NDArray[np.int64]


def write_documents(
    chosen: Chosen, folder: Path, *, tokenizer: Path, engine: Engine, progress: Progress
) -> tuple[Written, Written]:
    """Encode every document; return what was written to train on and to evaluate with."""
    with pq.ParquetWriter(
        folder / "documents.parquet", DOCUMENTS_SCHEMA, compression="zstd"
    ) as table:
        writer = _Writer(chosen, folder, tokenizer, engine, table, progress)
        return writer.write("train", is_heldout=False), writer.write("heldout", is_heldout=True)


@lru_cache(maxsize=2)
def _encoder(tokenizer: Path, _: int) -> DocumentEncoder:
    return DocumentEncoder(tokenizer)


def open_encoder(tokenizer: Path) -> DocumentEncoder:
    """Open an encoder once a process."""
    return _encoder(tokenizer, tokenizer.stat().st_mtime_ns if tokenizer.is_file() else 0)


def encode_chunk(task: _Task) -> _Encoded:
    """Encode the texts of some posts."""
    texts = task.prepared.texts(task.rows)
    tokens, offsets = open_encoder(task.tokenizer).encode_batch(texts)
    return _Encoded(texts, tokens, offsets)


@dataclass(slots=True)
class _Writer:
    chosen: Chosen
    folder: Path
    tokenizer: Path
    engine: Engine
    table: pq.ParquetWriter
    progress: Progress
    num_done: int = 0

    def write(self, name: str, *, is_heldout: bool) -> Written:
        encoder = open_encoder(self.tokenizer)
        separator = encoder.encode_batch([SEPARATOR])[0]
        end = np.array([encoder.end_of_text], dtype=np.uint32)
        chunks = list(self.chosen.chunks(is_heldout=is_heldout))
        rows = self.chosen.posts["row"].to_numpy()
        tasks = [_Task(self.chosen.prepared, rows[some], self.tokenizer) for some, _ in chunks]
        num_bytes = 0
        with ShardWriter(self.folder / name, vocab_size=encoder.vocab_size) as shard:
            for (some, sizes), encoded in zip(
                chunks, self.engine.map(encode_chunk, tasks), strict=True
            ):
                posts = self.chosen.posts[some]
                is_last = np.zeros(len(some), dtype=np.bool_)
                is_last[np.cumsum(sizes) - 1] = True
                tokens, lengths = with_endings(encoded, is_last, separator=separator, end=end)
                first = shard.num_documents
                document = first + np.repeat(np.arange(len(sizes)), sizes)
                shard.append(
                    tokens,
                    np.add.reduceat(lengths, np.cumsum(sizes) - sizes),
                    post_ids=_lists(posts["id"].to_arrow().cast(pa.string()), sizes),
                    post_tokens=_lists(pa.array(lengths.astype(np.int32)), sizes),
                )
                self._tabulate(posts, document, np.diff(encoded.offsets), encoded.texts, is_heldout)
                sized = pl.Series(encoded.texts).str.len_bytes().sum()
                num_bytes += int(sized) + len(SEPARATOR) * int((~is_last).sum())
                self.num_done += len(sizes)
                self.progress(self.num_done, len(self.chosen.offsets) - 1, note="encoding")
        return Written(shard.num_documents, shard.num_tokens, num_bytes)

    def _tabulate(
        self,
        posts: pl.DataFrame,
        document: Counts,
        num_tokens: Counts,
        texts: pa.Array,
        is_heldout: bool,
    ) -> None:
        columns = [
            pa.array(document),
            pa.array(np.full(len(document), is_heldout)),
            posts["id"].to_arrow().cast(pa.string()),
            posts["lang"].to_arrow().cast(pa.string()),
            pa.array(num_tokens.astype(np.int32)),
            texts.cast(pa.string()),
        ]
        self.table.write_table(pa.table(columns, schema=DOCUMENTS_SCHEMA))


def with_endings(
    encoded: _Encoded,
    is_last: npt.NDArray[np.bool_],
    *,
    separator: npt.NDArray[np.uint32],
    end: npt.NDArray[np.uint32],
) -> tuple[npt.NDArray[np.uint32], Counts]:
    """Put a separator after each post but a document's last, and the end of text after that.

    Returns:
        The tokens of all posts end to end, and how many each of them is, its ending included.
    """
    sizes = np.diff(encoded.offsets)
    endings = np.where(is_last, len(end), len(separator))
    lengths = sizes + endings
    starts = np.cumsum(lengths) - lengths
    out = np.empty(int(lengths.sum()), dtype=np.uint32)
    shift = np.repeat(starts - encoded.offsets[:-1], sizes)
    out[np.arange(len(encoded.tokens)) + shift] = encoded.tokens
    for mask, ending in ((is_last, end), (~is_last, separator)):
        places = (starts + sizes)[mask]
        for number, token in enumerate(ending):
            out[places + number] = token
    return out, lengths


def _lists(values: pa.Array, sizes: Counts) -> pa.Array:
    offsets = pa.array(np.concatenate(([0], np.cumsum(sizes))).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, values)
