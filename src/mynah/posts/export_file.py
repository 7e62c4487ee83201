"""One file of an export, on disk or inside a zip, and the small files beside it."""

import hashlib
import posixpath
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mynah.errors import DataError
from mynah.posts.streams import COMPRESSED, TextSource, unpacked
from mynah.workspace import file_sha256

__all__ = ["ExportFile", "printable"]

MAX_BESIDE_BYTES = 64 << 20
"""A file beside the posts, such as a list of users, is never larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFile:
    """A file with posts in it; a zip is treated as the folder it unpacks to."""

    path: Path
    """The file on disk; of a member, its zip."""
    name: str
    """As it is shown: relative to what was given."""
    archive: zipfile.ZipFile | None = None
    """The open zip that it is a member of."""
    member: str = ""

    @property
    def file_name(self) -> str:
        """The last part of its name."""
        return self.member.rpartition("/")[2] if self.archive else self.path.name

    @property
    def extension(self) -> str:
        """Ending in lower case, the one that says how it is compressed left out."""
        suffixes = [suffix.lower() for suffix in Path(self.file_name).suffixes]
        if suffixes and suffixes[-1] in COMPRESSED:
            suffixes.pop()
        return suffixes[-1] if suffixes else ""

    @property
    def num_bytes(self) -> int:
        """Size as it lies there, compressed or not."""
        if self.archive is None:
            return self.path.stat().st_size
        return self.archive.getinfo(self.member).file_size

    @contextmanager
    def open_bytes(self) -> Generator[IO[bytes]]:
        """Open it for reading, through gzip or zstd when it starts like one of them.

        Raises:
            DataError: While reading: it is cut short, or expands beyond reason.
        """
        if self.archive is None:
            with (
                self.path.open("rb") as raw,
                unpacked(raw, num_bytes=self.num_bytes, name=self.name) as stream,
            ):
                yield stream
            return
        info = self.archive.getinfo(self.member)
        with (
            _opened(self.archive, info, name=self.name) as raw,
            unpacked(
                raw, num_bytes=info.compress_size, name=self.name, is_compressed=True
            ) as stream,
        ):
            yield stream

    @contextmanager
    def open_text(self) -> Generator[TextSource]:
        """Open it as text, in whatever encoding it is."""
        with self.open_bytes() as stream, TextSource(stream) as text:
            yield text

    def beside(self, relative: str) -> bytes | None:
        """Return the content of a file named from this one's folder, as in ``../users.json``.

        ``None`` when there is none, or it lies outside of the export's zip.
        """
        if self.archive is not None:
            name = posixpath.normpath(posixpath.join(posixpath.dirname(self.member), relative))
            try:
                info = self.archive.getinfo(name)
            except KeyError:
                return None
            other = ExportFile(path=self.path, name=name, archive=self.archive, member=name)
            size = info.file_size
        else:
            path = self.path.parent / relative
            if not path.is_file():
                return None
            other = ExportFile(path=path, name=path.name)
            size = path.stat().st_size
        if size > MAX_BESIDE_BYTES:
            return None
        with other.open_bytes() as stream:
            return stream.read(MAX_BESIDE_BYTES)

    def sha256(self) -> str:
        """Hash its bytes as they lie there."""
        if self.archive is None:
            return file_sha256(self.path)
        info = self.archive.getinfo(self.member)
        # The zip as a whole is hashed once by whoever opened it; its members by what it says.
        seed = f"{self.member}\0{info.CRC}\0{info.file_size}".encode()
        return hashlib.sha256(seed).hexdigest()


def _opened(archive: zipfile.ZipFile, info: zipfile.ZipInfo, *, name: str) -> IO[bytes]:
    """Open a member; its own header may say something else than the archive's list."""
    try:
        return archive.open(info)
    except (zipfile.BadZipFile, RuntimeError, OSError, ValueError) as error:
        raise DataError(
            f"{name} is damaged, or packed in a way that is not known",
            hint="download the archive again, or unpack it yourself and give the folder",
        ) from error


def printable(name: str) -> str:
    """Return a name as it may be shown: nothing in it moves the cursor or begins a line."""
    return "".join(char if char.isprintable() else "?" for char in name)
