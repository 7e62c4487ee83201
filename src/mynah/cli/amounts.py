"""Amounts as people write them, read and shown: ``15T`` tokens, ``10,000`` GPUs, ``8 minutes``."""

import math
import re
from collections.abc import Callable

from mynah.errors import ConfigError
from mynah.plan.ranges import Range

__all__ = ["amount_of", "duration", "link_rate", "short", "spread", "whole_of"]

PREFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
STEPS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
NUMBER = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d{1,3})?)\s*([kmbgt]?)", re.ASCII)
RATE = re.compile(r"(\d+(?:\.\d+)?)\s*(gb/s|gbit/s|gbps)?", re.ASCII | re.IGNORECASE)


def amount_of(option: str, example: str) -> Callable[[str], float]:
    """Return what reads the value of an option: ``15T``, ``300B``, ``2.5M``, ``10k``, ``1e12``.

    Args:
        option: As it is called, for the error.
        example: A value that it may have, for the hint.
    """

    def parse(text: str) -> float:
        found = NUMBER.fullmatch(re.sub(r"(?<=\d)[_,](?=\d{3}(?!\d))", "", text.strip().lower()))
        value = float(found[1]) * PREFIXES[found[2]] if found else math.inf
        if not math.isfinite(value):
            raise ConfigError(
                f"{option} is {text[:40]!r}, which is no number",
                hint=f"write {option} {example}; k, M, B and T are 10^3, 10^6, 10^9 and 10^12",
            )
        return value

    return parse


def whole_of(option: str, example: str) -> Callable[[str], int]:
    """Return what reads a count, written in the same ways."""
    parse_amount = amount_of(option, example)

    def parse(text: str) -> int:
        value = parse_amount(text)
        if value != int(value):
            raise ConfigError(
                f"{option} is {text[:40]!r}, which is not a whole number",
                hint=f"write {option} {example}",
            )
        return int(value)

    return parse


def link_rate(text: str) -> float:
    """Read the rate of an accelerator's network card as GB/s: ``50``, ``50GB/s`` or ``400Gb/s``.

    Raises:
        ConfigError: It is none of them.
    """
    found = RATE.fullmatch(text.strip())
    if found is None or not float(found[1]) > 0:
        raise ConfigError(
            f"--network is {text[:40]!r}, which is no rate",
            hint="write the rate of one accelerator's card: --network 400Gb/s, or in GB/s: 50",
        )
    unit = found[2] or "GB/s"
    # As makers of networks write it, a small b is a bit.
    is_bits = unit.lower() in ("gbit/s", "gbps") or unit[1] == "b"
    return float(found[1]) / (8.0 if is_bits else 1.0)


def short(value: float) -> str:
    """Three digits and a letter: ``405B``, ``13.2T``; whole up to ten thousand: ``9,936``."""
    if not math.isfinite(value):
        return "no end" if value > 0 else str(value)
    size = abs(value)
    for step, letter in STEPS if size >= 9_999.5 else ():
        if size >= step * 0.9995:
            return f"{_digits(value / step)}{letter}"
    return f"{value:,.0f}" if size >= 999.5 else _digits(value)


def _digits(value: float) -> str:
    """Three digits that mean something, without an exponent."""
    rounded = float(f"{value:.3g}")
    if rounded == int(rounded):
        return f"{rounded:,.0f}"
    places = max(0, 2 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{places}f}".rstrip("0").rstrip(".")


def duration(seconds: float) -> str:
    """A time in the unit that people would say it in: ``8 min``, ``4.9 h``, ``90 days``."""
    for size, unit in ((86_400 * 365.25, "years"), (86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{short(seconds / size)} {unit}"
    return f"{short(seconds)} s"


def spread(figure: Range, show: Callable[[float], str]) -> str:
    """Low and high of a figure; nothing where they are the same."""
    low, high = show(figure.low), show(figure.high)
    return "" if low == high else f"{low} to {high}"
