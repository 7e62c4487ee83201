"""A format of exports: how it is recognised and who reads it.

Recognising looks at the first 64 KiB of a file, unpacked, and at what lies beside it; a file's
name settles only what its content leaves open.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from mynah.errors import DataError
from mynah.posts.export_file import ExportFile
from mynah.posts.reader import Found, ReadOptions, SourceReport
from mynah.posts.streams import TextSource

__all__ = ["Format", "Head", "look_at"]

HEAD_BYTES = 1 << 16
_CONTROL_BYTES = bytes(b for b in range(32) if b not in b"\t\n\r\f\x1b")
"""One or two may stray into text; a picture or a database has them everywhere."""
_LINES_LOOKED_AT = 50
_MAX_TRIED = 200
_KEY = re.compile(r'\s*"((?:[^"\\]|\\.){0,200})"\s*:')
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]')

Json = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the first bytes of a file show."""

    file: ExportFile
    data: bytes
    """The first ``HEAD_BYTES``, unpacked."""
    text: str
    """The same as text; empty when it is none."""
    shape: str
    """``array``, ``object`` or ``lines`` of JSON, other ``text``, or ``binary``."""
    record: Mapping[str, Json]
    """First complete JSON object: of the array, of the lines, or the whole; empty if none."""
    keys: frozenset[str]
    """Top-level keys of the first object, as far as the head goes."""

    @property
    def name(self) -> str:
        """Name of the file as it is shown."""
        return self.file.name

    @property
    def extension(self) -> str:
        """Its ending, in lower case."""
        return self.file.extension


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One native format."""

    name: str
    """As ``--format`` takes it."""
    title: str
    """What it is, for people."""
    read: Callable[[ExportFile, ReadOptions, SourceReport], Iterator[Found]]
    sniff: Callable[[Head], bool]
    """Whether a file that begins so is of this format."""
    is_chat: bool = False
    """Messages between people who know one another; see ``ReadOptions.include_private``."""
    companions: frozenset[str] = frozenset()
    """Names of files that belong to such an export and hold no posts."""


def look_at(file: ExportFile) -> Head:
    """Look at the beginning of a file.

    Raises:
        DataError: It is empty or damaged.
    """
    with file.open_bytes() as stream:
        data = stream.read(HEAD_BYTES)
    if not data.strip():
        raise DataError(f"{file.name} is empty", hint="export it again")
    if _is_binary(data):
        return Head(file=file, data=data, text="", shape="binary", record={}, keys=frozenset())
    with file.open_bytes() as stream, TextSource(stream) as source:
        text = source.read()[:HEAD_BYTES].lstrip("\ufeff")
    shape, record, keys = _shape_of(text)
    return Head(file=file, data=data, text=text, shape=shape, record=record, keys=keys)


def _is_binary(data: bytes) -> bool:
    has_mark = data.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"))
    looked_at = data[:4096]
    num_control = len(looked_at) - len(looked_at.translate(None, _CONTROL_BYTES))
    most = max(2, len(looked_at) * (30 if _is_utf8(looked_at) else 2) // 100)
    return data.startswith(b"PAR1") or (num_control > most and not has_mark)


def _is_utf8(data: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return True


def _shape_of(text: str) -> tuple[str, Mapping[str, Json], frozenset[str]]:
    start = text.lstrip()
    if start.startswith("["):
        record = _first_object(start[1:])
        if not record and not re.match(r"\[\s*[{\]]", start):
            return "text", {}, frozenset()  # a log: [12:01] ...
        return "array", record, frozenset(record) or _keys_of(start[1:])
    if not re.match(r'\{\s*["}]', start):
        return "text", {}, frozenset()
    lines = start.splitlines()[:_LINES_LOOKED_AT]
    is_spread = lines[0].rstrip().endswith(("{", "[", ",")) and not _parsed(lines[0])
    for line in [] if is_spread else lines:
        if record := _parsed(line):
            # One object on one line alone may be either; a list of lines reads both.
            return "lines", record, frozenset(record)
    if len(lines) == 1 and not start.rstrip().endswith("}"):
        return "object" if _keys_of(start) else "lines", {}, _keys_of(start)
    record = _first_object(start)
    return "object", record, frozenset(record) or _keys_of(start)


def _parsed(line: str) -> Mapping[str, Json]:
    try:
        value: Json = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Json]", value) if isinstance(value, dict) else {}


def _first_object(text: str) -> Mapping[str, Json]:
    start = text.lstrip()
    try:
        value, _ = json.JSONDecoder().raw_decode(start)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Json]", value) if isinstance(value, dict) else {}


def _keys_of(text: str) -> frozenset[str]:
    """Keys of the outermost object, even when it does not end within ``text``."""
    found: set[str] = set()
    depth = 0
    for token in _TOKEN.finditer(text):
        word = token.group()
        if word in "{[":
            depth += 1
        elif word in "}]":
            depth -= 1
            if depth == 0:
                break
        elif depth == 1 and _KEY.match(text, token.start()):
            found.add(word[1:-1])
            if len(found) >= _MAX_TRIED:
                break
    return frozenset(found)
