"""Takedown: posts leave the store, every snapshot of it, and every later import.

The list of deletions comes first: from then on whoever asks it hides the posts, and the same
command finishes what a kill left undone. Then a new snapshot lacks them, and in the older ones
each shard that holds one is replaced. Reads and writes everything under ``posts/``.
"""

import time
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from mynah.posts.deletions import Deletions, author_hash
from mynah.posts.gathering import Gathered
from mynah.posts.post import POSTS_KIND
from mynah.posts.purging import Rewritten, purge_file
from mynah.posts.snapshots import one_writer, write_snapshot
from mynah.posts.store import shards_of
from mynah.posts.stored_files import StoredFile, held_posts, siblings_of, stored_files
from mynah.posts.versions import base_ids, nameless, names_beside, shared_names
from mynah.progress import NO_PROGRESS, Progress
from mynah.workspace import Artifact, latest_artifact

__all__ = ["Takedown", "forget_posts"]

_Held = dict[StoredFile, pl.DataFrame]
"""Files with the posts in them that are taken down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Takedown:
    """The receipt: what was asked, what was found, and what was done. Holds nobody's words."""

    ids: tuple[str, ...]
    """Ids that were asked for."""
    authors: tuple[str, ...]
    """Authors that were asked for."""
    found: tuple[str, ...]
    """Ids of all posts that were in the store and are no more."""
    not_found: tuple[str, ...]
    """Ids asked for that no snapshot holds; they are on the list all the same."""
    reposts: tuple[str, ...]
    """Those of ``found`` that went because they repeat another one's words."""
    rewritten: tuple[Rewritten, ...]
    """Shards written anew, of the new snapshot and of older ones."""
    bytes_rewritten: int
    snapshot_before: str | None
    snapshot_after: str | None
    seconds: float

    def facts(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return asdict(self)


def forget_posts(
    store: Path,
    *,
    ids: Collection[str] = (),
    authors: Collection[str] = (),
    progress: Progress = NO_PROGRESS,
) -> Takedown:
    """Take posts out of a store for good, with the reposts that repeat them.

    Args:
        store: The posts' folder of the workspace.
        ids: Ids as the store has them.
        authors: Handles as the store has them: all their posts.
        progress: Told the files that were looked into.

    Raises:
        ConfigError: Another process is changing this store.
    """
    started_s = time.monotonic()
    with one_writer(store) as folder:
        before = latest_artifact(store, kind=POSTS_KIND)
        known = Deletions.load(store)
        files = stored_files(store)
        listed = _list_more(store, known, _files_of(files, before), ids=ids, authors=authors)
        mine = _only(listed, ids, authors)
        held = _held(files, mine, progress)
        while new := _not_listed(held, mine):
            foreign = _others_now(held, new, _files_of(files, before))
            listed = listed.with_forgotten(
                names_beside(foreign), shared=(post_id for post_id, _ in foreign)
            )
            plain = new - {post_id for post_id, _ in foreign}
            listed = _list_more(store, listed, _files_of(files, before), ids=plain)
            mine = _only(listed, {*mine.listed["id"], *new}, authors)
            held = _held(files, mine, progress)
        after = _without(store, before, folder, known=known, listed=listed, held=held)
        rewritten, num_bytes = _new_shards(before, after)
        for file, posts in held.items():
            twin = _twin(file, posts.height, before, after)
            more, size = purge_file(file, mine, folder=folder, twin=twin)
            rewritten += more
            num_bytes += size
    found = _ids(held)
    return Takedown(
        ids=tuple(ids),
        authors=tuple(authors),
        found=tuple(sorted(found)),
        not_found=tuple(sorted(set(ids) - found)),
        reposts=tuple(sorted(_reposts(held, ids, authors))),
        rewritten=tuple(rewritten),
        bytes_rewritten=num_bytes,
        snapshot_before=before.snapshot if before else None,
        snapshot_after=after.snapshot if after else None,
        seconds=time.monotonic() - started_s,
    )


def _files_of(files: Iterable[StoredFile], artifact: Artifact | None) -> list[StoredFile]:
    if artifact is None:
        return []
    return [file for file in files if any(p.parent == artifact.folder for p in file.paths)]


def _list_more(
    store: Path,
    listed: Deletions,
    latest: list[StoredFile],
    *,
    ids: Collection[str],
    authors: Collection[str] = (),
) -> Deletions:
    """Put ids and authors on the list, on disk when this returns.

    Of several posts under one id the others stay: the list then names the one that goes.
    """
    rows = siblings_of(latest, ids)
    rows = rows.with_columns(stored=pl.col("id")).with_columns(base_ids(rows["id"]))
    plain, shared = set(ids), set[str]()
    in_group = rows.select((pl.len().over("id") > 1) | (pl.col("id") != pl.col("stored")))
    alone = rows.select(pl.len().over("id", "author") == 1).to_series()
    for post_id, base, author, names, is_shared, is_alone in zip(
        rows["stored"],
        rows["id"],
        rows["author"],
        shared_names(rows),
        in_group.to_series(),
        alone,
        strict=True,
    ):
        if post_id in plain and is_shared:
            plain.update(names if is_alone else names[1:])
            if author:
                plain.add(nameless(base))
            if post_id == base:
                plain.discard(base)
                shared.add(base)
    more = listed.with_forgotten(plain, shared=shared, authors=authors)
    more.save(store)
    return more


def _only(listed: Deletions, ids: Iterable[str], authors: Iterable[str]) -> Deletions:
    """The part of the list that one takedown is about."""
    bases = base_ids(pl.Series("id", list(ids), dtype=pl.String))
    named = listed.listed["id"].str.strip_suffix(nameless(""))
    is_mine = base_ids(named).is_in(bases.implode())
    rows = listed.listed.filter(is_mine & listed.listed["deleted_at"].is_null())
    return Deletions(rows, frozenset(map(author_hash, authors)))


def _held(files: list[StoredFile], mine: Deletions, progress: Progress) -> _Held:
    held: _Held = {}
    for number, file in enumerate(files):
        posts = held_posts(file, mine)
        if posts.height:
            held[file] = posts
        progress(number + 1, len(files))
    return held


def _ids(held: _Held) -> set[str]:
    return {post_id for posts in held.values() for post_id in posts["id"]}


def _not_listed(held: _Held, mine: Deletions) -> set[str]:
    """Ids of posts that go because of an author or another post; their reposts go too."""
    ids = pl.Series("id", sorted(_ids(held)), dtype=pl.String)
    return set(ids.filter(~base_ids(ids).is_in(base_ids(mine.listed["id"]).implode())))


def _others_now(held: _Held, new: set[str], latest: list[StoredFile]) -> set[tuple[str, str]]:
    """Of ``new``, the id and author of posts of older snapshots whose id is another's by now."""
    owners = siblings_of(latest, new)
    now = dict(zip(owners["id"], owners["author"], strict=True))
    return {
        (post_id, author)
        for posts in held.values()
        for post_id, author in posts.select("id", "author").iter_rows()
        if post_id in new and now.get(post_id, author) != author
    }


def _reposts(held: _Held, ids: Collection[str], authors: Collection[str]) -> set[str]:
    return {
        post_id
        for posts in held.values()
        for post_id, author, kind in posts.iter_rows()
        if kind == "repost" and post_id not in ids and author not in authors
    }


def _without(
    store: Path,
    before: Artifact | None,
    folder: Path,
    *,
    known: Deletions,
    listed: Deletions,
    held: _Held,
) -> Artifact | None:
    """Write the snapshot that lacks the posts; the same one when it lacks them already."""
    if before is None:
        return None
    gone: pl.Series | None = None
    if before.inputs["deletions"] == known.digest:  # else there is more to leave out than these
        mine = [posts["id"] for file, posts in held.items() if _files_of([file], before)]
        gone = pl.concat([pl.Series("id", [], dtype=pl.String), *mine])
    return write_snapshot(
        store, base=before, gathered=Gathered.empty(folder), deletions=listed, gone=gone
    )


def _twin(
    file: StoredFile, num_gone: int, before: Artifact | None, after: Artifact | None
) -> Path | None:
    """Return the shard of ``after`` that is a shard of ``before`` without its posts that go.

    Nothing else changes from one to the other, but for the names of posts that share an id; so
    equal borders and counts mean equal posts.
    """
    names = [path.name for path in file.paths if before and path.parent == before.folder]
    if not before or not after or not names or file.has_shared:
        return None
    old = next(shard for shard in shards_of(before) if shard.name == names[0])
    for shard in shards_of(after):
        is_within = old.first_id <= shard.first_id and shard.last_id <= old.last_id
        if is_within and shard.num_posts == old.num_posts - num_gone and not shard.num_shared:
            return after.folder / shard.name
    return None


def _new_shards(before: Artifact | None, after: Artifact | None) -> tuple[list[Rewritten], int]:
    """Name the shards of ``after`` that ``before`` has not, with those whose place they take."""
    if before is None or after is None:
        return [], 0
    old = shards_of(before)
    hashes = {shard.sha256 for shard in old}
    new = [shard for shard in shards_of(after) if shard.sha256 not in hashes]
    rewritten = [
        Rewritten(
            snapshot=after.snapshot,
            shard=shard.name,
            old_sha256=next((o.sha256 for o in old if o.last_id >= shard.first_id), ""),
            new_sha256=shard.sha256,
        )
        for shard in new
    ]
    return rewritten, sum(shard.num_bytes for shard in new)
