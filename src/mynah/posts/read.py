"""Reading exports into the post store.

Reads the files a person names; writes ``posts/<snapshot>/``: ``part-00000.parquet``,
``rejected.jsonl`` (source, position and reason, never a post's words) and the manifest.
"""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import polars as pl

from mynah.errors import DataError
from mynah.posts.post import POSTS_KIND, Post
from mynah.posts.reader import Deleted, PrivatePost, ReadOptions, Rejected, SourceReport
from mynah.posts.sources import Source, opened_sources
from mynah.posts.store import Merged, PostSpool, merge_posts, write_part
from mynah.progress import NO_PROGRESS, Progress
from mynah.workspace import Artifact, ArtifactWriter, find_artifact, set_latest, writing_artifact

__all__ = ["READER_VERSION", "read_posts"]

logger = logging.getLogger(__name__)

READER_VERSION = 2
"""Raised with every change of what the readers make of the same bytes."""

_REPORT_EVERY = 2_000
_DEFAULT_OPTIONS = ReadOptions()


def read_posts(
    paths: Sequence[Path],
    store: Path,
    *,
    options: ReadOptions = _DEFAULT_OPTIONS,
    progress: Progress = NO_PROGRESS,
) -> Artifact:
    """Read exports into a new snapshot of the store, or find the one they were read into.

    Args:
        paths: Files and folders, in any order.
        store: The posts' folder of the workspace.
        options: Network and columns, where the guess is wrong.
        progress: Told the posts read so far.

    Raises:
        DataError: A path is missing, is no export, or no post in it can be read.
    """
    with opened_sources(paths, options=options) as given:
        sources = _without_copies(given)
        inputs = {
            "reader_version": READER_VERSION,
            "network": options.network,
            "columns": dict(options.columns),
            "format": options.format,
            "include_private": options.include_private,
            "sources": [source.facts() for source in sources],
        }
        found = find_artifact(store, kind=POSTS_KIND, inputs=inputs)
        if found is not None:
            set_latest(found)
            return found
        with writing_artifact(store, kind=POSTS_KIND, inputs=inputs) as writer:
            _write(sources, writer, options=options, progress=progress)
        return writer.artifact


def _without_copies(sources: list[Source]) -> list[Source]:
    """Keep one of files with the same content; order by name and content."""
    seen: set[tuple[str, str]] = set()
    kept: list[Source] = []
    for source in sorted(sources, key=lambda s: (s.name, s.sha256)):
        key = (source.sha256, str(source.facts().get("account")))
        if key in seen:
            logger.info("left out %s: the same bytes were given twice", source.name)
            continue
        seen.add(key)
        kept.append(source)
    return kept


@dataclass(slots=True)
class _Tally:
    """What all sources together gave."""

    reports: list[SourceReport] = field(default_factory=lambda: [])
    reasons: Counter[str] = field(default_factory=lambda: Counter[str]())
    private_ids: set[str] = field(default_factory=lambda: set[str]())
    deleted: list[Deleted] = field(default_factory=lambda: [])
    num_read: int = 0

    def total(self, name: str) -> int:
        return sum(getattr(report, name) for report in self.reports)


def _write(
    sources: Sequence[Source], writer: ArtifactWriter, *, options: ReadOptions, progress: Progress
) -> None:
    tally = _Tally()
    spool_path = writer.folder / ".spool.parquet"
    with (
        PostSpool(spool_path) as spool,
        (writer.folder / "rejected.jsonl").open("w", encoding="utf-8") as rejected,
    ):
        for source in sources:
            _read_source(source, spool, rejected, tally, options=options, progress=progress)
    gone = tally.private_ids | {deleted.id for deleted in tally.deleted}
    merged = merge_posts(spool_path, private_ids=sorted(gone))
    spool_path.unlink()
    if not merged.posts.height:
        raise _nothing_readable(tally)
    write_part(merged.posts, writer.folder)
    writer.counts.update(_counts(tally, merged))
    progress(merged.posts.height, merged.posts.height)


