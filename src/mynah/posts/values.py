"""Values as networks write them, turned into ours: times, counts, flags, languages, ids.

Every failure is a ``BadValue`` whose message names the kind of value and never repeats it: it
may be a person's words in the wrong column.
"""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import cast

__all__ = [
    "BadValue",
    "is_empty",
    "parse_count",
    "parse_flag",
    "parse_id",
    "parse_lang",
    "parse_text",
    "parse_time",
    "parse_visibility",
    "starts_with_day",
]


class BadValue(ValueError):
    """A value that is not of its column's kind. Its message is safe to log."""


_EMPTY = frozenset({"", "nan", "none", "null", "na", "n/a", "nat", "<na>"})
_TRUE = frozenset({"true", "t", "yes", "y", "1", "1.0"})
_FALSE = frozenset({"false", "f", "no", "n", "0", "0.0"})
_SHOWN = {"public": "public", "unlisted": "unlisted", "everyone": "public", "world": "public"}
_DIRECT = frozenset({"direct", "dm", "mentioned", "self", "me", "private"})
_NO_LANGUAGE = frozenset({"und", "zxx", "qme", "qam", "qct", "qht", "qst", "art", "mul"})
_OLD_LANGUAGE = {"in": "id", "iw": "he", "ji": "yi"}

_MONTHS = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
        start=1,
    )
}
_TWITTER_TIME = re.compile(
    r"[A-Z][a-z]{2},? ([A-Z][a-z]{2}) (\d{1,2}) (\d{2}):(\d{2}):(\d{2}) ([+-]\d{4}) (\d{4})", re.A
)
_SLASH_TIME = re.compile(
    r"(\d{1,2})[/.](\d{1,2})[/.](\d{4}|\d{2})"
    r"(?:,?\s+(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\s*([AaPp])\.?[Mm]\.?)?)?",
    re.A,
)
_NUMBER = re.compile(r"[+-]?\d{1,18}(?:\.\d+)?(?:[eE][+-]?\d{1,2})?", re.A)
_COUNT = re.compile(r"([+-]?\d[\d,_ ]*(?:\.\d+)?(?:[eE][+-]?\d{1,2})?)\s*([kKmM]?)", re.A)
_ROUNDED_ID = re.compile(r"(\d+)\.0+", re.A)


def is_empty(value: object) -> bool:
    """Whether a cell says nothing, in any of the ways tables say it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return isinstance(value, str) and value.strip().lower() in _EMPTY


def parse_text(value: object) -> str:
    """Return text as it is; refuse what is not text or cannot be written as UTF-8."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadValue("the text is not a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadValue("the text holds half a surrogate pair") from error
    return value


def parse_id(value: object) -> str:
    """Return an id as text; ``123.0``, a table's doing, is ``123``; empty when there is none."""
    if is_empty(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int):
        raise BadValue("the id is neither text nor a whole number")
    text = parse_text(str(value).strip())
    rounded = _ROUNDED_ID.fullmatch(text)
    return rounded.group(1) if rounded else text


def parse_lang(value: object) -> str | None:
    """Return an ISO 639 code, or ``None`` for the tags that mean no language."""
    if isinstance(value, list) and value:
        value = cast("list[object]", value)[0]
    if not isinstance(value, str):
        return None
    code = re.split("[-_]", value.strip().lower())[0]
    if code in _NO_LANGUAGE or not re.fullmatch("[a-z]{2,3}", code):
        return None
    return _OLD_LANGUAGE.get(code, code)


def parse_flag(value: object) -> bool | None:
    """Return what a flag says; ``None`` when it is empty."""
    if isinstance(value, bool):
        return value
    if is_empty(value):
        return None
    word = str(value).strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise BadValue("a flag is neither true nor false")


def parse_visibility(value: object) -> str:
    """Return one of the four visibilities. A word that is not known is taken for private."""
    if isinstance(value, bool):  # a protected account
        return "followers" if value else "public"
    if is_empty(value):
        return "public"
    word = str(value).strip().lower()
    if word in _FALSE or word in _TRUE:
        return "followers" if word in _TRUE else "public"
    return _SHOWN.get(word, "direct" if word in _DIRECT else "followers")


