"""Snapshots of the post store: what a set of exports gives, less what was taken back.

Writes ``posts/<snapshot>/``: shards, ``rejected.jsonl`` (source, position and reason, never a
post's words), ``private_ids.arrow`` (ids that stay out) and the manifest.
"""

import os
import shutil
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from mynah.errors import ConfigError, machine_errors
from mynah.posts.deletions import Deletions
from mynah.posts.gathering import Gathered, same_reading
from mynah.posts.merging import Withheld, find_withheld, merge_posts
from mynah.posts.post import POSTS_KIND
from mynah.posts.shards import Shard, ShardWriter
from mynah.progress import NO_PROGRESS, Progress
from mynah.workspace import (
    Artifact,
    canonical_json,
    find_artifact,
    locked,
    set_latest,
    writing_artifact,
)

__all__ = ["PRIVATE_IDS", "one_writer", "snapshot_inputs", "use_snapshot", "write_snapshot"]

PRIVATE_IDS = "private_ids.arrow"
_REJECTED = "rejected.jsonl"
_SUMS = ("num_rejected", "num_deleted", "num_not_posts", "num_recoded_lines")
_MOST_REASONS = 20

Facts = dict[str, Any]


@contextmanager
def one_writer(store: Path) -> Generator[Path]:
    """Hold a store for writing; gives an empty folder for a spool, gone in the end.

    What a writer that was killed had left is removed first: it may hold words of posts.

    Raises:
        ConfigError: Another process is writing.
    """
    busy = ConfigError(
        f"another process is changing the posts in {store}",
        hint="wait until it is done, then run the same command again",
    )
    with locked(store / ".lock", busy=busy), machine_errors(store):
        for left in store.glob(".*.writing"):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink(missing_ok=True)
        spool = store / f".spool.{os.getpid()}.writing"
        spool.mkdir()
        try:
            yield spool
        finally:
            shutil.rmtree(spool, ignore_errors=True)


def snapshot_inputs(
    base: Artifact | None, facts: list[Facts], *, deletions: Deletions
) -> dict[str, Any]:
    """Return what a snapshot is a function of: its sources, and what was taken back."""
    pairs = _sources(base, facts, [{} for _ in facts])
    return {"sources": [fact for fact, _ in pairs], "deletions": deletions.digest}


def use_snapshot(store: Path, inputs: Mapping[str, Any]) -> Artifact | None:
    """Return the finished snapshot of ``inputs``, now the latest; ``None`` when there is none."""
    found = find_artifact(store, kind=POSTS_KIND, inputs=inputs)
    if found is not None and _latest_name(store) != found.snapshot:
        set_latest(found)
    return found


def write_snapshot(
    store: Path,
    *,
    base: Artifact | None,
    gathered: Gathered,
    deletions: Deletions,
    gone: pl.Series | None = None,
    progress: Progress = NO_PROGRESS,
) -> Artifact:
    """Write the snapshot of ``base`` and ``gathered``, or find it. The caller holds the lock.

    Args:
        store: The posts' folder of the workspace.
        base: The snapshot to go on from; ``None`` begins anew.
        gathered: What was read; may be empty.
        deletions: The list as it is on disk.
        gone: Ids of posts of ``base`` that leave; ``None`` looks for them.
        progress: Told the posts merged.
    """
    inputs = snapshot_inputs(base, gathered.facts, deletions=deletions)
    if (found := use_snapshot(store, inputs)) is not None:
        return found
    private = _private_ids(base, gathered)
    withheld = Withheld(deletions, private)
    if gone is None:
        gone = _withheld_of(base, withheld, num_private=len(gathered.private_ids))
    with writing_artifact(store, kind=POSTS_KIND, inputs=inputs) as writer:
        shards = ShardWriter(writer.folder)
        num_admitted = merge_posts(
            shards,
            base=base,
            spool=gathered.spool,
            withheld=withheld,
            gone=gone,
            progress=progress,
        )
        writer.hashes.update(shards.linked)
        _write_rejected(writer.folder / _REJECTED, base, gathered)
        pl.DataFrame({"id": private}).write_ipc(writer.folder / PRIVATE_IDS, compression="lz4")
        counts = _counts(writer.folder, shards.shards, base, gathered)
        counts["num_private"] = private.len()
        before = base.counts if base is not None else {"num_posts": 0, "num_duplicates": 0}
        num_merged = before["num_posts"] - gone.len() + num_admitted - counts["num_posts"]
        counts["num_duplicates"] = before["num_duplicates"] + num_merged
        was_added_to = base is not None and bool(base.counts["is_added_to"])
        counts["is_added_to"] = gathered.is_addition or was_added_to
        writer.counts.update(counts)
    return writer.artifact


