"""Files as exports come: compressed or not, in whatever encoding. Reads bytes, gives text.

Nothing is unpacked to disk, and what expands beyond reason is refused.
"""

import codecs
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import zstandard

from mynah.errors import DataError

__all__ = [
    "COMPRESSED",
    "FREE_BYTES",
    "MAX_EXPANSION",
    "MAX_LINE_CHARS",
    "TextSource",
    "open_bytes",
    "too_large",
    "unpacked",
]

COMPRESSED = (".gz", ".zst")
"""Endings of files that are read through a decompressor."""

MAX_EXPANSION = 200
"""Uncompressed over compressed size; posts as text or JSON stay well under 30."""
MAX_LINE_CHARS = 4 << 20
"""A longer line is no post."""
FREE_BYTES = 64 << 20
"""Below this much output no expansion is too large."""
_CHUNK_CHARS = 1 << 18
_ZSTD_BYTES = 1 << 11
"""Read at once: so few can be made to unpack to 64 MiB, before anybody counts."""

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_ESCAPED = re.compile("[\udc80-\udcff]+")


def too_large(name: str) -> DataError:
    """Build the error for a file that expands beyond ``MAX_EXPANSION``."""
    return DataError(
        f"{name} expands to more than {MAX_EXPANSION} times its size",
        hint="that is no export of posts; unpack it yourself if you trust it",
    )


class _Bounded(io.RawIOBase):
    """A decompressed stream that refuses to expand beyond reason."""

    def __init__(self, stream: IO[bytes], *, compressed_bytes: int, name: str) -> None:
        self._stream = stream
        self._limit = max(FREE_BYTES, compressed_bytes * MAX_EXPANSION)
        self._name = name
        self._num_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            block = self._stream.read(len(buffer))
        except (EOFError, OSError, zlib.error, zipfile.BadZipFile, zstandard.ZstdError) as error:
            raise DataError(
                f"{self._name} is cut short or damaged",
                hint="copy or download it again, and compare its size with the original",
            ) from error
        self._num_bytes += len(block)
        if self._num_bytes > self._limit:
            raise too_large(self._name)
        buffer[: len(block)] = block
        return len(block)


class _Zstd:
    """Frames of zstd one after the other; one that is cut short is an error."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        # Dumps of whole networks are packed with windows of up to 2 GiB.
        self._unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 31)
        self._frame = self._unpacker.decompressobj()
        self._is_inside = False
        self._packed = b""
        self._ready = b""

    def read(self, size: int) -> bytes:
        while not self._ready:
            packed = self._packed or self._stream.read(_ZSTD_BYTES)
            self._packed = b""
            if not packed:
                if self._is_inside:
                    raise EOFError("the last frame is cut short")
                return b""
            self._is_inside = True
            self._ready = self._frame.decompress(packed)
            if self._frame.eof:
                self._packed = self._frame.unused_data
                self._frame = self._unpacker.decompressobj()
                self._is_inside = False
        block, self._ready = self._ready[:size], self._ready[size:]
        return block


@contextmanager
def unpacked(
    raw: IO[bytes], *, num_bytes: int, name: str, is_compressed: bool = False
) -> Generator[IO[bytes]]:
    """Read ``raw`` through gzip or zstd when it starts like one of them.

    Args:
        raw: The bytes as they lie there.
        num_bytes: How many they are, compressed.
        name: For errors.
        is_compressed: Whether ``raw`` itself comes out of a decompressor, as a zip's member does.

    Raises:
        DataError: While reading: it is cut short, or expands beyond reason.
    """
    if is_compressed:
        member = _Bounded(raw, compressed_bytes=num_bytes, name=name)
        buffered = io.BufferedReader(member, 1 << 16)
    else:
        buffered = _buffered(raw)
    head = buffered.peek(4)[:4]
    if head.startswith(_GZIP):
        stream = cast("IO[bytes]", gzip.GzipFile(fileobj=buffered))
    elif head == _ZSTD:
        stream = cast("IO[bytes]", _Zstd(buffered))
    else:
        yield buffered
        return
    whole = _Bounded(stream, compressed_bytes=num_bytes, name=name)
    yield io.BufferedReader(whole, 1 << 16)


@contextmanager
def open_bytes(path: Path) -> Generator[IO[bytes]]:
    """Open ``path`` for reading, through gzip or zstd when it starts like one of them.

    Raises:
        DataError: While reading: it is cut short, or expands beyond reason.
    """
    with (
        path.open("rb") as raw,
        unpacked(raw, num_bytes=path.stat().st_size, name=path.name) as stream,
    ):
        yield stream


class TextSource:
    """A stream of bytes read as text: UTF-8, or what its byte-order mark says.

    Bytes that are not UTF-8 are read as Windows-1252, which is what they nearly always are, and
    counted.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        head, rest = _peek(stream)
        encoding = next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8")
        errors = "surrogateescape" if encoding.startswith("utf-8") else "replace"
        self._text = io.TextIOWrapper(rest, encoding=encoding, errors=errors, newline="")
        self.num_recoded_lines = 0

    def __enter__(self) -> "TextSource":
        return self

    def __exit__(self, *_: object) -> None:
        self._text.detach()  # whoever opened the stream closes it

    def lines(self) -> Iterator[str]:
        """Yield lines with their ends; a line over ``MAX_LINE_CHARS`` comes cut to that."""
        while line := self._text.readline(MAX_LINE_CHARS):
            if len(line) == MAX_LINE_CHARS and not line.endswith(("\n", "\r")):
                self._skip_line()
            yield self._mend(line)

    def read(self) -> str:
        """Return the next piece; empty at the end."""
        return self._mend(self._text.read(_CHUNK_CHARS))

    def _skip_line(self) -> None:
        while rest := self._text.readline(MAX_LINE_CHARS):
            if rest.endswith(("\n", "\r")):
                return

    def _mend(self, text: str) -> str:
        if text.isascii() or not _ESCAPED.search(text):
            return text
        self.num_recoded_lines += sum(1 for line in text.split("\n") if _ESCAPED.search(line))
        return _ESCAPED.sub(_as_windows_1252, text)


def _as_windows_1252(match: re.Match[str]) -> str:
    raw = match.group().encode("utf-8", "surrogateescape")
    # Five bytes have no meaning in Windows-1252; Latin-1 gives them one, a control character.
    return "".join(bytes([b]).decode("cp1252", "ignore") or chr(b) for b in raw)


def _peek(stream: IO[bytes]) -> tuple[bytes, IO[bytes]]:
    buffered = _buffered(stream)
    return buffered.peek(4)[:4], buffered


def _buffered(stream: IO[bytes]) -> io.BufferedReader:
    if isinstance(stream, io.BufferedReader):
        return stream
    return io.BufferedReader(cast("io.RawIOBase", stream))
