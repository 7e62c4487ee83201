"""The post store, read: shards of Parquet sorted by id, whole, by column or post by post.

Reads ``posts/<snapshot>/part-*.parquet`` and the manifest. Private posts are never in it.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from mynah.posts.post import POST_SCHEMA, Post
from mynah.posts.shards import Shard
from mynah.workspace import Artifact

__all__ = [
    "content_digest",
    "iterate_posts",
    "load_columns",
    "load_posts",
    "shard_paths",
    "shards_of",
]

_BATCH_ROWS = 20_000


def shards_of(artifact: Artifact) -> list[Shard]:
    """Return what the manifest says of each shard, in the order of their ids."""
    return [Shard.from_facts(facts) for facts in artifact.counts["shards"]]


def shard_paths(artifact: Artifact) -> list[Path]:
    """Return the files of a store, in the order of their ids."""
    return [artifact.folder / shard.name for shard in shards_of(artifact)]


def content_digest(artifact: Artifact) -> str:
    """Hash over the shards' hashes: equal posts, equal digest, whatever exports they came from."""
    return sha256("\n".join(shard.sha256 for shard in shards_of(artifact)).encode()).hexdigest()


def load_posts(artifact: Artifact) -> pl.DataFrame:
    """Return all posts of a store, in the order of their ids."""
    return load_columns(artifact, POST_SCHEMA.names)


def load_columns(artifact: Artifact, columns: Sequence[str]) -> pl.DataFrame:
    """Return some columns of all posts, in the order of their ids."""
    return pl.read_parquet(shard_paths(artifact), columns=list(columns), glob=False)


def iterate_posts(artifact: Artifact) -> Iterator[Post]:
    """Yield the posts of a store in the order of their ids, a batch in memory at a time."""
    for path in shard_paths(artifact):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=POST_SCHEMA.names):
                for row in batch.to_pylist():
                    yield Post.from_row(row)
