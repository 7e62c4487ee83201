"""The acts behind ``mynah record pause``, ``cosign``, ``release`` and ``resume``.

Reads and writes the orders of this identity and the log. An order is in force as soon as its file
is written; a kill before its leaf is healed by the next look of the gate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import orjson

from mynah.errors import ConfigError, PausedError, RecordError
from mynah.record.entries import OrderEntry
from mynah.record.envelopes import add_signature
from mynah.record.gate import Gate, now_us
from mynah.record.lifting import check_lift
from mynah.record.notes import Note, TreeHead, VerifierKey, verify_note
from mynah.record.order_store import OrderStore
from mynah.record.orders import (
    Order,
    SignedOrder,
    cosign_order,
    make_order,
    make_release,
    new_nonce,
    read_order,
    read_release,
)
from mynah.record.statements import PauseLifted, format_time
from mynah.record.thresholds import parse_flop
from mynah.workspace import canonical_json

if TYPE_CHECKING:
    from mynah.record.record import Record

__all__ = [
    "PauseTerms",
    "cosign_pause",
    "find_order",
    "lift_pause",
    "order_pause",
    "sign_release",
]

MIN_PREFIX = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseTerms:
    """What a pause shall be, before it has an author."""

    above: str
    """FLOP, lineage included, such as "2.1e25"."""
    until_us: int
    """Microseconds since 1970."""
    reason: str
    cosigners: Sequence[VerifierKey] = ()
    """Other organisations that are asked to sign."""
    timekeepers: Sequence[VerifierKey] = ()
    """Witnesses whose word for ``until_us`` counts instead of a local clock."""
    quorum: int = 0
    """Timekeepers needed."""
    begins_us: int | None = None
    """Microseconds since 1970; now, if left out."""


def order_pause(
    record: "Record", terms: PauseTerms, *, clock: Callable[[], int] = now_us
) -> SignedOrder:
    """Order a pause: sign it, keep it with the keys, log it.

    Raises:
        ConfigError: The amount of FLOP is none, or the end is past.
        RecordError: Another term is wrong, or it could not be written.
    """
    now = clock()
    if terms.until_us <= now:
        raise ConfigError(
            f"the pause would have ended already, at {format_time(terms.until_us)}",
            hint="give --until a time that is still to come",
        )
    key = record.identity.key
    order = Order(
        above_flop=str(parse_flop(terms.above)),
        begins=format_time(now if terms.begins_us is None else terms.begins_us),
        until=format_time(terms.until_us),
        reason=terms.reason,
        parties=(str(key.verifier()), *map(str, terms.cosigners)),
        timekeepers=tuple(map(str, terms.timekeepers)),
        quorum=terms.quorum,
        nonce=new_nonce(),
    )
    return _keep(record, make_order(order, key), clock)


def cosign_pause(
    record: "Record", envelope: bytes, *, clock: Callable[[], int] = now_us
) -> SignedOrder:
    """Sign another party's order, and be bound by it from now on.

    Raises:
        RecordError: It is no valid order, does not ask this organisation, or is over.
    """
    signed = read_order(envelope)
    if signed.order.until_us <= clock():
        raise RecordError(
            f"the order {signed.id[:12]} ended at {signed.order.until}",
            hint="ask its author for a new one",
        )
    stored = OrderStore(record.identity).read().get(signed.id)
    if stored is not None and stored.lifted:
        raise RecordError(
            f"the order {signed.id[:12]} is lifted already", hint="ask its author for a new one"
        )
    return _keep(record, cosign_order(envelope, record.identity.key), clock)


def sign_release(
    record: "Record", order_id: str, *, reason: str = "", release: bytes | None = None
) -> bytes:
    """Agree, as a party, that an order is over; begin a release or add to one.

    Raises:
        RecordError: The order is unknown here, or this organisation is no party of it.
    """
    signed = find_order(record, order_id).signed
    key = record.identity.key
    if release is None:
        return make_release(signed, reason, key)
    found = read_release(release, signed)
    if key.verifier() not in signed.order.party_keys:
        raise RecordError(
            f"{key.name} is no party of the order {signed.id[:12]}",
            hint="only its parties can release it",
        )
    return release if key.verifier() in found.signers else add_signature(release, key)


def lift_pause(
    record: "Record",
    order_id: str,
    *,
    release: bytes | None = None,
    cosign: Callable[[], Note] | None = None,
    clock: Callable[[], int] = now_us,
) -> PauseLifted:
    """End an order by its own terms, with a leaf.

    Args:
        record: The log that shall go on; each log of an organisation lifts for itself.
        order_id: The order, or the begin of its id.
        release: Agreement of all who signed it; else its time must have come.
        cosign: Asks the order's timekeepers to cosign the tree head of this log, and returns
            it; without it, what they have signed already must do.
        clock: Microseconds since 1970.

    Raises:
        ConfigError: There is no such order.
        PausedError: Says which term is not met: who has not signed, which timekeeper has not
            said that the time has come, how long it is until then.
    """
    gate = Gate(record, clock=clock)
    gate.adopt()  # with every signature that is known of, so that nobody is left out
    entry = find_order(record, order_id)
    signed = entry.signed
    if entry.is_lifted:
        raise PausedError(
            f"the order {signed.id[:12]} is lifted already, by leaf {entry.lifted_index}",
            hint="run the training command again",
        )
    if release is None:
        stored = gate.store.read().get(signed.id)
        if stored is not None and stored.lift is not None and stored.lift.release:
            release = canonical_json(stored.lift.release)  # another log of ours was released
    body = PauseLifted(order=signed.id, basis="until", time=format_time(gate.now_us()))
    if release is not None:
        read_release(release, signed)
        body = replace(body, basis="parties", release=orjson.loads(release))
    elif signed.order.timekeepers:
        body = replace(body, evidence=_evidence(record, entry, cosign))
    elif clock() < signed.order.until_us:
        raise _too_early(signed, signed.order.until_us - clock())
    check_lift(signed, body, order_index=entry.index, origin=record.origin)
    written = record.write(replace(body, time=""))
    gate.store.put(entry.envelope, lifted=written.leaf)
    lifted = record.register().orders[signed.id].lifted
    assert lifted is not None, "the leaf that lifts it is written"
    return lifted


def find_order(record: "Record", order_id: str) -> OrderEntry:
    """The order of an id, or of its first six digits or more.

    One that binds this identity and is not in this log yet has the index -1.

    Raises:
        ConfigError: No order has it, or several have.
    """
    orders = {
        one.signed.id: OrderEntry(signed=one.signed, index=-1, time="")
        for one in OrderStore(record.identity).read().values()
    }
    orders.update(record.register().orders)
    if order_id in orders:
        return orders[order_id]
    found = [one for one in orders if len(order_id) >= MIN_PREFIX and one.startswith(order_id)]
    if len(found) == 1:
        return orders[found[0]]
    raise ConfigError(
        f"{len(found) or 'no'} orders known here begin with {order_id[:64]!r}",
        hint="mynah record pause status WORKSPACE lists them",
    )


def _keep(record: "Record", envelope: bytes, clock: Callable[[], int]) -> SignedOrder:
    gate = Gate(record, clock=clock)
    gate.store.put(envelope)
    gate.adopt()
    return record.register().orders[read_order(envelope).id].signed


def _evidence(record: "Record", entry: OrderEntry, cosign: Callable[[], Note] | None) -> str:
    """A tree head of this log, with the timekeepers' lines and no others."""
    keys = entry.order.timekeeper_keys
    note = record.log.note() if cosign is None else cosign()
    verify_note(note, (record.key,))
    head = TreeHead.parse(note.text)
    if head != record.log.head():
        raise RecordError(
            f"the timekeepers signed a tree head of {head.size} leaves, the log has"
            f" {record.log.head().size}",
            hint="run it again while nothing else writes to the record",
        )
    wanted = {(key.name, key.key_id) for key in (*keys, record.key)}
    lines = tuple(line for line in note.signatures if (line.name, line.key_id) in wanted)
    return Note(note.text, lines).encode().decode()


def _too_early(signed: SignedOrder, left_us: int) -> PausedError:
    days, rest = divmod(left_us // 1_000_000, 86_400)
    hours, rest = divmod(rest, 3600)
    left = f"{days} d {hours} h" if days else f"{hours} h {rest // 60} min {rest % 60} s"
    names = ", ".join(key.name for key in signed.signers)
    return PausedError(
        f"the order {signed.id[:12]} stands until {signed.order.until}: {left} from now",
        hint=f"wait, or get a release signed by {names}: mynah record release WORKSPACE ORDER",
    )
