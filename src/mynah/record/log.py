"""The log on disk: C2SP tlog-tiles, read by anyone, written by one process at a time.

Reads and writes a folder that any static file server publishes as it is: ``checkpoint`` (the
signed tree head), ``vkey`` (the key that signs it, for convenience), ``tile/``. A commit writes
tiles aside, syncs and renames them, then the guard (see ``guard``), then ``checkpoint``; a kill
between any two of these leaves the tree before or the tree after, and the next writer goes on.
"""

import base64
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mynah.errors import MachineError, RecordError, machine_errors
from mynah.record.committing import ASIDE, drop_filled, publish, stage, sweep
from mynah.record.guard import WAIT_S, Guard, held, read_head
from mynah.record.identity import Identity
from mynah.record.notes import Note, NoteSignature, TreeHead, VerifierKey, parse_note, sign_note
from mynah.record.tiles import MAX_LEAF_BYTES, RESTORE, TreeReader
from mynah.record.tree import (
    EMPTY_ROOT,
    check_consistency,
    consistency_proof,
    inclusion_proof,
)

__all__ = ["LogReader", "RecordLog", "check_leaf", "read_origin"]

logger = logging.getLogger(__name__)
PROOF = "c2sp.org/tlog-proof@v1"


class LogReader:
    """A log as a stranger sees it: nothing is believed that the tree head does not vouch for."""

    def __init__(self, folder: Path, key: VerifierKey) -> None:
        self.folder = folder
        self.key = key
        self._checked: tuple[bytes, Note, TreeHead] | None = None
        self._tree: TreeReader | None = None

    @classmethod
    def open(cls, folder: Path, key: VerifierKey) -> "LogReader":
        """Read a log that ``key`` signs.

        Raises:
            RecordError: There is no tree head, or another key signed it.
        """
        reader = LogReader(folder, key)
        reader.head()
        return reader

    def signed_head(self) -> tuple[Note, TreeHead]:
        """The published note and what it says, its signature checked."""
        path = self.folder / "checkpoint"
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise RecordError(f"{self.folder} is no log: it has no checkpoint", hint=RESTORE) from (
                error
            )
        if self._checked is None or self._checked[0] != data:
            self._checked = (data, *read_head(data, self.key, name=path))
        return self._checked[1], self._checked[2]

    def note(self) -> Note:
        """The signed tree head with all its cosignatures."""
        return self.signed_head()[0]

    def head(self) -> TreeHead:
        """Size and root of the log now."""
        return self.signed_head()[1]

    def tree(self) -> TreeReader:
        """The tree of ``head``, its right edge checked against the root."""
        head = self.head()
        while self._tree is None or self._tree.head != head:
            try:
                self._tree = TreeReader(self.folder, head)
            except RecordError:
                if self.head() == head:
                    raise
                head = self.head()  # a writer went on meanwhile, and swept behind itself
        return self._tree

    def leaf(self, index: int) -> bytes:
        """One leaf, checked against the tree."""
        tree = self.tree()
        _check_range(index, index + 1, tree.head.size)
        return tree.leaf(index)

    def leaves(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Leaves in their order, each checked against the tree."""
        tree = self.tree()
        stop = tree.head.size if stop is None else stop
        _check_range(start, stop, tree.head.size)
        return tree.leaves(start, stop)

    def hash_at(self, height: int, number: int) -> bytes:
        """Root of a complete subtree; see ``tree.HashAt``."""
        tree = self.tree()
        _check_range(number << height, (number + 1) << height, tree.head.size)
        return tree.hash_at(height, number)

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """Hashes that show a leaf to be in the tree of ``size`` leaves, or of all."""
        tree = self.tree()
        size = tree.head.size if size is None else size
        _check_range(0, size, tree.head.size)
        return inclusion_proof(index, size, tree.hash_at)

    def consistency_proof(self, old: int, new: int | None = None) -> list[bytes]:
        """Hashes that show the tree of ``new`` leaves, or of all, to go on from that of ``old``."""
        tree = self.tree()
        new = tree.head.size if new is None else new
        _check_range(0, new, tree.head.size)
        return consistency_proof(old, new, tree.hash_at)

    def tlog_proof(self, index: int) -> bytes:
        """A proof of one leaf that stands alone, with the tree head (C2SP tlog-proof)."""
        note, head = self.signed_head()
        proof = self.inclusion_proof(index, head.size)
        hashes = "".join(f"{base64.b64encode(step).decode()}\n" for step in proof)
        return f"{PROOF}\nindex {index}\n{hashes}\n".encode() + note.encode()


def _check_range(start: int, stop: int, size: int) -> None:
    if not 0 <= start <= stop <= size:
        raise RecordError(
            f"leaves {start} to {stop} are asked for, the log has {size}",
            hint="ask for leaves below the size of the tree head",
        )


class RecordLog(LogReader):
    """The one writer of a log. Its head is what it signed last, published or not yet."""

    def __init__(self, folder: Path, identity: Identity, origin: str) -> None:
        super().__init__(folder, identity.log_key(origin).verifier())
        self.identity = identity
        self.guard = Guard(identity, origin)

    @classmethod
    def open(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, folder: Path, identity: Identity, *, origin: str | None = None
    ) -> "RecordLog":
        """Open the log in ``folder``; begin one where none is. Finishes what a kill left half done.

        Raises:
            RecordError: The log is not what this identity signed last: it is older, another,
                damaged, or signed by another key. Says which.
        """
        if origin is None:
            origin = read_origin(folder) or identity.new_origin(folder)
        log = cls(folder, identity, origin)
        if not log._is_published() or (folder / ASIDE).exists():
            with log.writing():
                pass  # entering it recovers
        else:
            log.tree()
        return log

    def signed_head(self) -> tuple[Note, TreeHead]:
        """The note signed last."""
        signed = self.guard.read()
        if signed is None:
            raise RecordError(
                f"this identity, {self.identity.name}, never signed the log {self.key.name}",
                hint="set MYNAH_KEYS to the keys that did, or begin another workspace",
            )
        return signed

    def tree(self) -> TreeReader:
        """The tree signed last; what lies on disk is compared with it.

        Raises:
            RecordError: The disk has another tree; says why.
        """
        try:
            return super().tree()
        except RecordError as error:
            raise self._why_other(error) from error

    @contextmanager
    def writing(
        self, *, wait_s: float = WAIT_S, is_done: Callable[[], bool] | None = None
    ) -> Generator[bool]:
        """Be the one writer: wait for others, then compare the disk with the guard.

        Yields:
            Whether this process is the writer; it is not, once ``is_done`` says so while waiting.

        Raises:
            RecordError: Another process writes all the time, or the disk has another tree.
        """
        with machine_errors(self.guard.folder):
            self.guard.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with held(self.guard.lock, wait_s=wait_s, is_done=is_done) as is_held:
            if is_held:
                self._recover()
            yield is_held

    def _recover(self) -> None:
        """Bring disk and guard together after a kill."""
        with machine_errors(self.folder):
            if not self._is_published():
                self._tree = None  # what this process remembers may not be what is there
                self._adopt_published()
            self.tree()
            if not self._is_published():
                self._write_head()
            sweep(self.folder, self.head().size)

    def append(self, leaves: Sequence[bytes]) -> range:
        """Add leaves in one commit, on disk for good when this returns; give their indices.

        The log of a workspace is written through ``Record`` alone, which numbers leaves ahead.

        Raises:
            RecordError: A leaf is too big, or see ``open``; nothing is written then.
            MachineError: The disk is full; nothing is written then.
        """
        with self.writing():
            return self.commit(leaves)

    def commit(self, leaves: Sequence[bytes]) -> range:
        """``append`` for who holds the writer's lock already."""
        for leaf in leaves:
            check_leaf(leaf)
        before = self.tree()
        if not leaves:
            return range(before.head.size, before.head.size)
        after, files = before.grown(leaves)
        self._tree = None  # until this is done
        note = sign_note(after.head.text, self.identity.log_key(self.key.name))
        try:
            with machine_errors(self.folder):
                stage(self.folder, files)
                publish(self.folder, list(files))
            self.guard.write(note)
        except (MachineError, OSError):
            sweep(self.folder, before.head.size)  # a full disk must not be kept full
            raise
        self._tree = after
        self._publish_head()
        drop_filled(self.folder, before.head.size, after.head.size)
        return range(before.head.size, after.head.size)

    def add_cosignatures(self, signatures: list[NoteSignature], *, size: int | None = None) -> bool:
        """Keep cosignatures of the current tree head beside it; the caller has checked them.

        Returns:
            Whether they were kept: not when the log has another size than ``size`` meanwhile.
        """
        with self.writing():
            note, head = self.signed_head()
            if size is not None and size != head.size:
                return False
            self.guard.write(note.with_signatures(signatures))
            self._publish_head()
            return True

    def _publish_head(self) -> None:
        """Publish what was signed. Should that fail, it is signed all the same."""
        try:
            self._write_head()
        except OSError as error:
            logger.warning(
                "the tree head of %d leaves is signed, but not published yet: %s; the next write "
                "publishes it",
                self.head().size,
                error.strerror,
            )

    def _write_head(self) -> None:
        files = {"vkey": f"{self.key}\n".encode(), "checkpoint": self.note().encode()}
        if (self.folder / "vkey").exists():
            del files["vkey"]
        stage(self.folder, files)
        publish(self.folder, list(files))

    def _is_published(self) -> bool:
        signed = self.guard.read()
        try:
            published = (self.folder / "checkpoint").read_bytes()
        except FileNotFoundError:
            return False
        return signed is not None and published == signed[0].encode()

    def _adopt_published(self) -> None:
        """Make a guard for a new log; take over a head that this key signed after the guard's."""
        signed = self.guard.read()
        published = self._published_head()
        if signed is None:
            if published is not None:
                raise RecordError(
                    f"{self.folder} holds the log {self.key.name}, but the keys in "
                    f"{self.identity.folder} have no memory of signing it",
                    hint="put back logs/ in the folder of keys, or begin another workspace",
                )
            empty = TreeHead(self.key.name, 0, EMPTY_ROOT)
            self.guard.write(sign_note(empty.text, self.identity.log_key(self.key.name)))
        elif published is not None and published[1].size > signed[1].size:
            tree = TreeReader(self.folder, published[1])
            old = signed[1]
            proof = consistency_proof(old.size, tree.head.size, tree.hash_at)
            check_consistency(
                old.size, tree.head.size, old_root=old.root, new_root=tree.head.root, proof=proof
            )
            self.guard.write(published[0])

    def _published_head(self) -> tuple[Note, TreeHead] | None:
        path = self.folder / "checkpoint"
        try:
            return read_head(path.read_bytes(), self.key, name=path)
        except FileNotFoundError:
            return None

    def _why_other(self, found: RecordError) -> RecordError:
        """Say why the disk does not have the tree signed last."""
        size = self.head().size
        published = self._published_head()
        if published is None:
            message = f"the record in {self.folder} is gone: {size} leaves were signed"
        elif published[1].size < size:
            mine, last = str(self.folder.parent.parent.resolve()), self.guard.workspace
            how = (
                f"this is a copy, and the record went on in {last}"
                if last and last != mine
                else "an older copy was put back"
            )
            message = (
                f"the record in {self.folder} ends at leaf {published[1].size}, "
                f"but {size} were signed: {how}"
            )
        elif published[1].size == size and published[1] != self.head():
            message = (
                f"the record in {self.folder} is another tree of {published[1].size} leaves than "
                "the one signed last: history went two ways"
            )
        else:
            return RecordError(f"the record is damaged: {found.message}", hint=RESTORE)
        return RecordError(message, hint=RESTORE)


def read_origin(folder: Path) -> str | None:
    """Name of the log in a folder, as it says itself; ``None`` where there is none."""
    try:
        data = (folder / "checkpoint").read_bytes()
    except FileNotFoundError:
        return None
    return TreeHead.parse(parse_note(data).text).origin


def check_leaf(leaf: bytes) -> None:
    """Refuse a leaf that no entry bundle can hold.

    Raises:
        RecordError: It is empty, or bigger than 65,535 bytes.
    """
    if not 0 < len(leaf) <= MAX_LEAF_BYTES:
        raise RecordError(
            f"a leaf has {len(leaf):,} bytes, it may have 1 to {MAX_LEAF_BYTES:,}",
            hint="say less in one statement; nothing was written",
        )
