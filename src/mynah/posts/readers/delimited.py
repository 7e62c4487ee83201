"""CSV, TSV and their kin: bytes to numbered records, one broken row at a time.

A row that does not parse gives up its first line only; the lines it swallowed are read again, so
one stray quote cannot take the rest of the file with it.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mynah.errors import DataError
from mynah.posts.reader import Rejected
from mynah.posts.readers.records import Numbered
from mynah.posts.streams import MAX_LINE_CHARS

__all__ = ["delimited_records"]

_DELIMITERS = ",\t;|"
_MAX_ROW_LINES = 2_000
"""A quoted field with more lines than this is a quote that was never closed."""
_ORANGE_TYPES = frozenset(
    [
        "c",
        "continuous",
        "d",
        "discrete",
        "s",
        "string",
        "t",
        "time",
        "m",
        "meta",
        "class",
        "basket",
        "ignore",
        "i",
    ]
) | {""}
_ORANGE_FLAGS = frozenset(["class", "meta", "ignore", "i", "m", "c"])

Line = tuple[int, str]


@dataclass(frozen=True, slots=True)
class _Dialect:
    delimiter: str
    is_quoted: bool

    def parse(self, lines: Iterable[str], *, strict: bool) -> Iterator[list[str]]:
        quoting = csv.QUOTE_MINIMAL if self.is_quoted else csv.QUOTE_NONE
        return csv.reader(lines, delimiter=self.delimiter, quoting=quoting, strict=strict)


def delimited_records(lines: Iterable[str], *, source: str, extension: str) -> Iterator[Numbered]:
    """Yield every row as a record keyed by the header.

    Args:
        lines: With their ends, as they come.
        source: Name of the file, for rejections.
        extension: Settles the delimiter when the header has several or none.

    Raises:
        DataError: There is no header.
    """
    csv.field_size_limit(MAX_LINE_CHARS)
    look_ahead = _LookAhead(lines)
    dialect = _guess_dialect(look_ahead.peek(200), extension)
    rows = _rows(look_ahead, dialect, source)
    header = next((row for row in rows if not isinstance(row, Rejected)), None)
    if header is None:
        raise DataError(f"{source} has no header", hint="its first line must name the columns")
    names = _unique([name.strip() for name in header[1]])
    is_orange = _is_orange(look_ahead.peek(2), dialect, len(names))
    for index, row in enumerate(rows):
        if is_orange and index < 2:
            continue
        if isinstance(row, Rejected):
            yield row
        elif len(row[1]) != len(names):
            yield Rejected(
                source, row[0], f"the row has {len(row[1])} columns, the header {len(names)}"
            )
        else:
            yield row[0], dict(zip(names, row[1], strict=True))


class _LookAhead:
    """Numbered lines that can be looked at before they are taken, and given back."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = enumerate(lines, start=1)
        self._waiting: list[Line] = []  # the next one last

    def __iter__(self) -> Iterator[Line]:
        return self

    def __next__(self) -> Line:
        return self._waiting.pop() if self._waiting else next(self._lines)

    def peek(self, count: int) -> list[str]:
        taken: list[Line] = []
        while len(taken) < count and (line := next(self, None)) is not None:
            taken.append(line)
        self.give_back(taken)
        return [text for _, text in taken]

    def give_back(self, lines: Sequence[Line]) -> None:
        self._waiting.extend(reversed(lines))


def _rows(
    lines: _LookAhead, dialect: _Dialect, source: str
) -> Iterator[tuple[int, list[str]] | Rejected]:
    """Parse row by row; the number of columns of the first row is that of a good row."""
    num_columns = 0
    while (first := next(lines, None)) is not None:
        if not first[1].strip(" \r\n"):
            continue
        taken = [first]
        row, problem = _parse_row(lines, taken, dialect)
        if len(taken) > 1 and (row is None or (num_columns and len(row) != num_columns)):
            lines.give_back(taken[1:])  # the quote that swallowed them was stray
            row, problem = None, problem or "a quote is never closed"
        if row is None:
            yield Rejected(source, first[0], problem)
            continue
        num_columns = num_columns or len(row)
        yield first[0], row


def _parse_row(
    lines: _LookAhead, taken: list[Line], dialect: _Dialect
) -> tuple[list[str] | None, str]:
    """Parse one row, adding to ``taken`` the lines it spans."""
    num_chars = len(taken[0][1])

    def feed() -> Iterator[str]:
        nonlocal num_chars
        yield taken[0][1]
        while (
            len(taken) < _MAX_ROW_LINES
            and num_chars < MAX_LINE_CHARS
            and (line := next(lines, None)) is not None
        ):
            taken.append(line)
            num_chars += len(line[1])
            yield line[1]

    if num_chars >= MAX_LINE_CHARS:
        return None, "the line is longer than any post"
    try:
        return next(dialect.parse(feed(), strict=True)), ""
    except csv.Error as error:
        if len(taken) == 1 and "expected after" in str(error):
            # Text after a closing quote, on one line: readable, only not by the book.
            return next(dialect.parse([taken[0][1]], strict=False)), ""
        return None, "a quote is never closed" if len(taken) > 1 else "the row is not readable"


def _guess_dialect(lines: Sequence[str], extension: str) -> _Dialect:
    header = next((line for line in lines if line.strip()), "")
    usual = "\t" if extension in (".tsv", ".tab") else ","
    counts = {mark: header.count(mark) for mark in _DELIMITERS}
    most = max(counts.values())
    if not most or counts[usual] == most:
        delimiter = usual
    else:
        delimiter = next(mark for mark in _DELIMITERS if counts[mark] == most)
    return _Dialect(delimiter, delimiter != "\t" or _uses_quotes(lines))


def _uses_quotes(lines: Sequence[str]) -> bool:
    """Whether a tab-separated file quotes fields, or has quotes as plain characters."""
    num_plain = num_quoted = 0
    for line in lines:
        for cell in line.rstrip("\r\n").split("\t"):
            if cell.startswith('"'):
                is_whole = len(cell) > 1 and cell.endswith('"')
                if is_whole and '"' not in cell[1:-1].replace('""', ""):
                    num_quoted += 1
                else:
                    num_plain += 1
    return num_quoted >= num_plain


def _is_orange(lines: Sequence[str], dialect: _Dialect, num_columns: int) -> bool:
    """Whether two more header rows follow, as Orange writes them: types, then flags."""
    if len(lines) < 2 or dialect.delimiter != "\t":
        return False
    types, flags = (line.rstrip("\r\n").split("\t") for line in lines)
    return (
        len(types) == num_columns == len(flags)
        and any(types)
        and all(cell in _ORANGE_TYPES or " " in cell for cell in types)
        and all(not cell or set(cell.split()) & _ORANGE_FLAGS or "=" in cell for cell in flags)
        and sum(cell in _ORANGE_TYPES for cell in types) * 2 >= num_columns
    )


def _unique(names: Sequence[str]) -> list[str]:
    """Tell apart columns of one name: the first keeps it."""
    seen: dict[str, int] = {}
    out: list[str] = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return out
