"""Posts over time: how many of those that match fall into each hour, day, week, month or year.

Reads and writes nothing; ``SearchIndex.histogram`` counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

__all__ = ["Bar", "Histogram", "Unit", "make_histogram"]

Unit = Literal["hour", "day", "week", "month", "year"]

_UNITS: tuple[tuple[Unit, timedelta], ...] = (
    ("hour", timedelta(hours=1)),
    ("day", timedelta(days=1)),
    ("week", timedelta(days=7)),
    ("month", timedelta(days=30)),
    ("year", timedelta(days=365)),
)


@dataclass(frozen=True, slots=True)
class Bar:
    """The posts of one unit of time, from ``start`` on."""

    start: datetime
    num_posts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Equal stretches of time with no gap between them; empty when nothing matches."""

    unit: Unit
    bars: tuple[Bar, ...]
    num_undated: int
    """Posts that match and have no time."""


def make_histogram(hours: Mapping[datetime, int], *, max_bars: int, num_undated: int) -> Histogram:
    """Gather counts by hour into the smallest unit that needs at most ``max_bars`` bars.

    A history so long that its years are more than ``max_bars`` is shown by years all the same.
    """
    if not hours:
        return Histogram(unit="day", bars=(), num_undated=num_undated)
    span = max(hours) - min(hours)
    fitting: list[Unit] = [unit for unit, width in _UNITS if span / width <= max_bars - 2]
    unit = fitting[0] if fitting else "year"
    counts: dict[datetime, int] = {}
    for hour, num_posts in hours.items():
        start = _floor(hour, unit)
        counts[start] = counts.get(start, 0) + num_posts
    bars: list[Bar] = []
    start, last = min(counts), max(counts)
    while start < last:
        bars.append(Bar(start, counts.get(start, 0)))
        start = _next(start, unit)
    bars.append(Bar(last, counts[last]))
    return Histogram(unit=unit, bars=tuple(bars), num_undated=num_undated)


def _floor(moment: datetime, unit: Unit) -> datetime:
    if unit == "hour":
        return moment.replace(minute=0, second=0, microsecond=0)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "week":
        return day - timedelta(days=day.weekday())
    if unit == "month":
        return day.replace(day=1)
    return day.replace(month=1, day=1) if unit == "year" else day


def _next(start: datetime, unit: Unit) -> datetime:
    if unit == "month":
        return (start + timedelta(days=32)).replace(day=1)
    if unit == "year":
        return start.replace(year=start.year + 1)
    return start + {"hour": timedelta(hours=1), "day": timedelta(days=1)}.get(
        unit, timedelta(days=7)
    )
