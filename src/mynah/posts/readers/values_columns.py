"""Whole columns of values: what ``mynah.posts.values`` makes of each, for all rows at once.

Every function takes one column of one type and agrees with its namesake on every value. The common
forms are computed; of the others each distinct value is parsed once by that namesake. A value that
it refuses, or whose type is none of the four below, marks its row as one to be read by itself.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from mynah.posts.readers.times_columns import epochs, written_times
from mynah.posts.values import (
    BadValue,
    parse_count,
    parse_flag,
    parse_lang,
    parse_time,
    parse_visibility,
)

__all__ = [
    "ODD",
    "Parsed",
    "counts",
    "first_present",
    "flags",
    "handles",
    "ids",
    "languages",
    "links",
    "texts",
    "times",
    "typed_columns",
    "visibilities",
]

ODD = pl.Binary
"""Type of a column whose values are of no type that a field has; what they are is not kept."""

_SPACE = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
"""What ``str.strip`` takes off."""
_SPACED = r"^[\s\x1c-\x1f]|[\s\x1c-\x1f]$"
_EMPTY = r"(?i)^(?:|nan|none|null|na|n/a|nat|<na>)$"
_ROUNDED = r"^([0-9]+)\.0+$"
_EPOCH = r"^[0-9]{9,18}$"
_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT = 2.0**53
"""Whole numbers below it are the same as floats; one above may have been another number."""
_MAX_COUNT = 2**62
_MAX_WRITTEN_COUNT = 18
_SURE = {str: pl.String, int: pl.Int64, float: pl.Float64, bool: pl.Boolean}


@dataclass(frozen=True, slots=True)
class Parsed:
    """A column of values, and which rows have to be read by themselves."""

    values: pl.Series
    """Null where there is nothing, in whatever way that was written."""
    is_bad: pl.Series | None = None
    """``None`` when no row is."""


Parser = Callable[[pl.Series], Parsed]


def typed_columns(values: Sequence[Any]) -> list[pl.Series]:
    """Split values as they come into a column for each type; each is null where others are."""
    kinds = set(map(type, values)) - {type(None)}
    if len(kinds) == 1 and kinds <= set(_SURE):
        return _one_type(values, *kinds)
    columns: list[pl.Series] = []
    for kind in sorted(kinds & set(_SURE), key=str):
        columns += _one_type([v if type(v) is kind else None for v in values], kind)
    if kinds - set(_SURE):
        columns.append(_odd([v is not None and type(v) not in _SURE for v in values]))
    return columns


def _one_type(values: Sequence[Any], kind: type) -> list[pl.Series]:
    try:
        return [pl.Series(values=values, dtype=_SURE[kind])]
    except (OverflowError, TypeError, ValueError, pl.exceptions.PolarsError):
        # Half a surrogate pair, or a whole number of more than 64 bits.
        is_fit = [_is_storable(value) for value in values]
        fit = [v if good else None for v, good in zip(values, is_fit, strict=True)]
        return [pl.Series(values=fit, dtype=_SURE[kind]), _odd([not good for good in is_fit])]


def _is_storable(value: Any) -> bool:
    if isinstance(value, str):
        return not any("\ud800" <= char <= "\udfff" for char in value)
    return value is None or -(2**63) <= value < 2**63


def _odd(is_there: Sequence[bool]) -> pl.Series:
    return pl.Series(values=[b"" if there else None for there in is_there], dtype=ODD)


def first_present(columns: Iterable[pl.Series], parse: Parser) -> Parsed | None:
    """Parse the first of the columns that is not empty, row by row; ``None`` where all are."""
    whole: Parsed | None = None
    is_taken: pl.Series | None = None
    for column in columns:
        if column.null_count() == len(column):
            continue
        parsed = parse(column)
        is_there = column.is_not_null()
        if column.dtype == pl.String:
            is_there &= column.str.len_bytes() > 0
        whole = parsed if whole is None or is_taken is None else _chosen(is_taken, whole, parsed)
        is_taken = is_there if is_taken is None else is_taken | is_there
        if is_taken.all():
            break
    return whole


def _chosen(is_taken: pl.Series, first: Parsed, second: Parsed) -> Parsed:
    is_bad = None
    if first.is_bad is not None or second.is_bad is not None:
        no = pl.repeat(False, len(is_taken), eager=True)
        is_bad = (no if first.is_bad is None else first.is_bad).zip_with(
            is_taken, no if second.is_bad is None else second.is_bad
        )
    return Parsed(first.values.zip_with(is_taken, second.values), is_bad)


def texts(column: pl.Series) -> Parsed:
    """Keep strings as they are."""
    return Parsed(column) if column.dtype == pl.String else _refused(column, pl.String)


def handles(column: pl.Series) -> Parsed:
    """Read names of authors: without space around them, or an ``@`` before."""
    if column.dtype == pl.String:
        return Parsed(_stripped(column).str.strip_prefix("@"))
    return _refused(column, pl.String) if column.dtype == pl.Boolean else ids(column)


def links(column: pl.Series) -> Parsed:
    """Read addresses; an empty one is none."""
    if column.dtype != pl.String:
        return handles(column)
    stripped = _stripped(column)
    return Parsed(_without(stripped, stripped.str.len_bytes() == 0))


def ids(column: pl.Series) -> Parsed:
    """Read ids, as ``parse_id``."""
    if column.dtype == pl.Int64:
        return Parsed(column.cast(pl.String))
    if column.dtype == pl.Float64:
        is_whole = (column.floor() == column) & (column.abs() < _EXACT)
        is_bad = column.is_not_null() & column.is_not_nan() & ~is_whole.fill_null(True)
        whole = _without(column, ~is_whole.fill_null(False))
        return Parsed(whole.cast(pl.Int64).cast(pl.String), is_bad)
    if column.dtype != pl.String:
        return _refused(column, pl.String)
    stripped = _stripped(column)
    if stripped.str.contains(".0", literal=True).any():
        stripped = stripped.str.replace(_ROUNDED, "$1")
    return Parsed(_without(stripped, _is_nothing(stripped)))


def languages(column: pl.Series) -> Parsed:
    """Read languages, as ``parse_lang``."""
    return _by_value(column, parse_lang, pl.String)


def flags(column: pl.Series) -> Parsed:
    """Read flags, as ``parse_flag``."""
    if column.dtype == pl.Boolean:
        return Parsed(column)
    return _by_value(column, parse_flag, pl.Boolean)


def visibilities(column: pl.Series) -> Parsed:
    """Read visibilities, as ``parse_visibility``."""
    return _by_value(column, parse_visibility, pl.String)


def counts(column: pl.Series) -> Parsed:
    """Read counts, as ``parse_count``."""
    if column.dtype == pl.Float64:
        is_bad = column.is_not_nan() & ~(column.abs() < _EXACT)
        numbers = _without(column, ~(column.abs() < _EXACT)).cast(pl.Int64)
        return Parsed(numbers, is_bad.fill_null(False))
    if column.dtype == pl.Int64:
        is_bad = ~column.is_between(-_MAX_COUNT + 1, _MAX_COUNT - 1)
        return Parsed(column, is_bad.fill_null(False)) if is_bad.any() else Parsed(column)
    if column.dtype != pl.String:
        return _refused(column, pl.Int64)
    numbers = column.cast(pl.Int64, strict=False)
    numbers = _without(numbers, column.str.len_bytes() > _MAX_WRITTEN_COUNT)
    return _others_by_value(column, numbers, parse_count)


def times(column: pl.Series, *, is_day_first: bool) -> Parsed:
    """Read times in microseconds since 1970, as ``parse_time``."""

    def parse(value: object) -> int | None:
        return _microseconds(parse_time(value, is_day_first=is_day_first))

    if isinstance(column.dtype, pl.Datetime):
        years = column.dt.year()
        return Parsed(column.dt.epoch("us"), ~years.is_between(2, 9_998))
    if column.dtype == pl.Float64:
        parsed = _others_by_value(column, _float_epochs(column.to_numpy()), parse)
        is_rounded = (column.abs() >= _EXACT) & column.is_not_nan()
        refused = parsed.is_bad
        return Parsed(parsed.values, is_rounded if refused is None else is_rounded | refused)
    if column.dtype == pl.Int64:
        numbers = column.fill_null(-1).to_numpy()
        found = pl.Series(epochs(np.maximum(numbers, 0)))
        return _others_by_value(column, _without(found, pl.Series(numbers < 0)), parse)
    if column.dtype != pl.String:
        return _refused(column, pl.Int64)
    stripped = _stripped(column)
    found = written_times(stripped, is_day_first=is_day_first)
    if found.null_count():
        is_number = stripped.str.contains(_EPOCH) & (stripped.str.len_bytes() != 14)
        numbers = _without(stripped, ~is_number).cast(pl.Int64)
        if numbers.null_count() < len(numbers):
            read = _without(pl.Series(epochs(numbers.fill_null(0).to_numpy())), numbers.is_null())
            found = found.zip_with(found.is_not_null(), read)
    return _others_by_value(stripped, found, parse)


def _float_epochs(numbers: np.ndarray[Any, np.dtype[np.float64]]) -> pl.Series:
    """Return microseconds of seconds, milliseconds or microseconds; null for any other number."""
    is_sure = (numbers >= 0) & (numbers < 1e17)
    sure = np.where(is_sure, numbers, 0.0)
    factor = np.select([sure < 1e11, sure < 1e14], [1e6, 1e3], 1.0)
    return _without(pl.Series(np.rint(sure * factor).astype(np.int64)), pl.Series(~is_sure))


def _microseconds(time: datetime | None) -> int | None:
    return None if time is None else (time - _EPOCH_START) // timedelta(microseconds=1)


def _stripped(column: pl.Series) -> pl.Series:
    return column.str.strip_chars(_SPACE) if column.str.contains(_SPACED).any() else column


def _is_nothing(column: pl.Series) -> pl.Series:
    return column.str.contains(_EMPTY)


def _without(column: pl.Series, is_left_out: pl.Series) -> pl.Series:
    """Make rows null; one for which it is not known stays."""
    if not is_left_out.any():
        return column
    return pl.select(pl.when(is_left_out).then(None).otherwise(column)).to_series()


def _refused(column: pl.Series, dtype: type[pl.DataType]) -> Parsed:
    nothing = pl.repeat(None, len(column), dtype=dtype, eager=True)
    return Parsed(nothing, column.is_not_null())


def _by_value(
    column: pl.Series, parse: Callable[[object], object], dtype: type[pl.DataType]
) -> Parsed:
    """Parse each distinct value once."""
    if column.dtype == ODD:
        return _refused(column, dtype)
    known = column.drop_nulls().unique()
    parsed: list[object] = []
    refused: list[bool] = []
    for value in known.to_list():
        try:
            parsed.append(parse(value))
            refused.append(False)
        except BadValue:
            parsed.append(None)
            refused.append(True)
    values = column.replace_strict(known, parsed, default=None, return_dtype=dtype)
    if not any(refused):
        return Parsed(values)
    return Parsed(values, column.is_in(known.filter(refused).implode()).fill_null(False))


def _others_by_value(
    column: pl.Series, found: pl.Series, parse: Callable[[object], object]
) -> Parsed:
    """Parse one by one what is there and was not found."""
    is_other = found.is_null() & column.is_not_null()
    if not is_other.any():
        return Parsed(found)
    others = _by_value(_without(column, ~is_other), parse, pl.Int64)
    return Parsed(found.zip_with(~is_other, others.values), others.is_bad)