def _read_source(
    source: Source,
    spool: PostSpool,
    rejected: IO[str],
    tally: _Tally,
    *,
    options: ReadOptions,
    progress: Progress,
) -> None:
    report = SourceReport(name=source.name, format=source.format.name)
    tally.reports.append(report)

    def reject(row: Rejected) -> None:
        report.num_rejected += 1
        tally.reasons[row.reason] += 1
        rejected.write(json.dumps(asdict(row), sort_keys=True) + "\n")

    def keep_out(post_id: str) -> None:
        report.num_private += 1
        tally.private_ids.add(post_id)

    try:
        for found in source.read(options, report):
            tally.num_read += 1
            if tally.num_read % _REPORT_EVERY == 0:
                progress(tally.num_read, note=source.name)
            if isinstance(found, Rejected):
                reject(found)
            elif isinstance(found, Deleted):
                report.num_deleted += 1
                tally.deleted.append(found)
            elif isinstance(found, PrivatePost):
                keep_out(found.id)
            elif not isinstance(found, Post):
                report.num_posts += found.num_rows
                spool.add_batch(found)
            elif not _is_writable(found):
                reject(Rejected(source.name, 0, f"a field of {_shown(found.id)} is no text"))
            elif found.is_public:
                report.num_posts += 1
                spool.add(found)
            elif source.format.is_chat and options.include_private:
                report.num_posts += 1
                spool.add(replace(found, visibility="unlisted"))
            else:
                keep_out(found.id)
    except DataError as error:
        # A file that was found in a folder may not be what the person meant.
        if source.is_named:
            raise
        logger.warning("%s of the folder is not read: %s", source.name, error.message)
        reject(Rejected(source.name, 0, error.message))


def _is_writable(post: Post) -> bool:
    """Whether every field can be stored: half a surrogate pair cannot."""
    fields = (
        post.id,
        post.author,
        post.text,
        post.url,
        post.reply_to,
        post.repost_of,
        post.quote_of,
    )
    try:
        "".join(field for field in fields if field).encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(post_id: str) -> str:
    return post_id.encode("ascii", "replace").decode()[:80]


def _counts(tally: _Tally, merged: Merged) -> dict[str, Any]:
    posts = merged.posts
    networks = sorted({report.network for report in tally.reports if report.network})
    return {
        "num_posts": posts.height,
        "num_authors": posts["author"].n_unique(),
        "num_rejected": tally.total("num_rejected"),
        "num_private": len(tally.private_ids),
        "num_deleted": tally.total("num_deleted"),
        "num_not_posts": tally.total("num_not_posts"),
        "num_opted_out": posts.filter(~pl.col("may_train")).height,
        "num_duplicates": merged.num_duplicates,
        "num_id_conflicts": merged.num_id_conflicts,
        "num_recoded_lines": tally.total("num_recoded_lines"),
        "network": ", ".join(networks),
        "first_created_at": _iso(posts["created_at"].min()),
        "last_created_at": _iso(posts["created_at"].max()),
        "rejected_reasons": dict(tally.reasons.most_common(20)),
        "sources": [asdict(report) for report in tally.reports],
    }


def _iso(time: Any) -> str | None:
    return None if time is None else time.isoformat()


def _nothing_readable(tally: _Tally) -> DataError:
    names = ", ".join(report.name for report in tally.reports[:5])
    if tally.private_ids:
        return DataError(
            f"{names} holds {len(tally.private_ids):,} private posts and no public one",
            hint="private and direct posts are never read; export a public account",
        )
    if not tally.reasons:
        return DataError(f"{names} holds no post", hint="is the export complete? try it again")
    reason, count = tally.reasons.most_common(1)[0]
    return DataError(
        f"no post in {names} can be read: {tally.total('num_rejected'):,} rejected, "
        f"{count:,} because {reason}",
        hint="if a column is taken for the wrong field, say so: --column text=NAME "
        "(an empty NAME leaves a column out)",
    )