def parse_count(value: object) -> int:
    """Return a count: ``218``, ``218.0``, ``1,024`` or ``1.2K``; an empty cell is 0."""
    if isinstance(value, bool):
        raise BadValue("a count is not a number")
    if isinstance(value, str):
        if is_empty(value):
            return 0
        match = _COUNT.fullmatch(value.strip())
        if match is None or len(value) > 40:
            raise BadValue("a count is not a number")
        digits = re.sub("[,_ ]", "", match.group(1))
        factor = {"": 1, "k": 1_000, "m": 1_000_000}[match.group(2).lower()]
        value = (
            int(digits)
            if factor == 1 and digits.lstrip("+-").isdigit()
            else (float(digits) * factor)
        )
    elif is_empty(value):
        return 0
    if not isinstance(value, int | float) or not -(2.0**62) < value < 2.0**62:
        raise BadValue("a count is not a number")
    return int(value)


def starts_with_day(value: object) -> bool:
    """Whether a time like ``31/12/2015`` can only be read day first."""
    if not isinstance(value, str):
        return False
    match = _SLASH_TIME.fullmatch(value.strip())
    return match is not None and int(match.group(1)) > 12


def parse_time(value: object, *, is_day_first: bool = False) -> datetime | None:
    """Return a time in UTC; a time without zone is taken for UTC; ``None`` when it is empty.

    Reads ISO 8601, seconds or milliseconds since 1970, X's own form, and ``M/D/YYYY H:MM``.
    """
    try:
        if isinstance(value, datetime):
            return _in_utc(value)
        if is_empty(value):
            return None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _from_epoch(value)
        if isinstance(value, str):
            return _from_text(value.strip(), is_day_first=is_day_first)
    except (ValueError, OverflowError, KeyError) as error:
        raise BadValue("the time is not in a form that is known") from error
    raise BadValue("the time is not in a form that is known")


def _from_text(text: str, *, is_day_first: bool) -> datetime:
    if re.fullmatch(r"\d{14}", text, re.A):  # 20151231235959: milliseconds have 13 digits
        return datetime.fromisoformat(f"{text[:8]}T{text[8:]}").replace(tzinfo=UTC)
    if _NUMBER.fullmatch(text) and len(text) > 8:  # shorter is a date, as in 20151231
        return _from_epoch(float(text) if re.search("[.eE]", text) else int(text))
    if match := _TWITTER_TIME.fullmatch(text):
        month, day, hour, minute, second, zone, year = match.groups()
        iso = f"{year}-{_MONTHS[month.lower()]:02}-{int(day):02}T{hour}:{minute}:{second}{zone}"
        return _in_utc(datetime.fromisoformat(iso))
    if match := _SLASH_TIME.fullmatch(text):
        return _from_slashes(match, is_day_first=is_day_first)
    for ending in (" UTC", " GMT"):
        text = text.removesuffix(ending)
    return _in_utc(datetime.fromisoformat(text))


def _from_slashes(match: re.Match[str], *, is_day_first: bool) -> datetime:
    month, day = int(match.group(1)), int(match.group(2))
    if is_day_first:
        month, day = day, month
    year = int(match.group(3))
    year += 2000 if year < 70 else 1900 if year < 100 else 0
    hour, minute, second = (int(match.group(part) or 0) for part in (4, 5, 6))
    if half := match.group(7):
        hour = hour % 12 + (12 if half in "pP" else 0)
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def _from_epoch(number: float) -> datetime:
    size = abs(number)
    # Seconds until the year 5138, then milliseconds, microseconds, nanoseconds.
    scale = 1 if size < 1e11 else 10**3 if size < 1e14 else 10**6 if size < 1e17 else 10**9
    microseconds = (
        number * 10**6 // scale if isinstance(number, int) else round(number * (10**6 / scale))
    )
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def _in_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
