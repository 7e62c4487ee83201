"""Purging: replaces, in snapshots that are otherwise never changed, shards that hold a post.

Writes shards and manifests under ``posts/<snapshot>/``, each aside and renamed. The manifest comes
first: if the shard is not replaced after it, the next takedown finds the post in it still.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from mynah.posts.deletions import Deletions
from mynah.posts.post import POST_SCHEMA
from mynah.posts.shards import Shard, link_file, sync_path, write_shard
from mynah.posts.snapshots import shard_counts
from mynah.posts.stored_files import StoredFile, hold_mask
from mynah.workspace import canonical_json, file_sha256, replace_file

__all__ = ["Rewritten", "purge_file"]

_ASIDE = "purged.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """A shard that was written anew without some posts."""

    snapshot: str
    shard: str
    old_sha256: str
    """Empty when the shard is new."""
    new_sha256: str


def purge_file(
    file: StoredFile, listed: Deletions, *, folder: Path, twin: Path | None
) -> tuple[list[Rewritten], int]:
    """Replace a file, under all its names, by one without the listed posts.

    Args:
        file: Of one or several snapshots, none of them the latest.
        listed: The posts to leave out.
        folder: A place for what is being written, on the same filesystem.
        twin: A shard of the latest snapshot that is what is left of this one, if there is one: it
            is linked, not written and kept twice.

    Returns:
        What was replaced, and how many bytes were written.
    """
    old_sha256 = file_sha256(file.path)
    if twin is not None:
        new, source, num_bytes = shard_at(twin), twin, 0
    else:
        new, source = _write_without(file.path, listed, folder), folder / _ASIDE
        num_bytes = new.num_bytes
    for path in file.paths:
        _replace(path, source, Shard.from_facts({**new.facts(), "name": path.name}), listed)
    (folder / _ASIDE).unlink(missing_ok=True)
    rewritten = [
        Rewritten(
            snapshot=path.parent.name,
            shard=path.name,
            old_sha256=old_sha256,
            new_sha256=new.sha256,
        )
        for path in file.paths
    ]
    return rewritten, num_bytes


def shard_at(path: Path) -> Shard:
    """Return what the manifest beside a shard says of it."""
    shards = json.loads((path.parent / "manifest.json").read_bytes())["counts"]["shards"]
    return next(Shard.from_facts(facts) for facts in shards if facts["name"] == path.name)


def _write_without(path: Path, listed: Deletions, folder: Path) -> Shard:
    rows = pl.read_parquet(path, glob=False)
    rows = rows.filter(~hold_mask(rows, listed))
    # A file of an older version has fewer columns.
    columns = {field.name: pl.lit(None) for field in POST_SCHEMA if field.name not in rows.columns}
    shard = write_shard(rows.with_columns(**columns), folder, _ASIDE)
    sync_path(folder / _ASIDE)
    return shard


def _replace(path: Path, source: Path, shard: Shard, listed: Deletions) -> None:
    """Put ``source`` in the place of one shard of a snapshot."""
    place = path.parent / "manifest.json"
    manifest: dict[str, Any] = json.loads(place.read_bytes())
    counts = manifest["counts"]
    if "shards" in counts:
        shards = [shard.facts() if old["name"] == path.name else old for old in counts["shards"]]
        counts |= shard_counts([Shard.from_facts(facts) for facts in shards])
    counts["purged"] = sorted({*counts.get("purged", []), *listed.listed["id"]})
    manifest["files"][path.name] = {"bytes": shard.num_bytes, "sha256": shard.sha256}
    replace_file(place, canonical_json(manifest))
    aside = path.with_name(f".{path.name}.{os.getpid()}.writing")
    aside.unlink(missing_ok=True)
    link_file(source, aside)
    aside.replace(path)
    sync_path(path.parent)
