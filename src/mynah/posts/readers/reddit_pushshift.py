"""Pushshift and its heirs: Reddit's comments and submissions, one object a line.

Reads the monthly dumps (``RC_*``, ``RS_*``; also .zst and .gz), and responses of the API,
``{"data": [...]}``. Both kinds may stand in one file.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, cast

from mynah.posts.export_file import ExportFile
from mynah.posts.format import Format, Head
from mynah.posts.reader import Found, ReadOptions, Rejected, SourceReport
from mynah.posts.readers.native import built, json_objects, pick
from mynah.posts.readers.records import Numbered, Record
from mynah.posts.readers.reddit_post import (
    COMMENT,
    NETWORK,
    SUBMISSION,
    build_post,
    lenient_time,
)
from mynah.posts.values import BadValue

__all__ = ["FORMATS", "read_reddit_pushshift"]

_SEEN_KEYS: Final = (
    ("retrieved_on",),
    ("retrieved_utc",),
    ("updated_utc",),
    ("_meta", "retrieved_2nd_on"),
)
"""Where it stands when an object was fetched, and when its score was fetched again."""

Json = Any


def read_reddit_pushshift(
    file: ExportFile, options: ReadOptions, report: SourceReport
) -> Iterator[Found]:
    """Read comments and submissions.

    Raises:
        DataError: It is one document, and cut short or too long.
    """
    report.network = options.network or NETWORK

    def build(record: Record) -> Iterator[Found]:
        kind = _kind(record)
        seen_at = _seen_at(record)
        yield build_post(record, kind=kind, network=report.network, seen_at=seen_at)

    records = json_objects(file, report, lists=("data",))
    yield from built(_objects(records, report.name), build, report)


def _objects(records: Iterator[Numbered], source: str) -> Iterator[Numbered]:
    """Take responses apart; a dump's objects are bare."""
    for item in records:
        data = None if isinstance(item, Rejected) else item[1].get("data")
        if isinstance(item, Rejected) or not isinstance(data, list):
            yield item
            continue
        for number, value in enumerate(cast("list[Json]", data), start=1):
            if isinstance(value, dict):
                yield number, cast("dict[str, Json]", value)
            else:
                yield Rejected(source, number, "the record is not a JSON object")


def _kind(record: Record) -> str:
    if "body" in record:
        return COMMENT
    if "title" in record or "selftext" in record:
        return SUBMISSION
    raise BadValue("the record is neither a comment nor a submission")


def _seen_at(record: Record) -> datetime | None:
    times = (lenient_time(pick(record, *path)) for path in _SEEN_KEYS)
    return max((time for time in times if time is not None), default=None)


def _is_pushshift(head: Head) -> bool:
    if head.shape not in ("array", "object", "lines"):
        return False
    data = head.record.get("data")
    if "data" in head.keys and (isinstance(data, list) or not head.record):
        marks = ('"subreddit"', '"created_utc"')
        return "kind" not in head.keys and all(mark in head.text for mark in marks)
    is_reddit = {"subreddit", "created_utc", "id"} <= head.keys
    return is_reddit and bool({"body", "selftext", "title"} & head.keys)


FORMATS = (
    Format(
        name="reddit-pushshift",
        title="Reddit dumps: Pushshift, Arctic Shift, JSON lines",
        read=read_reddit_pushshift,
        sniff=_is_pushshift,
    ),
)
