"""Settings: frozen dataclasses, read from one TOML file, checked once on load.

Reads ``mynah.toml`` and ``recipes/*.toml``; writes the resolved form beside a run.
"""

import json
import math
import re
import tomllib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from mynah.errors import ConfigError

__all__ = ["dump_toml", "load_config", "override_config", "parse_config"]

T = TypeVar("T")


def parse_config(kind: type[T], values: dict[str, Any], *, source: str) -> T:
    """Check ``values`` against the dataclass ``kind``; unknown keys are errors.

    Raises:
        ConfigError: Names the first wrong field, its value and ``source``.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{source}: {where}: {first['msg']}, found {first.get('input')!r}",
            hint="every field is described in docs/reference/recipes.md and plan.md",
        ) from error


def load_config(kind: type[T], path: Path, *, overrides: Sequence[str] = ()) -> T:
    """Read ``path`` as TOML, apply ``key.sub=value`` overrides, check against ``kind``."""
    try:
        values = tomllib.loads(path.read_text())
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ConfigError(f"no recipe at {path}", hint="look in recipes/ for one") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint="mend that line") from error
    for override in overrides:
        _set_value(values, override)
    return parse_config(kind, values, source=str(path))


def override_config(config: T, overrides: Sequence[str]) -> T:
    """Return ``config`` with ``key.sub=value`` applied and checked again."""
    values = asdict(cast("Any", config))
    for override in overrides:
        _set_value(values, override)
    return parse_config(type(config), values, source="--set")


def _set_value(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override!r} has no '='", hint="write --set optimizer.lr=1e-4")
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.strip().split(".")
    table = values
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {override!r}: {parent} is not a table", hint="see --help")
        table = cast("dict[str, Any]", table)
    table[last] = value


def dump_toml(config: object) -> str:
    """Write a config dataclass as TOML that ``load_config`` reads back."""
    lines: list[str] = []
    _dump_table(asdict(cast("Any", config)), "", lines)
    return "\n".join(lines) + "\n"


def _dump_table(table: dict[str, Any], prefix: str, lines: list[str]) -> None:
    nested = {key: value for key, value in table.items() if isinstance(value, dict)}
    for key, value in table.items():
        if key not in nested and value is not None:  # TOML says nothing of what is absent
            lines.append(f"{_dump_key(key)} = {_dump_value(value)}")
    for key, value in nested.items():
        lines.extend(["", f"[{prefix}{_dump_key(key)}]"])
        _dump_table(value, f"{prefix}{_dump_key(key)}.", lines)


def _dump_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _dump_value(key)


def _dump_value(value: Any) -> str:
    """Write a string, number, boolean or array; JSON's are TOML's but for two kinds."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # inf and nan, which JSON spells otherwise
    if isinstance(value, list):
        return f"[{', '.join(map(_dump_value, cast('list[Any]', value)))}]"
    # TOML has no surrogate pairs, in which JSON escapes an emoji, and no bare DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
