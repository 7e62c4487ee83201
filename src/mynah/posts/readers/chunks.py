"""Files to chunks of records, small enough for memory and large enough to be worth a batch."""

import codecs
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import IO, Any

import orjson

from mynah.posts.reader import Rejected, SourceReport
from mynah.posts.readers.columnar import Columns
from mynah.posts.readers.columns import Path
from mynah.posts.readers.json_records import line_records
from mynah.posts.readers.records import Numbered, Record
from mynah.posts.readers.values_columns import typed_columns
from mynah.posts.streams import MAX_LINE_CHARS, TextSource

__all__ = ["LineChunk", "Meter", "RecordChunk", "line_chunks", "record_chunks"]

_BLOCK_BYTES = 8 << 20
_LINES_AT_ONCE = 512
"""Few enough that their values are taken out while they are still in the processor's cache."""
_MAX_LINE_BYTES = 4 * MAX_LINE_CHARS
"""A line of UTF-8 longer than this has more characters than any post."""
_MAX_CHUNK_LINES = 65_536
"""Reached only where lines are shorter than posts are."""
_MAX_CHUNK_ROWS = 16_384
_MAX_CHUNK_CHARS = 8 << 20
_LINE_END = re.compile(rb"[\r\n]")
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


class Meter:
    """Counts the characters that pass, so that a chunk ends before memory does."""

    def __init__(self) -> None:
        self.num_chars = 0

    def lines(self, lines: Iterable[str]) -> Iterator[str]:
        """Pass on lines."""
        for line in lines:
            self.num_chars += len(line)
            yield line

    def read(self, read: Callable[[], str]) -> Callable[[], str]:
        """Pass on what ``read`` gives."""

        def metered() -> str:
            piece = read()
            self.num_chars += len(piece)
            return piece

        return metered


@dataclass(frozen=True, slots=True)
class RecordChunk:
    """Records as mappings."""

    positions: Sequence[int]
    records: Sequence[Record]
    others: Sequence[Numbered]

    def first(self, count: int) -> list[Numbered]:
        """Return its first records, those that cannot be parsed among them."""
        heads: list[Numbered] = list(zip(self.positions, self.records, strict=True))
        return sorted([*heads[:count], *self.others], key=_position)[:count]

    def columns(self, paths: Iterable[Path]) -> Columns:
        """Return the values at some paths."""
        cells = {path: typed_columns(_values(self.records, path)) for path in paths}
        return Columns(num_rows=len(self.records), cells=cells, others=self.others)

    def record(self, row: int) -> Numbered:
        """Return the record of a row of the columns."""
        return self.positions[row], self.records[row]


def _position(item: Numbered) -> int:
    return item.position if isinstance(item, Rejected) else item[0]


def _values(records: Iterable[Record], path: Path) -> list[Any]:
    first, *inner = path
    values = [record.get(first) for record in records]
    for key in inner:
        values = [v.get(key) if isinstance(v, dict) else None for v in values]
    return values


def record_chunks(items: Iterable[Numbered], meter: Meter) -> Iterator[RecordChunk]:
    """Gather records that are parsed one by one; ``meter`` counts what they are parsed from."""
    positions: list[int] = []
    records: list[Record] = []
    others: list[Numbered] = []
    began = 0
    for item in items:
        if isinstance(item, Rejected):
            others.append(item)
        else:
            positions.append(item[0])
            records.append(item[1])
        is_long = meter.num_chars - began > _MAX_CHUNK_CHARS
        if is_long or len(positions) + len(others) >= _MAX_CHUNK_ROWS:
            yield RecordChunk(positions, records, others)
            positions, records, others = [], [], []
            began = meter.num_chars
    yield RecordChunk(positions, records, others)


