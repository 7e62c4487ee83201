"""The spool: posts on their way into a store, as sorted runs on disk.

Writes ``run-00000.arrow`` and on into a folder of its caller, and reads them back in the order of
their ids. Never holds more than a run in memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pyarrow as pa

from mynah.posts.post import POST_SCHEMA, Post
from mynah.posts.versions import base_ids

__all__ = ["Cursor", "PostSpool"]

_WAITING_POSTS = 20_000
_RUN_ROWS = 500_000
_RUN_BYTES = 256 << 20
_BATCH_ROWS = 16_384
_CUT_BYTES = 96 << 20
"""New posts between two cuts; what is merged at once in memory."""
_NAMES = POST_SCHEMA.names


@dataclass(slots=True)
class PostSpool:
    """Takes posts one by one or in batches, and gives them back sorted."""

    folder: Path
    """Empty, and the caller's to remove."""
    num_posts: int = 0
    _waiting: list[Post] = field(default_factory=lambda: [])
    _batches: list[pa.RecordBatch] = field(default_factory=lambda: [])
    _num_rows: int = 0
    _num_bytes: int = 0
    _runs: list[Path] = field(default_factory=lambda: [])
    _firsts: list[tuple[str, int]] = field(default_factory=lambda: [])
    """First id and size of every batch of every run."""

    def add(self, post: Post) -> None:
        """Keep a post."""
        self._waiting.append(post)
        if len(self._waiting) >= _WAITING_POSTS:
            self._take_waiting()

    def add_batch(self, batch: pa.RecordBatch) -> None:
        """Keep posts that come as rows of ``POST_SCHEMA``."""
        self._batches.append(batch)
        self._num_rows += batch.num_rows
        self._num_bytes += batch.nbytes
        if self._num_rows >= _RUN_ROWS or self._num_bytes >= _RUN_BYTES:
            self._write_run()

    def cursors(self) -> list["Cursor"]:
        """Return one cursor for each run; nothing may be added after."""
        self._take_waiting()
        self._write_run()
        return [Cursor(_frames(path)) for path in self._runs]

    def cuts(self) -> list[str]:
        """Return ids between which about ``_CUT_BYTES`` of posts lie."""
        cuts: list[str] = []
        num_bytes = 0
        for first_id, size in sorted(self._firsts):
            if num_bytes + size > _CUT_BYTES and num_bytes:
                cuts.append(first_id)
                num_bytes = 0
            num_bytes += size
        return cuts

    def ids(self) -> Iterator[pl.Series]:
        """Yield the ids of all posts, in runs."""
        for path in self._runs:
            for frame in _frames(path):
                yield frame["id"]

    def _take_waiting(self) -> None:
        if not self._waiting:
            return
        columns = [
            pa.array([getattr(post, name) for post in self._waiting], POST_SCHEMA.field(name).type)
            for name in _NAMES
        ]
        self._waiting.clear()
        self.add_batch(pa.record_batch(columns, schema=POST_SCHEMA))

    def _write_run(self) -> None:
        if not self._num_rows:
            return
        table = pa.Table.from_batches([batch.cast(POST_SCHEMA) for batch in self._batches])
        self._batches.clear()
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame), "a table becomes a frame"
        frame = frame.with_columns(base_ids(frame["id"])).sort("id")
        path = self.folder / f"run-{len(self._runs):05d}.arrow"
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_file(path, POST_SCHEMA, options=options) as writer:
            for start in range(0, frame.height, _BATCH_ROWS):
                part = frame.slice(start, _BATCH_ROWS).rechunk().to_arrow().cast(POST_SCHEMA)
                writer.write_table(part)
                self._firsts.append((str(frame["id"][start]), part.nbytes))
        self._runs.append(path)
        self.num_posts += frame.height
        self._num_rows = self._num_bytes = 0


def _frames(path: Path) -> Iterator[pl.DataFrame]:
    with pa.ipc.open_file(path) as file:
        for number in range(file.num_record_batches):
            frame = pl.from_arrow(file.get_batch(number))
            assert isinstance(frame, pl.DataFrame), "a batch becomes a frame"
            yield frame


class Cursor:
    """Reads frames that are sorted by id, a stretch of ids at a time."""

    def __init__(self, frames: Iterator[pl.DataFrame]) -> None:
        self._frames = frames
        self._rest: pl.DataFrame | None = None

    def first_id(self) -> str | None:
        """The next id, or ``None`` at the end."""
        while self._rest is None or not self._rest.height:
            self._rest = next(self._frames, None)
            if self._rest is None:
                return None
        return str(self._rest["id"][0])

    def take(self, last_id: str | None) -> list[pl.DataFrame]:
        """Take all posts up to and with ``last_id``; everything when it is ``None``."""
        taken: list[pl.DataFrame] = []
        while self.first_id() is not None:
            rest = self._rest
            assert rest is not None, "first_id has read a frame"
            end = rest.height
            if last_id is not None:
                end = int(rest["id"].search_sorted(last_id, side="right"))
            if not end:
                break
            taken.append(rest.head(end))
            self._rest = rest.slice(end)
        return taken


def cursor_of(frames: Sequence[pl.DataFrame]) -> Cursor:
    """Return a cursor over frames in memory."""
    return Cursor(iter(frames))
