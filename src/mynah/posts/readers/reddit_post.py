"""Reddit's comments and submissions as posts: what its API and Pushshift's copies share.

Reads one comment (``t1``) or submission (``t3``) as its API describes it; writes nothing. Ids
are full names, as in ``reddit:t1_c0ffee``: a comment and a submission may have the same number.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from mynah.posts.post import Post
from mynah.posts.reader import Deleted
from mynah.posts.readers.native import post_kind
from mynah.posts.values import BadValue, parse_count, parse_id, parse_text, parse_time

__all__ = ["COMMENT", "NETWORK", "SUBMISSION", "build_post", "lenient_time"]

NETWORK: Final = "reddit"
COMMENT: Final = "t1"
SUBMISSION: Final = "t3"
_HOST: Final = "https://www.reddit.com"
_ID: Final = re.compile("[0-9a-z]{1,13}")
_FULL_NAME: Final = re.compile("(t[13])_([0-9a-z]{1,13})")
_SUBREDDIT: Final = re.compile(r"[\w-]{1,50}", re.A)
_NOBODY: Final = frozenset({"", "[deleted]", "[removed]"})
_GONE: Final = frozenset(
    {"[deleted]", "[removed]", "[deleted by user]", "[ removed by reddit ]", "[removed by reddit]"}
)
"""What stands where the words were: its author, a moderator or Reddit took them back."""
_TAKEN_BACK: Final = frozenset(
    {"deleted", "author", "anti_evil_ops", "content_takedown", "copyright_takedown"}
)
"""Values of ``removed_by_category`` that leave nothing to see; the others only take a submission
out of all lists, and it stays where its link leads."""
_SEEN_BY_ALL: Final = frozenset({"", "public", "restricted", "gold_restricted", "archived", "user"})
"""Kinds of subreddit that all may read: where it is restricted, few may write."""
_BASE_36: Final = "0123456789abcdefghijklmnopqrstuvwxyz"

Json = Any
Record = Mapping[str, Json]


def build_post(
    record: Record, *, kind: str, network: str = NETWORK, seen_at: datetime | None = None
) -> Post | Deleted:
    """Turn a comment or submission into a post, or into the news that it is gone.

    Args:
        record: What the API calls ``data``.
        kind: ``COMMENT`` or ``SUBMISSION``.
        network: Prefix of ids.
        seen_at: When it was fetched.

    Raises:
        BadValue: A field is not what it should be, or there is no text.
    """
    native = _native_id(record, kind)
    post_id = f"{network}:{kind}_{native}"
    parts = [_text(record.get(key)) for key in _TEXT_KEYS[kind]]
    category = parse_text(record.get("removed_by_category"))
    if category in _TAKEN_BACK or any(part.strip().lower() in _GONE for part in parts):
        return Deleted(post_id, seen_at)
    text = "\n\n".join(part for part in parts if part.strip())
    if not text:
        raise BadValue("there is no text")
    author = parse_text(record.get("author")).strip()
    reply_to = _parent(record, network) if kind == COMMENT else None
    quote_of = _reference(record.get("crosspost_parent"), SUBMISSION, network)
    score = record.get("score")
    return Post(
        id=post_id,
        author="" if author in _NOBODY else author,
        created_at=parse_time(record.get("created_utc")),
        text=text,
        reply_to=reply_to,
        quote_of=quote_of,
        likes=parse_count(record.get("ups") if score is None else score),
        replies=parse_count(record.get("num_comments")),
        url=_url(record, kind, native),
        visibility=_visibility(record, is_removed=bool(category)),
        kind=post_kind(reply_to=reply_to, repost_of=None, quote_of=quote_of),
        edited_at=_edited_at(record),
        seen_at=seen_at,
    )


_TEXT_KEYS: Final = {COMMENT: ("body",), SUBMISSION: ("title", "selftext")}


def lenient_time(value: Json) -> datetime | None:
    """Return a time; ``None`` where there is none that can be read."""
    try:
        return None if isinstance(value, bool) else parse_time(value)
    except BadValue:
        return None


def _native_id(record: Record, kind: str) -> str:
    name = _FULL_NAME.fullmatch(parse_id(record.get("name")).lower())
    if name and name.group(1) == kind:
        return name.group(2)
    native = parse_id(record.get("id")).lower().removeprefix(f"{kind}_")
    if not _ID.fullmatch(native):
        raise BadValue("the id is not one of Reddit's")
    return native


def _text(value: Json) -> str:
    """Undo the escaping that Reddit's API applies to all text; Pushshift kept it."""
    text = parse_text(value)
    if "&" not in text:
        return text
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _reference(value: Json, kind: str, network: str) -> str | None:
    """Return the id that a full name, a bare id or its number stands for."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63:
        value = _in_base_36(value)
    if not isinstance(value, str):
        return None
    named = _FULL_NAME.fullmatch(value.lower())
    if named:
        return f"{network}:{named.group()}"
    return f"{network}:{kind}_{value.lower()}" if _ID.fullmatch(value.lower()) else None


def _parent(record: Record, network: str) -> str | None:
    """Return what a comment answers: a comment, or the submission itself.

    Pushshift's last copies give the parent's number instead of its full name, and none where it
    is the submission.
    """
    submission = _reference(record.get("link_id"), SUBMISSION, network)
    parent = _reference(record.get("parent_id"), COMMENT, network)
    if parent is None or (submission and parent == submission.replace(":t3_", ":t1_")):
        return submission
    return parent


def _in_base_36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _BASE_36[digit] + digits
    return digits


def _visibility(record: Record, *, is_removed: bool) -> str:
    """Say who may see it; a kind of subreddit that is not known is taken for private."""
    is_open = parse_text(record.get("subreddit_type")) in _SEEN_BY_ALL
    # Reddit shows a quarantined subreddit to those only who log in and ask for it.
    is_quarantined = record.get("quarantine") or record.get("quarantined")
    if not is_open or is_quarantined:
        return "followers"
    return "unlisted" if is_removed else "public"


def _edited_at(record: Record) -> datetime | None:
    """Return when it was edited: ``edited`` is false, true (long ago), or the time."""
    return lenient_time(record.get("edited")) or lenient_time(record.get("edited_on"))


def _url(record: Record, kind: str, native: str) -> str | None:
    permalink = record.get("permalink")
    if isinstance(permalink, str) and permalink.startswith("/"):
        return _HOST + parse_text(permalink)
    subreddit = record.get("subreddit")
    if not isinstance(subreddit, str) or not _SUBREDDIT.fullmatch(subreddit):
        return None
    if kind == SUBMISSION:
        return f"{_HOST}/r/{subreddit}/comments/{native}/"
    submission = _reference(record.get("link_id"), SUBMISSION, "")
    if submission is None:
        return None
    return f"{_HOST}/r/{subreddit}/comments/{submission.partition('_')[2]}/_/{native}/"
