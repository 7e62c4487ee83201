"""The files of a store, over all its snapshots, and the posts in them that are taken down.

A file that several snapshots share counts once. Reads manifests and shards, those of older
versions of mynah too; writes nothing.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from mynah.posts.deletions import Deletions
from mynah.posts.versions import base_ids

__all__ = ["StoredFile", "held_posts", "hold_mask", "siblings_of", "stored_files"]

_LAST_SUFFIX = "~g"
"""Comes after every suffix of a shared id."""
_TIMES = {name: pl.Datetime("us", "UTC") for name in ("seen_at", "edited_at")}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of posts and all its names."""

    paths: tuple[Path, ...]
    first_id: str
    last_id: str
    """Empty, like ``first_id``, when its manifest does not say."""
    has_shared: bool

    @property
    def path(self) -> Path:
        """One of its names."""
        return self.paths[0]

    def may_hold(self, ids: Iterable[str]) -> bool:
        """Whether one of ``ids``, or of the posts that share them, may be in it."""
        if not self.last_id:
            return True
        return any(i <= self.last_id and self.first_id <= i + _LAST_SUFFIX for i in ids)


def stored_files(store: Path) -> list[StoredFile]:
    """List the files of all snapshots."""
    names: dict[tuple[int, int], list[Path]] = {}
    facts: dict[Path, dict[str, Any]] = {}
    for manifest in sorted(store.glob("*/manifest.json")):
        if manifest.parent.name.startswith("."):
            continue
        shards = json.loads(manifest.read_bytes())["counts"].get("shards", [])
        facts |= {manifest.parent / shard["name"]: shard for shard in shards}
        for path in sorted(manifest.parent.glob("part-*.parquet")):
            inode = path.stat()
            names.setdefault((inode.st_dev, inode.st_ino), []).append(path)
    return [
        StoredFile(
            paths=tuple(paths),
            first_id=facts.get(paths[0], {}).get("first_id", ""),
            last_id=facts.get(paths[0], {}).get("last_id", ""),
            has_shared=facts.get(paths[0], {}).get("num_shared", 1) > 0,
        )
        for paths in names.values()
    ]


def hold_mask(rows: pl.DataFrame, listed: Deletions) -> pl.Series:
    """Tell for every stored post whether it is listed, under whatever name it is stored."""
    times = {name: pl.lit(None, kind) for name, kind in _TIMES.items() if name not in rows.columns}
    return listed.holds(rows.with_columns(base_ids(rows["id"])).with_columns(**times))


def held_posts(file: StoredFile, listed: Deletions) -> pl.DataFrame:
    """Return ``id``, as stored, ``author`` and ``kind`` of the listed posts of a file."""
    asked = ["id", "author", "kind"]
    bases = base_ids(listed.listed["id"]).unique()
    if not file.may_hold(bases) and not _may_repeat(file, listed):
        return pl.DataFrame(schema=dict.fromkeys(asked, pl.String))
    columns = [*asked, "repost_of", *(["text"] if listed.has_names else [])]
    rows = pl.read_parquet(file.path, columns=columns, glob=False)
    return rows.filter(hold_mask(rows, listed)).select(asked)


def _may_repeat(file: StoredFile, listed: Deletions) -> bool:
    """Whether it holds reposts of listed posts, or anything by listed authors."""
    if listed.authors:
        return True
    rows = pl.read_parquet(file.path, columns=["kind", "repost_of"], glob=False)
    repeated = rows.filter(pl.col("kind") == "repost")["repost_of"]
    return bool(repeated.is_in(listed.listed["id"].implode()).any())


def siblings_of(files: Iterable[StoredFile], ids: Iterable[str]) -> pl.DataFrame:
    """Return ``id``, ``author`` and ``text`` of posts under these ids, suffixed or not.

    Args:
        files: Those of one snapshot.
        ids: Ids with or without suffix.
    """
    wanted = base_ids(pl.Series("id", list(ids), dtype=pl.String)).unique()
    frames = [pl.DataFrame(schema={"id": pl.String, "author": pl.String, "text": pl.String})]
    for file in files:
        if not file.may_hold(wanted):
            continue
        found = pl.read_parquet(file.path, columns=["id"], glob=False)["id"]
        if base_ids(found).is_in(wanted.implode()).any():
            rows = pl.read_parquet(file.path, columns=["id", "author", "text"], glob=False)
            frames.append(rows.filter(base_ids(rows["id"]).is_in(wanted.implode())))
    return pl.concat(frames)
