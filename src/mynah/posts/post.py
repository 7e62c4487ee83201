"""The post: what every network's export is turned into, and its one Arrow schema."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

__all__ = ["POSTS_KIND", "POST_SCHEMA", "Post"]

POSTS_KIND = "mynah.posts/2"
"""Kind of the post store's artifact."""

POST_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("author", pa.string(), nullable=False),
        pa.field("created_at", pa.timestamp("us", tz="UTC")),
        pa.field("text", pa.string(), nullable=False),
        pa.field("lang", pa.string()),
        pa.field("reply_to", pa.string()),
        pa.field("repost_of", pa.string()),
        pa.field("quote_of", pa.string()),
        pa.field("likes", pa.int64(), nullable=False),
        pa.field("reposts", pa.int64(), nullable=False),
        pa.field("replies", pa.int64(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("visibility", pa.string(), nullable=False),
        pa.field("may_train", pa.bool_(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("edited_at", pa.timestamp("us", tz="UTC")),
        pa.field("seen_at", pa.timestamp("us", tz="UTC")),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One post of a network. Every field is as the network holds it; text is never changed."""

    id: str
    """``network:native_id``, unique in a store."""
    author: str = ""
    """Handle of who wrote it, without ``@``; empty when the export does not say."""
    created_at: datetime | None = None
    """UTC, to the microsecond."""
    text: str
    lang: str | None = None
    """ISO 639-1 code as the network tagged it."""
    reply_to: str | None = None
    """Id of the post this answers."""
    repost_of: str | None = None
    """Id or author of the post this repeats."""
    quote_of: str | None = None
    likes: int = 0
    reposts: int = 0
    replies: int = 0
    url: str | None = None
    visibility: str = "public"
    """``public``, ``unlisted``, ``followers`` or ``direct``; only the first two are ever shown."""
    may_train: bool = True
    """False when its author or the network opted it out of training."""
    kind: str = "post"
    """``post``, ``reply``, ``repost`` or ``quote``."""
    edited_at: datetime | None = None
    """When its author last changed it; UTC."""
    seen_at: datetime | None = None
    """When the export or event that this version comes from was made; UTC. Of two versions of a
    post the later one counts."""

    @property
    def is_public(self) -> bool:
        """Whether anyone but the author and those addressed may see it."""
        return self.visibility in ("public", "unlisted")

    @property
    def speaker(self) -> str:
        """Handle of whose words these are: of a repost, not its author; empty if unknown."""
        if self.kind != "repost":
            return self.author
        is_handle = self.repost_of is not None and ":" not in self.repost_of
        return str(self.repost_of) if is_handle else ""

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "Post":
        """Build from a row of ``POST_SCHEMA``; a time without zone is UTC."""
        values = dict(row)
        for name in ("created_at", "edited_at", "seen_at"):
            time = values.get(name)
            if time is not None and time.tzinfo is None:
                values[name] = time.replace(tzinfo=UTC)
        return cls(**values)
