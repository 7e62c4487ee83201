"""Where a published log is read from: a folder, or any web server over http or https.

Reads files by their path below the log; every read has a limit of size, and over the network one
of time. A file that is not there is ``None``; a server that does not answer is an error, for it
shows nothing about the log.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx

from mynah.errors import DataError, MachineError

__all__ = ["FolderSource", "LogSource", "UrlSource", "open_source"]

TRIES = 4
FIRST_WAIT_S = 0.2
TIMEOUT = httpx.Timeout(20.0, connect=10.0)
MAX_FILE_S = 300.0
"""A server that sends a byte now and then holds nobody up for longer."""


class LogSource(Protocol):
    """A published log; picklable, for worker processes read it, too."""

    @property
    def location(self) -> str:
        """For people: where it is."""
        ...

    def read(self, path: str, *, max_bytes: int) -> bytes | None:
        """A file by its path below the log, or ``None`` when there is none.

        Raises:
            DataError: It is larger than ``max_bytes``.
            MachineError: It cannot be known whether it is there.
        """
        ...


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A log on a disk."""

    folder: Path

    @property
    def location(self) -> str:
        """The folder."""
        return str(self.folder)

    def read(self, path: str, *, max_bytes: int) -> bytes | None:
        """See ``LogSource``."""
        try:
            with (self.folder / path).open("rb") as stream:
                found = stream.read(max_bytes + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise MachineError(
                f"{self.folder / path} cannot be read: {error.strerror}",
                hint="check the disk and who may read the folder, then run it again",
            ) from error
        return _limited(found, path, max_bytes)


@dataclass(slots=True)
class UrlSource:
    """A log on a web server."""

    url: str
    """Prefix, without a slash at its end."""
    client: httpx.Client | None = field(default=None, repr=False)

    @property
    def location(self) -> str:
        """The address."""
        return self.url

    def __reduce__(self) -> tuple[type["UrlSource"], tuple[str]]:
        return UrlSource, (self.url,)  # each process has connections of its own

    def read(self, path: str, *, max_bytes: int) -> bytes | None:
        """See ``LogSource``; tries again when the server or the way to it fails."""
        if self.client is None:
            headers = {"User-Agent": "mynah-record-verify", "Accept-Encoding": "gzip, identity"}
            self.client = httpx.Client(timeout=TIMEOUT, headers=headers, follow_redirects=True)
        reason = ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(FIRST_WAIT_S * 2 ** (attempt - 1))
            try:
                status, found = self._get(self.client, path, max_bytes)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                reason = str(error) or type(error).__name__
                continue
            if status == 200:
                return _limited(found, path, max_bytes)
            if status in (404, 410):
                return None
            reason = f"status {status}"
            if status < 500 and status not in (408, 425, 429):
                break
        raise MachineError(
            f"{self.url}/{path} cannot be had: {reason}",
            hint="try again later; a log that cannot be read is neither kept nor broken",
        )

    def _get(self, client: httpx.Client, path: str, max_bytes: int) -> tuple[int, bytes]:
        until_s = time.monotonic() + MAX_FILE_S
        found = bytearray()
        with client.stream("GET", f"{self.url}/{path}") as answer:
            if answer.status_code == 200:
                for part in answer.iter_bytes():
                    found += part
                    if len(found) > max_bytes:
                        break
                    if time.monotonic() > until_s:
                        raise httpx.ReadTimeout(f"not whole after {MAX_FILE_S:.0f} s")
            return answer.status_code, bytes(found)


def _limited(found: bytes, path: str, max_bytes: int) -> bytes:
    if len(found) > max_bytes:
        raise DataError(
            f"{path} is larger than {max_bytes} bytes, more than any log has there",
            hint="this is not a log of mynah, or its server is broken: ask who runs it",
        )
    return found


def open_source(source: str | Path | LogSource) -> LogSource:
    """A log by its address or folder; a workspace's folder stands for its log.

    Raises:
        DataError: There is no folder with a tree head, or the address is no address.
    """
    if not isinstance(source, str | Path):
        return source
    text = str(source)
    if isinstance(source, str) and "://" in text:
        try:
            url = httpx.URL(text)
        except httpx.InvalidURL:
            url = httpx.URL("")
        if url.scheme not in ("http", "https") or not url.host or " " in text:
            raise DataError(
                f"{text[:200]!r} is no address of a log", hint="write it as https://HOST/PATH"
            )
        return UrlSource(text.rstrip("/"))
    folder = Path(source)
    for place in (folder, folder / "log", folder / "record" / "log"):
        if (place / "checkpoint").is_file():
            return FolderSource(place)
    raise DataError(
        f"{folder} holds no log: it has no file named checkpoint",
        hint="give the folder or the address that the log is published at",
    )
