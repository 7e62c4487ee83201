"""What the Record page shows, as plain data: runs, pools, pauses, the head and who cosigned it.

Reads a record through its register, which keeps up with the log leaf by leaf; writes nothing.
"""

import base64
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from mynah.errors import RecordError
from mynah.record.cosigning import read_policy, witness_keys
from mynah.record.entries import OrderEntry, PoolEntry, RunEntry
from mynah.record.notes import Note, cosigned_at
from mynah.record.orders import Order, SignedOrder
from mynah.record.record import Record
from mynah.record.register import Register
from mynah.record.status import PartyStatus, Verdict, pause_status
from mynah.record.thresholds import THRESHOLDS, Threshold

__all__ = [
    "HeadFacts",
    "Keepers",
    "Limit",
    "PartyFacts",
    "PauseFacts",
    "PoolFacts",
    "RecordFacts",
    "RunFacts",
    "RunState",
    "WitnessFacts",
    "read_facts",
    "read_keepers",
    "recorded_runs",
]

logger = logging.getLogger(__name__)

COSIGNATURE_BYTES = 72
"""A time and an Ed25519 signature."""
MAX_TIME_S = 253_402_300_800
"""The year 10,000, past which no date goes: an unchecked line may hold any number."""
RunState = Literal["declared", "running", "paused", "ended"]
PauseState = Literal["in force", "not begun", "lifted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """One run of the compute register."""

    name: str
    model: str
    """That it makes."""
    leaf: int
    """Of its declaration."""
    state: RunState
    counted: int
    """FLOP of this run alone so far."""
    planned: int
    """FLOP of this run alone, at most."""
    lineage: int | None
    """FLOP counted in it and all it descends from; ``None`` when a parent's is unknown."""
    device_s: float
    pool: str
    device: str
    num_devices: int

    @property
    def least(self) -> int:
        """What is known to be counted."""
        return self.counted if self.lineage is None else self.lineage

    @property
    def most(self) -> int:
        """The same once all that is planned is done."""
        return self.least + max(0, self.planned - self.counted)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """Machines, and all that ran on them."""

    name: str
    devices: str
    num_runs: int
    flop: int
    device_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A line in the chart."""

    name: str
    flop: int
    source: str
    """Where the number is from."""
    is_pause: bool = False
    """Whether it is an order in force rather than somebody's threshold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyFacts:
    """How one organisation kept a pause, as far as its published log shows."""

    name: str
    log: str
    """Origin of its log; empty if none is followed here."""
    is_own: bool
    """Whether that log is this one."""
    verdict: Verdict
    words: str
    """Why, in a few words."""
    evidence: int | None
    """Leaf of its log that the verdict rests on."""
    seen: datetime | None
    """Newest sign of life of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keepers:
    """A pause order and everyone it concerns."""

    id: str
    order: Order
    parties: tuple[PartyFacts, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseFacts:
    """One pause order of the log."""

    signed: SignedOrder
    leaf: int
    state: PauseState
    covered: tuple[RunFacts, ...]
    """Runs of this log that it covers."""
    lifted: int | None = None
    """Leaf that lifted it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessFacts:
    """Who else signed the tree head, and when."""

    name: str
    when: datetime
    is_checked: bool
    """Whether its key is known here and the signature is true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadFacts:
    """The signed state of the log."""

    origin: str
    vkey: str
    size: int
    root: str
    """Base64, as it stands in the tree head."""
    witnesses: tuple[WitnessFacts, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFacts:
    """All of the page but its timeline."""

    head: HeadFacts
    runs: tuple[RunFacts, ...]
    """The newest first."""
    pools: tuple[PoolFacts, ...]
    limits: tuple[Limit, ...]
    pauses: tuple[PauseFacts, ...]
    """The newest first, those in force before others."""
    models: tuple[str, ...]
    """Models of which there is a bill of materials."""
    has_policy: bool
    """Whether the workspace names witnesses."""

    @property
    def in_force(self) -> tuple[PauseFacts, ...]:
        """The pauses that bind now."""
        return tuple(pause for pause in self.pauses if pause.state == "in force")


def read_facts(
    record: Record, *, now_us: int, thresholds: Sequence[Threshold] = THRESHOLDS
) -> RecordFacts:
    """Add up the record, with its pauses as they stand at a time."""
    register = record.register()
    runs = tuple(_run(name, entry) for name, entry in reversed(list(register.runs.items())))
    pauses = [_pause(entry, register, now_us) for entry in list(register.orders.values())]
    pauses.sort(key=lambda pause: (_URGENCY.index(pause.state), -pause.leaf))
    orders = [
        Limit(name="pause", flop=pause.signed.order.above, is_pause=True,
              source=f"Ordered by {pause.signed.order.party_keys[0].name}")
        for pause in pauses
        if pause.state == "in force"
    ]  # fmt: skip
    return RecordFacts(
        head=_head(record),
        runs=runs,
        pools=tuple(_pool(entry) for entry in register.pools()),
        limits=(*(_limit(threshold) for threshold in thresholds), *orders),
        pauses=tuple(pauses),
        has_policy=(record.folder / "policy").is_file(),
        models=tuple(dict.fromkeys(model.name for model in list(register.models.values()))),
    )


def recorded_runs(record: Record | None) -> dict[str, RunFacts]:
    """Runs by name; none while there is no record, or it cannot be read."""
    if record is None:
        return {}
    try:
        register = record.register()
    except RecordError as error:
        logger.warning("the record cannot be read: %s", error.message)
        return {}
    return {name: _run(name, entry) for name, entry in list(register.runs.items())}


_URGENCY: tuple[PauseState, ...] = ("in force", "not begun", "lifted")


def _limit(threshold: Threshold) -> Limit:
    return Limit(name=threshold.name, flop=threshold.amount, source=threshold.source)


def _run(name: str, entry: RunEntry) -> RunFacts:
    return RunFacts(
        name=name,
        model=entry.declared.model,
        leaf=entry.index,
        state=_state(entry),
        counted=entry.flop,
        planned=int(entry.declared.planned_flop),
        lineage=entry.total_flop,
        device_s=float(entry.device_s),
        pool=entry.declared.pool,
        device=entry.declared.device,
        num_devices=entry.declared.num_devices,
    )


def _state(entry: RunEntry) -> RunState:
    if entry.is_final:
        return "ended"
    if entry.paused_by:
        return "paused"
    return "running" if entry.flop or entry.step else "declared"


def _pool(entry: PoolEntry) -> PoolFacts:
    return PoolFacts(
        name=entry.pool,
        devices=f"{entry.num_devices:,} \u00d7 {entry.device}",
        num_runs=len(entry.runs),
        flop=entry.flop,
        device_s=float(entry.device_s),
    )


def _pause(entry: OrderEntry, register: Register, now_us: int) -> PauseFacts:
    covered = [
        _run(name, run)
        for name, run in list(register.runs.items())
        if not run.is_final and entry.order.covers(run.covered_total())
    ]
    in_force = "in force" if entry.is_in_force(now_us) else "not begun"
    return PauseFacts(
        signed=entry.signed,
        leaf=entry.index,
        state="lifted" if entry.is_lifted else in_force,
        covered=tuple(covered),
        lifted=entry.lifted_index,
    )


def _head(record: Record) -> HeadFacts:
    note, head = record.log.note(), record.log.head()
    return HeadFacts(
        origin=record.origin,
        vkey=str(record.key),
        size=head.size,
        root=base64.b64encode(head.root).decode(),
        witnesses=_witnesses(note, record),
    )


def _witnesses(note: Note, record: Record) -> tuple[WitnessFacts, ...]:
    """Who cosigned the head; a line whose key the workspace's policy names is checked first."""
    known = {(key.name, key.key_id): key for key in witness_keys(read_policy(record.folder))}
    own = (record.key.name, record.key.key_id)
    found: list[WitnessFacts] = []
    for line in note.signatures:
        at = (line.name, line.key_id)
        if at == own or len(line.blob) != COSIGNATURE_BYTES:
            continue
        key = known.get(at)
        time_s = cosigned_at(note, key) if key else int.from_bytes(line.blob[:8])
        if time_s is not None and time_s < MAX_TIME_S:
            when = datetime.fromtimestamp(time_s, UTC)
            found.append(WitnessFacts(name=line.name, when=when, is_checked=key is not None))
    return tuple(found)


def read_keepers(record: Record) -> tuple[Keepers, ...]:
    """Every order that is known here with everyone it concerns, as their logs were seen last."""
    return tuple(
        Keepers(
            id=status.id,
            order=status.order,
            parties=tuple(_party(row, record.origin) for row in status.parties),
        )
        for status in pause_status(record).orders
    )


def _party(row: PartyStatus, origin: str) -> PartyFacts:
    seen = row.head_time
    return PartyFacts(
        name=row.name,
        log=row.log,
        is_own=row.log == origin,
        verdict=row.verdict,
        words=row.detail,
        evidence=row.evidence,
        seen=datetime.fromisoformat(seen) if seen else None,
    )
