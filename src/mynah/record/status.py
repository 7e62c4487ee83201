"""Who keeps which pause: what every log that is known here shows, and what it does not.

Reads this record and the mirrors of followed logs; writes nothing, and visits nobody (see
``following.refresh``). A verdict rests on leaves alone: silence, staleness and a server that does
not answer are never "kept", and "kept" means that the log shows no breach, not that there was none.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from mynah.errors import RecordError
from mynah.record.breaches import Breach, LogFold, Watch, fold_log
from mynah.record.followed import (
    Followed,
    followed_logs,
    head_time_s,
    known_witnesses,
    pause_orders,
)
from mynah.record.following import STALE_AFTER_S
from mynah.record.log import LogReader
from mynah.record.notes import VerifierKey
from mynah.record.orders import Order, SignedOrder, merge_orders, read_order
from mynah.record.record import Record
from mynah.record.statements import format_time, parse_time

__all__ = ["OrderStatus", "PartyStatus", "PauseStatus", "Verdict", "pause_status"]

Verdict = Literal[
    "kept",
    "broken",
    "lifted",
    "not signed",
    "not declared",
    "not begun",
    "not followed",
    "stale",
    "silent",
    "unreachable",
    "forked",
    "unclear",
]
Role = Literal["author", "party", "follower"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyStatus:
    """One log before one order."""

    name: str
    """Of the party, or of the log of a follower."""
    role: Role
    """``follower``: it declared the order without being asked to sign."""
    log: str
    """Origin; empty if no log of the party is known here."""
    is_signed: bool
    verdict: Verdict
    detail: str
    declared: int | None = None
    """Leaf of that log with the order."""
    evidence: int | None = None
    """Leaf that the verdict rests on, if it is one."""
    num_leaves: int = 0
    """Of the log, as known here."""
    head_time: str = ""
    """Newest sign of life: a cosignature, else the last leaf."""
    last_seen: str = ""
    """Last visit that found the log in order; empty for this record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderStatus:
    """One order and everybody it concerns."""

    id: str
    order: Order
    is_lifted: bool
    """By a leaf of this record."""
    parties: tuple[PartyStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseStatus:
    """All orders that are known here."""

    orders: tuple[OrderStatus, ...]

    @property
    def is_kept(self) -> bool:
        """Whether each row of each order is kept, lifted or still to begin."""
        good = ("kept", "lifted", "not begun")
        return all(row.verdict in good for order in self.orders for row in order.parties)


@dataclass(slots=True, kw_only=True)
class _Log:
    """A log that is known here, and which orders it declares: leaf and time by id."""

    key: VerifierKey
    reader: LogReader | None
    follows: Followed | None
    declared: dict[str, tuple[int, str]]
    fold: LogFold | None = None
    head_s: float = 0.0
    fault: str = ""


def pause_status(
    record: Record, *, now_us: int | None = None, stale_after_s: float = STALE_AFTER_S
) -> PauseStatus:
    """Compare every order that is known here with every log that is known here.

    Args:
        record: This record; its followed logs are read as they were mirrored last.
        now_us: Microseconds since 1970; the clock, if left out.
        stale_after_s: A log without a sign of life for longer is stale.

    Raises:
        RecordError: This record is damaged; what is wrong with another's is a verdict.
    """
    now = time.time_ns() // 1000 if now_us is None else now_us
    orders: dict[str, SignedOrder] = {}
    own = _own_log(record, orders)
    logs = [own, *(_followed_log(one, orders) for one in followed_logs(record))]
    if not orders:
        return PauseStatus(orders=())
    known = {id: _first_time(logs, id) for id in orders}
    witnesses = known_witnesses(record)
    timekeepers = [key for one in orders.values() for key in one.order.timekeeper_keys]
    for log in logs:
        _fold(log, orders, known, now)
        if log.reader is not None and not log.fault:
            everyone = dict.fromkeys((*witnesses, *timekeepers))
            log.head_s = head_time_s(log.reader, everyone, now_s=now / 1e6)
    judge = _Judge(logs, known, now, stale_after_s)
    lifted = record.register().orders
    return PauseStatus(
        orders=tuple(
            OrderStatus(
                id=signed.id,
                order=signed.order,
                is_lifted=signed.id in lifted and lifted[signed.id].is_lifted,
                parties=tuple(judge.rows(signed)),
            )
            for signed in sorted(orders.values(), key=lambda one: (one.order.begins, one.id))
        )
    )


def _own_log(record: Record, orders: dict[str, SignedOrder]) -> _Log:
    entries = record.register().orders
    for entry in entries.values():
        _merge(orders, entry.signed)
    declared = {id: (entry.index, entry.time) for id, entry in entries.items()}
    return _Log(key=record.key, reader=record.log, follows=None, declared=declared)


def _followed_log(one: Followed, orders: dict[str, SignedOrder]) -> _Log:
    log = _Log(key=one.key, reader=None, follows=one, declared={})
    try:
        log.reader = one.reader()
        if log.reader is not None:
            for index, at, signed in pause_orders(log.reader, one):
                _merge(orders, signed)
                log.declared.setdefault(signed.id, (index, at))
    except RecordError as error:
        log.fault = error.message
    return log


def _merge(orders: dict[str, SignedOrder], signed: SignedOrder) -> None:
    """Keep every signature that any copy of an order bears."""
    known = orders.get(signed.id)
    if known is None:
        orders[signed.id] = signed
    elif set(signed.signers) - set(known.signers):
        orders[signed.id] = read_order(merge_orders(known.envelope, signed.envelope))


def _first_time(logs: Iterable[_Log], order_id: str) -> str:
    return min(log.declared[order_id][1] for log in logs if order_id in log.declared)


def _fold(log: _Log, orders: dict[str, SignedOrder], known: dict[str, str], now: int) -> None:
    if log.reader is None or log.fault:
        return
    watches: list[Watch] = []
    for id, signed in orders.items():
        at = log.declared[id][1] if id in log.declared else known[id]
        watches.append(
            Watch(
                order=signed.order,
                id=id,
                since=max(at, signed.order.begins),
                until="" if id in log.declared else signed.order.until,
            )
        )
    try:
        log.fold = fold_log(log.reader, tuple(watches))
    except RecordError as error:
        log.fault = error.message


class _Judge:
    """Verdicts over logs that are folded."""

    def __init__(
        self, logs: Sequence[_Log], known: dict[str, str], now_us: int, stale_after_s: float
    ) -> None:
        self.logs = logs
        self.known = known
        self.now_us = now_us
        self.stale_after_s = stale_after_s

    def rows(self, signed: SignedOrder) -> Iterable[PartyStatus]:
        """A row for each log of each party, then for others that declare the order."""
        parties = signed.order.party_keys
        for key in parties:
            found = [log for log in self.logs if log.key.public == key.public]
            role: Role = "author" if key == parties[0] else "party"
            if not found:
                yield self._without_log(signed, key, role)
            for log in found:
                yield self._row(signed, log, role=role, name=key.name, is_party=True)
        asked = {key.public for key in parties}
        for log in self.logs:
            if log.key.public not in asked and signed.id in log.declared:
                yield self._row(signed, log, role="follower", name=log.key.name, is_party=False)

    def _without_log(self, signed: SignedOrder, key: VerifierKey, role: Role) -> PartyStatus:
        is_signed = key in signed.signers
        return PartyStatus(
            name=key.name,
            role=role,
            log="",
            is_signed=is_signed,
            verdict="not followed" if is_signed else "not signed",
            detail="no log of it is followed here" if is_signed else "it was asked to sign",
        )

    def _row(
        self, signed: SignedOrder, log: _Log, *, role: Role, name: str, is_party: bool
    ) -> PartyStatus:
        is_signed = any(key.public == log.key.public for key in signed.signers)
        verdict, detail, evidence = self._judge(signed, log, is_bound=is_signed or not is_party)
        declared = log.declared.get(signed.id)
        return PartyStatus(
            name=name,
            role=role,
            log=log.key.name,
            is_signed=is_signed,
            verdict=verdict,
            detail=detail,
            declared=declared[0] if declared else None,
            evidence=evidence,
            num_leaves=log.fold.size if log.fold else 0,
            head_time=format_time(round(log.head_s * 1e6)) if log.head_s else "",
            last_seen=log.follows.last_seen if log.follows else "",
        )

    def _judge(
        self, signed: SignedOrder, log: _Log, *, is_bound: bool
    ) -> tuple[Verdict, str, int | None]:
        """Proofs against a log come first, then what keeps us from knowing, then proofs for it."""
        id, fold = signed.id, log.fold
        declared = log.declared.get(id)
        if not is_bound and declared is None:
            return "not signed", "it was asked to sign", None
        breach = self._breach(fold, id)
        if breach:
            return "broken", breach.detail, breach.index
        if log.follows and log.follows.contact == "forked":
            return "forked", log.follows.detail, None
        if fold and id in fold.lifted:
            return "lifted", f"by leaf {fold.lifted[id]}", fold.lifted[id]
        unknown = self._unknown(signed, log)
        if unknown:
            return (*unknown, None)
        if declared is None:
            return "not declared", "it signed the order, and its log does not say so", None
        if parse_time(signed.order.begins) > self.now_us:
            return "not begun", f"begins {signed.order.begins}", declared[0]
        return "kept", "its log shows no work inside the pause", declared[0]

    def _breach(self, fold: LogFold | None, id: str) -> Breach | None:
        if fold is None:
            return None
        return fold.breaches.get(id) or fold.contradiction

    def _unknown(self, signed: SignedOrder, log: _Log) -> tuple[Verdict, str] | None:
        """Why the log cannot speak for today, if it cannot."""
        if log.fault:
            return "unclear", log.fault
        if log.follows and log.follows.contact not in ("ok", "rolled back"):
            return "unreachable", log.follows.detail or "it was never reached"
        if log.fold is None:
            return "unreachable", "nothing of it is mirrored yet"
        if log.fold.unread is not None:
            return "unclear", f"leaf {log.fold.unread} is of a kind not known here"
        declared = log.declared.get(signed.id)
        since = max(declared[1] if declared else self.known[signed.id], signed.order.begins)
        since_us, age_s = parse_time(since), self.now_us / 1e6 - log.head_s
        if since_us <= self.now_us and round(log.head_s * 1e6) < since_us:
            return "silent", "no leaf and no cosignature since the order binds it"
        if log.follows and log.follows.contact == "rolled back":
            return "stale", log.follows.detail
        if age_s > self.stale_after_s:
            return "stale", f"no sign of life for {age_s / 3600:.0f} hours"
        return None
