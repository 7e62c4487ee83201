"""The post store: one Parquet file sorted by id, read back whole or post by post.

Reads and writes ``posts/<snapshot>/part-00000.parquet``. Private posts are never in it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from types import TracebackType

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from mynah.posts.post import POST_SCHEMA, Post
from mynah.workspace import Artifact

__all__ = ["Merged", "PostSpool", "iterate_posts", "load_posts", "merge_posts", "write_part"]

_PART = "part-00000.parquet"
_SPOOL_ROWS = 20_000
_GROUP_ROWS = 65_536
_NAMES = [field.name for field in fields(Post)]


def load_posts(artifact: Artifact) -> pl.DataFrame:
    """Return all posts of a store, in the order of their ids."""
    return pl.read_parquet(artifact.folder / _PART, columns=_NAMES, glob=False)


def iterate_posts(artifact: Artifact) -> Iterator[Post]:
    """Yield the posts of a store in the order of their ids, a batch in memory at a time."""
    with pq.ParquetFile(artifact.folder / _PART) as file:
        for batch in file.iter_batches(batch_size=_SPOOL_ROWS):
            for row in batch.to_pylist():
                yield Post.from_row(row)


class PostSpool:
    """Takes posts one by one and keeps them on disk until they are merged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[Post] = []
        self._writer = pq.ParquetWriter(path, POST_SCHEMA, compression="lz4")

    def __enter__(self) -> "PostSpool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._flush()
        self._writer.close()

    def add(self, post: Post) -> None:
        """Keep a post."""
        self._waiting.append(post)
        if len(self._waiting) >= _SPOOL_ROWS:
            self._flush()

    def add_batch(self, batch: pa.RecordBatch) -> None:
        """Keep posts that come as rows of ``POST_SCHEMA``."""
        self._flush()
        self._writer.write_batch(batch)

    def _flush(self) -> None:
        columns = [
            pa.array([getattr(post, name) for post in self._waiting], POST_SCHEMA.field(name).type)
            for name in _NAMES
        ]
        self._writer.write_table(pa.table(columns, schema=POST_SCHEMA))
        self._waiting.clear()


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of the posts of a spool."""

    posts: pl.DataFrame
    num_duplicates: int
    """Posts that were there more than once: same id, author and text."""
    num_id_conflicts: int
    """Posts whose id another post has too; theirs got a suffix."""


def merge_posts(spool: Path, *, private_ids: Sequence[str]) -> Merged:
    """Sort by id and make ids unique, losing no post.

    Of copies of one post the one with the highest counts stays, and it may be trained on only if
    every copy may. Different posts under one id (networks' tables round long ids) all stay.
    """
    rows = pl.read_parquet(spool, columns=_NAMES, glob=False)
    # What one source says is private stays so, whatever another says.
    private = pl.DataFrame({"id": private_ids}, schema={"id": pl.String})
    rows = rows.join(private, on="id", how="anti", maintain_order="left")
    identity = ["id", "author", "text"]
    unique = (
        rows.with_columns(pl.col("may_train").all().over(identity))
        .sort(
            *identity,
            "likes",
            "reposts",
            "replies",
            "created_at",
            *_ties(),
            descending=[False] * 3 + [True] * 4 + [False] * len(_ties()),
            nulls_last=True,
        )
        .unique(identity, keep="first", maintain_order=True)
    )
    ids = _unique_ids(unique)
    return Merged(
        posts=unique.with_columns(pl.Series("id", ids, dtype=pl.String)).sort("id"),
        num_duplicates=rows.height - unique.height,
        num_id_conflicts=sum(old != new for old, new in zip(unique["id"], ids, strict=True)),
    )


def _unique_ids(posts: pl.DataFrame) -> list[str]:
    """Give all posts of one id but the earliest a suffix made of what they are."""
    ids = posts["id"].to_list()
    shared = (
        posts.with_row_index("row")
        .filter(pl.len().over("id") > 1)
        .sort("id", "created_at", "author", "text", nulls_last=True)
        .filter(pl.int_range(pl.len()).over("id") > 0)
    )
    for row, post_id, author, text in shared.select("row", "id", "author", "text").iter_rows():
        digest = sha256(b"\0".join((author.encode(), text.encode()))).hexdigest()
        ids[row] = f"{post_id}~{digest[:12]}"
    return ids


def write_part(posts: pl.DataFrame, folder: Path) -> None:
    """Write the store's file: equal posts, equal bytes."""
    table = posts.select(_NAMES).to_arrow().cast(POST_SCHEMA)
    pq.write_table(table, folder / _PART, compression="zstd", row_group_size=_GROUP_ROWS)


def _ties() -> list[str]:
    """Columns that settle the order of copies with equal counts, so that it never varies."""
    used = {"id", "author", "text", "likes", "reposts", "replies", "created_at", "may_train"}
    return [name for name in _NAMES if name not in used]
