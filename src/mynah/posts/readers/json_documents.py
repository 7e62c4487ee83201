"""JSON files of any layout, object by object: one document, an array of them, or one a line.

What an API returned is saved in all three ways, and a page on one line looks like JSON lines.
"""

import json
from collections.abc import Iterator
from typing import Any, cast

from mynah.posts.export_file import ExportFile
from mynah.posts.format import look_at
from mynah.posts.reader import Rejected, SourceReport
from mynah.posts.readers.json_records import array_records, line_records
from mynah.posts.readers.native import nested_records, whole_json
from mynah.posts.readers.records import Numbered

__all__ = ["json_objects"]

Json = Any


def json_objects(
    file: ExportFile, report: SourceReport, *, list_key: str = "", is_counted: bool = True
) -> Iterator[Numbered]:
    """Yield the objects of a file; they are numbered by line, or by place in the array.

    Args:
        file: What is read.
        report: Named in rejections; gets the lines that are not UTF-8.
        list_key: Key of a document whose array is streamed in place of the document, where it
            is too long for one line.
        is_counted: Whether those lines are counted: once for a file that is read twice.

    Raises:
        DataError: It is one document, and cut short or too long.
    """
    head = look_at(file)
    shape = head.shape
    if shape == "object" and _begins_with_whole_line(file):
        shape = "lines"
    if shape == "object" and (not list_key or list_key not in head.keys):
        document = whole_json(file)
        if isinstance(document, dict):
            yield 1, cast("dict[str, Json]", document)
        else:
            yield Rejected(report.name, 1, "the record is not a JSON object")
        return
    with file.open_text() as text:
        if shape == "object":
            yield from nested_records(text, list_key, source=report.name)
        elif shape == "array":
            yield from array_records(text.read, source=report.name)
        else:
            yield from line_records(text.lines(), source=report.name)
        report.num_recoded_lines += text.num_recoded_lines if is_counted else 0


def _begins_with_whole_line(file: ExportFile) -> bool:
    """Whether the first line is an object by itself, however long."""
    with file.open_text() as text:
        line = next((line for line in text.lines() if line.strip()), "")
    if not line.rstrip().endswith("}"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except RecursionError:
        return True  # to be rejected by itself
    except ValueError:
        return False
