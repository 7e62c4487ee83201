"""`--column FIELD=COLUMN`, which several commands take."""

from collections.abc import Sequence

from mynah.errors import ConfigError

__all__ = ["parse_columns"]


def parse_columns(pairs: Sequence[str]) -> dict[str, str]:
    """Split ``text=body`` at its first equals sign.

    Raises:
        ConfigError: One has none.
    """
    columns: dict[str, str] = {}
    for pair in pairs:
        name, equals, column = pair.partition("=")
        if not equals:
            raise ConfigError(f"--column {pair!r} has no '='", hint="write --column text=body")
        columns[name] = column
    return columns
