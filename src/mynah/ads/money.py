"""Money is a whole number of micros, a millionth of the network's currency. Never a float."""

from decimal import Decimal, InvalidOperation

from mynah.errors import RequestError

__all__ = ["MAX_MONEY_MICROS", "MICROS", "format_money", "parse_money"]

MICROS = 1_000_000
"""Micros in one unit of the currency."""

MAX_MONEY_MICROS = 10**15
"""A billion: above it, sums of many budgets would leave the database's integers."""


def parse_money(text: str, *, name: str) -> int:
    """Read an amount as a person types it, as in ``2.50``, exactly.

    Raises:
        RequestError: It is no amount, negative, finer than a micro, or too large; ``name`` says
            which field.
    """
    try:
        amount = Decimal(text.strip()) * MICROS
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or not 0 <= amount <= MAX_MONEY_MICROS or amount % 1:
        raise RequestError(
            f"{name} is {text!r}, expected an amount from 0 to {MAX_MONEY_MICROS // MICROS:,}",
            hint="write, for one, 2.50",
        )
    return int(amount)


def format_money(micros: int) -> str:
    """Write an amount with two decimals, or as many more as it takes to be exact."""
    sign, whole, rest = "-" if micros < 0 else "", abs(micros) // MICROS, abs(micros) % MICROS
    decimals = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole:,}.{decimals}"
