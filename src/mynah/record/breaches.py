"""Find work inside a pause: fold a log, one's own or a mirrored one, with some orders in mind.

Reads a log; writes nothing. What a log says of itself is taken at its word and compared with its
own words: a run that an order covers may not count more FLOP from the moment the order binds.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from mynah.errors import PausedError, RecordError
from mynah.record.envelopes import read_payload
from mynah.record.log import LogReader
from mynah.record.orders import Order
from mynah.record.register import Register
from mynah.record.statements import Body, Paused, PauseLifted, Progress, Statement
from mynah.record.tree import EMPTY_ROOT, tree_root

__all__ = ["Breach", "LogFold", "Watch", "fold_log"]

MAX_FOLDS = 64
"""Logs whose fold is kept in memory, to go on from where it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """An order, and when it binds one log."""

    order: Order
    id: str
    since: str
    """Time; leaves before it are no concern of the order."""
    until: str
    """For a log that never declared the order and cannot lift it: its end. Else empty."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A leaf that shows what it should not, and why."""

    index: int
    detail: str


@dataclass(slots=True)
class LogFold:
    """What a log adds up to, as far as pauses are concerned."""

    register: Register
    size: int = 0
    root: bytes = EMPTY_ROOT
    breaches: dict[str, Breach] = field(default_factory=lambda: {})
    """First work inside the pause, by order."""
    lifted: dict[str, int] = field(default_factory=lambda: {})
    """Leaf that lifted an order by its own terms."""
    contradiction: Breach | None = None
    """First leaf that contradicts the log's own earlier ones."""
    unread: int | None = None
    """First leaf that this version does not understand."""
    flop: dict[str, int] = field(default_factory=lambda: {})
    """Counted by each run so far."""

    def add(self, index: int, leaf: bytes, watches: tuple[Watch, ...]) -> None:
        """Fold one leaf; a bad one is noted and passed over."""
        try:
            body = Statement.decode(read_payload(leaf)).body
        except RecordError:
            self.unread = index if self.unread is None else self.unread
            self.register.size = index + 1
            return
        for watch in watches:
            if watch.id not in self.breaches and watch.id not in self.lifted:
                self._check(index, body, watch)
        if isinstance(body, Progress | Paused):
            self.flop[body.run] = max(int(body.flop), self.flop.get(body.run, 0))
        self._apply(index, body)

    def _check(self, index: int, body: Body, watch: Watch) -> None:
        """Note work that ``body`` shows inside the pause."""
        is_paused = isinstance(body, Paused) and self._was_paused(body.run)
        if not (isinstance(body, Progress) or is_paused):
            return
        assert isinstance(body, Progress | Paused)
        flop, before = int(body.flop), self.flop.get(body.run, 0)
        is_inside = watch.since <= body.time and (not watch.until or body.time < watch.until)
        if flop > before and is_inside and watch.order.covers(self._total(body.run, flop)):
            self.breaches[watch.id] = Breach(
                index, f"the run {body.run} counts {flop - before} FLOP more inside the pause"
            )

    def _was_paused(self, run: str) -> bool:
        entry = self.register.runs.get(run)
        return entry is not None and bool(entry.paused_by)

    def _total(self, run: str, flop: int) -> int | None:
        """Counted or planned, lineage included; unknown for a run that is not declared."""
        entry = self.register.runs.get(run)
        if entry is None or entry.lineage_flop is None:
            return None
        return entry.lineage_flop + max(flop, int(entry.declared.planned_flop))

    def _apply(self, index: int, body: Body) -> None:
        try:
            self.register.apply(index, body)
        except RecordError as error:
            is_about_a_pause = isinstance(error, PausedError)  # a watch has noted that
            if self.contradiction is None and not is_about_a_pause:
                self.contradiction = Breach(index, f"its log contradicts itself: {error.message}")
            self.register.size = index + 1
            self.register.last_time = max(self.register.last_time, body.time)
        else:
            if isinstance(body, PauseLifted):
                self.lifted[body.order] = index


_folds: "OrderedDict[tuple[str, str], tuple[tuple[Watch, ...], LogFold]]" = OrderedDict()
_lock = threading.Lock()


def fold_log(reader: LogReader, watches: tuple[Watch, ...]) -> LogFold:
    """Fold a log, from where the last call for the same orders ended if that still stands.

    Raises:
        RecordError: The log is damaged.
    """
    name = (str(reader.folder), str(reader.key))
    tree = reader.tree()
    head = tree.head
    with _lock:
        kept, fold = _folds.pop(name, ((), LogFold(Register(reader.key.name))))
        is_same = kept == watches and fold.size <= head.size
        if not is_same or tree_root(fold.size, tree.hash_at) != fold.root:
            fold = LogFold(Register(reader.key.name))
        for index, leaf in enumerate(tree.leaves(fold.size, head.size), fold.size):
            fold.add(index, leaf, watches)
        fold.size, fold.root = head.size, head.root
        _folds[name] = watches, fold
        if len(_folds) > MAX_FOLDS:
            _folds.popitem(last=False)
        return fold
