"""How the pages word numbers, times and money: short to read, with the exact value for hovering."""

import math
from datetime import UTC, datetime

__all__ = [
    "absolute_time",
    "duration",
    "exact_number",
    "flop_exact",
    "flop_words",
    "plural",
    "post_time",
    "relative_time",
    "sentence",
    "short_number",
]

_STEPS = (
    (3600, 60, "min"),
    (86_400, 3600, "h"),
    (14 * 86_400, 86_400, "day"),
    (60 * 86_400, 7 * 86_400, "week"),
    (2 * 365 * 86_400, 30.44 * 86_400, "month"),
    (math.inf, 365.25 * 86_400, "year"),
)
"""Below so many seconds, count in units of so many seconds, with this name."""


def relative_time(when: datetime | None, *, now: datetime | None = None) -> str:
    """How long ago, in one unit; the future and the last minute are ``just now``."""
    if when is None:
        return "no date"
    age_s = ((now or datetime.now(UTC)) - when).total_seconds()
    if age_s < 60:
        return "just now"
    unit_s, name = next((u, n) for limit, u, n in _STEPS if age_s < limit)
    count = int(age_s // unit_s)
    return f"{count} {name} ago" if name in ("min", "h") else f"{plural(count, name)} ago"


def post_time(when: datetime | None, *, now: datetime | None = None) -> str:
    """How long ago; for what is over a year old, also in which month, or an archive looks alike."""
    relative = relative_time(when, now=now)
    if when is None or ((now or datetime.now(UTC)) - when).days < 365:
        return relative
    return f"{when.astimezone(UTC):%b %Y}, {relative}"


def absolute_time(when: datetime | None) -> str:
    """Date and time to the minute in UTC."""
    if when is None:
        return "The network's export has no date for this post"
    return f"{when.astimezone(UTC):%d %b %Y, %H:%M} UTC".lstrip("0")


def duration(seconds: float) -> str:
    """A span in its largest one or two units, as a person would say it."""
    if seconds < 60:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def short_number(count: float) -> str:
    """``1.2 M`` for big counts, every digit up to 9,999."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(count) >= limit:
            scaled = count / (1e3 if unit == "k" else limit)
            return f"{scaled:.0f} {unit}" if scaled >= 100 else f"{scaled:.1f} {unit}"
    return exact_number(count)


def exact_number(count: float) -> str:
    """Every digit before the point, grouped by thousands; two after it when the count is small."""
    digits = 0 if float(count).is_integer() or abs(count) >= 100 else 2
    return f"{count:,.{digits}f}"


def flop_words(flop: int) -> str:
    """Floating-point operations as the command line takes them: ``2.1e25``."""
    if flop < 10_000:
        return exact_number(flop)
    mantissa, _, power = f"{flop:.1e}".partition("e+")
    return f"{mantissa.removesuffix('.0')}e{int(power)}"


def flop_exact(flop: int) -> str:
    """Every digit of them, for hovering."""
    return f"{flop:,} floating-point operations"


def plural(count: int, noun: str, nouns: str = "") -> str:
    """Count and noun, as in ``1 post`` and ``2 posts``."""
    return f"{exact_number(count)} {noun if count == 1 else nouns or noun + 's'}"


def sentence(words: str) -> str:
    """Words of the command line as a sentence of a page: a capital first, a full stop last."""
    whole = words.strip()
    whole = whole[:1].upper() + whole[1:]
    return whole if not whole or whole.endswith((".", "?", ":", '"')) else whole + "."
