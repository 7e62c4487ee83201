"""Hacker News: items of its API, Algolia's search pages and threads, BigQuery's rows as JSON.

Reads one item or page a file, an array, or one a line; HTML bodies become text. Ids are
``hackernews:`` and the item's number, the same everywhere.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from mynah.posts.export_file import ExportFile
from mynah.posts.format import Format, Head
from mynah.posts.markup import html_to_text
from mynah.posts.post import Post
from mynah.posts.reader import Deleted, Found, ReadOptions, Rejected, SourceReport
from mynah.posts.readers.native import built, json_objects, pick, post_kind
from mynah.posts.readers.records import Numbered, Record
from mynah.posts.values import (
    BadValue,
    parse_count,
    parse_flag,
    parse_id,
    parse_text,
    parse_time,
)

__all__ = ["FORMATS", "read_hacker_news"]

NETWORK: Final = "hackernews"
_TYPES: Final = frozenset({"story", "comment", "ask", "show", "job", "poll", "pollopt"})
_BODIES: Final = ("text", "story_text", "comment_text", "job_text")
"""Where the HTML stands: the first in the API, the others in Algolia's pages."""
_TIMES: Final = ("time", "created_at_i", "timestamp", "created_at")
_SCORES: Final = ("score", "points")
_REPLIES: Final = ("descendants", "num_comments")
_PARENTS: Final = ("parent", "parent_id", "poll")
_LISTS: Final = ("hits", "children", "options")
_DEAD: Final = frozenset({"[dead]", "[flagged]", "[deleted]", "[flagged][dead]"})
_MAX_DIGITS: Final = 18

Json = Any


def read_hacker_news(
    file: ExportFile, options: ReadOptions, report: SourceReport
) -> Iterator[Found]:
    """Read stories, comments, jobs and polls.

    Raises:
        DataError: It is one document, and cut short or too long.
    """
    report.network = options.network or NETWORK

    def build(record: Record) -> Iterator[Found]:
        if _is_account(record):
            report.num_not_posts += 1
        else:
            yield _build(record, report.network)

    records = json_objects(file, report, lists=("hits",))
    yield from built(_items(records), build, report)


def _items(records: Iterator[Numbered]) -> Iterator[Numbered]:
    """Take pages and threads apart into items, however deep the comments go.

    An item by itself keeps its number; those of a page are numbered through the file.
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
            elif isinstance(value, dict):
                fields = cast("dict[str, Json]", value)
                if "hits" not in fields:
                    num_nested += value is not record
                    yield number if value is record else num_nested, fields
                waiting.extend(fields[key] for key in reversed(_LISTS) if key in fields)


def _is_account(record: Record) -> bool:
    return "karma" in record and "id" in record and "text" not in record


def _first(record: Mapping[str, Json], keys: tuple[str, ...]) -> Json:
    return next((record[key] for key in keys if record.get(key) not in (None, "")), None)


def _build(record: Record, network: str) -> Post | Deleted:
    native = _native_id(record.get("objectID") or record.get("id"))
    if native is None:
        raise BadValue("the id is not one of Hacker News")
    post_id = f"{network}:{native}"
    if parse_flag(record.get("deleted")) is True:
        return Deleted(post_id)
    author = parse_text(record.get("by") or record.get("author")).strip()
    title = parse_text(record.get("title")).strip()
    body = html_to_text(parse_text(_first(record, _BODIES)))
    text = "\n\n".join(part for part in (title, body) if part.strip())
    if not text and not author:
        return Deleted(post_id)  # so Algolia leaves an item that was taken back
    if not text:
        raise BadValue("there is no text")
    parent = _native_id(_first(record, _PARENTS))
    reply_to = f"{network}:{parent}" if parent else None
    is_dead = parse_flag(record.get("dead")) is True or text.strip().lower() in _DEAD
    return Post(
        id=post_id,
        author=author,
        created_at=parse_time(_first(record, _TIMES)),
        text=text,
        reply_to=reply_to,
        likes=parse_count(_first(record, _SCORES)),
        replies=_num_replies(record),
        url=f"https://news.ycombinator.com/item?id={native}",
        # A dead item is shown only to members who ask for dead ones.
        visibility="followers" if is_dead else "public",
        kind=post_kind(reply_to=reply_to, repost_of=None, quote_of=None),
    )


def _native_id(value: Json) -> str | None:
    native = parse_id(value) if isinstance(value, str | int | float) else ""
    is_number = native.isascii() and native.isdigit() and len(native) <= _MAX_DIGITS
    return str(int(native)) if is_number and int(native) else None


def _num_replies(record: Record) -> int:
    """Return the comments below an item; of a comment the API counts its direct answers only."""
    counted = _first(record, _REPLIES)
    if counted is not None:
        return parse_count(counted)
    direct = record.get("kids") or record.get("children")
    return len(cast("list[Json]", direct)) if isinstance(direct, list) else 0


def _is_hacker_news(head: Head) -> bool:
    if head.shape not in ("array", "object", "lines"):
        return False
    if "hits" in head.keys:  # Algolia serves other sites, too
        hit = pick(head.record, "hits", 0)
        marks = hit if isinstance(hit, dict) else head.text
        return "story_id" in marks or ("objectID" in marks and "points" in marks)
    if {"objectID", "created_at_i"} <= head.keys or {"created_at_i", "story_id"} <= head.keys:
        return True
    kind = head.record.get("type")
    is_typed = isinstance(kind, str) and kind in _TYPES
    is_item = "id" in head.keys and bool({"by", "time", "deleted", "kids"} & head.keys)
    return is_item and (is_typed or (not head.record and '"descendants"' in head.text))


FORMATS = (
    Format(
        name="hacker-news",
        title="Hacker News: API items, Algolia pages, BigQuery rows as JSON",
        read=read_hacker_news,
        sniff=_is_hacker_news,
    ),
)
