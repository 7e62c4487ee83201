"""What readers of chat exports share: where a file lies, and what stands before its messages."""

import hashlib
import json
import posixpath
import re
from collections.abc import Sequence
from typing import Any

from mynah.posts.export_file import ExportFile

__all__ = [
    "Repeats",
    "as_list",
    "chat_key",
    "folder_name",
    "keys_of",
    "leading_values",
    "state_beside",
]

_GAP = re.compile(r"[\s,]*+")
_COLON = re.compile(r"\s*+:\s*+")
_COPY = re.compile(r" ?\(\d{1,3}\)$")
"""What a browser appends to the name of a file that was downloaded before."""
_MAX_TIMES = 100_000
_MAX_KEYS = 1_000

Json = Any


def folder_name(file: ExportFile) -> str:
    """Return the last part of the folder's name; empty at the top of a zip."""
    if file.archive is None:
        return file.path.absolute().parent.name
    return posixpath.basename(posixpath.dirname(file.member))


def chat_key(name: str) -> str:
    """Return a short key for a chat whose only name is that of a person or group."""
    return hashlib.sha256(_COPY.sub("", name).strip().encode("utf-8", "replace")).hexdigest()[:12]


def state_beside(file: ExportFile, names: Sequence[str]) -> tuple[object, ...]:
    """Name files beside ``file`` and the state they are in, as a key for what is read there."""
    if file.archive is not None:
        status = file.path.stat()
        inside = [posixpath.normpath(posixpath.join(file.member, "..", name)) for name in names]
        return str(file.path), status.st_size, status.st_mtime_ns, *inside
    states: list[object] = []
    for name in names:
        path = file.path.absolute().parent / name
        status = path.stat() if path.is_file() else None
        states += [str(path), status and (status.st_size, status.st_mtime_ns)]
    return tuple(states)


def leading_values(text: str, *, until: str) -> dict[str, Json]:
    """Read the values of one large object that stand before the key ``until``.

    Args:
        text: The beginning of the file; a value that it cuts off ends the reading.
        until: Key of the list of messages.
    """
    decode = json.JSONDecoder().raw_decode
    found: dict[str, Json] = {}
    start = re.match(r"\ufeff?\s*+\{", text)
    at = start.end() if start else len(text)
    while len(found) < _MAX_KEYS:
        gap = _GAP.match(text, at)
        try:
            key, at = decode(text, gap.end() if gap else at)
            colon = _COLON.match(text, at)
            if key == until or colon is None or not isinstance(key, str):
                return found
            found[key], at = decode(text, colon.end())
        except (ValueError, RecursionError):
            return found
    return found


def as_list(value: Json) -> list[Json]:
    """Return a list as it is, and nothing for what is none."""
    return value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]


def keys_of(value: Json) -> frozenset[str]:
    """Return the keys of an object, and none of what is no object."""
    return frozenset(value) if isinstance(value, dict) else frozenset()  # pyright: ignore[reportUnknownVariableType]


class Repeats:
    """Numbers messages of the same time, for networks that give them no ids.

    Times may come back: a message that was sent late stands between others. The latest hundred
    thousand times are remembered.
    """

    def __init__(self) -> None:
        self._counts: dict[object, int] = {}

    def number(self, key: object) -> int:
        """Return how often ``key`` has come by now, this time included."""
        count = self._counts.pop(key, 0) + 1
        self._counts[key] = count
        if len(self._counts) > _MAX_TIMES:
            del self._counts[next(iter(self._counts))]
        return count
