"""What readers of native formats share: reaching into records, and turning each into posts."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, cast

from mynah.errors import DataError
from mynah.posts.export_file import ExportFile
from mynah.posts.format import look_at
from mynah.posts.reader import Found, Rejected, SourceReport
from mynah.posts.readers.json_records import array_records, line_records
from mynah.posts.readers.records import Numbered, Record
from mynah.posts.streams import MAX_LINE_CHARS, TextSource
from mynah.posts.values import BadValue, parse_time

__all__ = [
    "built",
    "json_objects",
    "nested_records",
    "pick",
    "post_kind",
    "time_or_none",
    "whole_json",
]

MAX_DOCUMENT_BYTES = 64 << 20
"""A longer document that has to be read whole is no page of an API."""

MAX_VALUES = 8 << 20
"""Parsed, a value takes up to a hundred bytes, even one that is written in three."""

Json = Any


def pick(record: Json, *path: str | int) -> Json:
    """Follow keys and places into a record; ``None`` where something is missing or no object."""
    for step in path:
        if isinstance(record, dict):
            record = cast("dict[Json, Json]", record).get(step)
        elif isinstance(record, list) and isinstance(step, int) and -len(record) <= step:
            values = cast("list[Json]", record)
            record = values[step] if step < len(values) else None
        else:
            return None
    return record


def built(
    records: Iterable[Numbered],
    build: Callable[[Record], Iterable[Found]],
    report: SourceReport,
) -> Iterator[Found]:
    """Turn each record into what it holds; one that cannot be read is rejected by itself.

    Args:
        records: Numbered records, or why one could not be parsed.
        build: Gives the posts of a record; raises ``BadValue`` when it cannot.
        report: Names the source.
    """
    for item in records:
        if isinstance(item, Rejected):
            yield item
            continue
        number, record = item
        try:
            yield from build(record)
        except BadValue as error:
            yield Rejected(report.name, number, str(error))
        except RecursionError:
            yield Rejected(report.name, number, "the record is nested too deeply")


def post_kind(*, reply_to: str | None, repost_of: str | None, quote_of: str | None) -> str:
    """Say which kind of post it is by what it points at."""
    if repost_of:
        return "repost"
    if quote_of:
        return "quote"
    return "reply" if reply_to else "post"


def time_or_none(value: Json) -> datetime | None:
    """Read a time that matters less than what it stands beside, as of a deletion."""
    try:
        return parse_time(value)
    except BadValue:
        return None


def whole_json(file: ExportFile) -> Json:
    """Parse a document that makes sense only as a whole, such as one page of an API.

    Raises:
        DataError: It is too long, or no JSON.
    """
    with file.open_bytes() as stream:
        data = stream.read(MAX_DOCUMENT_BYTES + 1)
    if len(data) > MAX_DOCUMENT_BYTES:
        raise DataError(
            f"{file.name} is one JSON document of more than {MAX_DOCUMENT_BYTES >> 20} MiB",
            hint="save the pages of an API as one file each, or as JSON lines",
        )
    if sum(data.count(mark) for mark in b",[{") > MAX_VALUES:
        raise DataError(
            f"{file.name} is one JSON document of more than {MAX_VALUES:,} values",
            hint="that is no page of an API; give JSON lines, or the pages as one file each",
        )
    try:
        return json.loads(data.decode("utf-8-sig", "surrogateescape").replace("\0", ""))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{file.name} is cut short or no JSON document",
            hint="copy or download it again, and compare its size with the original",
        ) from error


def nested_records(text: TextSource, key: str, *, source: str) -> Iterator[Numbered]:
    """Stream the objects of the array under ``key`` of one large object.

    Args:
        text: From the beginning of the file.
        key: The first ``"key": [`` in the file is taken.
        source: Name of the file, for rejections.
    """
    return array_records(text.read, source=source, key=key)


def json_objects(
    file: ExportFile,
    report: SourceReport,
    *,
    lists: Sequence[str] = (),
    is_counted: bool = True,
) -> Iterator[Numbered]:
    """Yield the objects of a JSON file of whatever shape, numbered from 1.

    An array gives its objects, lines one each (whole pages of an API too), one large object the
    list under the first of ``lists`` that it has, or else itself.

    Args:
        file: What is read.
        report: Named in rejections; gets the lines that are not UTF-8.
        lists: Keys of a page whose list is streamed in its place.
        is_counted: Whether those lines are counted: once for a file that is read twice.

    Raises:
        DataError: One object without such a list is too long, or no JSON.
    """
    head = look_at(file)
    key = next((key for key in lists if key in head.keys), "")
    is_lines = head.shape != "array" and _is_one_a_line(file, has_list=bool(key))
    if head.shape != "array" and not is_lines and not key:
        document = whole_json(file)
        if isinstance(document, dict):
            yield 1, cast("Record", document)
        else:
            yield Rejected(report.name, 1, "the record is not a JSON object")
        return
    with file.open_text() as text:
        if is_lines:
            yield from line_records(text.lines(), source=report.name)
        else:
            key = key if head.shape != "array" else ""
            yield from array_records(text.read, source=report.name, key=key)
        report.num_recoded_lines += text.num_recoded_lines if is_counted else 0


def _is_one_a_line(file: ExportFile, *, has_list: bool) -> bool:
    """Whether lines are objects by themselves, pages longer than the head among them."""
    window = ""
    with file.open_text() as text:
        while "\n" not in window.strip() and len(window) < MAX_LINE_CHARS:
            piece = text.read()
            if not piece:
                break
            window += piece
    first, _, second = window.strip().partition("\n")
    if not second and has_list:
        return False  # one page alone: its records have numbers of their own
    try:
        return isinstance(json.loads(first), dict) or bool(second)
    except (ValueError, RecursionError):
        # Cut or broken, which only lines survive, unless it goes on in the next line.
        return bool(second) and not first.rstrip().endswith(("{", "[", ","))
