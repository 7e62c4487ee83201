"""The logs that are followed, as they stand on this disk, and what their mirrors say.

Reads this record's leaves (which logs, and whether they are obeyed), ``record/followed/<log>/``
and its ``state.json``; writes that file. See ``mirrors`` for the rest of the folder.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from mynah.errors import RecordError
from mynah.record.cosigning import read_policy, witness_keys
from mynah.record.envelopes import open_envelope, read_payload
from mynah.record.log import LogReader
from mynah.record.notes import Note, VerifierKey, cosigned_at
from mynah.record.orders import SignedOrder, read_order
from mynah.record.record import Record
from mynah.record.statements import PauseOrdered, Statement, parse_time
from mynah.workspace import canonical_json, replace_file

__all__ = [
    "Contact",
    "Followed",
    "VisitState",
    "followed_logs",
    "head_time_s",
    "known_witnesses",
    "mirror_folder",
    "pause_orders",
    "read_state",
    "write_state",
]

logger = logging.getLogger(__name__)

Contact = Literal["never", "ok", "forked", "rolled back", "damaged", "unreachable"]
MAX_CLOCK_AHEAD_S = 300.0
"""A time further in the future than this is no sign of life: it was made up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitState:
    """``state.json``: nothing in it is evidence; what is, lies beside it, signed."""

    log: str
    source: str
    contact: Contact = "never"
    detail: str = ""
    last_seen: str = ""
    """When a visit last found a tree head that goes on from the mirror."""
    last_tried: str = ""
    orders: tuple[Annotated[int, Field(ge=0)], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A log that this record follows, as it stands on this disk."""

    key: VerifierKey
    is_obeyed: bool
    folder: Path
    """The mirror."""
    source: str
    contact: Contact
    """What became of the last visit; a fork once proved stays one."""
    detail: str
    last_seen: str
    last_tried: str
    orders: tuple[int, ...]
    """Leaves that may be pause orders."""

    def reader(self) -> LogReader | None:
        """The mirror, to read; ``None`` while nothing is mirrored."""
        if not (self.folder / "checkpoint").is_file():
            return None
        return LogReader.open(self.folder, self.key)


def followed_logs(record: Record) -> list[Followed]:
    """Every log that this record follows, by its leaves.

    Raises:
        RecordError: A mirror's ``state.json`` is damaged.
    """
    found: list[Followed] = []
    for vkey, body in list(record.register().followed.items()):
        key = VerifierKey.parse(vkey)
        folder = mirror_folder(record, key)
        lost = VisitState(log=vkey, source="", detail="its mirror is gone: follow it again")
        state = read_state(folder) or lost
        is_forked = any((folder / "evidence").glob("fork-*"))
        found.append(
            Followed(
                key=key,
                is_obeyed=body.is_obeyed,
                folder=folder,
                source=state.source,
                contact="forked" if is_forked else state.contact,
                detail=state.detail,
                last_seen=state.last_seen,
                last_tried=state.last_tried,
                orders=state.orders,
            )
        )
    return found


def known_witnesses(record: Record) -> tuple[VerifierKey, ...]:
    """Cosigners whose word counts here: those of the policy, and the timekeepers of orders."""
    entries = list(record.register().orders.values())
    timekeepers = [key for entry in entries for key in entry.order.timekeeper_keys]
    return tuple(dict.fromkeys((*witness_keys(read_policy(record.folder)), *timekeepers)))


def pause_orders(reader: LogReader, one: Followed) -> Iterator[tuple[int, str, SignedOrder]]:
    """Index, time and order of each valid pause order in a mirror, whoever has signed it."""
    size = reader.head().size
    for index in one.orders:
        if index >= size:
            continue  # announced just before the tree head that has it
        try:
            body = Statement.decode(_opened(reader.leaf(index), one.key)).body
            if isinstance(body, PauseOrdered):
                signed = read_order(canonical_json(body.envelope))
                if signed.id == body.order:
                    yield index, body.time, signed
        except RecordError as error:
            logger.warning("leaf %d of %s orders nothing: %s", index, one.key.name, error.message)


def head_time_s(reader: LogReader, witnesses: Iterable[VerifierKey], *, now_s: float) -> float:
    """Newest sign of life of a log: a cosignature, else its last leaf; 0 if there is none."""
    latest_s = now_s + MAX_CLOCK_AHEAD_S
    cosigned = [_cosigned_s(reader.note(), key) for key in witnesses]
    cosigned_s = max((at for at in cosigned if at <= latest_s), default=0.0)
    leaf_s = _last_leaf_s(reader)
    if not cosigned_s:
        return leaf_s if leaf_s <= latest_s else 0.0
    # A cosignature has whole seconds: a leaf of that second is no later than it.
    return leaf_s if cosigned_s < leaf_s < cosigned_s + 1 else cosigned_s


def _last_leaf_s(reader: LogReader) -> float:
    size = reader.head().size
    try:
        body = Statement.decode(read_payload(reader.leaf(size - 1))).body if size else None
    except RecordError:
        return 0.0
    return parse_time(body.time) / 1e6 if body else 0.0


def _cosigned_s(note: Note, key: VerifierKey) -> float:
    try:
        return float(cosigned_at(note, key) or 0)
    except RecordError:
        return 0.0  # a line that claims to be the witness's, and is not


def _opened(leaf: bytes, key: VerifierKey) -> bytes:
    """The payload of a leaf, signed by whoever signs the log, under the party's own name."""
    names: list[Any] = [line["keyid"] for line in orjson.loads(leaf)["signatures"]]
    keys = [VerifierKey.parse(str(name)) for name in names]
    return open_envelope(leaf, [k for k in keys if k.public == key.public])[0]


def mirror_folder(record: Record, key: VerifierKey) -> Path:
    """Where the mirror of a log lies."""
    name = hashlib.sha256(key.name.encode()).hexdigest()[:16]
    return record.folder / "followed" / name


def read_state(folder: Path) -> VisitState | None:
    """What is kept of the last visit; ``None`` before the first.

    Raises:
        RecordError: The file is damaged.
    """
    path = folder / "state.json"
    try:
        return TypeAdapter(VisitState).validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise RecordError(
            f"{path} is damaged", hint=f"delete {path} and follow the log again"
        ) from error


def write_state(folder: Path, state: VisitState) -> None:
    """Keep what a visit found."""
    replace_file(folder / "state.json", canonical_json(asdict(state)))
