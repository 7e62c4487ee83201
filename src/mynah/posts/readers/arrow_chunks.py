"""Parquet to chunks of records: its columns are used as they are."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, cast

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from mynah.errors import DataError
from mynah.posts.reader import Rejected
from mynah.posts.readers.columnar import Chunk, Columns
from mynah.posts.readers.columns import Path
from mynah.posts.readers.records import Numbered
from mynah.posts.readers.values_columns import typed_columns

__all__ = ["ArrowChunk", "parquet_chunks"]

_BATCH_ROWS = 8_192


def parquet_chunks(stream: IO[bytes], name: str) -> Iterator[Chunk]:
    """Read a Parquet file batch by batch.

    Raises:
        DataError: It is damaged.
    """
    number = 1
    try:
        for batch in pq.ParquetFile(stream).iter_batches(batch_size=_BATCH_ROWS):
            batch.validate(full=True)  # a string that is no UTF-8 would be taken for one
            yield ArrowChunk(_in_microseconds(batch), number, name)
            number += batch.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{name} is a Parquet file that cannot be read past row {number - 1:,}",
            hint="it is cut short or damaged: copy or export it again",
        ) from error


@dataclass(frozen=True, slots=True)
class ArrowChunk:
    """Rows of an Arrow table."""

    batch: pa.RecordBatch
    number: int
    """Of its first row, from 1."""
    source: str

    def first(self, count: int) -> list[Numbered]:
        """Return its first records."""
        return [self.record(row) for row in range(min(count, self.batch.num_rows))]

    def columns(self, paths: Iterable[Path]) -> Columns:
        """Return the values at some paths."""
        cells = {path: _typed(_at(self.batch, path)) for path in paths}
        return Columns(num_rows=self.batch.num_rows, cells=cells, others=())

    def record(self, row: int) -> Numbered:
        """Return the record of a row."""
        try:
            return self.number + row, self.batch.slice(row, 1).to_pylist()[0]
        except (ValueError, OverflowError):  # a time outside of the calendar
            return Rejected(self.source, self.number + row, "the record holds an impossible value")


def _in_microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Round times down to what a post holds; Python's times hold no more either."""
    for place, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            times = batch.column(place).cast(pa.timestamp("us", field.type.tz), safe=False)
            batch = batch.set_column(place, field.name, times)
    return batch


def _at(batch: pa.RecordBatch, path: Path) -> pa.Array | None:
    first, *inner = path
    if first not in batch.schema.names:
        return None
    column = cast("pa.Array", batch.column(batch.schema.names.index(first)))
    for key in inner:
        if not pa.types.is_struct(column.type) or column.type.get_field_index(key) < 0:
            return None
        struct = cast("pa.StructArray", column)
        column = struct.flatten()[column.type.get_field_index(key)]  # with the nulls of the whole
    return column


def _typed(values: pa.Array | None) -> Sequence[pl.Series]:
    if values is None or pa.types.is_null(values.type):
        return []
    column: pa.Array = values
    if pa.types.is_dictionary(column.type):
        column = cast("pa.DictionaryArray", column).dictionary_decode()
    dtype = _plain_type(column.type)
    if dtype is not None:
        try:
            return [cast("pl.Series", pl.from_arrow(column.cast(dtype)))]
        except pa.ArrowInvalid:
            pass  # a number or a time that does not fit
    try:
        return typed_columns(column.to_pylist())
    except (ValueError, OverflowError):
        return typed_columns([object()] * len(column))  # each row is read by itself


def _plain_type(dtype: pa.DataType) -> pa.DataType | None:
    """Return the type a field may have that holds all values of ``dtype``; ``None`` if none."""
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype):
        return pa.large_string()
    if pa.types.is_boolean(dtype):
        return dtype
    if pa.types.is_integer(dtype):
        return pa.int64()
    if pa.types.is_floating(dtype):
        return pa.float64()
    if pa.types.is_timestamp(dtype) and dtype.unit != "ns":
        return pa.timestamp("us", "UTC")
    return None
