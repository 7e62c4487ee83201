"""The gate: may this run go on? Asked before a run, and before every step of it.

Reads the orders of this identity, the log and the mirrors of followed logs; writes pause-ordered
leaves for orders that the log lacks, and order files that were lost. Where an order is known to
one of them it is in force; only a pause-lifted leaf of this log ends it here.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from mynah.errors import PausedError
from mynah.record.entries import OrderEntry
from mynah.record.order_store import OrderStore, StoredOrder
from mynah.record.orders import SignedOrder, merge_orders, read_order
from mynah.record.statements import PauseOrdered
from mynah.record.thresholds import format_flop

if TYPE_CHECKING:
    from mynah.record.record import Record

__all__ = ["Gate", "now_us", "paused_error"]

SETTLED_NS = 20_000_000
"""A folder's time moves in steps of some milliseconds: what is younger is looked at once more."""
Stamp = tuple[int, int, int] | None


def now_us() -> int:
    """The local clock, in microseconds since 1970."""
    return time.time_ns() // 1000


class Gate:
    """What stands between a run and its next step."""

    def __init__(self, record: "Record", *, clock: Callable[[], int] = now_us) -> None:
        self.record = record
        self.store = OrderStore(record.identity)
        self._clock = clock
        self._seen_us = 0
        self._paths: list[Path] = []
        self._stamps: list[Stamp] = []
        self._settled_ns: int | None = None
        self._next_begin_us: int | None = None

    def adopt(self) -> int:
        """Log every order that binds this identity and that the log lacks.

        Returns:
            How many leaves were written.

        Raises:
            RecordError: An order cannot be trusted, or the log cannot be written. Nothing may
                run then.
        """
        self._look()
        stored = self.store.read()
        num_written = sum(self._log(one.signed) for one in stored.values() if not one.lifted)
        for signed in self._obeyed():
            one = stored.get(signed.id)
            if one is None or not one.lifted:
                num_written += self._log(signed)
        register = self.record.register()
        for entry in list(register.orders.values()):
            healed = self._heal(entry, stored.get(entry.signed.id))
            if healed is not None:
                stored[entry.signed.id] = healed
        seen = (register.last_time_us, *(one.known_us for one in stored.values()))
        self._seen_us = max(self._seen_us, *seen)
        at_us = self.now_us()
        begins = [one.order.begins_us for one in register.orders.values() if not one.is_lifted]
        self._next_begin_us = min((begin for begin in begins if begin > at_us), default=None)
        return num_written

    def orders_in_force(self, now_us: int | None = None) -> list[OrderEntry]:
        """Orders that bind the log, the strictest first; one not logged yet has the index -1."""
        found = {
            one.signed.id: OrderEntry(signed=one.signed, index=-1, time="")
            for one in self.store.read().values()
            if not one.lifted
        }
        found.update(self.record.register().orders)
        at_us = self.now_us() if now_us is None else now_us
        binding = [entry for entry in found.values() if entry.is_in_force(at_us)]
        return sorted(binding, key=lambda entry: (entry.order.above, entry.signed.id))

    def refusal(self, total_flop: int | None) -> OrderEntry | None:
        """The strictest order that covers a run of ``total_flop``; ``None`` if it may go on.

        Args:
            total_flop: The larger of counted and planned, lineage included; ``None`` if unknown.

        Raises:
            RecordError: The orders or the log cannot be read or written: nothing may run.
        """
        self.adopt()
        for entry in self.orders_in_force():
            if entry.order.covers(total_flop):
                return entry
        return None

    def require(self, total_flop: int | None) -> None:
        """Do nothing if a run of ``total_flop`` may go on.

        Raises:
            PausedError: An order covers it; says which, and until when.
        """
        entry = self.refusal(total_flop)
        if entry is not None:
            raise paused_error(entry, total_flop)

    def has_changed(self) -> bool:
        """Whether ``refusal`` may answer otherwise than last time; some microseconds."""
        if self._settled_ns is None:  # never asked, or the last look was too close to a change
            return True
        if self._next_begin_us is not None and self._clock() >= self._next_begin_us:
            return True
        return self._stamps != [_stamp(path) for path in self._paths]

    def now_us(self) -> int:
        """The local clock, but never before what the log or an order had seen when last read."""
        return max(self._clock(), self._seen_us)

    def _look(self) -> None:
        """Remember how the files look, before they are read."""
        followed = self.record.folder / "followed"
        self._paths = [self.store.folder, self.record.log.folder / "checkpoint", followed]
        self._paths += sorted(followed.glob("*/checkpoint"))
        self._stamps = [_stamp(path) for path in self._paths]
        now_ns = time.time_ns()
        newest_ns = max((stamp[2] for stamp in self._stamps if stamp), default=0)
        self._settled_ns = now_ns if abs(now_ns - newest_ns) > SETTLED_NS else None

    def _obeyed(self) -> Iterator[SignedOrder]:
        if not any(log.is_obeyed for log in self.record.register().followed.values()):
            return
        from mynah.record.following import obeyed_orders

        for envelope in obeyed_orders(self.record):
            yield read_order(envelope)

    def _log(self, signed: SignedOrder) -> int:
        """Write an order into the log, unless it is there with all these signatures."""
        known = self.record.register().orders.get(signed.id)
        if known is not None:
            if known.is_lifted or set(signed.signers) <= set(known.signed.signers):
                return 0
            signed = read_order(merge_orders(known.envelope, signed.envelope))
        envelope = orjson.loads(signed.envelope)
        self.record.write(PauseOrdered(order=signed.id, envelope=envelope))
        return 1

    def _heal(self, entry: OrderEntry, stored: StoredOrder | None) -> StoredOrder | None:
        """Make the order's file say what the log says; return it if it did not."""
        if entry.lifted_index is not None:
            if stored is None or stored.lifted:
                return None
            return self.store.put(entry.envelope, lifted=self._leaf(entry.lifted_index))
        if stored is None or not stored.ordered:
            return self.store.put(entry.envelope, ordered=self._leaf(entry.index))
        if not stored.lifted and not set(entry.signed.signers) <= set(stored.signed.signers):
            return self.store.put(entry.envelope)
        return None

    def _leaf(self, index: int) -> bytes:
        """A leaf of the log; nothing while it is in the queue."""
        return self.record.log.leaf(index) if index < self.record.log.head().size else b""


def paused_error(entry: OrderEntry, total_flop: int | None) -> PausedError:
    """What a person is told whose run an order covers."""
    order, author = entry.order, entry.order.party_keys[0].name
    why = (
        "the FLOP of what it descends from are unknown"
        if total_flop is None
        else f"the run has or plans {format_flop(total_flop)} FLOP, lineage included"
    )
    declare = "; if it is below, declare it: --set base_flop=..." if total_flop is None else ""
    return PausedError(
        f"order {entry.signed.id[:12]} of {author} pauses training above"
        f" {format_flop(order.above)} FLOP until {order.until}, and {why}",
        hint=f"mynah record resume WORKSPACE {entry.signed.id[:12]} lifts it by its terms{declare}",
    )


def _stamp(path: Path) -> Stamp:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns
