"""JSON records out of a stream of text, one at a time: arrays, JSON lines, scripts of X archives.

A broken record is rejected by itself: reading goes on at the next place that begins the way
records in this file begin.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from mynah.posts.reader import Rejected
from mynah.posts.readers.records import Numbered

__all__ = ["MAX_RECORD_CHARS", "array_records", "line_records"]

MAX_RECORD_CHARS = 8 << 20
"""A longer record is no post."""

_NEAR_END = 32
"""An error this close to the end of what was read may be for want of more."""
_GAP = re.compile(r"[\s,]*")
_FIRST_KEY = re.compile(r'\{(\s{0,100})"([^"\\]{0,100})"')
_ANY_RECORD = re.compile(r'[\[,]\s*(?=\{\s*")')
_INDENT = re.compile(r"\n[ \t]*$")
_PREAMBLE = re.compile(r"\s*(?:[A-Za-z_][\w.$\[\]\"']*\s*=\s*)?\[")
"""Nothing in plain JSON; ``window.YTD.tweets.part0 =`` in an X archive."""
_MAX_PREAMBLE = 1 << 16
_LOOK_BACK = 500
_BROKEN = object()
_NOT_JSON = "the record is not JSON"
_NOT_OBJECT = "the record is not a JSON object"

Json = Any


def line_records(lines: Iterable[str], *, source: str) -> Iterator[Numbered]:
    """Yield the object on every line that is not blank."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value: Json = json.loads(line)
        except (ValueError, RecursionError):
            yield Rejected(source, number, _NOT_JSON)
            continue
        yield _numbered(source, number, value)


def array_records(
    read: Callable[[], str], *, source: str, first_key: str = "", key: str = ""
) -> Iterator[Numbered]:
    """Yield the objects of the first array in the text; records are numbered from 1.

    Args:
        read: Gives the next piece of text; empty at the end.
        source: Name of the file, for rejections.
        first_key: What records begin with, if that is known: found again even where the first
            record is the broken one.
        key: Key of one large object whose array is meant; empty when the array is the file.
    """
    return iter(_ArrayReader(read, source, first_key, key))


def _begins_with(key: str) -> re.Pattern[str]:
    return re.compile(rf'[\[,]\s*(?=\{{\s*"{re.escape(key)}"\s*:)')


def _numbered(source: str, number: int, value: Json) -> Numbered:
    if not isinstance(value, dict):
        return Rejected(source, number, _NOT_OBJECT)
    return number, cast("dict[str, Json]", value)


class _ArrayReader:
    """Holds one window of text, never the whole file."""

    def __init__(self, read: Callable[[], str], source: str, first_key: str, key: str) -> None:
        self._read = read
        self._key = re.compile(rf'"{re.escape(key)}"\s*:\s*\[') if key else None
        self._source = source
        self._known = _begins_with(first_key) if first_key else None
        self._window = ""
        self._at = 0
        self._is_at_end = False
        self._start: re.Pattern[str] | None = None
        self._decode = json.JSONDecoder().raw_decode

    def __iter__(self) -> Iterator[Numbered]:
        if not self._skip_to_array():
            yield Rejected(self._source, 1, "there is no list of records")
            return
        number = 0
        while self._skip_gap():
            number += 1
            if self._window[self._at] == "]":
                self._at += 1
                if self._key is None and self._skip_gap() and self._window[self._at] != ";":
                    yield Rejected(self._source, number, "there is more after the list's end")
                return
            value = self._next_value()
            if value is not _BROKEN:
                yield _numbered(self._source, number, value)
                continue
            yield Rejected(self._source, number, _NOT_JSON)
            if not self._resync():
                return
        yield Rejected(self._source, number + 1, "the file ends before its list of records does")

    def _more(self) -> bool:
        """Drop what was read, add the next piece; false at the end of the file."""
        piece = "" if self._is_at_end else self._read()
        self._is_at_end = not piece
        if piece:
            dropped = max(0, self._at - _LOOK_BACK)
            self._window = self._window[dropped:] + piece
            self._at -= dropped
        return bool(piece)

    def _skip_to_key(self, key: re.Pattern[str]) -> bool:
        while self._more():
            match = key.search(self._window)
            if match:
                self._at = match.end()
                return True
            self._at = len(self._window)  # only the tail is kept: the key may lie across
        return False

    def _skip_to_array(self) -> bool:
        if self._key is not None:
            return self._skip_to_key(self._key)
        while len(self._window) < _MAX_PREAMBLE and self._more():
            match = _PREAMBLE.match(self._window)
            if match:
                self._at = match.end()
                return True
        return False

    def _skip_gap(self) -> bool:
        while True:
            match = _GAP.match(self._window, self._at)
            assert match is not None, "the pattern matches nothing at all, too"
            self._at = match.end()
            if self._at < len(self._window):
                return True
            if not self._more():
                return False

    def _next_value(self) -> Json:
        while True:
            try:
                value, end = self._decode(self._window, self._at)
            except json.JSONDecodeError as error:
                is_cut = error.pos >= len(self._window) - _NEAR_END or error.msg.startswith(
                    "Unterminated string"
                )
                if is_cut and self._grow():
                    continue
                return _BROKEN
            except (ValueError, RecursionError):  # a number of thousands of digits; depth
                return _BROKEN
            if end == len(self._window) and not isinstance(value, dict) and self._grow():
                continue  # a number may go on
            if self._start is None and isinstance(value, dict):
                self._start = self._signature()
            self._at = end
            return value

    def _grow(self) -> bool:
        """Read as much again as is held, so that a long record costs no more than its length."""
        held = len(self._window) - self._at
        if held >= MAX_RECORD_CHARS:
            return False
        num_read = 0
        while num_read <= held and self._more():
            num_read = len(self._window) - self._at - held
        return num_read > 0

    def _signature(self) -> re.Pattern[str] | None:
        """Describe how the record here begins: what is before it and its first key."""
        match = _FIRST_KEY.match(self._window, self._at)
        if match is None:
            return None
        indent = _INDENT.search(self._window[max(0, self._at - _LOOK_BACK) : self._at])
        lead = re.escape(indent.group()) if indent else r"[\[,]\s*"
        inside, key = re.escape(match.group(1)), re.escape(match.group(2))
        return re.compile(f'{lead}(?=\\{{{inside}"{key}")')

    def _likely_start(self) -> re.Pattern[str]:
        """Choose a start while no record has been read whole."""
        for pattern in (self._known, self._signature()):
            if pattern is not None and pattern.search(self._window, self._at + 1):
                return pattern
        return _ANY_RECORD

    def _resync(self) -> bool:
        """Move to the next start of a record; false when there is none."""
        start = self._start or self._likely_start()
        self._at += 1
        while True:
            match = start.search(self._window, self._at)
            if match:
                self._at = match.end()
                return True
            # Keep the tail: a start may lie across the border.
            self._at = max(self._at, len(self._window) - _LOOK_BACK)
            if not self._more():
                return False
