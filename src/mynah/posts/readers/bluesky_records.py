"""Bluesky's JSON by hand: pages that its API returned, and single records.

Reads ``getAuthorFeed``, ``getPostThread``, ``getPosts``, ``searchPosts``, ``listRecords`` and
their kin as they were saved, and records as tools unpack them out of a repository.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, cast

from mynah.posts.export_file import ExportFile
from mynah.posts.format import Format, Head
from mynah.posts.post import Post
from mynah.posts.reader import Found, ReadOptions, Rejected, SourceReport
from mynah.posts.readers.bluesky_post import (
    NETWORK,
    POSTS,
    Account,
    Place,
    build_post,
    has_hiding_label,
    is_did,
    is_post,
    place_of,
)
from mynah.posts.readers.native import built, json_objects, pick
from mynah.posts.readers.records import Numbered, Record
from mynah.posts.values import parse_count, parse_text

__all__ = ["FORMATS", "read_bluesky_records"]

_HOLDERS: Final = (
    "feed",
    "posts",
    "records",
    "thread",
    "post",
    "parent",
    "replies",
    "reply",
    "root",
)
"""Keys of a page under which more records lie."""
_PAGES: Final = frozenset({*_HOLDERS, "follows", "followers", "likes", "didDoc"})
_UNPACKED: Final = re.compile(r"(?:.*/)?(did:[^/]+)/([\w.-]+)/([^/]+)\.json", re.A)
"""Where tools put the records of a repository that they take apart."""

Json = Any


def read_bluesky_records(
    file: ExportFile, options: ReadOptions, report: SourceReport
) -> Iterator[Found]:
    """Read the posts of saved API pages and records; of a thread, all that is in it."""
    report.network = options.network or NETWORK

    def build(record: Record) -> Iterator[Found]:
        yield from _build(record, file, report)

    yield from built(_views(json_objects(file, report)), build, report)


def _views(records: Iterator[Numbered]) -> Iterator[Numbered]:
    """Take pages apart into their records, however deep a thread goes.

    A record by itself keeps its number; those of a page are numbered through the file.
    """
    num_nested = 0
    for item in records:
        if isinstance(item, Rejected):
            yield item
            continue
        number, record = item
        waiting: list[Json] = [record]
        while waiting:
            value = waiting.pop()
            if isinstance(value, list):
                waiting.extend(reversed(cast("list[Json]", value)))
                continue
            if not isinstance(value, dict):
                continue
            view = cast("dict[str, Json]", value)
            is_record = isinstance(view.get("$type"), str) and "createdAt" in view
            if is_record or isinstance(view.get("uri"), str):
                num_nested += value is not record
                yield number if value is record else num_nested, view
            else:
                waiting.extend(view[key] for key in reversed(_HOLDERS) if key in view)


def _build(view: Record, file: ExportFile, report: SourceReport) -> Iterator[Post]:
    place: Place | None
    if isinstance(view.get("uri"), str):
        record, place = view.get("value") or view.get("record"), place_of(view["uri"])
    else:
        unpacked = _UNPACKED.fullmatch(file.name)
        record, place = view, place_of("at://" + "/".join(unpacked.groups())) if unpacked else None
    kind = pick(record, "$type") or (place.collection if place else None)
    if not isinstance(record, dict) or kind != POSTS or not is_post(record):
        report.num_not_posts += 1
        return
    author = view.get("author")
    handle = pick(author, "handle")
    account = Account(
        did=place.authority if place else "",
        # The API's name for an account that has lost its handle.
        handle="" if handle in (None, "handle.invalid") else parse_text(handle),
        is_hidden=has_hiding_label(pick(author, "labels")) or has_hiding_label(view.get("labels")),
    )
    fields = cast("dict[str, Json]", record)
    post = build_post(fields, place=place, account=account, network=report.network)
    yield replace(
        post,
        likes=parse_count(view.get("likeCount")),
        reposts=parse_count(view.get("repostCount")),
        replies=parse_count(view.get("replyCount")),
    )


def _is_records(head: Head) -> bool:
    kind = head.record.get("$type")
    if isinstance(kind, str) and kind.startswith("app.bsky."):
        return True
    uri = head.record.get("uri")
    if isinstance(uri, str) and uri.startswith("at://"):
        return True
    is_page = bool(_PAGES & head.keys) and ("at://did:" in head.text or '"app.bsky.' in head.text)
    return is_page or (set(head.record) == {"did"} and is_did(head.record["did"]))


FORMATS = (
    Format(
        name="bluesky-records",
        title="Bluesky records and pages of its API, JSON",
        read=read_bluesky_records,
        sniff=_is_records,
    ),
)
