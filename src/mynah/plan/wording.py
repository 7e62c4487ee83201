"""Counts as people write them, the same in an error, a note and on the page. Pure."""

__all__ = ["count_words", "three_digits"]


def three_digits(value: float) -> str:
    """Three digits, without zeros that say nothing."""
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.{1 if value >= 9.995 else 2}f}".rstrip("0").rstrip(".")


def count_words(count: float) -> str:
    """Weights and tokens as people write them: ``70B``, ``6.1T``."""
    for limit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * limit:
            return f"{three_digits(count / limit)}{letter}"
    return f"{count:.0f}"
