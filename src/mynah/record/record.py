"""The record of a workspace: every room writes its facts here, and here alone.

Reads and writes ``<workspace>/record/log/`` (see ``log``) and ``record/queue/`` (see
``queueing``), and the guard of the log in the folder of keys (see ``guard``). A statement is
added to the register before it is signed, so that a contradiction is never written.
"""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import orjson

from mynah.errors import MynahError, RecordError, machine_errors
from mynah.record.envelopes import open_envelope, read_payload, seal
from mynah.record.guard import Guard, held
from mynah.record.identity import Identity
from mynah.record.log import RecordLog, check_leaf, read_origin
from mynah.record.notes import TreeHead, VerifierKey
from mynah.record.queueing import Frame, Queue
from mynah.record.register import Register
from mynah.record.statements import Body, Statement, format_time
from mynah.record.tiles import RESTORE, TreeReader
from mynah.record.tree import leaf_hash, tree_root
from mynah.workspace import replace_file

__all__ = ["Record", "Written"]

logger = logging.getLogger(__name__)

SNAPSHOT_LEAVES = 2_048
"""So many are folded anew at most when a log is opened: a third of a second."""
MAX_CLOCK_BACK_US = 60_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A statement as it stands in the log, or in the queue before it."""

    index: int
    leaf: bytes
    time: str


class Record:
    """The log of one workspace, its queue and what it adds up to; threads may share one."""

    def __init__(self, folder: Path, log: RecordLog) -> None:
        self.folder = folder
        self.log = log
        self.identity = log.identity
        self._queue = Queue(folder / "queue")
        self._mutex = threading.RLock()
        self._register: Register | None = None
        self._last: tuple[int, bytes] | None = None
        self._num_saved = 0

    @classmethod
    def open(cls, workspace: Path, *, identity: Identity | None = None) -> "Record":
        """Open a workspace's record; begin one where none is and none ever was.

        Raises:
            RecordError: There was one, and it is gone, older than what was signed, or damaged.
        """
        identity = identity or Identity.open()
        origin = _known_origin(workspace, identity)
        if origin is not None:
            return cls._open(workspace, identity, origin)
        with machine_errors(identity.logs):
            identity.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        with held(identity.logs / ".lock"):
            origin = _known_origin(workspace, identity)
            if origin is None:
                origin = identity.new_origin(workspace)
                guard = Guard(identity, origin)
                with machine_errors(guard.folder):
                    guard.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                guard.set_workspace(workspace)
            return cls._open(workspace, identity, origin)

    @classmethod
    def find(cls, workspace: Path, *, identity: Identity | None = None) -> "Record | None":
        """Open a workspace's record; ``None`` where none ever was. Raises as ``open`` does."""
        identity = identity or Identity.open()
        origin = _known_origin(workspace, identity)
        return None if origin is None else cls._open(workspace, identity, origin)

    @classmethod
    def _open(cls, workspace: Path, identity: Identity, origin: str) -> "Record":
        log = RecordLog.open(workspace / "record" / "log", identity, origin=origin)
        log.guard.set_workspace(workspace)
        return cls(workspace / "record", log)

    @property
    def origin(self) -> str:
        """Name of the log."""
        return self.log.key.name

    @property
    def key(self) -> VerifierKey:
        """Key that signs the log's tree heads."""
        return self.log.key

    def write(self, body: Body) -> Written:
        """Write one statement; it is in the log for good when this returns.

        Raises:
            RecordError: It contradicts what stands, is too long, or the log cannot go on.
            MachineError: The disk is full. Either way nothing is written, unless the message
                says that the statement waits in the queue.
        """
        return self.write_many([body])[0]

    def write_many(self, bodies: Sequence[Body]) -> list[Written]:
        """Write statements in one commit: all of them, or none."""
        if not bodies:
            return []
        with self._mutex:
            frame, written = self._put(bodies)
            try:
                self._drain(frame.end)
            except (MynahError, OSError) as error:
                if not self._is_written_after_all(frame, error):
                    raise
            return written

    def enqueue(self, body: Body) -> Written:
        """Put a statement in the queue, on disk for good; the next writer puts it in the log."""
        with self._mutex:
            return self._put([body])[1][0]

    def statements(self, start: int = 0) -> Iterator[tuple[int, Statement]]:
        """Each statement of the log from ``start`` on, with its index."""
        for index, leaf in enumerate(self.log.leaves(start), start):
            yield index, Statement.decode(read_payload(leaf))

    def register(self) -> Register:
        """What the log and the queue add up to now. Later calls change the same object."""
        with self._mutex, self._queue.lock():
            return self._caught_up()[0]

    def proof(self, index: int) -> bytes:
        """Proof of one leaf, to be checked without this log (C2SP tlog-proof)."""
        return self.log.tlog_proof(index)

    def _put(self, bodies: Sequence[Body]) -> tuple[Frame, list[Written]]:
        """Fold, sign and queue statements."""
        with self._queue.lock():
            register, first = self._caught_up()
            self._register = None  # until all of them stand
            written: list[Written] = []
            try:
                for body in bodies:
                    timed = replace(body, time=_next_time(register.last_time_us))
                    payload = Statement(timed).encode()
                    register.apply(first + len(written), timed)
                    leaf = seal(payload, self.identity.key)
                    check_leaf(leaf)
                    index = first + len(written)
                    written.append(Written(index=index, leaf=leaf, time=timed.time))
            except MynahError:
                if register.size == first:
                    self._register = register  # nothing was folded, nothing to undo
                raise
            frame = self._queue.push(first, [one.leaf for one in written])
            self._register = register
            self._last = (written[-1].index, leaf_hash(written[-1].leaf))
            return frame, written

    def _caught_up(self) -> tuple[Register, int]:
        """Fold what others wrote; return the register and the next free index."""
        tree = self.log.tree()
        size = tree.head.size
        frames = self._queue.frames(size)
        if self._register is None or not self._stands(tree, frames):
            self._register, self._last = self._saved_register(tree), None
        register = self._register
        self._register = None  # a fold that fails leaves half a register
        leaf = b""
        if register.size < size:
            for index, leaf in enumerate(tree.leaves(register.size, size), register.size):
                register.apply(index, Statement.decode(read_payload(leaf)).body)
        for leaf in _queued(frames, register.size):
            payload, _ = open_envelope(leaf, [self.identity.key.verifier()])
            register.apply(register.size, Statement.decode(payload).body)
        if leaf:
            self._last = (register.size - 1, leaf_hash(leaf))
        self._register = register
        if register.size == size >= self._num_saved + SNAPSHOT_LEAVES:
            self._save_register(register, tree.head)
        return register, frames[-1].end if frames else size

    def _stands(self, tree: TreeReader, frames: list[Frame]) -> bool:
        """Whether the last leaf that was folded is still there: see ``_is_written_after_all``."""
        if self._last is None:
            return True
        index, digest = self._last
        if index < tree.head.size:
            return tree.hash_at(0, index) == digest
        return [leaf_hash(leaf) for leaf in _queued(frames, index)][:1] == [digest]

    def _drain(self, end: int) -> None:
        """See to it that the log has ``end`` leaves: wait for who writes, or write them all."""

        def is_done() -> bool:
            return self.log.head().size >= end

        with self.log.writing(is_done=is_done) as is_writer:
            if not is_writer or is_done():
                return
            with self._queue.lock():
                self._caught_up()
                frames = self._queue.frames(self.log.head().size)
            written = self.log.commit([leaf for frame in frames for leaf in frame.leaves])
            with self._queue.lock():
                self._queue.drop_written(written.stop)

    def _is_written_after_all(self, frame: Frame, error: MynahError | OSError) -> bool:
        """Take back what could not be written; another process may have written it meanwhile."""
        self._register = None
        try:
            with held(self.log.guard.lock, wait_s=0.0), self._queue.lock():
                if self.log.head().size >= frame.end:
                    return True
                if self._queue.withdraw(frame):
                    return False
        except (MynahError, OSError) as other:
            logger.warning("leaf %d cannot be taken back: %s", frame.first, other)
        if isinstance(error, MynahError):
            error.message += f"; the statement waits in the queue as leaf {frame.first}"
        return False

    def _saved_register(self, tree: TreeReader) -> Register:
        """The snapshot, if it is one of this very log; an empty register else."""
        path = self.log.guard.register
        self._num_saved = 0
        try:
            saved = cast("dict[str, Any]", orjson.loads(path.read_bytes()))
            size, root = int(saved["size"]), str(saved["root"])
            if size <= tree.head.size and tree_root(size, tree.hash_at).hex() == root:
                register = Register.from_json(saved["register"])
                if (register.size, register.origin) == (size, self.origin):
                    self._num_saved = size
                    return register
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError, RecordError) as error:
            logger.warning("%s is of no use, all leaves are folded anew: %s", path, error)
        return Register(self.origin)

    def _save_register(self, register: Register, head: TreeHead) -> None:
        saved = {"size": head.size, "root": head.root.hex(), "register": register.to_json()}
        replace_file(self.log.guard.register, orjson.dumps(saved))
        self._num_saved = head.size


