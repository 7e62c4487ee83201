"""Responses and streams of X's API: v1.1 and v2, saved as one page, an array, or one object a line.

A repost gives the original too when it is embedded whole, and so does a quotation. Text is kept
as X sent it: links are not expanded, ``&amp;`` is not undone (the corpus does that).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from mynah.posts.export_file import ExportFile
from mynah.posts.format import Format, Head
from mynah.posts.reader import Deleted, Found, PrivatePost, ReadOptions, Rejected, SourceReport
from mynah.posts.readers.native import built, json_objects, pick, time_or_none
from mynah.posts.readers.records import Numbered, Record
from mynah.posts.readers.x_pages import looks_like_page, pages_of, post_of_page
from mynah.posts.readers.x_post import X_NETWORK, XSource, is_withheld, native_id, posts_of

__all__ = ["FORMATS", "read_x_api_v1", "read_x_api_v2"]

_WRAPPERS = ("tweet", "status")
_LIST = "statuses"
_NOTICES = frozenset(
    ["delete", "scrub_geo", "limit", "status_withheld", "user_withheld", "disconnect", "warning"]
) | frozenset(["friends", "friends_str", "event", "control"])
"""What a stream sends between posts."""
_TIME = re.compile(r"[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d [+-]\d{4} \d{4}", re.A)


def read_x_api_v1(file: ExportFile, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    """Read posts, lists of posts or of users with their last post, and deletions in streams."""
    report.network = options.network or X_NETWORK
    source = XSource(network=report.network)

    def build(record: Record) -> Iterator[Found]:
        return _found_in(record, source, report)

    records = json_objects(file, report, lists=(_LIST,))
    yield from built(_listed(records, report), build, report)


def read_x_api_v2(file: ExportFile, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    """Read pages with what they include, single posts, and what X says it no longer has."""
    report.network = options.network or X_NETWORK
    source = XSource(network=report.network)

    def build(record: Record) -> Iterator[Found]:
        return post_of_page(record, source, report)

    records = json_objects(file, report)
    yield from built(pages_of(records, report), build, report)


def _listed(records: Iterator[Numbered], report: SourceReport) -> Iterator[Numbered]:
    """Take the posts out of pages that come one a line."""
    for item in records:
        posts: Any = None if isinstance(item, Rejected) else item[1].get(_LIST)
        if isinstance(item, Rejected) or not isinstance(posts, list):
            yield item
            continue
        for post in cast("list[Any]", posts):
            if isinstance(post, dict):
                yield item[0], cast("Record", post)
            else:
                yield Rejected(report.name, item[0], "the record is not a JSON object")


def _found_in(record: Record, source: XSource, report: SourceReport) -> Iterator[Found]:
    if _is_post(record):
        yield from posts_of(record, source)
        return
    for name in _WRAPPERS:
        inner: Any = record.get(name)
        if not isinstance(inner, dict):
            continue
        post = cast("dict[str, Any]", inner)
        is_users = "screen_name" in record and "user" not in post
        yield from posts_of({**post, "user": record} if is_users else post, source)
        return
    if _NOTICES & record.keys():
        yield from _notice(record, source, report)
    elif "screen_name" in record:
        report.num_not_posts += 1  # an account that shows no post
    else:
        yield from posts_of(record, source)  # which says what it lacks


def _notice(record: Record, source: XSource, report: SourceReport) -> Iterator[Found]:
    deleted: Any = pick(record, "delete", "status")
    withheld: Any = record.get("status_withheld")
    if isinstance(deleted, dict):
        native = native_id(pick(deleted, "id_str") or pick(deleted, "id"))
        at = time_or_none(pick(record, "delete", "timestamp_ms"))
        yield Deleted(f"{source.network}:{native}", at)
    elif isinstance(withheld, dict) and is_withheld(
        pick(withheld, "withheld_in_countries"), by_copyright=None
    ):
        yield PrivatePost(f"{source.network}:{native_id(pick(withheld, 'id'))}")
    else:
        report.num_not_posts += 1


def _is_post(record: Mapping[str, Any]) -> bool:
    has_id = "id_str" in record or "id" in record
    return has_id and any(isinstance(record.get(name), str) for name in ("text", "full_text"))


def _looks_like_v1(record: Mapping[str, Any]) -> bool:
    """Whether it is a whole v1.1 object; a table made of a few of its fields is not."""
    created_at = record.get("created_at")
    return (
        _is_post(record)
        and isinstance(created_at, str)
        and _TIME.fullmatch(created_at) is not None
        and (isinstance(record.get("user"), dict) or isinstance(record.get("entities"), dict))
    )


def _is_v1(head: Head) -> bool:
    record = head.record
    if _LIST in head.keys:
        return "accounts" not in head.keys  # Mastodon's search
    if _looks_like_v1(record):
        return True
    if any(_looks_like_v1(_object(record.get(name))) for name in _WRAPPERS):
        return True
    is_notice = bool(record) and record.keys() <= _NOTICES
    is_account = "screen_name" in record and "id_str" in record and "followers_count" in record
    return is_account or (is_notice and isinstance(next(iter(record.values())), dict))


def _object(value: Any) -> Mapping[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


FORMATS = (
    Format(
        name="x-api-v1.1",
        title="X API v1.1: posts, timelines, searches, streams",
        read=read_x_api_v1,
        sniff=_is_v1,
    ),
    Format(
        name="x-api-v2",
        title="X API v2: pages, lookups, streams, with what they include",
        read=read_x_api_v2,
        sniff=looks_like_page,
    ),
)
