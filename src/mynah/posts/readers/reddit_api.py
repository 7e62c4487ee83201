"""Reddit's API: listings, comment forests, ``morechildren``, as they were saved.

Reads JSON of the API's things: ``Listing``, ``t1`` (comment), ``t3`` (submission) and ``more``,
which names comments that a response left out. One response a file, an array, or one a line.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, cast

from mynah.posts.export_file import ExportFile
from mynah.posts.format import Format, Head
from mynah.posts.reader import Found, ReadOptions, Rejected, SourceReport
from mynah.posts.readers.native import built, json_objects, pick
from mynah.posts.readers.records import Numbered, Record
from mynah.posts.readers.reddit_post import COMMENT, NETWORK, SUBMISSION, build_post
from mynah.posts.values import BadValue

__all__ = ["FORMATS", "read_reddit_api"]

_KIND: Final = re.compile(r'"kind"\s*:\s*"(?:Listing|t1|t3|more)"')
_LEFT_OUT: Final = (
    "Reddit left comments out of this response and only names them; ask it for them, too"
)

Json = Any


def read_reddit_api(
    file: ExportFile, options: ReadOptions, report: SourceReport
) -> Iterator[Found]:
    """Read comments and submissions, a thread from the top down.

    ``more`` is counted among what is no post; where it names comments, one rejection of the file
    says that there are some which the file does not hold.

    Raises:
        DataError: It is one document, and cut short or too long.
    """
    report.network = options.network or NETWORK
    num_left_out = 0

    def build(thing: Record) -> Iterator[Found]:
        nonlocal num_left_out
        kind, data = thing.get("kind"), thing.get("data")
        if kind == "more":
            num_left_out += bool(pick(data, "children") or pick(data, "count"))
        if kind not in (COMMENT, SUBMISSION):
            report.num_not_posts += 1
        elif isinstance(data, dict):
            fields = cast("dict[str, Json]", data)
            yield build_post(fields, kind=str(kind), network=report.network)
        else:
            raise BadValue("the record is empty")

    yield from built(_things(json_objects(file, report)), build, report)
    if num_left_out:
        yield Rejected(report.name, 0, _LEFT_OUT)


def _things(documents: Iterator[Numbered]) -> Iterator[Numbered]:
    """Take documents apart into things, however deep their replies go.

    A thing by itself keeps its number; those of a response are numbered through the file.
    """
    num_nested = 0
    for item in documents:
        if isinstance(item, Rejected):
            yield item
            continue
        number, document = item
        waiting: list[Json] = [document]
        while waiting:
            value = waiting.pop()
            if isinstance(value, list):
                waiting.extend(reversed(cast("list[Json]", value)))
            elif not isinstance(value, dict):
                continue
            elif isinstance(things := pick(value, "json", "data", "things"), list):
                waiting.append(things)
            elif pick(value, "kind") == "Listing":
                waiting.append(pick(value, "data", "children"))
            elif isinstance(pick(value, "kind"), str):
                num_nested += value is not document
                place = number if value is document else num_nested
                yield place, cast("dict[str, Json]", value)
                waiting.append(pick(value, "data", "replies"))


def _is_api(head: Head) -> bool:
    if not _KIND.search(head.text) or head.shape not in ("array", "object", "lines"):
        return False
    return "json" in head.keys or bool({"kind", "data"} & head.keys)


FORMATS = (
    Format(
        name="reddit-api",
        title="Reddit API: listings and comment threads",
        read=read_reddit_api,
        sniff=_is_api,
    ),
)
