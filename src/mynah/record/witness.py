"""A witness: cosigns the tree heads of others' logs, each only if it goes on from the one before.

Reads and writes its own folder: ``key.pem`` and ``name`` (made once, with the rest), ``heads/``
(the last cosigned tree head of each log, a signed note), ``known`` (the logs that have one) and
``evidence/`` (signed tree heads that contradict one another). Protocol: C2SP tlog-witness.
"""

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from mynah.errors import ConfigError, RecordError, machine_errors
from mynah.record.notes import (
    COSIGNER,
    SIGNER,
    Note,
    SigningKey,
    TreeHead,
    VerifierKey,
    check_name,
    cosign,
    cosigned_at,
    decode_base64,
    parse_note,
    verify_note,
)
from mynah.record.tree import EMPTY_ROOT, check_consistency
from mynah.workspace import replace_file

__all__ = ["MAX_REQUEST_BYTES", "Answer", "Witness", "keys_of_logs"]

MAX_REQUEST_BYTES = 128 * 1024
"""Largest request: 63 lines of proof and a note of 64 signatures fit in many times over."""
MAX_PROOF_LINES = 63
MAX_EVIDENCE = 16
"""Contradicting tree heads kept for one log: a log that lies often fills no disk."""
MAX_CLOCK_BACK_S = 60
TEXT = "text/plain; charset=utf-8"
SIZE = "text/x.tlog.size"


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back over HTTP."""

    status: int
    body: bytes
    content_type: str = TEXT


class _Refusal(Exception):
    """Ends a request early; never leaves this module."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def _refuse(status: int, why: str) -> _Refusal:
    return _Refusal(Answer(status, f"{why}\n".encode()))


def keys_of_logs(vkeys: Iterable[str]) -> dict[str, VerifierKey]:
    """Read the vkeys of the logs that a witness knows, by origin.

    Raises:
        RecordError: One is no vkey of a log, or two logs have one name.
    """
    logs: dict[str, VerifierKey] = {}
    for text in vkeys:
        key = VerifierKey.parse(text)
        if key.kind != SIGNER or logs.get(key.name, key) != key:
            raise RecordError(
                f"the vkey of {key.name} is no log's, or that log was named twice",
                hint="mynah record key WORKSPACE --vkey prints it",
            )
        logs[key.name] = key
    return logs


