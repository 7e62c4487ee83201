"""Pages of X's API v2: posts in ``data``, and in ``includes`` what they point at.

Reads records; gives posts, each with its author put back in its place.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from mynah.posts.format import Head
from mynah.posts.post import Post
from mynah.posts.reader import Deleted, Found, PrivatePost, Rejected, SourceReport
from mynah.posts.readers.native import pick, post_kind, time_or_none
from mynah.posts.readers.records import Numbered, Record
from mynah.posts.readers.x_post import (
    XSource,
    earlier_versions,
    is_withheld,
    native_id,
    post_url,
    reposted,
    snowflake_time,
)
from mynah.posts.values import BadValue, parse_count, parse_id, parse_lang, parse_text, parse_time

__all__ = ["looks_like_page", "pages_of", "post_of_page"]

_PAGE_KEYS = frozenset(["data", "includes", "meta", "errors", "matching_rules", "__twarc"])
_POST_KEYS = frozenset(
    ["edit_history_tweet_ids", "public_metrics", "referenced_tweets", "edit_controls"]
) | frozenset(["reply_settings", "context_annotations"])
"""Fields that only v2 has; one of them is enough to know it by."""
_USER_KEYS = frozenset(["id", "name", "username"])
_FIRST_OF_DATA = re.compile(r'"data"\s*:\s*(?:\[\s*)?(?=\{)')
_GONE = "resource-not-found"
_PRIVATE = "not-authorized-for-resource"


def pages_of(records: Iterable[Numbered], report: SourceReport) -> Iterator[Numbered]:
    """Take pages apart: posts with their authors inlined, errors, notices."""
    for item in records:
        if isinstance(item, Rejected):
            yield item
            continue
        number, record = item
        if not record.keys() & {"data", "includes", "errors"}:
            yield number, record
            continue
        for part in _parts(record):
            if isinstance(part, dict):
                yield number, cast("Record", part)
            else:
                yield Rejected(report.name, number, "the record is not a JSON object")


def _parts(page: Record) -> Iterator[Any]:
    data = _listed(page.get("data"))
    users = _users([*_listed(pick(page, "includes", "users")), *data])
    for post in (*data, *_listed(pick(page, "includes", "tweets"))):
        author = users.get(_key(pick(post, "author_id")))
        yield {**cast("Record", post), "author": author} if author else post
    for error in _listed(page.get("errors")):
        yield {"error": error}


def _users(values: Iterable[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for value in values:
        if pick(value, "username") is not None:
            found[_key(pick(value, "id"))] = value
    found.pop("", None)
    return found


def _key(value: Any) -> str:
    return str(value) if isinstance(value, str | int) else ""


def _listed(value: Any) -> list[Any]:
    if isinstance(value, list):
        return cast("list[Any]", value)
    return [value] if isinstance(value, dict) else []


def post_of_page(record: Record, source: XSource, report: SourceReport) -> Iterator[Found]:
    """Yield what one part of a page says.

    Raises:
        BadValue: It cannot be read.
    """
    if "error" in record and "text" not in record:
        yield from _error(record, source, report)
    elif "tweet_delete" in record:
        native = native_id(pick(record, "tweet_delete", "tweet", "id"))
        at = time_or_none(pick(record, "tweet_delete", "event_at"))
        yield Deleted(f"{source.network}:{native}", at)
    elif "username" in record and "text" not in record:
        report.num_not_posts += 1
    else:
        yield from _post(record, source)
        for other in _listed(record.get("referenced_tweets")):
            if pick(other, "text") is not None:  # a page that twarc has flattened
                yield from _post(other, source)


def _error(record: Record, source: XSource, report: SourceReport) -> Iterator[Found]:
    """X says why a post that was asked for, or pointed at, is not there."""
    reason = pick(record, "error", "type")
    is_post = pick(record, "error", "resource_type") == "tweet" and isinstance(reason, str)
    if is_post and str(reason).endswith(_GONE):
        yield Deleted(f"{source.network}:{_missing(record)}")
    elif is_post and str(reason).endswith(_PRIVATE):
        yield PrivatePost(f"{source.network}:{_missing(record)}")
    else:
        report.num_not_posts += 1


def _missing(record: Record) -> str:
    return native_id(pick(record, "error", "resource_id") or pick(record, "error", "value"))


def _post(record: Record, source: XSource) -> Iterator[Post | PrivatePost | Deleted]:
    native = native_id(record.get("id"))
    withheld: Any = record.get("withheld")
    if is_withheld(pick(withheld, "country_codes"), by_copyright=pick(withheld, "copyright")):
        yield PrivatePost(f"{source.network}:{native}")
        return
    earlier = earlier_versions(record, native)
    created_at = parse_time(record.get("created_at")) or snowflake_time(native)
    edited_at = (snowflake_time(native) or created_at) if earlier else None
    text = parse_text(pick(record, "note_tweet", "text")) or parse_text(record.get("text"))
    if not text:
        raise BadValue("there is no text")
    points_at = _references(record)
    reply_to = _qualified(points_at.get("replied_to"), source)
    repost_of = reposted(points_at.get("retweeted", ""), text, network=source.network)
    quote_of = _qualified(points_at.get("quoted"), source)
    handle = parse_text(pick(record, "author", "username")).strip().removeprefix("@")
    author = handle or parse_id(record.get("author_id"))
    yield Post(
        id=f"{source.network}:{native}",
        author=author,
        created_at=created_at,
        text=text,
        lang=parse_lang(record.get("lang")),
        reply_to=reply_to,
        repost_of=repost_of,
        quote_of=None if repost_of else quote_of,
        likes=parse_count(pick(record, "public_metrics", "like_count")),
        reposts=parse_count(pick(record, "public_metrics", "retweet_count")),
        replies=parse_count(pick(record, "public_metrics", "reply_count")),
        url=post_url(handle, native),
        visibility="followers" if pick(record, "author", "protected") is True else "public",
        kind=post_kind(reply_to=reply_to, repost_of=repost_of, quote_of=quote_of),
        edited_at=edited_at,
        seen_at=source.seen_at,
    )
    for other in earlier:
        yield Deleted(f"{source.network}:{other}", edited_at)


def _references(record: Record) -> dict[str, str]:
    """Return the ids of the posts that this one points at, by how."""
    return {
        str(pick(other, "type")): parse_id(pick(other, "id"))
        for other in _listed(record.get("referenced_tweets"))
    }


def _qualified(native: str | None, source: XSource) -> str | None:
    return f"{source.network}:{native}" if native else None


def looks_like_page(head: Head) -> bool:
    """Whether a file begins like a page of v2, or like a post taken out of one."""
    record = head.record or dict.fromkeys(head.keys)
    if _looks_like_post(head.record):
        return True
    if not record or not record.keys() <= _PAGE_KEYS:
        return False
    error = pick(record, "errors", 0)
    if pick(error, "resource_type") is not None and pick(error, "title") is not None:
        return True
    first = _first_of_data(head)
    return (
        _has_words(first)
        or first.keys() >= _USER_KEYS
        or "tweet_delete" in first
        or (pick(record, "meta", "result_count") == 0)
    )


def _looks_like_post(record: Mapping[str, Any]) -> bool:
    return _has_words(record) and bool(record.keys() & _POST_KEYS)


def _has_words(record: Mapping[str, Any]) -> bool:
    native = record.get("id")
    return isinstance(native, str) and native.isdigit() and isinstance(record.get("text"), str)


def _first_of_data(head: Head) -> Mapping[str, Any]:
    whole: Any = head.record.get("data")
    if not isinstance(whole, dict):
        whole = pick(head.record, "data", 0)
    if whole is None and (match := _FIRST_OF_DATA.search(head.text)):
        try:
            whole, _ = json.JSONDecoder().raw_decode(head.text, match.end())
        except (ValueError, RecursionError):
            return {}
    return cast("dict[str, Any]", whole) if isinstance(whole, dict) else {}
