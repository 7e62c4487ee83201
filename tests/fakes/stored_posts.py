"""Posts stored without an export, as ``read_posts`` stores them; private ones too, on purpose."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import polars as pl
import pyarrow as pa

from mynah.posts import POST_SCHEMA, POSTS_KIND, Post
from mynah.posts.shards import write_shard
from mynah.workspace import Artifact, writing_artifact


def store_posts(posts: Sequence[Post], store: Path, *, num_parts: int = 1) -> Artifact:
    """Write ``posts`` as a store of so many shards."""
    inputs = {"ids": [post.id for post in posts]}
    with writing_artifact(store, kind=POSTS_KIND, inputs=inputs) as writer:
        shards = [
            write_shard(
                _table(posts[number::num_parts]), writer.folder, f"part-{number:05d}.parquet"
            )
            for number in range(num_parts)
        ]
        writer.counts.update(num_posts=len(posts), shards=[shard.facts() for shard in shards])
    return writer.artifact


def _table(posts: Sequence[Post]) -> pl.DataFrame:
    rows = [asdict(post) for post in posts]
    return pl.DataFrame(pl.from_arrow(pa.Table.from_pylist(rows, schema=POST_SCHEMA)))