@dataclass(frozen=True, slots=True)
class Witness:
    """A key, the logs it watches, and what it has signed for each of them."""

    folder: Path
    key: SigningKey
    logs: Mapping[str, VerifierKey]
    """Key of each log by its origin; others are answered with 404."""
    clock: Callable[[], float] = field(default=time.time)
    """POSIX seconds."""

    @classmethod
    def create(cls, folder: Path, name: str, *, logs: Mapping[str, VerifierKey]) -> "Witness":
        """Make a new witness: its key and its empty memory, together.

        Raises:
            ConfigError: There is something in the folder already.
        """
        check_name(name)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(
                f"{folder} is not empty: a new witness wants a new folder",
                hint="start the witness that lies there without --init, or name another folder",
            )
        with machine_errors(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            (folder / "heads").mkdir()
            pem = Ed25519PrivateKey.generate().private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            )
            descriptor = os.open(folder / "key.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(pem)
                stream.flush()
                os.fsync(stream.fileno())
            replace_file(folder / "known", b"")
            replace_file(folder / "name", f"{name}\n".encode())
            _sync(folder)
        return cls.open(folder, logs=logs)

    @classmethod
    def open(cls, folder: Path, *, logs: Mapping[str, VerifierKey]) -> "Witness":
        """Go on as the witness that lies in ``folder``.

        Raises:
            RecordError: Its key or its memory is missing or damaged. A witness that has
                forgotten what it signed could sign two histories, so it never begins anew.
        """
        missing = [n for n in ("key.pem", "name", "known", "heads") if not (folder / n).exists()]
        if missing:
            raise RecordError(
                f"{folder} is no whole witness: it has no {', no '.join(missing)}",
                hint="put the folder back from a backup, or make a new witness, with a new key, "
                "in a new folder: mynah record witness FOLDER --init",
            )
        try:
            private = load_pem_private_key((folder / "key.pem").read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise RecordError(
                f"the key {folder / 'key.pem'} cannot be read: {error}",
                hint="put it back from a backup",
            ) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise RecordError(f"{folder / 'key.pem'} is no Ed25519 key", hint="put it back")
        name = (folder / "name").read_text().strip()
        witness = cls(folder, SigningKey(check_name(name), private), dict(logs))
        for origin in witness._known():
            witness.latest(origin)
        return witness

    @property
    def vkey(self) -> VerifierKey:
        """What others check its cosignatures with."""
        return self.key.verifier(COSIGNER)

    def latest(self, origin: str) -> Note | None:
        """The last tree head cosigned for a log, with both signatures.

        Raises:
            RecordError: There was one, and it is lost or damaged.
        """
        path = self._head_path(origin)
        try:
            note = parse_note(path.read_bytes())
            if _head_of(note.text).origin == origin and cosigned_at(note, self.vkey) is not None:
                return note
        except FileNotFoundError as error:
            if origin not in self._known():
                return None
            raise _damaged(path, "it is gone") from error
        except RecordError as error:
            raise _damaged(path, error.message) from error
        raise _damaged(path, "this witness did not sign it")

    def add_checkpoint(self, body: bytes) -> Answer:
        """Answer one request of the protocol; what it signs is on disk before it returns.

        Raises:
            RecordError: The memory of this log is damaged, or the clock went back.
            MachineError: The disk refuses.
        """
        try:
            old, proof, note = _parse(body)
            head = _parse_head(note)
            self._check_signer(note, head)
            if old > head.size:
                raise _refuse(400, f"the old size {old} is larger than the new one, {head.size}")
            with self._locked(head.origin):
                return self._cosign(note, head, old=old, proof=proof)
        except _Refusal as refusal:
            return refusal.answer

    def _check_signer(self, note: Note, head: TreeHead) -> None:
        key = self.logs.get(head.origin)
        if key is None:
            raise _refuse(404, "this witness does not know the log")
        try:
            verify_note(note, [key])
        except RecordError as error:
            raise _refuse(403, error.message) from error

    def _cosign(self, note: Note, head: TreeHead, *, old: int, proof: list[bytes]) -> Answer:
        """Check against the last head, persist, sign. The caller holds the log's lock."""
        last = self.latest(head.origin)
        before = _head_of(last.text) if last else TreeHead(head.origin, 0, EMPTY_ROOT)
        conflict = Answer(409, f"{before.size}\n".encode(), SIZE)
        if old != before.size:
            if last and head.size == before.size and head.root != before.root:
                self._keep_evidence(note, head)
            return conflict
        if old == head.size and before.root != head.root:
            self._keep_evidence(note, head)
            return conflict
        try:
            check_consistency(old, head.size, old_root=before.root, new_root=head.root, proof=proof)
        except RecordError as error:
            raise _refuse(422, error.message) from error
        now_s = self._now_s(last)
        line = cosign(note.text, self.key, time_s=now_s)
        key = self.logs[head.origin]
        kept = [s for s in note.signatures if (s.name, s.key_id) == (key.name, key.key_id)]
        self._persist(head.origin, Note(note.text, (*kept, line)))
        return Answer(200, f"{line}\n".encode())

    def _now_s(self, last: Note | None) -> int:
        """The time to sign; a cosignature may prove that a pause is over, so it never goes back."""
        now_s = int(self.clock())
        signed_s = (cosigned_at(last, self.vkey) or 0) if last else 0
        if now_s + MAX_CLOCK_BACK_S < signed_s:
            raise RecordError(
                f"the clock went back: it says {now_s} s, this witness has signed {signed_s} s",
                hint="set the clock of this machine right (NTP), then try again",
            )
        return max(now_s, signed_s)

    def _persist(self, origin: str, note: Note) -> None:
        """Head first, then the list of heads: a kill between them loses neither."""
        path = self._head_path(origin)
        with machine_errors(path):
            replace_file(path, note.encode())
            _sync(path.parent)
            if origin not in self._known():
                with _flock(self.folder / ".known.lock"):
                    names = sorted({*self._known(), origin})
                    replace_file(self.folder / "known", "".join(f"{n}\n" for n in names).encode())
                    _sync(self.folder)

    def _keep_evidence(self, note: Note, head: TreeHead) -> None:
        """Keep a signed tree head that contradicts the one in ``heads``: proof of a fork."""
        folder = self.folder / "evidence"
        name = f"{_digest(head.origin)[:16]}-{head.size}-{head.root.hex()[:16]}"
        with machine_errors(folder):
            folder.mkdir(exist_ok=True)
            if len(list(folder.glob(f"{name[:16]}-*"))) < MAX_EVIDENCE:
                replace_file(folder / name, note.encode())

    def _known(self) -> list[str]:
        return (self.folder / "known").read_text().splitlines()

    def _head_path(self, origin: str) -> Path:
        return self.folder / "heads" / _digest(origin)

    @contextmanager
    def _locked(self, origin: str) -> Generator[None]:
        """One request a log at a time, in all threads and processes of this folder."""
        with _flock(self.folder / f".{_digest(origin)[:16]}.lock"):
            yield


@contextmanager
def _flock(path: Path) -> Generator[None]:
    with machine_errors(path), path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # freed when the file closes, or the process ends
        yield


def _digest(origin: str) -> str:
    return hashlib.sha256(origin.encode()).hexdigest()


def _sync(folder: Path) -> None:
    """Make a rename in ``folder`` last: without it a power cut may undo what was signed."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damaged(path: Path, why: str) -> RecordError:
    return RecordError(
        f"the witness's memory {path} is damaged: {why}",
        hint="put the folder back from a backup; a witness that has forgotten must not sign again",
    )


def _head_of(text: str) -> TreeHead:
    """The first three lines: a log's own further lines are cosigned, and mean nothing here."""
    lines = text.split("\n")
    if len(lines) > 4 and not all(lines[3:-1]):
        raise RecordError("a tree head has an empty line", hint="see C2SP tlog-checkpoint")
    return TreeHead.parse("\n".join(lines[:3]) + "\n" if len(lines) > 4 else text)


def _parse_head(note: Note) -> TreeHead:
    try:
        return _head_of(note.text)
    except RecordError as error:
        raise _refuse(400, error.message) from error


def _parse(body: bytes) -> tuple[int, list[bytes], Note]:
    """Take a request apart: old size, consistency proof, note."""
    if len(body) > MAX_REQUEST_BYTES:
        raise _refuse(400, f"the request has more than {MAX_REQUEST_BYTES} bytes")
    above, blank, below = body.partition(b"\n\n")
    lines = above.decode("ascii", "replace").split("\n")
    old = re.fullmatch(r"old (0|[1-9][0-9]{0,18})", lines[0])
    if not blank or not old:
        raise _refuse(400, "the request wants 'old SIZE', the proof, an empty line and a note")
    if len(lines) - 1 > MAX_PROOF_LINES:
        raise _refuse(400, f"the proof has more than {MAX_PROOF_LINES} lines")
    try:
        proof = [decode_base64(line, what="a line of the proof") for line in lines[1:]]
        note = parse_note(below)
    except RecordError as error:
        raise _refuse(400, error.message) from error
    if any(len(step) != 32 for step in proof):
        raise _refuse(400, "a line of the proof has not 32 bytes")
    return int(old[1]), proof, note
