"""Tables of posts: CSV, TSV and Orange's tab files, JSON lines, JSON arrays, Parquet."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from mynah.errors import DataError
from mynah.posts.reader import Found, ReadOptions, SourceReport
from mynah.posts.readers.delimited import delimited_records
from mynah.posts.readers.json_records import array_records, line_records
from mynah.posts.readers.records import Numbered, posts_from_records
from mynah.posts.streams import TextSource, open_bytes

__all__ = ["read_delimited", "read_json", "read_parquet"]

_BATCH_ROWS = 4_096


def read_delimited(path: Path, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    """Read rows of CSV or its kin, with the columns named in the first."""
    extension = next((s for s in reversed(path.suffixes) if s not in (".gz", ".zst")), "")

    def records(text: TextSource) -> Iterator[Numbered]:
        return delimited_records(text.lines(), source=report.name, extension=extension.lower())

    return _read_text(path, records, options, report)


def read_json(path: Path, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    """Read JSON lines, or one array of objects; ``report.format`` says which."""

    def records(text: TextSource) -> Iterator[Numbered]:
        if report.format == "jsonl":
            return line_records(text.lines(), source=report.name)
        return array_records(text.read, source=report.name)

    return _read_text(path, records, options, report)


def _read_text(
    path: Path,
    records: Callable[[TextSource], Iterator[Numbered]],
    options: ReadOptions,
    report: SourceReport,
) -> Iterator[Found]:
    with open_bytes(path) as stream, TextSource(stream) as text:
        yield from posts_from_records(records(text), options=options, report=report)
        report.num_recoded_lines += text.num_recoded_lines


def read_parquet(path: Path, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    """Read the rows of a Parquet file, batch by batch."""
    with open_bytes(path) as stream:
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