def _withheld_of(base: Artifact | None, withheld: Withheld, *, num_private: int) -> pl.Series:
    none = pl.Series("id", [], dtype=pl.String)
    if base is None:
        return none
    if not num_private and base.inputs["deletions"] == withheld.deletions.digest:
        return none
    return find_withheld(base, withheld)


def _latest_name(store: Path) -> str:
    try:
        return (store / "latest").read_text().strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""


def _private_ids(base: Artifact | None, gathered: Gathered) -> pl.Series:
    ids = pl.Series("id", sorted(gathered.private_ids), dtype=pl.String)
    if base is None:
        return ids
    return pl.concat([ids, pl.read_ipc(base.folder / PRIVATE_IDS)["id"]]).unique().sort()


def _write_rejected(path: Path, base: Artifact | None, gathered: Gathered) -> None:
    before = [base.folder / _REJECTED] if base is not None else []
    with path.open("wb") as out:
        for source in (*before, gathered.rejected):
            with source.open("rb") as stream:
                shutil.copyfileobj(stream, out)


def _sources(
    base: Artifact | None, facts: list[Facts], reports: list[Facts]
) -> list[tuple[Facts, Facts]]:
    """Pair facts and reports of all sources; of one read twice the later stands."""
    pairs = list(zip(facts, reports, strict=True))
    if base is not None:
        before = zip(base.inputs["sources"], base.counts["sources"], strict=True)
        pairs = [*before, *pairs]
    distinct = {same_reading(fact): (fact, report) for fact, report in pairs}
    return sorted(distinct.values(), key=lambda pair: (pair[0]["name"], canonical_json(pair[0])))


def _counts(
    folder: Path, shards: list[Shard], base: Artifact | None, gathered: Gathered
) -> dict[str, Any]:
    reports = [pair[1] for pair in _sources(base, gathered.facts, _reports(gathered))]
    reasons = Counter(gathered.reasons)
    if base is not None:
        reasons.update(base.counts["rejected_reasons"])
    return {
        **shard_counts(shards),
        "num_authors": _num_authors([folder / shard.name for shard in shards]),
        **{name: sum(report[name] for report in reports) for name in _SUMS},
        "network": ", ".join(sorted({r["network"] for r in reports if r["network"]})),
        "rejected_reasons": dict(reasons.most_common(_MOST_REASONS)),
        "sources": reports,
    }


def shard_counts(shards: list[Shard]) -> dict[str, Any]:
    """Return the counts of a manifest that follow from its shards."""
    firsts = [shard.first_created_at for shard in shards if shard.first_created_at]
    lasts = [shard.last_created_at for shard in shards if shard.last_created_at]
    return {
        "num_posts": sum(shard.num_posts for shard in shards),
        "num_opted_out": sum(shard.num_opted_out for shard in shards),
        "num_id_conflicts": sum(shard.num_shared for shard in shards),
        "first_created_at": min(firsts, default=None),
        "last_created_at": max(lasts, default=None),
        "shards": [shard.facts() for shard in shards],
    }


def _num_authors(paths: list[Path]) -> int:
    authors = pl.scan_parquet(paths, glob=False).select(pl.col("author").n_unique())
    return int(authors.collect().item())


def _reports(gathered: Gathered) -> list[Facts]:
    return [asdict(report) for report in gathered.reports]
