"""The files behind what a person gave: folders and zips expanded, formats told from their content.

Reads the first bytes of every file; writes nothing.
"""

import hashlib
import logging
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mynah.errors import ConfigError, DataError
from mynah.posts.archives import open_archive
from mynah.posts.export_file import ExportFile, printable
from mynah.posts.format import Format, Head, look_at
from mynah.posts.formats import FORMATS
from mynah.posts.reader import Found, ReadOptions, SourceReport
from mynah.posts.readers.x_archive import is_posts_file
from mynah.workspace import SETTINGS, file_sha256

__all__ = ["Source", "opened_sources"]

logger = logging.getLogger(__name__)

_PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".svg", ".mp4", ".mov", ".mp3", ".ogg")
_PROGRAMS = (".html", ".htm", ".css", ".js", ".py", ".exe", ".db", ".sqlite", ".md", ".toml")
_NOT_POSTS = frozenset([*_PICTURES, *_PROGRAMS, ".pdf", ".yaml"])
"""Endings that are not looked into when a folder is given. Every script of an X archive but its
posts stays closed: some are direct messages."""
_TABLES = frozenset(["delimited"])
"""Formats that nearly any text would pass for: in a folder their ending has to say so."""
_TABLE_EXTENSIONS = frozenset([".csv", ".tsv", ".tab"])
_ZIP_MARKS = (b"PK\x03\x04", b"PK\x05\x06")
_MANY = 8
"""File names that an error lists at the most."""
_UNREAD = Format(
    name="unread",
    title="A file that is damaged, or that may not be opened",
    read=lambda file, options, report: iter(()),
    sniff=lambda head: False,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file of posts."""

    file: ExportFile
    format: Format
    is_named: bool
    """Whether the person named this very file, rather than a folder it lies in."""
    sha256: str
    damage: DataError | None = None
    """Why it cannot be read at all; only of a file that was found rather than named."""

    @property
    def name(self) -> str:
        """As it is shown: relative to what was given."""
        return self.file.name

    def read(self, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
        """Stream what the file holds; ``report`` fills as it goes.

        Raises:
            DataError: It is damaged, from some place on or altogether.
        """
        if self.damage is not None:
            raise self.damage
        return self.format.read(self.file, options, report)

    def facts(self) -> dict[str, Any]:
        """Return what the reading of this file depends on, without where it lies."""
        facts: dict[str, Any] = {
            "name": self.name,
            "format": self.format.name,
            "bytes": self.file.num_bytes,
            "sha256": self.sha256,
        }
        if self.file.archive is None and self.format.companions:
            # A chat's members lie one folder up from its days.
            folder = self.file.path.parent
            names = sorted(self.format.companions)
            beside = [place / name for place in (folder, folder.parent) for name in names]
            facts["beside"] = [_hash(path) for path in beside if path.is_file()]
        return facts


def _hash(path: Path) -> str:
    facts = path.stat()
    return _hashed(path, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=64)
def _hashed(path: Path, _mtime_ns: int, _size: int) -> str:
    return file_sha256(path)


@contextmanager
def opened_sources(paths: Sequence[Path], *, options: ReadOptions) -> Generator[list[Source]]:
    """Expand folders and zips and tell every file's format from its content, in a stable order.

    Raises:
        ConfigError: ``options.format`` is no format.
        DataError: A path is missing, is no export, or a folder or zip holds none.
    """
    forced = _forced(options.format)
    with ExitStack() as stack:
        finder = _Finder(forced, stack)
        sources: list[Source] = []
        for path in paths:
            if path.is_dir():
                sources.extend(finder.in_folder(path))
            elif path.is_file():
                sources.extend(finder.named(path))
            else:
                raise DataError(
                    f"there is no file or folder at {path}",
                    hint="check the path; a folder or several files may be given",
                )
        yield sorted(sources, key=lambda source: (source.name, str(source.file.path)))


def _forced(name: str) -> Format | None:
    if not name:
        return None
    for format_ in FORMATS:
        if format_.name == name:
            return format_
    raise ConfigError(
        f"there is no format {name!r}",
        hint=f"formats are: {', '.join(format_.name for format_ in FORMATS)}",
    )


@dataclass(slots=True)
class _Finder:
    """Finds sources; the zips it opens are closed with its stack."""

    forced: Format | None
    stack: ExitStack

    def named(self, path: Path) -> list[Source]:
        name = printable(path.name)
        if _is_zip(path, name):
            return _some(*self._in_zip(path, name), place=name)
        file = ExportFile(path=path, name=name)
        return [self._source(file, self._format_of(look_at(file)), is_named=True)]

    def in_folder(self, folder: Path) -> list[Source]:
        if (folder / SETTINGS).is_file():
            raise DataError(
                f"{folder} is a workspace of mynah, not an export",
                hint=f"to go on with it: mynah up {folder}; to read posts, name the export itself",
            )
        found: list[Source] = []
        others: list[str] = []
        for path, shown in _walk(folder):
            if not _may_hold_posts(path.name):
                others.append(shown)
                continue
            file = ExportFile(path=path, name=shown)
            try:
                is_zip = _is_zip(path, shown)
                sources = self._in_zip(path, shown)[0] if is_zip else self._found(file)
            except DataError as error:
                sources = [_unread(file, error)]
            found.extend(sources)
            others.extend([] if sources else [shown])
        return _some(found, others, place=f"the folder {folder}")

    def _in_zip(self, path: Path, name: str) -> tuple[list[Source], list[str]]:
        """What a zip holds: sources, and the names of files that are none."""
        archive = self.stack.enter_context(open_archive(path, name=name))
        digest = file_sha256(path)
        found: list[Source] = []
        others: list[str] = []
        for member in sorted(archive.namelist()):
            if member.endswith("/"):
                continue
            shown = printable(member)
            file = ExportFile(path=path, name=f"{name}:{shown}", archive=archive, member=member)
            sources = self._found(file, digest=digest) if _may_hold_posts(member) else []
            found.extend(sources)
            others.extend([] if sources else [shown])
        return found, others

    def _found(self, file: ExportFile, *, digest: str = "") -> list[Source]:
        """The file as a source; none when it holds no posts."""
        try:
            head = look_at(file)
        except DataError as error:
            return [_unread(file, error)]
        try:
            format_ = self._format_of(head)
        except DataError as error:
            logger.info("left out %s: %s", file.name, error.message)
            return []
        is_table = format_.name in _TABLES and not self.forced
        if is_table and file.extension not in _TABLE_EXTENSIONS:
            return []
        return [self._source(file, format_, is_named=False, digest=digest)]

    def _source(
        self, file: ExportFile, format_: Format, *, is_named: bool, digest: str = ""
    ) -> Source:
        sha256 = f"{digest[:32]}{file.sha256()[:32]}" if digest else file.sha256()
        return Source(file=file, format=format_, is_named=is_named, sha256=sha256)

    def _format_of(self, head: Head) -> Format:
        """Tell the format from the first bytes."""
        if self.forced is not None:
            return self.forced
        for format_ in FORMATS:
            if format_.sniff(head):
                return format_
        raise _unknown(head)


def _unread(file: ExportFile, damage: DataError) -> Source:
    """A file whose beginning cannot be read: it is counted when its turn comes."""
    digest = hashlib.sha256(f"{file.name}\0{damage.message}".encode()).hexdigest()
    return Source(file=file, format=_UNREAD, is_named=False, sha256=digest, damage=damage)


def _some(found: list[Source], others: Sequence[str], *, place: str) -> list[Source]:
    """Return what was found; an error when none of it can be read."""
    if any(source.damage is None for source in found):
        return _without_companions(found)
    for source in found:
        if source.damage is not None:
            raise source.damage
    raise _nothing_in(place, others)


def _nothing_in(place: str, others: Sequence[str]) -> DataError:
    if not others:
        return DataError(
            f"{place} is empty",
            hint="give a folder or archive with an export in it, or the file itself",
        )
    names = ", ".join(others[:_MANY]) + (" ..." if len(others) > _MANY else "")
    return DataError(
        f"{place} holds no posts: it has {names}",
        hint="an X archive has its posts in data/tweets.js; `mynah posts formats` lists "
        "everything that is read",
    )


def _is_zip(path: Path, name: str) -> bool:
    try:
        with path.open("rb") as stream:
            magic = stream.read(4)
    except OSError as error:
        raise DataError(
            f"{name} cannot be opened: {error.strerror}",
            hint="check its permissions and the disk, then run the same command again",
        ) from error
    if magic in _ZIP_MARKS:
        return True
    if path.suffix.lower() == ".zip":
        raise DataError(
            f"{name} is no zip archive, whatever its name says",
            hint="download it again; a zip starts with PK",
        )
    return False


def _unknown(head: Head) -> DataError:
    if head.shape == "binary":
        return DataError(
            f"{head.name} is neither text nor a format of posts that is known",
            hint="`mynah posts formats` lists what is read; --format NAME forces one",
        )
    if head.shape == "object":
        keys = ", ".join(sorted(head.keys)[:_MANY]) or "none"
        return DataError(
            f"{head.name} is one JSON object of no format that is known (its keys: {keys})",
            hint="give JSON lines (one post a line), an array of posts, or --format NAME",
        )
    return DataError(
        f"{head.name} is in no format of posts that is known",
        hint="`mynah posts formats` lists what is read; --format NAME forces one",
    )


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
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
            if path.is_file():
                yield path, printable(path.relative_to(folder).as_posix())


def _may_hold_posts(name: str) -> bool:
    last = name.rpartition("/")[2]
    if last.startswith(".") or "__MACOSX" in name:
        return False
    if is_posts_file(last):
        return True
    return Path(last).suffix.lower() not in _NOT_POSTS


def _without_companions(found: list[Source]) -> list[Source]:
    """Leave out files that belong to an export beside them and hold no posts."""
    formats = {source.format.name: source.format for source in found}

    def is_companion(source: Source) -> bool:
        return any(
            source.file.file_name in format_.companions
            for name, format_ in formats.items()
            if name != source.format.name
        )

    return [source for source in found if not is_companion(source)]
