"""X archives: the zip that X sends, the folder it unpacks to, or its ``tweets.js`` alone.

Only ``tweets.js`` (older: ``tweet.js``) and its parts are read for posts, ``account.js`` for the
author and ``protected-history.js`` for who may see them. Direct messages, deleted posts and
circles lie in other files of the archive, which are never opened.
"""

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

from mynah.errors import DataError
from mynah.posts.reader import Found, PrivatePost, ReadOptions, Rejected, SourceReport
from mynah.posts.readers.json_records import array_records
from mynah.posts.readers.records import Numbered, posts_from_records
from mynah.posts.streams import MAX_EXPANSION, TextSource, open_bytes, too_large

__all__ = ["ACCOUNT_FILES", "is_posts_file", "read_x_folder_file", "read_x_zip"]

ACCOUNT_FILES = ("account.js", "protected-history.js")
"""Files beside ``tweets.js`` that say whose posts these are and who may see them."""

_POSTS_FILE = re.compile(r"tweets?(?:-part\d+)?\.js(?:\.gz|\.zst)?", re.I)
_NETWORK = "x"
_WRAPPER = "tweet"
_FREE_BYTES = 64 << 20
_MAX_ACCOUNT_CHARS = 1 << 20


@dataclass(frozen=True, slots=True)
class _Account:
    """Whose archive it is."""

    username: str = ""
    is_protected: bool = False


def is_posts_file(name: str) -> bool:
    """Whether a file of this name holds an archive's posts."""
    return _POSTS_FILE.fullmatch(name) is not None


def read_x_folder_file(path: Path, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    """Read one ``tweets.js``, with the files about the account that lie beside it."""

    def account_text(name: str) -> str:
        beside = path.parent / name
        return beside.read_text(errors="replace") if beside.is_file() else ""

    account = _read_account(account_text)
    yield from _read_posts(lambda: open_bytes(path), account, options, report)


def read_x_zip(path: Path, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    """Read the posts of an archive's zip without unpacking it.

    Raises:
        DataError: It is no zip, is cut short, is no X archive, or is made to harm.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(members, report.name)
            folders = {_folder(member.filename) for member in members if _is_posts_member(member)}
            if not folders:
                raise _no_posts(report.name, members)
            for member in sorted(members, key=lambda m: _part_order(m.filename)):
                if _is_posts_member(member):
                    account = _read_account(_member_text(archive, _folder(member.filename)))
                    part = SourceReport(f"{report.name}:{member.filename}", report.format)
                    yield from _read_posts(_opener(archive, member), account, options, part)
                    report.network, report.columns = part.network, part.columns
                    report.num_recoded_lines += part.num_recoded_lines
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError(
            f"{report.name} is cut short or no zip archive: {error}",
            hint="download the archive again, and compare its size with the one X names",
        ) from error
    except RuntimeError as error:  # zipfile says so of a member with a password
        if "password" not in str(error):
            raise
        raise DataError(
            f"{report.name} is encrypted", hint="unpack it with its password, give the folder"
        ) from error


def _opener(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo
) -> Callable[[], AbstractContextManager[IO[bytes]]]:
    return lambda: archive.open(member)


def _member_text(archive: zipfile.ZipFile, folder: str) -> Callable[[str], str]:
    def account_text(name: str) -> str:
        try:
            with archive.open(folder + name) as stream:
                return stream.read(_MAX_ACCOUNT_CHARS).decode(errors="replace")
        except KeyError:
            return ""

    return account_text


def _is_posts_member(member: zipfile.ZipInfo) -> bool:
    return not member.is_dir() and is_posts_file(member.filename.rpartition("/")[2])


def _folder(name: str) -> str:
    return name[: name.rfind("/") + 1]


def _part_order(name: str) -> tuple[str, int]:
    part = re.search(r"part(\d+)", name)
    return _folder(name), int(part.group(1)) if part else 0


def _check_members(members: list[zipfile.ZipInfo], source: str) -> None:
    for member in members:
        name = member.filename.replace("\\", "/")
        if name.startswith("/") or ".." in name.split("/") or re.match("[A-Za-z]:", name):
            raise DataError(
                f"{source} holds a file whose path leads out of the archive",
                hint="X makes no such archive; do not unpack it, and ask where it came from",
            )
        limit = max(_FREE_BYTES, member.compress_size * MAX_EXPANSION)
        if _is_posts_member(member) and member.file_size > limit:
            raise too_large(source)


def _no_posts(source: str, members: list[zipfile.ZipInfo]) -> DataError:
    names = ", ".join(sorted(member.filename for member in members)[:5]) or "nothing"
    return DataError(
        f"{source} is no X archive: it has no data/tweets.js (it holds {names})",
        hint="give the zip as X sent it; a zip of other exports has to be unpacked first",
    )


def _read_account(text_of: Callable[[str], str]) -> _Account:
    """Read the files about the account; an archive without them has an unnamed author."""
    username = ""
    for entry in _entries(text_of("account.js"), "account"):
        username = str(entry.get("username") or "")
    history = sorted(
        _entries(text_of("protected-history.js"), "protectedHistory"),
        key=lambda entry: str(entry.get("protectedAt", "")),
    )
    is_protected = bool(history) and str(history[-1].get("action", "")).lower() == "protect"
    return _Account(username, is_protected)


def _entries(text: str, wrapper: str) -> list[Mapping[str, Any]]:
    pieces = iter((text, ""))
    records = array_records(lambda: next(pieces), source="") if text else ()
    wrapped = [item[1].get(wrapper) for item in records if not isinstance(item, Rejected)]
    return [cast("Mapping[str, Any]", entry) for entry in wrapped if isinstance(entry, dict)]


def _read_posts(
    opened: Callable[[], AbstractContextManager[IO[bytes]]],
    account: _Account,
    options: ReadOptions,
    report: SourceReport,
) -> Iterator[Found]:
    report.network = options.network or _NETWORK
    with opened() as stream, TextSource(stream) as text:
        wrapped = array_records(text.read, source=report.name, first_key=_WRAPPER)
        records = _unwrapped(wrapped, report.name)
        for found in posts_from_records(records, options=options, report=report):
            if isinstance(found, Rejected | PrivatePost):
                yield found
            elif account.is_protected:
                yield PrivatePost(found.id)
            else:
                author = found.author or account.username
                native = found.id.partition(":")[2]
                url = found.url or f"https://x.com/{author or 'i'}/status/{native}"
                yield replace(found, author=author, url=url)
        report.num_recoded_lines += text.num_recoded_lines


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
