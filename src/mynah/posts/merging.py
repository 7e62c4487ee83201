"""Merging: posts of a spool, and of the snapshot before, into the shards of a new one.

Goes through all ids in order, a stretch in memory at a time. A shard of the snapshot before that
nothing falls into is linked, not read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from mynah.posts.deletions import Deletions
from mynah.posts.post import POST_SCHEMA
from mynah.posts.shards import Shard, ShardWriter, shard_frames
from mynah.posts.spool import Cursor, PostSpool
from mynah.posts.store import shards_of
from mynah.posts.versions import base_ids, merge_versions
from mynah.progress import NO_PROGRESS, Progress
from mynah.workspace import Artifact

__all__ = ["Withheld", "find_withheld", "merge_posts"]

_NO_POSTS = pl.DataFrame(schema=pl.from_arrow(POST_SCHEMA.empty_table()).schema)  # pyright: ignore[reportAttributeAccessIssue]
_ASKED = ["id", "author", "kind", "repost_of", "seen_at", "edited_at"]


@dataclass(frozen=True, slots=True)
class Withheld:
    """What has to stay out of a snapshot."""

    deletions: Deletions
    private: pl.Series
    """Ids that one source says are private: they stay out, whatever another says."""

    def holds(self, rows: pl.DataFrame) -> pl.Series:
        """Tell for every row, under the id that its network gave, whether it stays out."""
        return self.deletions.holds(rows) | rows["id"].is_in(self.private.implode())

    def admitted(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows that may come in."""
        return rows.filter(~self.holds(rows))


def find_withheld(base: Artifact, withheld: Withheld) -> pl.Series:
    """Return the ids of a snapshot's posts that have to leave it."""
    columns = [*_ASKED, "text"] if withheld.deletions.has_names else _ASKED
    found = [pl.Series("id", [], dtype=pl.String)]
    for path, _ in _shard_files(base):
        rows = pl.read_parquet(path, columns=columns, glob=False)
        named = rows.with_columns(base_ids(rows["id"]))
        found.append(rows["id"].filter(withheld.holds(named)))
    return pl.concat(found)


def merge_posts(
    writer: ShardWriter,
    *,
    base: Artifact | None,
    spool: PostSpool,
    withheld: Withheld,
    gone: pl.Series,
    progress: Progress = NO_PROGRESS,
) -> int:
    """Write the posts of ``base`` and ``spool`` as shards; return how many of ``spool`` came in.

    Args:
        writer: New; finished when this returns.
        base: The snapshot before, if there is one.
        spool: Posts to merge into it; may be empty.
        withheld: What stays out of the spool's posts.
        gone: Ids of posts of ``base`` that have to leave.
        progress: Told the posts merged so far.
    """
    cursors = spool.cursors()
    shards = _shard_files(base) if base is not None else []
    leaving, regrouped = _regroup(shards, spool, gone)
    merge = _Merge(
        writer=writer,
        cursors=[*cursors, Cursor(iter([regrouped]))],
        cuts=spool.cuts(),
        withheld=withheld,
        leaving=leaving,
    )
    total = spool.num_posts + sum(shard.num_posts for _, shard in shards)
    for number, (path, shard) in enumerate(shards):
        merge.shard(path, shard, is_last=number + 1 == len(shards))
        progress(sum(shard.num_posts for shard in writer.shards), total, note="merging")
    if not shards:
        for num_posts in merge.stretches(None, Cursor(iter([]))):
            progress(num_posts, total, note="merging")
    writer.close()
    return merge.num_admitted - regrouped.height


def _shard_files(base: Artifact) -> list[tuple[Path, Shard]]:
    return [(base.folder / shard.name, shard) for shard in shards_of(base)]


def _regroup(
    shards: Sequence[tuple[Path, Shard]], spool: PostSpool, gone: pl.Series
) -> tuple[pl.Series, pl.DataFrame]:
    """Take out of the shards the posts that have to be named anew, under their shared id.

    Returns:
        The ids that leave the shards, sorted, and the posts among them that come in again.
    """
    with_shared = [(path, shard) for path, shard in shards if shard.num_shared]
    if not with_shared:
        return gone.sort(), _NO_POSTS
    ids = pl.concat([pl.read_parquet(p, columns=["id"], glob=False)["id"] for p, _ in with_shared])
    shared = pl.DataFrame({"id": ids, "base": base_ids(ids)}).filter(pl.col("id") != pl.col("base"))
    touched = [base_ids(gone), *(ids.filter(_among(ids, shared["base"])) for ids in spool.ids())]
    again = shared.filter(_among(shared["base"], pl.concat(touched)) & ~_among(shared["id"], gone))
    frames = [
        frame.filter(_among(frame["id"], again["id"]))
        for path, shard in with_shared
        if ((again["id"] >= shard.first_id) & (again["id"] <= shard.last_id)).any()
        for frame in shard_frames(path)
    ]
    posts = pl.concat([_NO_POSTS, *frames])
    posts = posts.with_columns(base_ids(posts["id"])).sort("id")
    return pl.concat([gone, again["id"]]).unique().sort(), posts


def _among(ids: pl.Series, others: pl.Series) -> pl.Series:
    return ids.is_in(others.implode())


@dataclass(slots=True)
class _Merge:
    """One pass through all ids."""

    writer: ShardWriter
    cursors: list[Cursor]
    cuts: list[str]
    withheld: Withheld
    leaving: pl.Series
    """Ids that leave the shards of the base, sorted."""
    num_admitted: int = 0
    pending: pl.DataFrame = field(default_factory=lambda: _NO_POSTS)
    """Posts whose id got a suffix, and so comes later than where they stood."""

    def shard(self, path: Path, shard: Shard, *, is_last: bool) -> None:
        """Link a shard of the base, or merge what falls into it."""
        last_id = None if is_last else shard.last_id
        may_link = self.writer.is_at_border and (is_last or shard.is_ended)
        if may_link and shard.num_posts and not self._is_touched(shard, last_id):
            self.writer.link(shard, path)
            return
        kept = (frame.filter(~_among(frame["id"], self.leaving)) for frame in shard_frames(path))
        for _ in self.stretches(last_id, Cursor(kept)):
            pass

    def stretches(self, last_id: str | None, base: Cursor) -> Iterator[int]:
        """Merge everything up to ``last_id``; yield how many posts came so far."""
        while self.cuts and (last_id is None or self.cuts[0] < last_id):
            self._stretch(self.cuts.pop(0), base)
            yield self.num_admitted
        self._stretch(last_id, base)
        yield self.num_admitted

    def _is_touched(self, shard: Shard, last_id: str | None) -> bool:
        firsts = [cursor.first_id() for cursor in self.cursors]
        firsts.append(str(self.pending["id"][0]) if self.pending.height else None)
        if any(first is not None and (last_id is None or first <= last_id) for first in firsts):
            return True
        start = int(self.leaving.search_sorted(shard.first_id, side="left"))
        return start < self.leaving.len() and str(self.leaving[start]) <= shard.last_id

    def _stretch(self, last_id: str | None, base: Cursor) -> None:
        new = [self.withheld.admitted(f) for c in self.cursors for f in c.take(last_id)]
        self.num_admitted += sum(frame.height for frame in new)
        rows = pl.concat([_NO_POSTS, *base.take(last_id), *new])
        merged = merge_versions(rows.sort("id"), self.withheld.deletions.taken)
        ready = pl.concat([merged, self.pending]).sort("id")
        end = ready.height
        if last_id is not None:
            end = int(ready["id"].search_sorted(last_id, side="right"))
        self.pending = ready.slice(end)
        self.writer.write(ready.head(end))
