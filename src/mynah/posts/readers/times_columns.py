"""Whole columns of times: what ``parse_time`` makes of each, computed for all rows at once.

The forms below are the common ones, and every character is checked. A string in any other form
is left for ``parse_time`` itself, so both always agree.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["epochs", "written_times"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_MONTHS = b"---JanFebMarAprMayJunJulAugSepOctNovDec"
_MONTH_LETTERS = np.frombuffer(_MONTHS, np.uint8).reshape(13, 3).T
_MONTH_OF_LETTERS = np.zeros(32, np.int64)
"""Month by the sum of its second and third letter, which happens to tell all twelve apart."""
_MONTH_OF_LETTERS[(_MONTH_LETTERS[1].astype(np.int64) + _MONTH_LETTERS[2]) % 32] = np.arange(13)
_MONTH_DAYS = np.array([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_FIRST_YEAR, _LAST_YEAR = 2, 9_998
"""Outside of these a zone could lead out of the calendar."""


@dataclass(frozen=True, slots=True)
class _Form:
    """A way to write times, such as ``yyyy-oo-dd``.

    Small letters stand for digits: year, mOnth, day, hour, minute, second, fraction, and the
    zone's hours (p) and minutes (q); ``z`` is a sign, ``w`` a letter of the weekday, ``n`` one of
    the month. All else stands for itself.
    """

    pattern: str

    def places(self, letters: str) -> list[int]:
        return [place for place, char in enumerate(self.pattern) if char in letters]


def _forms() -> Iterator[_Form]:
    clocks = ("hh:mm", "hh:mm:ss", "hh:mm:ss.fff", "hh:mm:ss.ffffff")
    yield _Form("yyyy-oo-dd")
    for mark, clock, zone in product("T ", clocks, ("", "Z", "zpp:qq", "zppqq", " UTC", " GMT")):
        yield _Form(f"yyyy-oo-dd{mark}{clock}{zone}")
    yield _Form("www nnn dd hh:mm:ss zppqq yyyy")
    clocks = ("", " h:mm", " hh:mm", " h:mm:ss", " hh:mm:ss")
    for month, day, year, clock in product(("o", "oo"), ("d", "dd"), ("yyyy", "yy"), clocks):
        yield _Form(f"{month}/{day}/{year}{clock}")


def _by_length() -> Mapping[int, list[_Form]]:
    found: defaultdict[int, list[_Form]] = defaultdict(list)
    for form in _forms():
        found[len(form.pattern)].append(form)
    return dict(found)


_FORMS = _by_length()


def epochs(numbers: Ints) -> Ints:
    """Return microseconds since 1970 of counts, not negative, of a unit told by their size."""
    return np.select(
        [numbers < 10**11, numbers < 10**14, numbers < 10**17],
        [numbers * 10**6, numbers * 10**3, numbers],
        numbers // 10**3,
    )


def written_times(texts: pl.Series, *, is_day_first: bool) -> pl.Series:
    """Return microseconds since 1970; null where the text has none of the forms.

    Args:
        texts: Strings without space around them.
        is_day_first: Whether ``1/2/2020`` is in February.
    """
    lengths = texts.str.len_bytes().fill_null(0).to_numpy()
    times = np.zeros(len(texts), np.int64)
    is_read = np.zeros(len(texts), np.bool_)
    for length in np.unique(lengths):
        forms = _FORMS.get(int(length), [])
        if not forms:
            continue
        rows = np.flatnonzero(lengths == length)
        chars = _characters(texts, rows, int(length))
        for form in forms:
            looks_so = _fits(chars, form)
            if not looks_so.any():
                continue
            found, fits = _read(chars, form, is_day_first=is_day_first)
            fits &= looks_so
            times[rows[fits]] = found[fits]
            is_read[rows[fits]] = True
            if looks_so.all():
                break
    return pl.select(pl.when(pl.Series(is_read)).then(pl.Series(times))).to_series()


def _characters(texts: pl.Series, rows: Ints, length: int) -> NDArray[np.uint8]:
    """Return the bytes of strings of one length: first those at their first place, and so on."""
    joined = "".join(texts.gather(rows).to_list()).encode()
    return np.frombuffer(joined, np.uint8).reshape(len(rows), length).T.copy()


def _read(chars: NDArray[np.uint8], form: _Form, *, is_day_first: bool) -> tuple[Ints, Bools]:
    """Return the times of rows that look like ``form``, and which of them there are."""
    month_letter, day_letter = "od"
    if is_day_first and "/" in form.pattern:
        month_letter, day_letter = "do"
    year, day = _number(chars, form, "y"), _number(chars, form, day_letter)
    if "/" in form.pattern:
        year += np.where(year < 70, 2000, np.where(year < 100, 1900, 0))
    month = _named_month(chars, form) if "n" in form.pattern else _number(chars, form, month_letter)
    hour, minute, second = (_number(chars, form, letter) for letter in "hms")
    zone_hours, zone_minutes = _number(chars, form, "p"), _number(chars, form, "q")
    is_leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    fits = (year >= _FIRST_YEAR) & (year <= _LAST_YEAR) & (month >= 1) & (month <= 12)
    month = np.where(fits, month, 1)
    fits &= (day >= 1) & (day <= _MONTH_DAYS[month] - ((month == 2) & ~is_leap))
    fits &= (hour < 24) & (minute < 60) & (second < 60) & (zone_hours < 24) & (zone_minutes < 60)
    sign = np.where(_is(chars, form, "z", ord("-")), -1, 1)
    minutes = (_days(year, month, day) * 24 + hour) * 60 + minute
    minutes -= sign * (zone_hours * 60 + zone_minutes)
    fraction = _number(chars, form, "f") * 10 ** (6 - len(form.places("f")))
    return (minutes * 60 + second) * 10**6 + fraction, fits


def _fits(chars: NDArray[np.uint8], form: _Form) -> Bools:
    digits = form.places("yodhmsfpq")
    fits = np.asarray((chars[digits] - np.uint8(ord("0")) < 10).all(axis=0))
    letters = [p for p, c in enumerate(form.pattern) if not c.islower()]
    said = np.frombuffer("".join(form.pattern[p] for p in letters).encode(), np.uint8)
    fits &= (chars[letters] == said[:, None]).all(axis=0)
    if "z" in form.pattern:
        fits &= _is(chars, form, "z", ord("+")) | _is(chars, form, "z", ord("-"))
    if "w" in form.pattern:
        first, *others = form.places("w")
        fits &= chars[first] - np.uint8(ord("A")) < 26
        fits &= (chars[others] - np.uint8(ord("a")) < 26).all(axis=0)
    return fits


def _is(chars: NDArray[np.uint8], form: _Form, letter: str, value: int) -> Bools:
    places = form.places(letter)
    return (chars[places] == value).any(axis=0)


def _number(chars: NDArray[np.uint8], form: _Form, letter: str) -> Ints:
    number = np.zeros(chars.shape[1], np.int64)
    for place in form.places(letter):
        number *= 10
        number += chars[place]
        number -= ord("0")
    return number


def _named_month(chars: NDArray[np.uint8], form: _Form) -> Ints:
    """Return the month of its three letters; 0 where there is no such month."""
    letters = chars[form.places("n")]
    month = _MONTH_OF_LETTERS[(letters[1].astype(np.int64) + letters[2]) % 32]
    return np.where((_MONTH_LETTERS[:, month] == letters).all(axis=0), month, 0)


def _days(year: Ints, month: Ints, day: Ints) -> Ints:
    """Count days since 1970 in the Gregorian calendar, as years that begin in March."""
    year = year - (month <= 2)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return year * 365 + year // 4 - year // 100 + year // 400 + day_of_year - 719_468
