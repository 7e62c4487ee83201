"""Tables of posts: CSV, TSV and Orange's tab files, JSON lines, JSON arrays, Parquet."""

import io
from collections.abc import Callable, Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from mynah.errors import DataError
from mynah.posts.export_file import ExportFile
from mynah.posts.format import Format, Head
from mynah.posts.reader import Found, ReadOptions, SourceReport
from mynah.posts.readers.delimited import delimited_records
from mynah.posts.readers.json_records import array_records, line_records
from mynah.posts.readers.records import Numbered, posts_from_records
from mynah.posts.streams import TextSource

__all__ = ["FORMATS", "read_delimited", "read_json", "read_json_lines", "read_parquet"]

_BATCH_ROWS = 4_096


def read_delimited(file: ExportFile, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    """Read rows of CSV or its kin, with the columns named in the first."""

    def records(text: TextSource) -> Iterator[Numbered]:
        return delimited_records(text.lines(), source=report.name, extension=file.extension)

    return _read_text(file, records, options, report)


def read_json_lines(
    file: ExportFile, options: ReadOptions, report: SourceReport
) -> Iterator[Found]:
    """Read JSON lines, one post a line."""

    def records(text: TextSource) -> Iterator[Numbered]:
        return line_records(text.lines(), source=report.name)

    return _read_text(file, records, options, report)


def read_json(file: ExportFile, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    """Read one array of objects."""

    def records(text: TextSource) -> Iterator[Numbered]:
        return array_records(text.read, source=report.name)

    return _read_text(file, records, options, report)


def _read_text(
    file: ExportFile,
    records: Callable[[TextSource], Iterator[Numbered]],
    options: ReadOptions,
    report: SourceReport,
) -> Iterator[Found]:
    with file.open_text() as text:
        yield from posts_from_records(records(text), options=options, report=report)
        report.num_recoded_lines += text.num_recoded_lines


def read_parquet(file: ExportFile, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    """Read the rows of a Parquet file, batch by batch."""
    with file.open_bytes() as stream:
        # Parquet is read from its end; a compressed one has to be unpacked to get there.
        seekable = stream if stream.seekable() else io.BytesIO(stream.read())
        records = _parquet_records(seekable, report.name)
        yield from posts_from_records(records, options=options, report=report)


def _parquet_records(stream: IO[bytes], name: str) -> Iterator[Numbered]:
    number = 0
    try:
        for batch in pq.ParquetFile(stream).iter_batches(batch_size=_BATCH_ROWS):
            rows: list[dict[str, Any]] = batch.to_pylist()
            for row in rows:
                number += 1
                yield number, row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{name} is a Parquet file that cannot be read past row {number:,}",
            hint="it is cut short or damaged: copy or export it again",
        ) from error


def _is_table(head: Head) -> bool:
    return head.shape == "text" and head.extension in _TABLE_EXTENSIONS


_TABLE_EXTENSIONS = frozenset(["", ".csv", ".tsv", ".tab", ".txt", ".json", ".jsonl", ".ndjson"])

FORMATS = (
    Format(
        name="parquet",
        title="Parquet with a column of texts",
        read=read_parquet,
        sniff=lambda head: head.data.startswith(b"PAR1"),
    ),
    Format(
        name="json",
        title="JSON, one array of posts",
        read=read_json,
        sniff=lambda head: head.shape == "array",
    ),
    Format(
        name="jsonl",
        title="JSON lines, one post a line",
        read=read_json_lines,
        sniff=lambda head: head.shape == "lines",
    ),
    Format(
        name="delimited",
        title="CSV, TSV or Orange's .tab with a column of texts",
        read=read_delimited,
        sniff=_is_table,
    ),
)
