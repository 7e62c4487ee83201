"""Tables of posts: CSV, TSV and Orange's tab files, JSON lines, JSON arrays, Parquet."""

import codecs
import io
from collections.abc import Callable, Iterator

from mynah.posts.export_file import ExportFile
from mynah.posts.format import Format, Head
from mynah.posts.reader import Found, ReadOptions, SourceReport
from mynah.posts.readers.arrow_chunks import parquet_chunks
from mynah.posts.readers.chunks import Meter, line_chunks, record_chunks
from mynah.posts.readers.columnar import posts_from_chunks
from mynah.posts.readers.delimited import delimited_records
from mynah.posts.readers.json_records import array_records, line_records
from mynah.posts.readers.records import Numbered
from mynah.posts.streams import TextSource

__all__ = ["FORMATS", "read_delimited", "read_json", "read_json_lines", "read_parquet"]

_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


def read_delimited(file: ExportFile, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    """Read rows of CSV or its kin, with the columns named in the first."""

    def records(text: TextSource, meter: Meter) -> Iterator[Numbered]:
        lines = meter.lines(text.lines())
        return delimited_records(lines, source=report.name, extension=file.extension)

    return _read_text(file, records, options, report)


def read_json_lines(
    file: ExportFile, options: ReadOptions, report: SourceReport
) -> Iterator[Found]:
    """Read JSON lines, one post a line."""

    def records(text: TextSource, meter: Meter) -> Iterator[Numbered]:
        return line_records(meter.lines(text.lines()), source=report.name)

    with file.open_bytes() as stream:
        is_wide = stream.read(4).startswith(_WIDE_MARKS)
    if is_wide:
        yield from _read_text(file, records, options, report)
        return
    with file.open_bytes() as stream:
        chunks = line_chunks(stream, report)
        yield from posts_from_chunks(chunks, options=options, report=report)


def read_json(file: ExportFile, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    """Read one array of objects."""

    def records(text: TextSource, meter: Meter) -> Iterator[Numbered]:
        return array_records(meter.read(text.read), source=report.name)

    return _read_text(file, records, options, report)


def _read_text(
    file: ExportFile,
    records: Callable[[TextSource, Meter], Iterator[Numbered]],
    options: ReadOptions,
    report: SourceReport,
) -> Iterator[Found]:
    with file.open_text() as text:
        meter = Meter()
        chunks = record_chunks(records(text, meter), meter)
        yield from posts_from_chunks(chunks, options=options, report=report)
        report.num_recoded_lines += text.num_recoded_lines


def read_parquet(file: ExportFile, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    """Read the rows of a Parquet file, batch by batch."""
    with file.open_bytes() as stream:
        # Parquet is read from its end; a compressed one has to be unpacked to get there.
        seekable = stream if stream.seekable() else io.BytesIO(stream.read())
        chunks = parquet_chunks(seekable, report.name)
        yield from posts_from_chunks(chunks, options=options, report=report)


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
