"""The post object of X's API v1.1, which its archives hold too. Reads records, gives posts."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from mynah.posts.post import Post
from mynah.posts.reader import Deleted, PrivatePost
from mynah.posts.readers.native import pick, post_kind
from mynah.posts.values import (
    BadValue,
    parse_count,
    parse_id,
    parse_lang,
    parse_text,
    parse_time,
)

__all__ = ["X_NETWORK", "XSource", "earlier_versions", "post_url", "posts_of", "snowflake_time"]

X_NETWORK = "x"

_FIRST_SNOWFLAKE = 30_000_000_000
"""Ids below were given out in order, before November 2010; later ones hold their time."""
_SNOWFLAKE_EPOCH = datetime(2010, 11, 4, 1, 42, 54, 657_000, tzinfo=UTC)
_EVERYWHERE = frozenset({"XX", "XY"})
"""What X writes for a country when a post is withheld in all of them, or by copyright."""
_REPOST_PREFIX = re.compile(r"RT @(\w{1,30}):?\s")
_PERMALINK = re.compile(
    r"https?://(?:www\.|mobile\.)?(?:twitter|x)\.com/\w+/status/(\d{1,20})(?:\?.*)?", re.A
)
_EMBEDDED = ("retweeted_status", "quoted_status")
_EDIT_LISTS = (
    ("edit_history_tweet_ids",),
    ("edit_history", "edit_tweet_ids"),
    ("edit_info", "initial", "editTweetIds"),
    ("edit_info", "edit", "editControlInitial", "editTweetIds"),
)
_EDIT_KEYS = frozenset(path[0] for path in _EDIT_LISTS)

Record = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class XSource:
    """What is known of posts from where they lie."""

    network: str = X_NETWORK
    author: str = ""
    """Handle of who wrote those that do not say."""
    is_protected: bool = False
    """Whether that account's posts are for its followers only."""
    seen_at: datetime | None = None


def posts_of(record: Record, source: XSource) -> Iterator[Post | PrivatePost | Deleted]:
    """Yield a post and the reposted and quoted ones embedded in it.

    Raises:
        BadValue: One of them cannot be read.
    """
    waiting: list[Record] = [record]
    while waiting:
        current = waiting.pop()
        yield from _post_of(current, source)
        waiting.extend(
            current[name]
            for name in reversed(_EMBEDDED)
            if isinstance(current.get(name), dict) and current[name]
        )


def _post_of(record: Record, source: XSource) -> Iterator[Post | PrivatePost | Deleted]:
    native = native_id(record.get("id_str") or record.get("id"))
    if is_withheld(
        record.get("withheld_in_countries"), by_copyright=record.get("withheld_copyright")
    ):
        yield PrivatePost(f"{source.network}:{native}")
        return
    created_at = parse_time(record.get("created_at")) or snowflake_time(native)
    earlier = earlier_versions(record, native)
    edited_at = (snowflake_time(native) or created_at) if earlier else None
    text = _text(record)
    author, is_protected = _author(record, source)
    reply_to = _reference(record, "in_reply_to_status_id", source.network)
    repost_of = reposted(_embedded_id(record, "retweeted_status"), text, network=source.network)
    quote_of = _reference(record, "quoted_status_id", source.network) or _qualified(
        _embedded_id(record, "quoted_status") or _linked_post(record, native, text), source.network
    )
    followers_only = is_protected or pick(record, "scopes", "followers") is True
    yield Post(
        id=f"{source.network}:{native}",
        author=author,
        created_at=created_at,
        text=text,
        lang=parse_lang(record.get("lang")),
        reply_to=reply_to,
        repost_of=repost_of,
        quote_of=None if repost_of else quote_of,
        likes=parse_count(record.get("favorite_count")),
        reposts=parse_count(record.get("retweet_count")),
        replies=parse_count(record.get("reply_count")),
        url=post_url("" if author.isdigit() else author, native),
        visibility="followers" if followers_only else "public",
        kind=post_kind(reply_to=reply_to, repost_of=repost_of, quote_of=quote_of),
        edited_at=edited_at,
        seen_at=source.seen_at,
    )
    for other in earlier:
        yield Deleted(f"{source.network}:{other}", edited_at)


