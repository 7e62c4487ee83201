"""The time at the beginning of a line of a WhatsApp chat, in any country's way."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from mynah.posts.values import BadValue

__all__ = ["DateOrder", "Stamp", "date_order", "parse_stamp"]

_STAMP: Final = re.compile(
    r"\[?(\d{1,4})([./-]) ?(\d{1,2})\2 ?(\d{1,4})(?:\. |, | )(?:([^\W\d_]{1,8}\.?) ?)?"
    r"(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?(?: ?([^\W\d_]{1,6}\.?(?: ?[^\W\d_]\.?)?))?"
    r"(?:\] | [-\u2013] )"
)
"""Day, month, year; a word such as "um" or half of the day; clock; half of the day."""
_MARKS: Final = str.maketrans(
    {
        **dict.fromkeys("\ufeff\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e", None),
        "\N{NARROW NO-BREAK SPACE}": " ",
        "\N{NO-BREAK SPACE}": " ",
    }
)
_STAMP_CHARS: Final = 64
"""No time is longer; marks of direction are removed within it only."""
_AFTER_NOON: Final = frozenset(
    # English and Spanish, Chinese, Japanese, Korean, Arabic, Greek, Hindi transliterations.
    ["pm", "\u4e0b\u5348", "\u665a\u4e0a", "\u5348\u5f8c", "\uc624\ud6c4", "\u0645", "\u03bc\u03bc"]
)
_BEFORE_NOON: Final = frozenset(
    ["am", "\u4e0a\u5348", "\u51cc\u6668", "\u5348\u524d", "\uc624\uc804", "\u0635", "\u03c0\u03bc"]
)
_MAX_LINES_LOOKED_AT: Final = 5_000_000
_NEAREST_CENTURY: Final = 2000


@dataclass(frozen=True, slots=True)
class DateOrder:
    """How a file's dates without a leading year are read."""

    is_day_first: bool = True


@dataclass(frozen=True, slots=True)
class Stamp:
    """The time of a line as it stands, and what follows it."""

    numbers: tuple[int, int, int]
    separator: str
    is_year_first: bool
    is_padded: bool
    """Whether a day or month below ten has two digits; true where neither is below ten."""
    half: str
    """``am``, ``pm`` or nothing; capital letters as they stand."""
    clock: tuple[int, int, int]
    rest: str

    def time(self, order: DateOrder) -> datetime:
        """Return the time, without a zone taken for UTC.

        Raises:
            BadValue: There is no such day or hour.
        """
        if self.is_year_first:
            year, month, day = self.numbers
        else:
            day, month, year = self.numbers
            if not order.is_day_first:
                day, month = month, day
        if year < 100:
            year += _NEAREST_CENTURY
        hour, minute, second = self.clock
        if self.half:
            hour = hour % 12 + (12 if self.half.lower() == "pm" else 0)
        try:
            return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError as error:
            raise BadValue("the time is no day and hour that exists") from error


def parse_stamp(line: str) -> Stamp | None:
    """Read the time a line begins with; ``None`` when it begins with none."""
    head = line[:_STAMP_CHARS]
    if not head.isascii():
        head = head.translate(_MARKS)
    match = _STAMP.match(head.lstrip())
    if match is None:
        return None
    first, separator, second, third, before, hour, minute, seconds, after = match.groups()
    rest = _after(line, head.lstrip()[match.end() :])
    return Stamp(
        numbers=(int(first), int(second), int(third)),
        separator=separator,
        is_year_first=len(first) > 2,
        is_padded=not any(len(number) == 1 for number in (first, second)),
        half=_half(after or "") or _half(before or ""),
        clock=(int(hour), int(minute), int(seconds or 0)),
        rest=rest,
    )


def _after(line: str, head_rest: str) -> str:
    """Return what follows the time in the line itself, whose marks mean something."""
    tail = line[_STAMP_CHARS:]
    head = line[:_STAMP_CHARS]
    if head.isascii():
        return (head_rest + tail).rstrip("\r\n")
    num_kept = len(head_rest)
    at = len(head)
    while at > 0 and num_kept > 0:
        at -= 1
        num_kept -= head[at] not in _DROPPED
    while at > 0 and head[at - 1] in _DROPPED:
        at -= 1
    return (head[at:] + tail).rstrip("\r\n")


_DROPPED: Final = frozenset(chr(c) for c, kept in _MARKS.items() if kept is None)


def _half(word: str) -> str:
    bare = word.replace(".", "").replace(" ", "")
    if bare.lower() in _AFTER_NOON:
        return "PM" if bare.isupper() else "pm"
    if bare.lower() in _BEFORE_NOON:
        return "AM" if bare.isupper() else "am"
    return ""


def date_order(lines: Iterable[str]) -> DateOrder:
    """Tell day from month by the whole file.

    A number above 12 settles it. Else messages stand in the order of time, and the reading that
    goes back less often is right; else it is the form of the date that each country has.
    """
    num_back = [0, 0]
    last: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    first: Stamp | None = None
    is_padded = True
    for _, line in zip(range(_MAX_LINES_LOOKED_AT), lines, strict=False):
        stamp = parse_stamp(line)
        if stamp is None:
            continue
        if stamp.is_year_first:
            return DateOrder()
        one, two, year = stamp.numbers
        if one > 12 or two > 12:
            return DateOrder(one > 12)
        first = first or stamp
        is_padded = is_padded and stamp.is_padded
        dates = (year, two, one), (year, one, two)  # day first, month first
        if last is not None:
            for reading in (0, 1):
                num_back[reading] += dates[reading] < last[reading]
        last = dates
    if first is None or num_back[0] != num_back[1]:
        return DateOrder(num_back[0] <= num_back[1])
    # Only the United States write 1/2/20, with 1:05 PM in capitals or the clock of 24 hours.
    is_american = first.separator == "/" and not is_padded and not first.half.islower()
    return DateOrder(not is_american)
