"""Amounts of compute that a law or an order cares about, and warnings before they are crossed.

Pure. The list is configuration: the table ``record`` of ``mynah.toml``.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from mynah.errors import ConfigError

__all__ = [
    "THRESHOLDS",
    "Crossing",
    "RecordConfig",
    "Threshold",
    "ThresholdConfig",
    "crossed",
    "format_flop",
    "parse_flop",
    "warnings",
]

MAX_DIGITS = 40
"""As many as a leaf holds; a number with more is a slip of the pen."""


def parse_flop(text: str) -> int:
    """Read ``2.1e25``, ``1e23`` or a plain whole number, exactly.

    Raises:
        ConfigError: It is no such number, not a whole one, or has more than 40 digits.
    """
    hint = "write it as 2.1e25 or as a whole number"
    if not re.fullmatch(r"[0-9]{1,60}(\.[0-9]{1,60})?([eE]\+?[0-9]{1,3})?", text, re.ASCII):
        raise ConfigError(f"{text[:60]!r} is no amount of FLOP", hint=hint)
    number = Decimal(text)
    if number.adjusted() >= MAX_DIGITS:
        raise ConfigError(f"{text[:60]} FLOP is more than 10^{MAX_DIGITS}", hint=hint)
    # Not by Decimal's own arithmetic, which rounds to 28 digits.
    digits, exponent = number.as_tuple().digits, number.as_tuple().exponent
    assert isinstance(exponent, int), "the pattern lets neither NaN nor infinity in"
    whole = int("".join(map(str, digits)))
    if exponent >= 0:
        return whole * 10**exponent
    flop, rest = divmod(whole, 10**-exponent)
    if rest:
        raise ConfigError(f"{text[:60]} FLOP is not a whole number", hint=hint)
    return flop


def format_flop(flop: int | None) -> str:
    """Three digits and a power of ten, as people compare them: ``2.10e25``."""
    if flop is None:
        return "unknown"
    if flop < 1000:
        return str(flop)
    mantissa, exponent = f"{Decimal(flop):.2e}".split("e+")
    return f"{mantissa}e{exponent}"


def _checked(text: str) -> str:
    parse_flop(text)
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdConfig:
    """One amount of compute, as ``mynah.toml`` states it under its name."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    flop: Annotated[str, AfterValidator(_checked)]
    """Floating-point operations of a model and all it descends from, such as "1e25"."""
    source: str
    """Who says so, and where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """One amount of compute, by name."""

    name: str
    flop: str
    source: str

    @property
    def amount(self) -> int:
        """``flop`` as an exact number; a model is past it when it has more."""
        return parse_flop(self.flop)


THRESHOLDS = (
    Threshold(
        name="general-purpose model (EU)",
        flop="1e23",
        source="European Commission, guidelines on the scope of the obligations for general-purpose"
        " AI models, July 2025: indicative criterion",
    ),
    Threshold(
        name="systemic risk presumed (EU)",
        flop="1e25",
        source="Regulation (EU) 2024/1689 (AI Act), Article 51(2)",
    ),
    Threshold(
        name="GPT-4 class",
        flop="2.1e25",
        source="Epoch AI, estimate of the training compute of GPT-4",
    ),
    Threshold(
        name="frontier model (California)",
        flop="1e26",
        source="California SB 53 of 2025 (Business and Professions Code 22757.11); the same number"
        " stood in US Executive Order 14110, section 4.2(b), revoked in January 2025",
    ),
)
"""Those that ``mynah.toml`` begins with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordConfig:
    """The table ``record`` of ``mynah.toml``."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    thresholds: dict[str, ThresholdConfig] = field(
        default_factory=lambda: {
            one.name: ThresholdConfig(flop=one.flop, source=one.source) for one in THRESHOLDS
        }
    )
    """Amounts of compute to warn of before a run crosses them, by name."""
    warn_at_percent: tuple[Annotated[int, Field(ge=1, le=99)], ...] = (50, 80)
    """Shares of a threshold, in percent, that are worth a warning before it is crossed."""

    def named_thresholds(self) -> tuple[Threshold, ...]:
        """The thresholds, the lowest first."""
        found = (
            Threshold(name=name, flop=one.flop, source=one.source)
            for name, one in self.thresholds.items()
        )
        return tuple(sorted(found, key=lambda one: (one.amount, one.name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """A threshold that a run would cross, or come near to."""

    threshold: Threshold
    total_flop: int
    """What the run would have in the end, lineage included."""
    percent: int
    """Share of the threshold: 100 if it would be crossed, else the mark that is reached."""

    @property
    def is_crossed(self) -> bool:
        """Whether the run would be past the threshold."""
        return self.percent == 100

    def __str__(self) -> str:
        what = "crosses" if self.is_crossed else f"reaches {self.percent}% of"
        return (
            f"{format_flop(self.total_flop)} FLOP, lineage included, {what} {self.threshold.flop}:"
            f" {self.threshold.name} ({self.threshold.source})"
        )


def crossed(
    total_flop: int | None, thresholds: Iterable[Threshold] = THRESHOLDS
) -> tuple[Threshold, ...]:
    """Thresholds that ``total_flop`` is past; of an unknown total none can be told."""
    if total_flop is None:
        return ()
    return tuple(one for one in thresholds if total_flop > one.amount)


def warnings(
    total_before: int | None,
    planned_total: int | None,
    thresholds: Iterable[Threshold] = THRESHOLDS,
    *,
    at_percent: Sequence[int] = (50, 80),
) -> tuple[Crossing, ...]:
    """What to warn of before ``total_before`` grows to ``planned_total``.

    One warning a threshold, the gravest: that it would be crossed, else the highest mark that
    would be reached. What was passed before is not said again. With an unknown lineage nothing
    can be told here; the gate refuses such a run while any order is in force.
    """
    if planned_total is None or total_before is None:
        return ()
    found: list[Crossing] = []
    for threshold in thresholds:
        amount = threshold.amount
        reached = [
            percent
            for percent in at_percent
            if total_before * 100 < amount * percent <= planned_total * 100
        ]
        if total_before <= amount < planned_total:
            reached.append(100)
        if reached:
            percent = max(reached)
            found.append(Crossing(threshold=threshold, total_flop=planned_total, percent=percent))
    return tuple(found)
