"""The one gate between readers and a store: what may be kept is spooled, the rest is counted.

Reads exports; writes a spool and ``rejected.jsonl`` into a folder of its caller.
"""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from mynah.errors import DataError
from mynah.posts.post import Post
from mynah.posts.reader import Deleted, Found, PrivatePost, ReadOptions, Rejected, SourceReport
from mynah.posts.sources import Source
from mynah.posts.spool import PostSpool
from mynah.progress import NO_PROGRESS, Progress
from mynah.workspace import canonical_json

__all__ = [
    "READER_VERSION",
    "Gathered",
    "gather_posts",
    "same_reading",
    "source_facts",
    "without_copies",
]

logger = logging.getLogger(__name__)

READER_VERSION = 2
"""Raised with every change of what the readers make of the same bytes."""

_REJECTED = "rejected.jsonl"
_REPORT_EVERY = 2_000


def source_facts(source: Source, options: ReadOptions) -> dict[str, Any]:
    """Return what a source gives depends on, as it stands in a manifest."""
    return {
        **source.facts(),
        "reader_version": READER_VERSION,
        "network": options.network,
        "columns": dict(options.columns),
        "include_private": options.include_private,
    }


def same_reading(facts: dict[str, Any]) -> bytes:
    """Return what two readings of the same bytes in the same way have in common."""
    return canonical_json({k: v for k, v in facts.items() if k not in ("name", "reader_version")})


def without_copies(sources: Sequence[Source]) -> list[Source]:
    """Keep one of files with the same content; order by name and content."""
    seen: set[tuple[str, str]] = set()
    kept: list[Source] = []
    for source in sorted(sources, key=lambda s: (s.name, s.sha256)):
        key = (source.sha256, str(source.facts().get("beside")))
        if key in seen:
            logger.info("left out %s: the same bytes were given twice", source.name)
            continue
        seen.add(key)
        kept.append(source)
    return kept


@dataclass(slots=True)
class Gathered:
    """What all sources together gave."""

    spool: PostSpool
    rejected: Path
    """Rows that could not be read, one JSON object a line."""
    facts: list[dict[str, Any]] = field(default_factory=lambda: [])
    """Of each source; see ``source_facts``."""
    reports: list[SourceReport] = field(default_factory=lambda: [])
    reasons: Counter[str] = field(default_factory=lambda: Counter[str]())
    private_ids: set[str] = field(default_factory=lambda: set[str]())
    deleted: list[Deleted] = field(default_factory=lambda: [])
    num_read: int = 0
    has_chats: bool = False
    """Whether some of it are chats, which may be kept on request."""
    is_addition: bool = False
    """Whether it is added to what a store has, rather than all of it."""

    @classmethod
    def empty(cls, folder: Path) -> "Gathered":
        """Return what no source gives."""
        rejected = folder / _REJECTED
        rejected.touch()
        return cls(PostSpool(folder), rejected)

    def total(self, name: str) -> int:
        """Add up one count of all reports."""
        return sum(getattr(report, name) for report in self.reports)


def gather_posts(
    sources: Sequence[Source],
    folder: Path,
    *,
    options: ReadOptions,
    progress: Progress = NO_PROGRESS,
) -> Gathered:
    """Read sources into a spool in ``folder``, which is empty and the caller's to remove.

    Raises:
        DataError: A file that was named is damaged, or none holds a post.
    """
    gathered = Gathered.empty(folder)
    with gathered.rejected.open("w", encoding="utf-8") as rejected:
        for source in sources:
            report = SourceReport(name=source.name, format=source.format.name)
            gathered.reports.append(report)
            gathered.facts.append(source_facts(source, options))
            gate = _Gate(source, report, gathered, rejected, options)
            _read_source(gate, progress)
    if not gathered.total("num_posts") and not gathered.deleted:
        raise _nothing_readable(gathered)
    return gathered


@dataclass(slots=True)
class _Gate:
    """Decides for each thing that one source gave."""

    source: Source
    report: SourceReport
    gathered: Gathered
    rejected: IO[str]
    options: ReadOptions

    def take(self, found: Found) -> None:
        if isinstance(found, Post):
            self._take_post(found)
        elif isinstance(found, Rejected):
            self.reject(found)
        elif isinstance(found, Deleted):
            self.report.num_deleted += 1
            self.gathered.deleted.append(found)
        elif isinstance(found, PrivatePost):
            self._keep_out(found.id)
        else:
            self.report.num_posts += found.num_rows
            self.gathered.spool.add_batch(found)

    def reject(self, row: Rejected) -> None:
        self.report.num_rejected += 1
        self.gathered.reasons[row.reason] += 1
        self.rejected.write(json.dumps(asdict(row), sort_keys=True) + "\n")

    def _take_post(self, post: Post) -> None:
        if not _is_writable(post):
            reason = f"a field of {_shown(post.id)} is no text"
            self.reject(Rejected(self.source.name, 0, reason))
        elif post.is_public:
            self.report.num_posts += 1
            self.gathered.spool.add(post)
        elif self.source.format.is_chat and self.options.include_private:
            self.report.num_posts += 1
            self.gathered.spool.add(replace(post, visibility="unlisted"))
        else:
            self._keep_out(post.id)

    def _keep_out(self, post_id: str) -> None:
        self.gathered.has_chats |= self.source.format.is_chat
        self.report.num_private += 1
        self.gathered.private_ids.add(post_id)


def _read_source(gate: _Gate, progress: Progress) -> None:
    source, gathered = gate.source, gate.gathered
    next_report = _REPORT_EVERY
    try:
        for found in source.read(gate.options, gate.report):
            gate.take(found)
            gathered.num_read += getattr(found, "num_rows", 1)
            if gathered.num_read >= next_report:
                progress(gathered.num_read, note=source.name)
                next_report = gathered.num_read + _REPORT_EVERY
    except DataError as error:
        # A file that was found in a folder may not be what the person meant.
        if source.is_named:
            raise
        logger.warning("%s of the folder is not read: %s", source.name, error.message)
        gate.reject(Rejected(source.name, 0, error.message))


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
        post.lang,
    )
    try:
        "".join(field for field in fields if field).encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(post_id: str) -> str:
    return post_id.encode("ascii", "replace").decode()[:80]


def _nothing_readable(gathered: Gathered) -> DataError:
    names = ", ".join(report.name for report in gathered.reports[:5])
    if gathered.private_ids:
        return DataError(
            f"{names} holds {len(gathered.private_ids):,} private posts and no public one",
            hint="if everyone in these chats has agreed: --include-private"
            if gathered.has_chats
            else "private and direct posts are never read; export a public account",
        )
    if not gathered.reasons:
        return DataError(f"{names} holds no post", hint="is the export complete? try it again")
    reason, count = gathered.reasons.most_common(1)[0]
    return DataError(
        f"no post in {names} can be read: {gathered.total('num_rejected'):,} rejected, "
        f"{count:,} because {reason}",
        hint="if a column is taken for the wrong field, say so: --column text=NAME "
        "(an empty NAME leaves a column out)",
    )
