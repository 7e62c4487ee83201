"""The queue before the log: leaves that are signed and on disk, and not yet in the tree.

Reads and writes ``record/queue/``: files named after the index of their first leaf, each a row of
frames; a frame holds one process's leaves, the index they will have in the log, and a checksum.
The index is what makes a leaf go into the log once: a frame below the size of the log has been
written, the one at its size is next, and no file has to remember how far the writer came.
"""

import hashlib
import os
import struct
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from mynah.errors import RecordError, machine_errors
from mynah.record.guard import held, sync_folder
from mynah.record.tiles import pack_bundle, unpack_bundle

__all__ = ["Frame", "Queue"]

MAGIC = b"mynahq1\n"
WITHDRAWN = b"mynahq0\n"
"""In place of the magic: a frame that was taken back."""
HEADER = struct.Struct(">8sQII")
"""Magic, index of the first leaf, number of leaves, bytes that follow before the checksum."""
DIGEST_BYTES = 32
MAX_FILE_BYTES = 1 << 18
"""A file that is bigger is followed by a new one, and deleted once all of it is in the log."""
DAMAGED = "move the file away; what stands in it and not in the log is lost"


@dataclass(frozen=True, slots=True)
class Frame:
    """Leaves that one process put in the queue together."""

    first: int
    """Index of the first leaf in the log."""
    leaves: tuple[bytes, ...]
    path: Path
    offset: int
    """Where it begins in the file."""

    @property
    def end(self) -> int:
        """Index after the last leaf."""
        return self.first + len(self.leaves)


class Queue:
    """Leaves on their way into a log. Every method but ``lock`` wants the queue's lock held."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[Path, _Known] = {}

    @contextmanager
    def lock(self) -> Generator[None]:
        """Hold the queue; for as long as it takes to put leaves in, or to look."""
        with machine_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with held(self.folder / ".lock"):
            yield

    def frames(self, start: int) -> list[Frame]:
        """What is queued from leaf ``start`` of the log on, in order.

        Raises:
            RecordError: The queue does not go on where the log ends, or a frame is damaged.
        """
        found: list[Frame] = []
        files = self._files()
        for number, path in enumerate(files):
            if number + 1 < len(files) and int(files[number + 1].name) <= start:
                continue  # all of it is in the log
            known = self._read(path)
            known.frames = [frame for frame in known.frames if frame.end > start]
            found.extend(known.frames)
        at = start
        for frame in found:
            if frame.first != at:
                raise RecordError(
                    f"{frame.path} has leaf {frame.first} where {at} belongs: it is the queue of "
                    "another log, or of a copy of this one",
                    hint=DAMAGED,
                )
            at = frame.end
        return found

    def push(self, first: int, leaves: Sequence[bytes]) -> Frame:
        """Add a frame, on disk for good when this returns; ``first`` is the next free index.

        Raises:
            MachineError: The disk is full; the queue is as it was.
        """
        files = self._files()
        path = files[-1] if files else None
        if path is None or path.stat().st_size > MAX_FILE_BYTES:
            path = self.folder / f"{first:020d}"
        body = pack_bundle(leaves)
        frame = HEADER.pack(MAGIC, first, len(leaves), len(body)) + body
        known = self._read(path)
        made = Frame(first, tuple(leaves), path, known.end)
        with machine_errors(path):
            is_new = not path.exists()
            _append(path, known.end, frame + hashlib.sha256(frame).digest())
            if is_new:
                sync_folder(self.folder)
        known.end += len(frame) + DIGEST_BYTES
        known.frames.append(made)
        return made

    def withdraw(self, frame: Frame) -> bool:
        """Take back the last frame; ``False`` when others stand behind it already."""
        frames = self.frames(frame.first)
        if not frames or frames[-1] != frame:
            return False
        descriptor = os.open(frame.path, os.O_WRONLY)
        try:
            os.pwrite(descriptor, WITHDRAWN, frame.offset)  # in place: the disk may be full
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return True

    def first(self) -> int | None:
        """Index of the first leaf that is still in a file; ``None`` where there is no file."""
        files = self._files()
        return int(files[0].name) if files else None

    def drop_written(self, size: int) -> None:
        """Delete files of which every leaf is in the log."""
        files = self._files()
        for path, following in pairwise(files):
            if int(following.name) <= size:
                path.unlink(missing_ok=True)
        if files and files[-1].stat().st_size > MAX_FILE_BYTES:
            known = self._read(files[-1])
            if int(files[-1].name) < size and all(frame.end <= size for frame in known.frames):
                files[-1].unlink(missing_ok=True)
        self._known = {path: known for path, known in self._known.items() if path.exists()}

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*") if path.name.isdecimal())

    def _read(self, path: Path) -> "_Known":
        """Read what was added since last time; what a kill left behind the last frame is not."""
        known = self._known.setdefault(path, _Known())
        try:
            with path.open("rb") as stream:
                if known.frames:  # the last may have been taken back, and others before it
                    stream.seek(known.frames[-1].offset)
                    if stream.read(len(MAGIC)) != MAGIC:
                        known = self._known[path] = _Known()
                stream.seek(known.end)
                data = stream.read()
        except FileNotFoundError:
            known = self._known[path] = _Known()
            return known
        at = 0
        while size := _frame_size(data, at, path=path):
            if data[at : at + len(MAGIC)] == MAGIC:
                known.frames.append(_parse(data[at : at + size], path, known.end))
            at += size
            known.end += size
        return known


class _Known:
    """What this process has read of a file."""

    def __init__(self) -> None:
        self.end = 0
        self.frames: list[Frame] = []


def _frame_size(data: bytes, at: int, *, path: Path) -> int:
    """Bytes of the frame at ``at``; 0 where only the rest of a killed write stands."""
    if len(data) - at < HEADER.size:
        return 0
    magic, _, _, num_bytes = HEADER.unpack_from(data, at)
    size = HEADER.size + num_bytes + DIGEST_BYTES
    if magic in (MAGIC, WITHDRAWN):
        if at + size > len(data):
            return 0
        whole = MAGIC + data[at + len(MAGIC) : at + size]
        if hashlib.sha256(whole[:-DIGEST_BYTES]).digest() == whole[-DIGEST_BYTES:]:
            return size
        if at + size == len(data):
            return 0  # the last one, which a power cut left with holes
    elif not data[at:].strip(b"\x00"):
        return 0
    raise RecordError(f"{path} is damaged: a frame does not give its checksum", hint=DAMAGED)


def _parse(frame: bytes, path: Path, offset: int) -> Frame:
    _, first, count, _ = HEADER.unpack_from(frame)
    leaves = unpack_bundle(frame[HEADER.size : -DIGEST_BYTES], name=path)
    if len(leaves) != count:
        raise RecordError(f"{path} is damaged: a frame has {len(leaves)} leaves", hint=DAMAGED)
    return Frame(first, tuple(leaves), path, offset)


def _append(path: Path, end: int, frame: bytes) -> None:
    """Write behind the last whole frame; a write that fails leaves nothing."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.ftruncate(descriptor, end)
        os.lseek(descriptor, end, os.SEEK_SET)
        try:
            left = memoryview(frame)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, end)
            raise
    finally:
        os.close(descriptor)
