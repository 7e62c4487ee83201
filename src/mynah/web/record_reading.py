"""One record as the web reads it: facts, pages of the timeline, verdicts, kept until they change.

Reads the record of the house, from any thread, one reader at a time; writes nothing.
"""

import threading
import time
from collections.abc import Sequence

from mynah.record.record import Record
from mynah.record.thresholds import THRESHOLDS, Threshold
from mynah.web.record_facts import Keepers, RecordFacts, read_facts, read_keepers
from mynah.web.record_leaves import Group, LeafIndex, LeafPage

__all__ = ["RecordReading", "State"]

State = tuple[bytes, tuple[str, ...]]
"""The signed head with its cosignatures, and the orders that bind by now."""
VERDICTS_S = 10.0
"""How long verdicts stand, at least: a log that is followed may fall silent at any time."""


class RecordReading:
    """What the pages of all visitors read of one record."""

    def __init__(self, record: Record, thresholds: Sequence[Threshold] = THRESHOLDS) -> None:
        self.record = record
        self.thresholds = thresholds
        self._leaves = LeafIndex()
        self._lock = threading.Lock()
        self._facts: tuple[State, RecordFacts] | None = None
        self._verdicts_lock = threading.Lock()
        self._verdicts: tuple[float, tuple[Keepers, ...]] | None = None

    def state(self) -> State:
        """Equal to what it was if nothing on the page has changed."""
        note = self.record.log.note().encode()
        kept = self._facts
        return note, () if kept is None else _begun(kept[1], time.time_ns() // 1_000)

    def facts(self) -> RecordFacts:
        """All of the page but its timeline and its verdicts."""
        with self._lock:
            state = self.state()
            if self._facts is None or self._facts[0] != state:
                now_us = time.time_ns() // 1_000
                facts = read_facts(self.record, now_us=now_us, thresholds=self.thresholds)
                self._facts = (state[0], _begun(facts, now_us)), facts
            return self._facts[1]

    def page(self, group: Group, before: int | None) -> LeafPage:
        """A stretch of the timeline."""
        log = self.record.log
        size = log.head().size
        counts = self.record.register().counts
        if not any(counts[kind] for kind in group.kinds):
            return LeafPage(leaves=(), older=None)  # without a look at each leaf
        return self._leaves.page(log, group, before=size if before is None else before, size=size)

    def keepers(self) -> tuple[Keepers, ...]:
        """By order: how each party keeps it."""
        with self._verdicts_lock:
            if self._verdicts is None or time.monotonic() > self._verdicts[0]:
                begun = time.monotonic()
                found = read_keepers(self.record)
                now = time.monotonic()
                # Each look reads what grew of every log that is followed: seldom if that is much.
                self._verdicts = now + max(VERDICTS_S, 20 * (now - begun)), found
            return self._verdicts[1]


def _begun(facts: RecordFacts, now_us: int) -> tuple[str, ...]:
    """Orders that bind at a time: one may begin without a leaf being written."""
    return tuple(
        pause.signed.id
        for pause in facts.pauses
        if pause.state != "lifted" and pause.signed.order.begins_us <= now_us
    )