def line_chunks(stream: IO[bytes], report: SourceReport) -> Iterator["LineChunk"]:
    """Read JSON lines of UTF-8, block by block; what is not UTF-8 is taken for Windows-1252."""
    number = 1
    for block in _blocks(stream):
        lines = block.splitlines()
        for start in range(0, len(lines), _MAX_CHUNK_LINES):
            yield LineChunk(lines[start : start + _MAX_CHUNK_LINES], number + start, report)
        number += len(lines)


@dataclass(slots=True)
class LineChunk:
    """Lines of JSON, parsed a few at a time and kept only as the columns that are wanted."""

    lines: Sequence[bytes]
    number: int
    """Of its first line, from 1."""
    report: SourceReport
    _rows: Sequence[int] = ()
    """Line of each row of the columns."""

    def first(self, count: int) -> list[Numbered]:
        """Return its first records, those that cannot be parsed among them."""
        unused = SourceReport(name=self.report.name, format="")
        return list(islice(chain.from_iterable(self._read(range(len(self.lines)), unused)), count))

    def columns(self, paths: Iterable[Path]) -> Columns:
        """Return the values at some paths."""
        values: dict[Path, list[Any]] = {path: [] for path in paths}
        rows: list[int] = []
        others: list[Numbered] = []
        for start in range(0, len(self.lines), _LINES_AT_ONCE):
            lines = self.lines[start : start + _LINES_AT_ONCE]
            found = range(start, start + len(lines))
            records = _objects(lines)
            if records is None:
                each = [_objects([line]) for line in lines]
                records = [record for one in each for record in one or ()]
                broken = [row for row, one in zip(found, each, strict=True) if one is None]
                found = [row for row, one in zip(found, each, strict=True) if one is not None]
                others += chain.from_iterable(self._read(broken, self.report))
            rows += found
            for path, column in values.items():
                column += _values(records, path)
        self._rows = rows
        cells = {path: typed_columns(column) for path, column in values.items()}
        return Columns(num_rows=len(rows), cells=cells, others=others)

    def record(self, row: int) -> Numbered:
        """Return the record of a row of the columns, its long numbers not rounded."""
        (record,) = chain.from_iterable(self._read([self._rows[row]], self.report))
        return record

    def _read(self, rows: Iterable[int], report: SourceReport) -> Iterator[Iterator[Numbered]]:
        for row in rows:
            yield _by_the_book(self.lines[row], self.number + row, report)


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """Cut the stream where lines end; of a line that is too long its beginning is kept."""
    held = stream.read(len(codecs.BOM_UTF8)).removeprefix(codecs.BOM_UTF8)
    while data := stream.read(_BLOCK_BYTES):
        if len(held) > _MAX_LINE_BYTES:
            end = _LINE_END.search(data)
            if end is None:
                continue
            data = data[end.start() :]
        block = held + data
        # A carriage return at the very end may be half of a line's end.
        cut = block.rfind(b"\n") + 1 or block.rfind(b"\r", 0, len(block) - 1) + 1
        if cut:
            yield block[:cut]
        held = block[cut:]
    if held:
        yield held


def _objects(lines: Sequence[bytes]) -> list[Record] | None:
    """Parse lines; ``None`` when one of them is no object, or not for this parser."""
    if sum(map(len, lines)) > MAX_LINE_CHARS:
        return None
    try:
        values: list[Any] = list(map(orjson.loads, lines))
    except orjson.JSONDecodeError:
        return None
    return values if set(map(type, values)) <= {dict} else None


def _by_the_book(line: bytes, position: int, report: SourceReport) -> Iterator[Numbered]:
    """Read one line as text, whatever is wrong with it."""
    if line.startswith(_MARKS):
        line = b" " + line  # a byte-order mark means something at the start of a file only
    with TextSource(io.BytesIO(line)) as text:
        for item in line_records(text.lines(), source=report.name):
            is_broken = isinstance(item, Rejected)
            yield replace(item, position=position) if is_broken else (position, item[1])
        report.num_recoded_lines += text.num_recoded_lines
