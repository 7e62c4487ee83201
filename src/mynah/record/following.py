"""Follow other parties' logs: mirror what verifies, keep what contradicts, know what is stale.

Reads published logs; writes ``record/followed/<log>/`` (see ``mirrors``) with a ``state.json``:
where the log is, what became of the last visit, which leaves order a pause. That a log is
followed, and whether its orders bind here, is a leaf of this record and stands there alone.
"""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mynah.errors import ConfigError, DataError, MachineError, RecordError
from mynah.record.downloading import Limits
from mynah.record.followed import (
    Contact,
    Followed,
    VisitState,
    followed_logs,
    head_time_s,
    known_witnesses,
    mirror_folder,
    pause_orders,
    read_state,
    write_state,
)
from mynah.record.gate import Gate
from mynah.record.mirrors import Mirror
from mynah.record.notes import SIGNER, VerifierKey
from mynah.record.record import Record
from mynah.record.statements import LogFollowed, format_time
from mynah.record.verify.sources import LogSource, UrlSource, open_source
from mynah.workspace import locked

__all__ = ["STALE_AFTER_S", "FollowOutcome", "FollowState", "follow", "obeyed_orders", "refresh"]

FollowState = Literal["fresh", "stale", "forked", "rolled back", "damaged", "unreachable"]
STALE_AFTER_S = 24 * 3600.0
"""A head without a sign of life for so long says nothing about today."""
MAX_WORKERS = 8
WAIT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowOutcome:
    """What a visit to a followed log found."""

    origin: str
    state: FollowState
    detail: str
    size: int
    """Leaves of the mirror."""
    head_time: str
    """Newest sign of life of the mirrored head; empty if it has none."""
    last_seen: str
    source: str
    is_obeyed: bool


def follow(
    record: Record,
    source: str | Path,
    *,
    key: VerifierKey,
    obey: bool = False,
    limits: Limits | None = None,
) -> FollowOutcome:
    """Follow a log from now on: a leaf says so, then it is mirrored.

    Called again, it takes another address, or says that the log is (no longer) obeyed.

    Args:
        record: The record that follows.
        source: Where the log is published: an address, or a folder.
        key: Of the log, from its owner and not from the address alone.
        obey: Whether its pause orders bind here as if this identity had signed them.
        limits: See ``refresh``.

    Raises:
        RecordError: What is there is not signed by ``key``, or another key is known for the log.
        MachineError: It cannot be reached now.
        DataError: It is no log's address.
    """
    _check_key(record, key)
    opened = _open(source)
    try:
        Mirror(mirror_folder(record, key), key).visit(opened)
    finally:
        _close(opened)
    known = record.register().followed.get(str(key))
    if known is None or known.is_obeyed != obey:
        digest = hashlib.sha256(str(key).encode()).hexdigest()
        record.write(LogFollowed(log=str(key), key=digest, is_obeyed=obey))
    folder = mirror_folder(record, key)
    place = str(source) if "://" in str(source) else str(Path(source).resolve())
    old = read_state(folder)
    state = replace(old, source=place) if old else VisitState(log=str(key), source=place)
    write_state(folder, state)
    (found,) = [one for one in followed_logs(record) if one.key == key]
    outcome = _refresh_one(found, known_witnesses(record), limits or Limits(), STALE_AFTER_S)
    _adopt(record)
    return outcome


def refresh(
    record: Record,
    *,
    stale_after_s: float = STALE_AFTER_S,
    limits: Limits | None = None,
) -> list[FollowOutcome]:
    """Visit every log that is followed, several at once; one that fails holds up no other.

    Raises:
        RecordError: This record, or a mirror's ``state.json``, is damaged.
    """
    witnesses = known_witnesses(record)
    limits = limits or Limits()
    with ThreadPoolExecutor(max_workers=MAX_WORKERS) as pool:
        outcomes = list(
            pool.map(
                lambda one: _refresh_one(one, witnesses, limits, stale_after_s),
                followed_logs(record),
            )
        )
    _adopt(record)
    return outcomes


def obeyed_orders(record: Record) -> Iterator[bytes]:
    """Signed orders (DSSE envelopes) that bind here because their signer's log is obeyed.

    An order counts if the followed party itself has signed it; one that its log only quotes
    from others does not.

    Raises:
        RecordError: A log that is obeyed has no mirror, so that nobody knows what it orders.
    """
    for one in followed_logs(record):
        if not one.is_obeyed:
            continue
        reader = one.reader()
        if reader is None:
            raise RecordError(
                f"the log {one.key.name} is obeyed and its mirror is gone",
                hint="follow it again: mynah record follow WORKSPACE SOURCE --key VKEY --obey",
            )
        for _, _, signed in pause_orders(reader, one):
            if any(key.public == one.key.public for key in signed.signers):
                yield signed.envelope