def _queued(frames: list[Frame], start: int) -> list[bytes]:
    """Queued leaves from index ``start`` on."""
    return [leaf for f in frames for leaf in f.leaves[max(0, start - f.first) :]]


def _known_origin(workspace: Path, identity: Identity) -> str | None:
    """Name of the workspace's log, by its folder or by the guard; ``None`` where none ever was.

    Raises:
        RecordError: The two name different logs, or other keys signed the log.
    """
    published = read_origin(workspace / "record" / "log")
    guard = Guard.of_workspace(identity, workspace)
    if guard is None:
        if published is not None and not identity.guard(published).is_dir():
            raise RecordError(
                f"the record of {workspace} is {published}, which the keys in {identity.folder} "
                "never signed",
                hint="set MYNAH_KEYS to the folder of keys that began it, or restore that folder",
            )
        return published
    origin = guard.key.name
    if published is None or published == origin:
        return origin
    signed = guard.read()
    if signed is not None and signed[1].size:
        raise RecordError(
            f"{workspace} has the record {published}, but {signed[1].size} leaves were signed "
            f"for it as {origin}",
            hint=RESTORE,
        )
    return published


def _next_time(last_us: int) -> str:
    """Now, but later than the last leaf.

    Raises:
        RecordError: The clock went back.
    """
    now_us = time.time_ns() // 1_000
    if now_us < last_us - MAX_CLOCK_BACK_US:
        raise RecordError(
            f"the clock went back: it says {format_time(now_us)}, "
            f"the last leaf was written at {format_time(last_us)}",
            hint="set the clock right and run the command again; the record's times only grow",
        )
    return format_time(max(now_us, last_us + 1))
