"""The files behind what a person gave: folders expanded, formats told from their content."""

import codecs
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mynah.errors import DataError
from mynah.posts.reader import Found, ReadOptions, SourceReport
from mynah.posts.readers import (
    read_delimited,
    read_json,
    read_parquet,
    read_x_folder_file,
    read_x_zip,
)
from mynah.posts.readers.x_archive import ACCOUNT_FILES, is_posts_file
from mynah.posts.streams import TextSource, open_bytes
from mynah.workspace import SETTINGS, file_sha256

__all__ = ["Source", "find_sources"]

logger = logging.getLogger(__name__)

Reader = Callable[[Path, ReadOptions, SourceReport], Iterator[Found]]

_READERS: dict[str, Reader] = {
    "x-archive-zip": read_x_zip,
    "x-archive-file": read_x_folder_file,
    "delimited": read_delimited,
    "jsonl": read_json,
    "json": read_json,
    "parquet": read_parquet,
}
_EXTENSIONS = frozenset(
    [".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json", ".parquet", ".js", ".zip"]
)
_COMPRESSED = (".gz", ".zst")
_HEAD_BYTES = 1 << 16
_SCRIPT = re.compile(r"\s*window\.YTD\.(\w+)")
_CONTROL_BYTES = bytes(b for b in range(32) if b not in b"\t\n\r\f\x1b")
"""One or two may stray into text; a picture or a database has them everywhere."""
_LINES_LOOKED_AT = 50
_MANY = 8
"""File names that an error lists at the most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file of posts."""

    path: Path
    name: str
    """As it is shown: relative to the folder that was given."""
    format: str
    is_named: bool
    """Whether the person named this very file, rather than a folder it lies in."""

    def read(self, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
        """Stream what the file holds; ``report`` fills as it goes."""
        return _READERS[self.format](self.path, options, report)

    def facts(self) -> dict[str, Any]:
        """Return what the reading of this file depends on, without where it lies."""
        facts: dict[str, Any] = {
            "name": self.name,
            "format": self.format,
            "bytes": self.path.stat().st_size,
            "sha256": file_sha256(self.path),
        }
        if self.format == "x-archive-file":
            beside = (self.path.parent / name for name in ACCOUNT_FILES)
            facts["account"] = [file_sha256(path) for path in beside if path.is_file()]
        return facts


def find_sources(paths: Sequence[Path]) -> list[Source]:
    """Expand folders and tell every file's format from its content, in a stable order.

    Raises:
        DataError: A path is missing, is no export, or a folder holds none.
    """
    sources: list[Source] = []
    for path in paths:
        if path.is_dir():
            sources.extend(_in_folder(path))
        elif path.is_file():
            name = path.name
            sources.append(
                Source(path=path, name=name, format=_format_of(path, name), is_named=True)
            )
        else:
            raise DataError(
                f"there is no file or folder at {path}",
                hint="check the path; a folder or several files may be given",
            )
    return sorted(sources, key=lambda source: (source.name, str(source.path)))


def _in_folder(folder: Path) -> list[Source]:
    if (folder / SETTINGS).is_file():
        raise DataError(
            f"{folder} is a workspace of mynah, not an export",
            hint=f"to go on with it: mynah up {folder}; to read posts, name the export itself",
        )
    found: list[Source] = []
    others: list[str] = []
    for parent, folders, names in os.walk(folder):
        # A workspace inside the exports holds posts already read; they would come in twice.
        is_workspace = [(Path(parent, name) / SETTINGS).is_file() for name in folders]
        folders[:] = sorted(
            name
            for name, is_one in zip(folders, is_workspace, strict=True)
            if not is_one and not name.startswith(".")
        )
        for name in sorted(names):
            path = Path(parent, name)
            shown = path.relative_to(folder).as_posix()
            if name.startswith(".") or not path.is_file() or not _may_hold_posts(path):
                others.append(shown)
                continue
            try:
                format_ = _format_of(path, shown)
            except DataError as error:
                logger.info("left out %s: %s", shown, error.message)
                others.append(shown)
                continue
            found.append(Source(path=path, name=shown, format=format_, is_named=False))
    if found:
        return found
    raise _nothing_in(folder, others)


def _nothing_in(folder: Path, others: Sequence[str]) -> DataError:
    if not others:
        return DataError(
            f"the folder {folder} is empty",
            hint="give a folder with an export in it, or the file itself",
        )
    names = ", ".join(others[:_MANY]) + (" ..." if len(others) > _MANY else "")
    return DataError(
        f"the folder {folder} holds no posts: it has {names}",
        hint="an X archive has its posts in data/tweets.js; tables are read as "
        ".csv, .tsv, .tab, .jsonl, .json or .parquet, also with .gz",
    )


def _extension(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _may_hold_posts(path: Path) -> bool:
    extension = _extension(path)
    # Every script of an X archive but its posts stays closed: some are direct messages.
    return is_posts_file(path.name) if extension == ".js" else extension in _EXTENSIONS


def _format_of(path: Path, name: str) -> str:
    """Tell the format from the first bytes; the extension only settles a tie."""
    with path.open("rb") as stream:
        magic = stream.read(4)
    if magic in (b"PK\x03\x04", b"PK\x05\x06"):
        return "x-archive-zip"
    if _extension(path) == ".zip":
        raise DataError(
            f"{name} is no zip archive, whatever its name says",
            hint="download it again; an archive from X is a .zip that starts with PK",
        )
    with open_bytes(path) as stream:
        head = stream.read(_HEAD_BYTES)
    if head.startswith(b"PAR1"):
        return "parquet"
    if not head.strip():
        raise DataError(f"{name} is empty", hint="export it again")
    text = _head_text(path, name, head)
    if script := _SCRIPT.match(text):
        return _script_format(script.group(1), name)
    start = text.lstrip()[:1]
    if start == "[":
        return "json"
    return "jsonl" if start == "{" and _has_object_line(text, name) else "delimited"


def _head_text(path: Path, name: str, head: bytes) -> str:
    has_mark = head.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"))
    looked_at = head[:4096]
    num_control = len(looked_at) - len(looked_at.translate(None, _CONTROL_BYTES))
    is_utf8 = _is_utf8(looked_at)
    most = max(2, len(looked_at) * (30 if is_utf8 else 2) // 100)
    if num_control > most and not has_mark:
        raise DataError(
            f"{name} is neither text nor a format of posts that is known",
            hint="give an X archive, CSV, TSV, JSON lines, JSON or Parquet",
        )
    with open_bytes(path) as stream, TextSource(stream) as source:
        return source.read()


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return True


def _script_format(part: str, name: str) -> str:
    if re.fullmatch(r"tweets?", part):
        return "x-archive-file"
    kind = part.replace("_", " ")
    raise DataError(
        f"{name} is the part {kind!r} of an X archive, which holds no public posts",
        hint="give the whole archive or its data/tweets.js; other parts are never read",
    )


def _has_object_line(text: str, name: str) -> bool:
    """Whether one of the first lines is a JSON object by itself."""
    lines = text.lstrip().splitlines()[:_LINES_LOOKED_AT]
    for line in lines:
        try:
            if isinstance(json.loads(line), dict):
                return True
        except (ValueError, RecursionError):
            continue
    if re.match(r'\{\s*"', text.lstrip()) and (len(lines) > 1 or lines[0].endswith("}")):
        raise DataError(
            f"{name} is one JSON object, not a list of posts",
            hint="give JSON lines (one post a line) or an array of posts",
        )
    return bool(re.match(r'\{\s*"', text.lstrip()))  # one line, longer than what was looked at
