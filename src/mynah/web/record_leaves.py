"""The timeline of the record: the newest leaves first, a page at a time, a kind at a time.

Reads the leaves that a page shows, and a little of others to know their kind, which is kept:
a log of a million leaves costs no more than the page of one. Writes nothing.
"""

import base64
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import orjson

from mynah.errors import RecordError
from mynah.record.envelopes import read_payload
from mynah.record.statements import KINDS, Body, Statement

__all__ = ["GROUPS", "PAGE", "Group", "Leaf", "LeafIndex", "LeafPage", "Leaves", "group_named"]

PAGE = 20
"""Leaves on a page."""
BUNDLE = 256
"""Leaves that a log keeps in one file."""
LOOKED_AT = 40 * BUNDLE
"""Leaves that one page reads to know their kind: about half a second. Then it asks to go on."""
UNKNOWN = 255
_NAMES = tuple(KINDS)
_NUMBERS = {name: number for number, name in enumerate(_NAMES)}
_PROGRESS = _NUMBERS["progress"]


@dataclass(frozen=True, slots=True)
class Group:
    """Kinds of leaves that one asks for together."""

    key: str
    """In the page's address."""
    name: str
    kinds: tuple[str, ...]


GROUPS = (
    Group("", "Everything", _NAMES),
    Group("runs", "Runs", ("run-declared", "progress")),
    Group("pauses", "Pauses", ("pause-ordered", "pause-lifted", "paused", "resumed")),
    Group("models", "Models", ("checkpoint", "model-served", "model-withdrawn", "audit")),
    Group("shares", "Sharing", ("share-granted", "share-cut")),
    Group("forgotten", "Taken back", ("post-forgotten",)),
    Group("logs", "Other logs", ("log-followed",)),
)
"""Every kind stands in one of them, besides the first."""


def group_named(key: str) -> Group:
    """The group of that key; everything for a key that there is not."""
    return next((group for group in GROUPS if group.key == key), GROUPS[0])


class Leaves(Protocol):
    """What is needed of a log."""

    def leaves(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The leaves from ``start`` up to ``stop``."""
        ...

    def leaf(self, index: int) -> bytes:
        """One of them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One leaf as the timeline shows it."""

    index: int
    when: datetime
    body: Body
    num_before: int = 0
    """Leaves right before it that say the same of an earlier moment, and are not shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafPage:
    """A stretch of the timeline."""

    leaves: tuple[Leaf, ...]
    older: int | None
    """Where the next page begins: leaves below this index; ``None`` at the log's beginning."""
    num_passed: int = 0
    """Leaves of other kinds looked past in vain, when the page stopped for that."""


class LeafIndex:
    """Which kind each leaf of one log is of, as far as anyone asked."""

    def __init__(self) -> None:
        self._kinds = bytearray()
        self._lock = threading.Lock()

    def page(self, log: Leaves, group: Group, *, before: int, size: int) -> LeafPage:
        """The newest leaves of ``group`` below the index ``before``, of a log of ``size``."""
        with self._lock:
            self._kinds.extend([UNKNOWN] * (size - len(self._kinds)))
            at = min(before, size)
            floor = self._floor(at)
            leaves: list[Leaf] = []
            while len(leaves) < PAGE:
                if (index := self._newest(log, group, at, floor)) is None:
                    break
                at = index
                if group.key == "" and self._kinds[index] == _PROGRESS:
                    at = self._first_of_stretch(log, index, floor)
                leaves.append(_read(log, index, num_before=index - at))
        if len(leaves) == PAGE:
            return LeafPage(leaves=tuple(leaves), older=at or None)
        passed = at - floor if floor else 0
        return LeafPage(leaves=tuple(leaves), older=floor or None, num_passed=passed)

    def _floor(self, before: int) -> int:
        """How far back a page may look: past so many leaves whose kind is not known yet."""
        num_unread = 0
        while before and num_unread < LOOKED_AT:
            start = (before - 1) // BUNDLE * BUNDLE
            num_unread += self._kinds.count(UNKNOWN, start, before)
            before = start
        return before

    def _newest(self, log: Leaves, group: Group, before: int, low: int) -> int | None:
        """Index of the newest leaf of ``group`` from ``low`` up to ``before``, if there is one."""
        wanted = _table({_NUMBERS[kind] for kind in group.kinds} | {UNKNOWN})
        while before > low:
            found = self._kinds[low:before].translate(wanted).rfind(b"\1")
            if found < 0:
                return None
            if self._kinds[low + found] != UNKNOWN:
                return low + found
            self._look_at(log, low + found)
            before = min(before, low + found + 1)
        return None

    def _first_of_stretch(self, log: Leaves, index: int, low: int) -> int:
        """First of the unbroken row of progress leaves, from ``low`` on, that ends at ``index``."""
        others = _table(set(range(256)) - {_PROGRESS})
        while (at := self._kinds[low:index].translate(others).rfind(b"\1")) >= 0:
            if self._kinds[low + at] != UNKNOWN:
                return low + at + 1
            self._look_at(log, low + at)
        return low

    def _look_at(self, log: Leaves, index: int) -> None:
        """Learn the kinds of the whole file that holds ``index``."""
        start = index - index % BUNDLE
        stop = min(start + BUNDLE, len(self._kinds))
        numbers = bytes(_kind_of(leaf) for leaf in log.leaves(start, stop))
        self._kinds[start : start + len(numbers)] = numbers


def _table(wanted: set[int]) -> bytes:
    return bytes(1 if number in wanted else 0 for number in range(256))


def _kind_of(leaf: bytes) -> int:
    """Its kind's number; far cheaper than to read the statement, which is done when it is shown."""
    try:
        payload = base64.b64decode(orjson.loads(leaf)["payload"])
        return _NUMBERS[str(orjson.loads(payload)["predicateType"]).split("/")[-2]]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise RecordError(
            "a leaf of the log cannot be read", hint="the log is damaged: mynah record verify"
        ) from error


def _read(log: Leaves, index: int, *, num_before: int) -> Leaf:
    body = Statement.decode(read_payload(log.leaf(index))).body
    when = datetime.fromisoformat(body.time).astimezone(UTC)
    return Leaf(index=index, when=when, body=body, num_before=num_before)
