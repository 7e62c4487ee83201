"""Zips as exports come: checked, then read member by member. Nothing is unpacked to disk."""

import re
import zipfile
from pathlib import Path

from mynah.errors import DataError
from mynah.posts.streams import FREE_BYTES, MAX_EXPANSION, too_large

__all__ = ["open_archive"]

MAX_MEMBERS = 500_000
"""More files than any export has; a zip of a megabyte can name millions."""


def open_archive(path: Path, *, name: str) -> zipfile.ZipFile:
    """Open a zip and check its list of files.

    Raises:
        DataError: It is no zip, is cut short, is encrypted, or is made to harm.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise DataError(
            f"{name} is cut short or no zip archive: {error}",
            hint="download the archive again, and compare its size with the original",
        ) from error
    try:
        _check(archive.infolist(), name)
        _check_as_a_whole(archive.infolist(), path.stat().st_size, name)
    except DataError:
        archive.close()
        raise
    return archive


def _check(members: list[zipfile.ZipInfo], source: str) -> None:
    if len(members) > MAX_MEMBERS:
        raise DataError(
            f"{source} holds {len(members):,} files, more than {MAX_MEMBERS:,}",
            hint="that is no export of posts; unpack it yourself if you trust it",
        )
    for member in members:
        name = member.filename.replace("\\", "/")
        if name.startswith("/") or ".." in name.split("/") or re.match("[A-Za-z]:", name):
            raise DataError(
                f"{source} holds a file whose path leads out of the archive",
                hint="no network makes such an archive; do not unpack it, and ask where it is from",
            )
        if member.file_size > max(FREE_BYTES, member.compress_size * MAX_EXPANSION):
            raise too_large(source)
        if member.flag_bits & 1:
            raise DataError(
                f"{source} is encrypted", hint="unpack it with its password, give the folder"
            )


def _check_as_a_whole(members: list[zipfile.ZipInfo], num_bytes: int, source: str) -> None:
    """Refuse what only all files together show: thousands that are each small enough."""
    files = [member for member in members if not member.is_dir()]
    # Members that lie over one another are packed in fewer bytes than they say.
    if sum(member.compress_size for member in files) > num_bytes:
        raise too_large(source)
    if sum(member.file_size for member in files) > max(FREE_BYTES, num_bytes * MAX_EXPANSION):
        raise too_large(source)
    if len({member.filename for member in files}) < len(files):
        raise DataError(
            f"{source} holds two files of one name",
            hint="which of them is meant cannot be told; unpack it yourself and give the folder",
        )
