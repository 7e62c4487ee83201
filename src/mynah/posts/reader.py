"""What a reader is given and what it gives back: posts, and rows it could not read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

from mynah.posts.post import Post

__all__ = ["Deleted", "Found", "PrivatePost", "ReadOptions", "Rejected", "SourceReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How exports are read where their content leaves a choice."""

    network: str = ""
    """Prefix of every post's id, as in ``x:20``; empty is guessed from the export."""
    columns: Mapping[str, str] = field(default_factory=lambda: {})
    """Post field to the export's column, as in ``text: body``; an empty column is ignored."""
    format: str = ""
    """Name of the format of every file, where the guess is wrong; empty is guessed."""
    include_private: bool = False
    """Keep messages of private chats, as unlisted posts: everyone in them has agreed. Posts of
    social networks that only some may see are never kept."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row or record that could not be read. Never holds the words of the post."""

    source: str
    """Name of the file."""
    position: int
    """Line, or record number where a format has no lines; from 1. 0 is the file as a whole."""
    reason: str


@dataclass(frozen=True, slots=True)
class PrivatePost:
    """The id of a post that only some may see: all of it that leaves a reader."""

    id: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """The network says that a post is gone."""

    id: str
    at: datetime | None = None
    """When it was deleted; ``None`` is whenever."""


Found = Post | Deleted | PrivatePost | Rejected | pa.RecordBatch
"""What a reader yields; a batch holds public posts as rows of ``POST_SCHEMA``."""


@dataclass(slots=True)
class SourceReport:
    """What a reader finds out about one source, for the manifest."""

    name: str
    format: str
    network: str = ""
    columns: dict[str, str] = field(default_factory=lambda: {})
    """Post field to the column it was read from."""
    num_recoded_lines: int = 0
    """Lines that are not UTF-8 and were read as Windows-1252."""
    num_posts: int = 0
    num_rejected: int = 0
    num_private: int = 0
    num_deleted: int = 0
    """Posts that the source says were deleted."""
    num_not_posts: int = 0
    """Records that are read and are no posts: likes, joins, reposts without words."""