def _adopt(record: Record) -> None:
    """Keep the orders of obeyed logs where deleting a mirror does not undo them."""
    if any(one.is_obeyed and one.reader() for one in followed_logs(record)):
        Gate(record).adopt()


def _check_key(record: Record, key: VerifierKey) -> None:
    if key.kind != SIGNER or key.name == record.origin:
        raise RecordError(
            f"{key.name} is this record itself, or a witness and no log",
            hint="give that of another party's log: mynah record key WORKSPACE --vkey prints it",
        )
    for vkey in list(record.register().followed):
        known = VerifierKey.parse(vkey)
        if known.name == key.name and known != key:
            raise RecordError(
                f"the log {key.name} is followed already, under another key",
                hint="a log never changes its key: ask its owner, and do not trust this address",
            )


def _open(source: str | Path) -> LogSource:
    if "@" in str(source).partition("://")[2].partition("/")[0]:
        raise DataError(
            "the address has a password in it, and it would be kept in the workspace",
            hint="publish the log without one: it is signed, and meant to be read",
        )
    return open_source(source)


def _close(source: LogSource) -> None:
    if isinstance(source, UrlSource) and source.client:
        source.client.close()
        source.client = None


def _refresh_one(
    one: Followed, witnesses: tuple[VerifierKey, ...], limits: Limits, stale_after_s: float
) -> FollowOutcome:
    busy = ConfigError(f"{one.folder} is refreshed by another process", hint="wait for it")
    mirror = Mirror(one.folder, one.key, witnesses)
    try:
        with locked(one.folder / ".lock", busy=busy, wait_s=WAIT_S):
            contact, detail = _visit(mirror, one, limits)
    except ConfigError:
        contact, detail = one.contact, busy.message
    if any((one.folder / "evidence").glob("fork-*")) and contact != "forked":
        contact, detail = "forked", "it has signed two histories: see evidence/"
    return _outcome(replace(one, contact=contact, detail=detail), witnesses, stale_after_s)


def _visit(mirror: Mirror, one: Followed, limits: Limits) -> tuple[Contact, str]:
    """Update one mirror and its state; what goes wrong is the answer, not an error."""
    now = format_time(time.time_ns() // 1000)
    state = read_state(one.folder) or VisitState(log=str(one.key), source=one.source)

    def note_orders(orders: tuple[int, ...]) -> None:
        nonlocal state
        state = replace(state, orders=tuple(sorted({*state.orders, *orders})))
        write_state(one.folder, state)

    contact: Contact
    source = None
    try:
        source = _open(one.source) if one.source else None
        if source is None:
            return one.contact, one.detail
        update = mirror.update(source, limits=limits, before_growth=note_orders)
        contact = "ok" if update.state in ("grown", "same") else update.state
        detail = update.detail
    except MachineError as error:
        contact, detail = "unreachable", error.message
    except DataError as error:
        contact, detail = "unreachable" if source is None else "damaged", error.message
    except RecordError as error:
        contact, detail = "damaged", error.message
    finally:
        if source is not None:
            _close(source)
    seen = now if contact == "ok" else state.last_seen
    state = replace(state, contact=contact, detail=detail, last_seen=seen, last_tried=now)
    write_state(one.folder, state)
    return contact, detail


def _outcome(
    one: Followed, witnesses: tuple[VerifierKey, ...], stale_after_s: float
) -> FollowOutcome:
    now_s = time.time()
    head_s, size, state, detail = 0.0, 0, one.contact, one.detail
    try:
        reader = one.reader()
        if reader is not None:
            size = reader.head().size
            head_s = head_time_s(reader, witnesses, now_s=now_s)
    except RecordError as error:
        state, detail = "damaged", f"the mirror is damaged: {error.message}"
    shown: FollowState = "unreachable" if state == "never" else "fresh" if state == "ok" else state
    if shown == "fresh" and now_s - head_s > stale_after_s:
        shown = "stale"
    seen = read_state(one.folder)
    return FollowOutcome(
        origin=one.key.name,
        state=shown,
        detail=detail,
        size=size,
        head_time=format_time(round(head_s * 1e6)) if head_s else "",
        last_seen=seen.last_seen if seen else "",
        source=one.source,
        is_obeyed=one.is_obeyed,
    )
