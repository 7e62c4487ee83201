"""The guard: what this identity signed last for a log, kept outside every workspace.

Reads and writes ``<keys>/logs/<log>/``: ``tree_head`` (the signed note), ``workspace`` (where the
log was last written; for messages, and to see that a record was deleted), ``register.json``, and
the lock that makes one writer of many. A tree that does not go on from the one here is not signed.
"""

import fcntl
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from mynah.errors import RecordError, machine_errors
from mynah.record.identity import Identity
from mynah.record.notes import Note, TreeHead, VerifierKey, parse_note, verify_note

__all__ = ["Guard", "held", "sync_folder", "write_synced"]

WAIT_S = 30.0
"""A writer is done in milliseconds; who waits longer waits for one that hangs."""


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file whose content survives a power cut; its name does once the folder is synced."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def held(
    path: Path, *, wait_s: float = WAIT_S, is_done: Callable[[], bool] | None = None
) -> Generator[bool]:
    """Hold an exclusive lock that ends with this process, however it ends.

    Args:
        path: The lock file.
        wait_s: How long to wait for another process.
        is_done: Asked while waiting; once it says yes, the lock is not needed any more.

    Yields:
        Whether the lock is held.

    Raises:
        RecordError: Another process held it all the time.
    """
    deadline_s = time.monotonic() + wait_s
    pause_s = 0.0005
    with machine_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_held = True
                break
            except BlockingIOError as error:
                if is_done is not None and is_done():
                    is_held = False
                    break
                if time.monotonic() >= deadline_s:
                    raise RecordError(
                        f"another process has held {path} for {wait_s:.0f} s",
                        hint="look for a mynah that hangs, end it, and run the command again",
                    ) from error
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, 0.02)
        yield is_held
    finally:
        os.close(descriptor)


class Guard:
    """Memory of one log that this identity signs."""

    def __init__(self, identity: Identity, origin: str) -> None:
        self.folder = identity.guard(origin)
        self.key: VerifierKey = identity.log_key(origin).verifier()
        self._last: tuple[bytes, Note, TreeHead] | None = None

    @property
    def lock(self) -> Path:
        """Lock of the one writer, whatever folder it writes to."""
        return self.folder / ".lock"

    @property
    def register(self) -> Path:
        """Snapshot of what the log's leaves add up to; see ``record``."""
        return self.folder / "register.json"

    def read(self) -> tuple[Note, TreeHead] | None:
        """The note signed last; ``None`` when this identity never signed this log.

        Raises:
            RecordError: What stands there was not signed by this identity.
        """
        try:
            data = (self.folder / "tree_head").read_bytes()
        except FileNotFoundError:
            return None
        if self._last is None or self._last[0] != data:
            self._last = (data, *read_head(data, self.key, name=self.folder / "tree_head"))
        return self._last[1], self._last[2]

    def write(self, note: Note) -> None:
        """Remember ``note``, so that it survives a power cut."""
        with machine_errors(self.folder):
            data = note.encode()
            aside = self.folder / ".tree_head.writing"
            try:
                write_synced(aside, data)
                aside.replace(self.folder / "tree_head")
            finally:
                aside.unlink(missing_ok=True)  # a full disk must not be kept full
            sync_folder(self.folder)
        self._last = (data, note, TreeHead.parse(note.text))

    @property
    def workspace(self) -> str:
        """Where the log was written last; empty when nobody knows."""
        try:
            return (self.folder / "workspace").read_text().strip()
        except FileNotFoundError:
            return ""

    def set_workspace(self, path: Path) -> None:
        """Remember where the log lies."""
        text = f"{path.resolve()}\n"
        if self.workspace != text.strip():
            with machine_errors(self.folder):
                aside = self.folder / ".workspace.writing"
                write_synced(aside, text.encode())
                aside.replace(self.folder / "workspace")

    @classmethod
    def of_workspace(cls, identity: Identity, workspace: Path) -> "Guard | None":
        """The guard that knows this workspace by its path; the biggest log, should two do."""
        place = str(workspace.resolve())
        found: list[tuple[int, Guard]] = []
        for path in identity.logs.glob("*/workspace"):
            note = path.with_name("tree_head")
            if path.read_text().strip() == place and note.is_file():
                origin = note.read_text().partition("\n")[0]
                guard = cls(identity, origin)
                head = guard.read()
                if guard.folder == path.parent and head is not None:
                    found.append((head[1].size, guard))
        return max(found, key=lambda pair: pair[0])[1] if found else None


def read_head(data: bytes, key: VerifierKey, *, name: Path) -> tuple[Note, TreeHead]:
    """Take a signed tree head apart and check the log's signature.

    Raises:
        RecordError: Says what is wrong with the file ``name``.
    """
    try:
        note = parse_note(data)
        verify_note(note, (key,))
        head = TreeHead.parse(note.text)
    except RecordError as error:
        raise RecordError(f"{name}: {error.message}", hint=error.hint) from error
    if head.origin != key.name:
        raise RecordError(
            f"{name} is the tree head of {head.origin}, not of {key.name}",
            hint="get the log again from where it was published",
        )
    return note, head
