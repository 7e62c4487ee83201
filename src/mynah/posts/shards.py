"""Shards of the post store: Parquet files whose borders the ids themselves decide.

A shard ends after an id whose checksum falls under one in ``SHARD_POSTS``. So the layout and the
bytes are a function of the set of posts, whatever order they came in, and one more post changes
one shard. Writes ``part-00000.parquet`` and on; reads nothing but shards to be linked.
"""

import errno
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from mynah.posts.post import POST_SCHEMA
from mynah.posts.versions import base_ids
from mynah.workspace import file_sha256

__all__ = [
    "SHARD_POSTS",
    "Shard",
    "ShardWriter",
    "ends_shard",
    "link_file",
    "shard_frames",
    "sync_path",
    "write_shard",
]

SHARD_POSTS = 50_000
"""Posts of a shard on average: a takedown rewrites one of them."""
_BORDER = 2**32 // SHARD_POSTS
_GROUP_ROWS = 65_536
_NAMES = POST_SCHEMA.names
_NO_LINKS = (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS)
"""What filesystems answer that cannot link one file into two folders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """What the manifest says of one shard."""

    name: str
    num_posts: int
    first_id: str
    """Empty, like ``last_id``, when a takedown has left no post in it."""
    last_id: str
    sha256: str
    num_bytes: int
    num_opted_out: int
    num_shared: int
    """Posts whose id has a suffix, because another post has it too."""
    first_created_at: str | None
    last_created_at: str | None

    @property
    def is_ended(self) -> bool:
        """Whether its last id is a border; only the last shard of a store may lack one."""
        return bool(self.last_id) and bool(ends_shard([self.last_id])[0])

    def facts(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "Shard":
        """Build from what ``facts`` gave."""
        return cls(**facts)


def ends_shard(ids: pl.Series | Sequence[str]) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Tell for every id whether a shard ends after it.

    CRC-32, because it is the same everywhere and five times cheaper than SHA-256 for each id.
    """
    raw = pl.Series(ids, dtype=pl.String).cast(pl.Binary).to_list()
    return np.fromiter(map(zlib.crc32, raw), dtype=np.uint32, count=len(raw)) < _BORDER


def write_shard(posts: pl.DataFrame, folder: Path, name: str) -> Shard:
    """Write one shard of sorted posts, whatever its borders, and sync nothing."""
    writer = _OpenShard(folder / name)
    writer.append(posts)
    return writer.close()


@dataclass(slots=True)
class _OpenShard:
    """A shard being written; its row groups depend on its rows alone."""

    path: Path
    num_posts: int = 0
    num_opted_out: int = 0
    num_shared: int = 0
    first_id: str = ""
    last_id: str = ""
    times: list[Any] = field(default_factory=lambda: [])
    _waiting: list[pl.DataFrame] = field(default_factory=lambda: [])
    _num_waiting: int = 0
    _writer: pq.ParquetWriter = field(init=False)

    def __post_init__(self) -> None:
        self._writer = pq.ParquetWriter(self.path, POST_SCHEMA, compression="zstd")

    def append(self, posts: pl.DataFrame) -> None:
        if not posts.height:
            return
        ids = posts["id"]
        self.first_id = self.first_id if self.num_posts else str(ids[0])
        self.last_id = str(ids[-1])
        self.num_posts += posts.height
        self.num_opted_out += posts.height - int(posts["may_train"].sum())
        self.num_shared += int((base_ids(ids) != ids).sum())
        self.times += [posts["created_at"].min(), posts["created_at"].max()]
        self._waiting.append(posts.select(_NAMES))
        self._num_waiting += posts.height
        if self._num_waiting >= _GROUP_ROWS:
            self._flush(everything=False)

    def _flush(self, *, everything: bool) -> None:
        if not self._waiting:
            return
        rows = pl.concat(self._waiting)
        start = 0
        while rows.height - start >= _GROUP_ROWS or (everything and start < rows.height):
            # One chunk: where a page ends must not depend on how the rows came in.
            group = rows.slice(start, _GROUP_ROWS).rechunk().to_arrow().cast(POST_SCHEMA)
            self._writer.write_table(group.combine_chunks(), row_group_size=_GROUP_ROWS)
            start += group.num_rows
        self._waiting = [rows.slice(start)] if start < rows.height else []
        self._num_waiting = rows.height - start

    def close(self) -> Shard:
        self._flush(everything=True)
        self._writer.close()
        times = [time for time in self.times if time is not None]
        return Shard(
            name=self.path.name,
            num_posts=self.num_posts,
            first_id=self.first_id,
            last_id=self.last_id,
            sha256=file_sha256(self.path),
            num_bytes=self.path.stat().st_size,
            num_opted_out=self.num_opted_out,
            num_shared=self.num_shared,
            first_created_at=min(times).isoformat() if times else None,
            last_created_at=max(times).isoformat() if times else None,
        )


class ShardWriter:
    """Takes posts in the order of their ids and cuts them into shards."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: _OpenShard | None = None
        self.shards: list[Shard] = []
        self.num_written = 0
        """Shards that were written; the others were taken over."""
        self.linked: dict[str, str] = {}
        """SHA-256 of those that share their bytes with an older snapshot."""

    @property
    def is_at_border(self) -> bool:
        """Whether the next post begins a shard."""
        return self._open is None

    def write(self, posts: pl.DataFrame) -> None:
        """Append posts; their ids come after all before."""
        start = 0
        for end in np.flatnonzero(ends_shard(posts["id"])).tolist():
            self._append(posts.slice(start, end + 1 - start))
            self._close()
            start = end + 1
        if start < posts.height:
            self._append(posts.slice(start))

    def link(self, shard: Shard, source: Path) -> None:
        """Take over a whole shard as it is."""
        assert self.is_at_border, "a shard is taken over only where one begins"
        name = self._name()
        if link_file(source, self._folder / name):
            self.linked[name] = shard.sha256
        self.shards.append(Shard.from_facts({**shard.facts(), "name": name}))

    def close(self) -> list[Shard]:
        """Finish the last shard; a store without posts has one empty shard."""
        if self._open is None and not self.shards:
            self._open = _OpenShard(self._folder / self._name())
        self._close()
        return self.shards

    def _append(self, posts: pl.DataFrame) -> None:
        if self._open is None:
            self._open = _OpenShard(self._folder / self._name())
            self.num_written += 1
        self._open.append(posts)

    def _close(self) -> None:
        if self._open is not None:
            self.shards.append(self._open.close())
            self._open = None

    def _name(self) -> str:
        return f"part-{len(self.shards):05d}.parquet"


def link_file(source: Path, target: Path) -> bool:
    """Give a file a second name; copy it where the filesystem has no links.

    Returns:
        Whether it is a link: its bytes are then on disk already.
    """
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, target)
        return False
    return True


def sync_path(path: Path) -> None:
    """Return when a file, or a folder's names, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def shard_frames(path: Path) -> Iterator[pl.DataFrame]:
    """Yield the posts of a shard file, a row group in memory at a time."""
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            frame = pl.from_arrow(file.read_row_group(number, columns=_NAMES))
            assert isinstance(frame, pl.DataFrame), "a table becomes a frame"
            yield frame
