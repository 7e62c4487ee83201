"""A figure with what it may as well be: every number that the planner gives has three.

Pure. Low and high hold 80% of what was measured of its kind, unless a docstring says otherwise.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

__all__ = ["Range"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A figure: the likeliest value between a low one and a high one, all of one unit."""

    low: float
    middle: float
    high: float

    @classmethod
    def exactly(cls, value: float) -> "Range":
        """A figure that is known."""
        return cls(low=value, middle=value, high=value)

    def through(self, convert: Callable[[float], float]) -> "Range":
        """What follows from it, by a function that only rises or only falls."""
        first, middle, last = convert(self.low), convert(self.middle), convert(self.high)
        return Range(low=min(first, last), middle=middle, high=max(first, last))

    def times(self, other: "Range") -> "Range":
        """Product of two figures, neither below zero: lows with lows, for the worst case."""
        return Range(
            low=self.low * other.low,
            middle=self.middle * other.middle,
            high=self.high * other.high,
        )

    def plus(self, other: "Range") -> "Range":
        """Sum of two figures: the lows with the lows, for the worst case."""
        return Range(
            low=self.low + other.low,
            middle=self.middle + other.middle,
            high=self.high + other.high,
        )

    def to_json(self) -> dict[str, float]:
        """Return it for machines."""
        return asdict(self)
