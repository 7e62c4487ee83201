"""Blanking: what a takedown does to token shards.

Reads ``<prefix>.idx`` and ``<prefix>.meta.parquet``; rewrites ``<prefix>.bin`` in place. Sizes and
positions stay, so the order of the data and every statement about steps stay true.
"""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from mynah.corpus.shards import TokenShard, shard_path
from mynah.errors import DataError
from mynah.workspace import machine_errors

__all__ = ["BlankedPost", "blank_posts"]


class BlankedPost(TypedDict):
    """Where the tokens of a post were."""

    post_id: str
    document: int
    """Number of the document in its shard."""
    position: int
    """First token of the post in the stream of tokens."""
    num_tokens: int


def blank_posts(prefix: Path, post_ids: Collection[str], *, filler: int) -> list[BlankedPost]:
    """Overwrite the tokens of posts; doing it again changes nothing.

    Their ids stay in the sidecar: they are no words, and without them nobody could tell any more
    which steps read the posts.

    Args:
        prefix: Of a shard, as in ``corpus/abc/train``.
        post_ids: Those that are not in the shard are passed over.
        filler: The token to write instead: the tokenizer's end-of-text.

    Returns:
        What was blanked, in the order of documents.

    Raises:
        DataError: The shard is damaged.
        MachineError: The disk is full or may not be written.
    """
    meta = shard_path(prefix, ".meta.parquet")
    if not meta.is_file():
        raise DataError(f"there is no {meta}", hint="delete that corpus folder and rebuild it")
    shard = TokenShard(prefix)
    found = _find(meta, post_ids, shard)
    dtype = shard.dtype
    shard.close()
    if not found:
        return []
    with machine_errors(prefix), shard_path(prefix, ".bin").open("r+b") as stream:
        for post in found:
            stream.seek(post["position"] * dtype.itemsize)
            stream.write(np.full(post["num_tokens"], filler, dtype).tobytes())
        stream.flush()
        os.fsync(stream.fileno())
    return found


def _find(meta: Path, wanted: Collection[str], shard: TokenShard) -> list[BlankedPost]:
    found: list[BlankedPost] = []
    document = 0
    with pq.ParquetFile(meta) as file:
        for number in range(file.num_row_groups):
            table = file.read_row_group(number)
            ids = _ids(table)
            hits = _is_in(ids, wanted).to_numpy()
            offsets = ids.offsets.to_numpy() - ids.offsets[0].as_py()
            rows = np.searchsorted(offsets, np.flatnonzero(hits), side="right") - 1
            for row in np.unique(rows).tolist():
                found += _posts_of(table, row, document + row, hits[offsets[row] :], shard)
            document += table.num_rows
    if document != len(shard):
        raise DataError(
            f"{meta} names {document:,} documents, its shard has {len(shard):,}",
            hint="delete that corpus folder and run the same command again to rebuild it",
        )
    return found


def _posts_of(
    table: pa.Table, row: int, document: int, is_hit: npt.NDArray[np.bool_], shard: TokenShard
) -> list[BlankedPost]:
    ids: list[str] = table["post_ids"][row].as_py()
    counts: list[int] = []
    if "post_tokens" in table.column_names:  # a shard of an earlier release has none
        counts = table["post_tokens"][row].as_py()
    first, size = shard.position(document), int(shard.sizes[document])
    if not counts:  # each post may be all over the document
        starts, counts = [first] * len(ids), [size] * len(ids)
    elif len(ids) == len(counts) and sum(counts) <= size:
        starts = np.cumsum([first, *counts]).tolist()
    else:
        raise DataError(
            f"document {document} has {size} tokens, its {len(ids)} posts {sum(counts)}",
            hint="delete that corpus folder and run the same command again to rebuild it",
        )
    return [
        BlankedPost(post_id=ids[n], document=document, position=starts[n], num_tokens=counts[n])
        for n in np.flatnonzero(is_hit[: len(ids)]).tolist()
    ]


def _ids(table: pa.Table) -> pa.ListArray:
    column: Any = table["post_ids"].combine_chunks()
    return column


def _flat(ids: pa.ListArray) -> pl.Series:
    """The ids of all documents, one after the other."""
    return pl.Series("id", ids.flatten(), dtype=pl.String)


def _is_in(ids: pa.ListArray, wanted: Collection[str]) -> pl.Series:
    return _flat(ids).is_in(sorted(wanted))