def native_id(value: object) -> str:
    """Return the number of a post or account as text.

    Raises:
        BadValue: It is none.
    """
    native = parse_id(value)
    if not re.fullmatch(r"\d{1,20}", native, re.A):
        raise BadValue("the id is missing or no number" if native else "there is no id")
    return native


def snowflake_time(native: str) -> datetime | None:
    """Return the moment that an id was given out at, which is part of it since November 2010."""
    number = int(native)
    if not _FIRST_SNOWFLAKE < number < 1 << 63:
        return None
    return _SNOWFLAKE_EPOCH + timedelta(milliseconds=number >> 22)


def earlier_versions(record: Record, native: str) -> list[str]:
    """Return the ids of what this post said before it was edited: X gives every version its own."""
    if not _EDIT_KEYS & record.keys():
        return []
    found: set[str] = set()
    for path in _EDIT_LISTS:
        listed = pick(record, *path)
        if isinstance(listed, list):
            found.update(parse_id(value) for value in cast("list[object]", listed)[:100])
    initial = pick(record, "edit_info", "edit", "initialTweetId")
    found.add(parse_id(initial))
    numbers = (value for value in found if re.fullmatch(r"\d{1,20}", value, re.A))
    return sorted((value for value in numbers if int(value) < int(native)), key=int)


def is_withheld(countries: object, *, by_copyright: object) -> bool:
    """Whether nobody anywhere may see it; its text is X's own notice then."""
    listed = cast("list[object]", countries) if isinstance(countries, list) else []
    return by_copyright is True or any(str(country) in _EVERYWHERE for country in listed[:300])


def post_url(author: str, native: str) -> str:
    """Return the address of a post; X needs the author's handle for its looks only."""
    is_handle = re.fullmatch(r"\w{1,30}", author, re.A) is not None
    return f"https://x.com/{author if is_handle else 'i'}/status/{native}"


def reposted(native: str, text: str, *, network: str) -> str | None:
    """Return the id of the reposted post, or the handle that the text itself names."""
    if native:
        return f"{network}:{native}"
    match = _REPOST_PREFIX.match(text)
    return match.group(1) if match else None


def _text(record: Record) -> str:
    for value in (
        pick(record, "extended_tweet", "full_text"),
        record.get("full_text"),
        record.get("text"),
    ):
        if text := parse_text(value):
            return text
    raise BadValue("there is no text")


def _author(record: Record, source: XSource) -> tuple[str, bool]:
    user = record.get("user")
    if not isinstance(user, dict):
        return source.author, source.is_protected
    handle = parse_text(pick(user, "screen_name")).strip().removeprefix("@")
    number = parse_id(pick(user, "id_str") or pick(user, "id"))
    return handle or number, pick(user, "protected") is True


def _embedded_id(record: Record, name: str) -> str:
    embedded = record.get(name)
    return parse_id(pick(embedded, "id_str") or pick(embedded, "id"))


def _linked_post(record: Record, native: str, text: str) -> str:
    """Return the id of the post that an archive's post quotes: there only its last link says so."""
    link = pick(record, "entities", "urls", -1)
    short, whole = pick(link, "url"), pick(link, "expanded_url")
    if "is_quote_status" in record or not isinstance(short, str) or not isinstance(whole, str):
        return ""
    match = _PERMALINK.fullmatch(whole) if short and text.rstrip().endswith(short) else None
    # A long post that is cut ends in a link to itself.
    return match.group(1) if match and match.group(1) != native else ""


def _reference(record: Record, name: str, network: str) -> str | None:
    return _qualified(parse_id(record.get(f"{name}_str") or record.get(name)), network)


def _qualified(native: str, network: str) -> str | None:
    return f"{network}:{native}" if native and native != "0" else None
