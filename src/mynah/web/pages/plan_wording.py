"""How the Plan page words its figures: short, with the range beside it and every digit on hover."""

from collections.abc import Callable
from dataclasses import dataclass

from mynah.plan.ranges import Range
from mynah.plan.wording import three_digits
from mynah.web.markup import box, number, text
from mynah.web.wording import exact_number

__all__ = [
    "Figure",
    "days_words",
    "money_words",
    "percent",
    "seconds_words",
    "show_figures",
    "span_words",
]

SAME = 0.005
"""Ends of a range that are no further apart, as a share, are one number to a reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number of the plan, ready to be shown."""

    name: str
    value: Range
    words: Callable[[float], str]
    """How one value of it is written."""
    meaning: str
    """What it counts, for hovering."""
    unit: str = ""
    """Of the exact value."""

    @property
    def exact(self) -> str:
        """Meaning and exact values."""
        span = self.value
        digits = f"{_exact(span.middle)} {self.unit}".strip()
        if is_known(span):
            return f"{self.meaning}: {digits}"
        return f"{self.meaning}: {digits}, {_exact(span.low)} to {_exact(span.high)}"


def is_known(value: Range) -> bool:
    """Whether low and high are the same number to a reader."""
    return value.high - value.low <= SAME * abs(value.middle)


def _exact(value: float) -> str:
    if abs(value) >= 1e15:
        return f"{value:.4e}".replace("e+", "e")
    return f"{value:.4g}" if abs(value) < 100 else exact_number(round(value))


def money_words(usd: float) -> str:
    """``$104 M``; every dollar up to a million."""
    for limit, letter in ((1e9, "B"), (1e6, "M")):
        if usd >= 0.9995 * limit:
            return f"${three_digits(usd / limit)} {letter}"
    return f"${usd:,.0f}" if usd >= 100 else f"${usd:.2f}"


def days_words(days: float) -> str:
    """A time in the unit that a plan is made in."""
    if days < 1 / 24:
        return f"{days * 1440:.0f} min"
    if days < 2:
        return f"{days * 24:.1f} h"
    return f"{days:.1f} days".replace(".0 ", " ") if days < 10 else f"{days:,.0f} days"


def seconds_words(seconds: float) -> str:
    """A step, a save, the time between two."""
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else days_words(seconds / 86_400)


def percent(share: float) -> str:
    """A share, to the point where it still says something."""
    return f"{share:.1%}".replace("%", " %") if share > 0.9 else f"{share:.0%}".replace("%", " %")


def span_words(value: Range, words: Callable[[float], str]) -> str:
    """``61 to 180 M``; nothing for a figure that is known."""
    low, high = words(value.low), words(value.high)
    return "" if is_known(value) or low == high else f"{low} to {high}"


def show_figures(figures: list[Figure], classes: str = "") -> None:
    """Name, value and range of each, as a list of tiles."""
    with box("dl", f"stats plan-stats {classes}"):
        for figure in figures:
            with box("div", "stat"):
                text("dt", figure.name)
                with box("dd"):
                    number(figure.words(figure.value.middle), figure.exact)
                    if span := span_words(figure.value, figure.words):
                        text("small", span, "span")
