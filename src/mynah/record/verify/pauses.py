"""Pause orders of a log: when one is in force, what it covers, whether it ended by its terms.

Pure, but for tree heads given as evidence: their root is asked of the tree that was hashed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from mynah.errors import RecordError
from mynah.record.verify.dsse import Envelope, canonical, read_statement
from mynah.record.verify.fields import ORDER, RELEASE, first_fault
from mynah.record.verify.notes import COSIGNER, SIGNER, Head, Key, SignedNote, wrong

__all__ = ["Log", "OrderState", "Pauses"]

MAX_KEYS = 32
Json = Any


@dataclass(frozen=True, slots=True)
class Log:
    """What is known of the log whose leaves are read."""

    origin: str
    key: Key
    root: Callable[[int], bytes]
    """Root of its first so many leaves."""


@dataclass(slots=True)
class OrderState:
    """An order, from its first leaf on."""

    id: str
    index: int
    above: int
    begins: str
    until: str
    parties: dict[str, Key]
    timekeepers: dict[str, Key]
    quorum: int
    signers: frozenset[str]
    lifted: int | None = None
    """Leaf that lifted it."""
    basis: str = ""
    covered: set[str] = field(default_factory=lambda: set())
    """Runs that it was seen to cover while in force."""
    num_broken: int = 0

    def covers(self, total: int | None) -> bool:
        """Whether a run of ``total`` FLOP, lineage included, must stop; an unknown one must."""
        return total is None or total > self.above


class Pauses:
    """Every order of the log so far."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.orders: dict[str, OrderState] = {}
        self.in_force: dict[str, OrderState] = {}
        """Not lifted; some may not have begun."""

    def covering(self, total: int | None, time: str) -> OrderState | None:
        """An order that is in force at a leaf's time and covers ``total``."""
        for order in self.in_force.values():
            if order.begins <= time and order.covers(total):
                return order
        return None

    def ordered(self, index: int, body: dict[str, Json]) -> Iterator[str]:
        """Take a ``pause-ordered`` leaf; yield what is false."""
        try:
            found = _read_order(index, canonical(body["envelope"]))
        except RecordError as error:
            yield f"the order is none: {error.message}"
            return
        if found.id != body["order"]:
            yield "the leaf names another order than it holds"
        elif found.id not in self.orders:
            self.orders[found.id] = self.in_force[found.id] = found
        elif self.orders[found.id].lifted is not None:
            yield f"the order was lifted by leaf {self.orders[found.id].lifted} already"
        else:
            self.orders[found.id].signers |= found.signers

    def lifted(self, index: int, body: dict[str, Json]) -> Iterator[str]:
        """Take a ``pause-lifted`` leaf; an order whose terms are not met stays in force."""
        order = self.in_force.get(body["order"])
        if order is None:
            yield "it lifts an order that is not in force"
            return
        try:
            if body["basis"] == "parties":
                _check_release(order, body)
            else:
                self._check_until(order, index, body)
        except RecordError as error:
            yield f"the terms of the order are not met: {error.message}"
            return
        order.lifted, order.basis = index, body["basis"]
        del self.in_force[order.id]

    def _check_until(self, order: OrderState, index: int, body: dict[str, Json]) -> None:
        if body["release"]:
            raise wrong("a lift by time bears a release")
        if order.timekeepers:
            self._check_evidence(order, index, body["evidence"])
        elif body["evidence"]:
            raise wrong("an order without timekeepers bears evidence of them")
        elif body["time"] < order.until:
            raise wrong(f"it stands until {order.until}, the leaf is of {body['time']}")

    def _check_evidence(self, order: OrderState, index: int, evidence: str) -> None:
        note = SignedNote.parse(evidence.encode())
        head = Head.parse(note.text)
        if head.origin != self.log.origin:
            raise wrong(f"the evidence is a tree head of {head.origin}, another log")
        if note.signed_by(self.log.key) is None:
            raise wrong("the evidence is a tree head that this log did not sign")
        if not order.index < head.size <= index:
            raise wrong(f"the evidence has {head.size} leaves, not more than {order.index}")
        if head.root != self.log.root(head.size):
            raise wrong("the evidence is a tree head of another history: a fork")
        until_s = datetime.fromisoformat(order.until).timestamp()
        times = note.cosigners(order.timekeepers.values())
        num_late = sum(time_s >= until_s for time_s in times.values())
        if num_late < order.quorum:
            raise wrong(f"{num_late} of {order.quorum} timekeepers say that its time has come")


def _check_release(order: OrderState, body: dict[str, Json]) -> None:
    if body["evidence"]:
        raise wrong("a lift by the parties bears a tree head")
    envelope = Envelope.parse(canonical(body["release"]))
    kind, predicate, subject, digest = read_statement(envelope.payload)
    if kind != "pause-release" or first_fault(predicate, RELEASE):
        raise wrong("the release is none")
    if predicate["order"] != order.id or (subject, digest) != ("order", order.id):
        raise wrong("the release is one of another order")
    missing = order.signers - envelope.signers(order.parties, what="the release")
    if missing:
        names = ", ".join(sorted(vkey.partition("+")[0] for vkey in missing))
        raise wrong(f"the release is not signed by {names[:200]}")


def _read_order(index: int, data: bytes) -> OrderState:
    envelope = Envelope.parse(data)
    kind, terms, subject, digest = read_statement(envelope.payload)
    if kind != "pause-order":
        raise wrong(f"it is of the kind {kind[:60]!r}")
    if fault := first_fault(terms, ORDER):
        raise wrong(f"a wrong, missing or unknown field: {fault[:60]}")
    if (subject, digest) != ("order", sha256(canonical(terms)).hexdigest()):
        raise wrong("its subject is not the hash of its terms")
    parties = _keys(terms["parties"], SIGNER, "party")
    timekeepers = _keys(terms["timekeepers"], COSIGNER, "timekeeper")
    if not parties or terms["until"] <= terms["begins"]:
        raise wrong("it has no party, or ends before it begins")
    if terms["quorum"] > len(timekeepers) or bool(terms["quorum"]) != bool(timekeepers):
        raise wrong(f"it wants {terms['quorum']} of {len(timekeepers)} timekeepers")
    signers = envelope.signers(parties, what="the order")
    if terms["parties"][0] not in signers:
        raise wrong("its author has not signed it")
    return OrderState(
        id=sha256(envelope.payload).hexdigest(),
        index=index,
        above=int(terms["above_flop"]),
        begins=terms["begins"],
        until=terms["until"],
        parties=parties,
        timekeepers=timekeepers,
        quorum=terms["quorum"],
        signers=signers,
    )


def _keys(vkeys: list[str], kind: int, what: str) -> dict[str, Key]:
    if len(vkeys) > MAX_KEYS:
        raise wrong(f"it names more than {MAX_KEYS} as {what}")
    keys = {vkey: Key.parse(vkey) for vkey in vkeys}
    for vkey, key in keys.items():
        if key.kind != kind or str(key) != vkey:
            raise wrong(f"the key of the {what} {key.name} is not of the kind it must be")
    num_different = min(
        len({k.public for k in keys.values()}), len({k.name for k in keys.values()})
    )
    if num_different < len(vkeys):
        raise wrong(f"it names one {what} twice")
    return keys
