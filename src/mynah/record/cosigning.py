"""Ask witnesses to cosign this log's tree head, and keep what they sign beside it.

Reads the log and ``record/policy`` (C2SP tlog-policy: the witnesses and where they are); writes
cosignatures into the published note. A witness that is wrong, slow or silent changes nothing.
"""

import base64
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from mynah.errors import ConfigError, RecordError
from mynah.record.log import RecordLog
from mynah.record.notes import Note, NoteSignature, VerifierKey, cosigned_at, parse_signature
from mynah.record.verify.policy import Policy
from mynah.record.witness import SIZE

__all__ = [
    "CosignReport",
    "WitnessAddress",
    "WitnessAnswer",
    "addresses_of",
    "collect",
    "read_policy",
    "witness_keys",
]

AnswerState = Literal["cosigned", "refused", "unreachable"]
MAX_ANSWER_BYTES = 64 * 1024
MAX_ROUNDS = 3
"""Tries when the log grows while witnesses sign: what they sign then is of a head gone by."""
MAX_TRIES = 4
"""Of one witness: others may submit the same log to it at the same time."""
MAX_WORKERS = 16


@dataclass(frozen=True, slots=True)
class WitnessAddress:
    """A witness: the key it signs with, and the prefix of its service."""

    key: VerifierKey
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessAnswer:
    """What one witness did about one tree head."""

    name: str
    url: str
    state: AnswerState
    detail: str
    time_s: int | None = None
    """POSIX time in its cosignature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CosignReport:
    """Who cosigned a tree head, and who did not and why."""

    size: int
    """Leaves of the tree head."""
    answers: tuple[WitnessAnswer, ...]

    @property
    def num_cosigned(self) -> int:
        """Cosignatures that are kept now."""
        return sum(answer.state == "cosigned" for answer in self.answers)


def read_policy(record_folder: Path) -> Policy | None:
    """The policy of a workspace; ``None`` when there is none.

    Raises:
        ConfigError: Names the line that is wrong.
    """
    path = record_folder / "policy"
    try:
        return Policy.parse(path.read_bytes().decode())
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8", hint="write it as C2SP tlog-policy") from error


def witness_keys(policy: Policy | None) -> tuple[VerifierKey, ...]:
    """Keys of the witnesses that a policy names."""
    found = policy.witnesses.values() if policy else ()
    return tuple(VerifierKey(key.name, key.public, key.kind) for key in found)


def addresses_of(policy: Policy) -> tuple[WitnessAddress, ...]:
    """The witnesses of a policy that have an address.

    Raises:
        ConfigError: An address is not of http or https.
    """
    found: list[WitnessAddress] = []
    for key in witness_keys(policy):
        url = policy.urls.get(str(key))
        if url is None:
            continue
        if not url.startswith(("http://", "https://")):
            raise ConfigError(
                f"the witness {key.name} has the address {url[:200]!r}",
                hint="give the prefix of its service, with http:// or https://",
            )
        found.append(WitnessAddress(key, url.rstrip("/")))
    return tuple(found)


def collect(
    log: RecordLog, witnesses: Sequence[WitnessAddress], *, timeout_s: float = 10.0
) -> CosignReport:
    """Submit the tree head to each witness, all at once; keep the cosignatures that are true.

    Raises:
        RecordError: The log cannot be read or written.
    """
    for last_round in (*[False] * (MAX_ROUNDS - 1), True):
        note, head = log.signed_head()
        request = _Request(log, note, head.size, threading.Lock())
        asked = _ask_all(request, witnesses, timeout_s=timeout_s)
        lines = [line for _, line in asked if line is not None]
        if not lines or log.add_cosignatures(lines, size=head.size):
            return CosignReport(size=head.size, answers=tuple(answer for answer, _ in asked))
        if last_round:
            break
    raise RecordError(
        f"the log grew {MAX_ROUNDS} times while its witnesses signed",
        hint="run it again when less is written to the record",
    )


@dataclass(frozen=True, slots=True)
class _Request:
    """One tree head on its way to all witnesses."""

    log: RecordLog
    note: Note
    size: int
    lock: threading.Lock
    """The log is read by one thread at a time."""

    def body(self, old: int) -> bytes:
        with self.lock:
            proof = self.log.consistency_proof(old, self.size)
        lines = [f"old {old}", *(base64.b64encode(step).decode() for step in proof)]
        key = self.log.key
        own = [s for s in self.note.signatures if (s.name, s.key_id) == (key.name, key.key_id)]
        return "\n".join(lines).encode() + b"\n\n" + Note(self.note.text, tuple(own)).encode()


def _ask_all(
    request: _Request, witnesses: Sequence[WitnessAddress], *, timeout_s: float
) -> list[tuple[WitnessAnswer, NoteSignature | None]]:
    with ThreadPoolExecutor(max_workers=MAX_WORKERS) as pool:
        return list(pool.map(lambda one: _ask(request, one, timeout_s=timeout_s), witnesses))


def _ask(
    request: _Request, witness: WitnessAddress, *, timeout_s: float
) -> tuple[WitnessAnswer, NoteSignature | None]:
    """Ask one witness: with the size we have, then with the one it says it has."""

    def answer(state: AnswerState, detail: str, time_s: int | None = None) -> WitnessAnswer:
        return WitnessAnswer(
            name=witness.key.name, url=witness.url, state=state, detail=detail, time_s=time_s
        )

    try:
        status, kind, body = _post(witness.url, request.body, request.size, timeout_s)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return answer("unreachable", str(error) or type(error).__name__), None
    if status == 409 and kind == SIZE:
        return answer("refused", _conflict(body, request.size)), None
    if status != 200:
        return answer("refused", f"status {status}: {_plain(body)}"), None
    line = _own_line(request.note, body, witness.key)
    if line is None:
        return answer("refused", "its answer has no true cosignature by the key we know"), None
    time_s = int.from_bytes(line.blob[:8])
    return answer("cosigned", f"{request.size} leaves", time_s), line


def _post(
    url: str, body_from: Callable[[int], bytes], size: int, timeout_s: float
) -> tuple[int, str, bytes]:
    """Post a tree head, from the size that the witness names, as long as it names a new one."""
    old = size
    with httpx.Client(timeout=timeout_s) as client:
        for _ in range(MAX_TRIES - 1):
            status, kind, body = _send(client, url, body_from(old), timeout_s)
            known = _size(body)
            if status != 409 or kind != SIZE or known is None or known > size or known == old:
                return status, kind, body
            old = known
        return _send(client, url, body_from(old), timeout_s)


def _send(
    client: httpx.Client, url: str, content: bytes, timeout_s: float
) -> tuple[int, str, bytes]:
    until_s = time.monotonic() + timeout_s
    found = bytearray()
    with client.stream("POST", f"{url}/add-checkpoint", content=content) as answer:
        for part in answer.iter_bytes():
            found += part
            if len(found) > MAX_ANSWER_BYTES:
                raise httpx.RemoteProtocolError("the answer is too large to be a witness's")
            if time.monotonic() > until_s:
                raise httpx.ReadTimeout(f"the answer is not whole after {timeout_s:.0f} s")
        kind = answer.headers.get("content-type", "").partition(";")[0].strip()
        return answer.status_code, kind, bytes(found)


def _size(body: bytes) -> int | None:
    text = body.removesuffix(b"\n")
    return int(text) if text.isdigit() and len(text) < 20 else None


def _conflict(body: bytes, size: int) -> str:
    known = _size(body)
    if known is None:
        return "it answers a conflict, and no size"
    if known > size:
        return (
            f"it has seen {known} leaves of this log, here are {size}: "
            "the record here is older than what was published"
        )
    if known == size:
        return f"it has seen another tree of {size} leaves: this log has forked"
    return f"it names another size each time, now {known}"


def _own_line(note: Note, body: bytes, key: VerifierKey) -> NoteSignature | None:
    """The witness's cosignature, if it is there and true; lines of others are ignored."""
    for text in body.decode("utf-8", "replace").removesuffix("\n").split("\n"):
        try:
            line = parse_signature(text)
            if cosigned_at(Note(note.text, (line,)), key) is not None:
                return line
        except RecordError:
            continue
    return None


def _plain(body: bytes) -> str:
    """A foreign text for a message: short, and nothing that moves a cursor."""
    text = body[:200].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else " " for c in text).strip()
