"""X archives: the folder that X's zip unpacks to, or its ``tweets.js`` alone.

Only ``tweets.js`` (older: ``tweet.js``), ``community-tweet.js`` and their parts are read for
posts; ``note-tweet.js`` for the whole of long ones, ``account.js`` for the author,
``protected-history.js`` for who may see them, ``manifest.js`` for the archive's day. Direct
messages, deleted posts and circles lie in other files of the archive, which are never opened.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, cast

from mynah.errors import DataError
from mynah.posts.export_file import ExportFile
from mynah.posts.format import Format, Head
from mynah.posts.post import Post
from mynah.posts.reader import Found, ReadOptions, Rejected, SourceReport
from mynah.posts.readers.json_records import array_records
from mynah.posts.readers.native import built, time_or_none
from mynah.posts.readers.records import Numbered, Record
from mynah.posts.readers.x_notes import Note, NoteShelf, note_of
from mynah.posts.readers.x_post import X_NETWORK, XSource, posts_of
from mynah.posts.values import BadValue

__all__ = ["ACCOUNT_FILES", "FORMATS", "is_posts_file", "read_x_archive"]

_HISTORY = "protected-history.js"
ACCOUNT_FILES = ("account.js", _HISTORY, "manifest.js", "note-tweet.js")
"""Files beside ``tweets.js`` that say whose posts these are, who may see them, and more."""

_POSTS_FILE = re.compile(r"(?:tweets?|community-tweet)(?:-part\d+)?\.js(?:\.gz|\.zst)?", re.I)
_POSTS_PART = re.compile(r"tweets?|community_tweet")
_WRAPPER = "tweet"
_NOTES = "note-tweet"
_SCRIPT = re.compile(r"\s*window\.YTD\.(\w+)")
_GENERATED = re.compile(r'"generationDate"\s*:\s*"([^"]{10,40})"')
_HANDLE = re.compile(r"\w{1,30}", re.A)
_MAX_PARTS = 100


def is_posts_file(name: str) -> bool:
    """Whether a file of this name holds an archive's posts."""
    return _POSTS_FILE.fullmatch(name) is not None


def read_x_archive(file: ExportFile, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    """Read one ``tweets.js``, with the files about the account that lie beside it."""

    def text_of(name: str) -> str:
        return (file.beside(name) or b"").decode(errors="replace")

    report.network = options.network or X_NETWORK
    source = _source(text_of, report.network)
    notes = NoteShelf.of(_notes(text_of))

    def build(record: Record) -> Iterator[Found]:
        for found in posts_of(record, source):
            yield notes.completed(found) if isinstance(found, Post) else found

    with file.open_text() as text:
        wrapped = array_records(text.read, source=report.name, first_key=_WRAPPER)
        yield from built(_unwrapped(wrapped, report.name), build, report)
        report.num_recoded_lines += text.num_recoded_lines


def _source(text_of: Callable[[str], str], network: str) -> XSource:
    """Read the files about the account; an archive without them has an unnamed author."""
    username = ""
    for entry in _entries(text_of("account.js"), "account"):
        handle = _HANDLE.fullmatch(str(entry.get("username") or ""))
        username = handle.group() if handle else ""
    history = sorted(
        _entries(text_of(_HISTORY), "protectedHistory", is_needed=True),
        key=lambda entry: str(entry.get("protectedAt", "")),
    )
    is_protected = bool(history) and str(history[-1].get("action", "")).lower() == "protect"
    return XSource(
        network=network,
        author=username,
        is_protected=is_protected,
        seen_at=_generated_at(text_of("manifest.js")),
    )


def _generated_at(manifest: str) -> datetime | None:
    match = _GENERATED.search(manifest)
    return time_or_none(match.group(1)) if match else None


def _notes(text_of: Callable[[str], str]) -> Iterator[Note]:
    for part in range(_MAX_PARTS):
        text = text_of(f"{_NOTES}{f'-part{part}' if part else ''}.js")
        if not text:
            return
        for record in _records(text):
            try:
                yield note_of(record)
            except BadValue:
                continue  # its post stands in tweets.js, cut; nothing else is lost


def _entries(text: str, wrapper: str, *, is_needed: bool = False) -> list[Mapping[str, Any]]:
    wrapped = [record.get(wrapper) for record in _records(text, is_needed=is_needed)]
    return [cast("Mapping[str, Any]", entry) for entry in wrapped if isinstance(entry, dict)]


def _records(text: str, *, is_needed: bool = False) -> Iterator[Record]:
    pieces = iter((text, ""))
    for item in array_records(lambda: next(pieces), source="") if text else ():
        if not isinstance(item, Rejected):
            yield item[1]
        elif is_needed:
            raise DataError(
                f"{_HISTORY} of the X archive cannot be read",
                hint="it says whether the account is protected: download the archive again",
            )


def _unwrapped(records: Iterator[Numbered], source: str) -> Iterator[Numbered]:
    """Take the ``tweet`` out of each record (archives before 2019 have it bare)."""
    for item in records:
        if isinstance(item, Rejected):
            yield item
            continue
        number, record = item
        inner = record.get(_WRAPPER, record)
        if isinstance(inner, dict) and ("id_str" in inner or "id" in inner):
            yield number, cast("dict[str, Any]", inner)
        else:
            yield Rejected(source, number, "the record is not a post")


def _is_x_archive(head: Head) -> bool:
    script = _SCRIPT.match(head.text)
    if script is None:
        return False
    part = script.group(1)
    if _POSTS_PART.fullmatch(part):
        return True
    raise DataError(
        f"{head.name} is the part {part.replace('_', ' ')!r} of an X archive, which holds no "
        "public posts",
        hint="give the whole archive or its data/tweets.js; other parts are never read",
    )


FORMATS = (
    Format(
        name="x-archive",
        title="X archive: the zip from X, its folder, or tweets.js",
        read=read_x_archive,
        sniff=_is_x_archive,
        companions=frozenset(ACCOUNT_FILES),
    ),
)
