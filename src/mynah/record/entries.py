"""What the register keeps of a run, a model, an order and a pool, and how that goes to JSON.

Pure. FLOP are integers here and decimal strings in JSON, where numbers lose digits above 2^53.
"""

from dataclasses import asdict, dataclass, field, fields
from decimal import Decimal
from typing import Any

import orjson

from mynah.record.orders import Order, SignedOrder, read_order
from mynah.record.statements import ParentModel, PauseLifted, RunDeclared
from mynah.workspace import canonical_json

__all__ = ["ModelEntry", "OrderEntry", "PoolEntry", "RunEntry"]

Json = Any
_DECLARED = tuple(one.name for one in fields(RunDeclared) if one.name != "parents")
_COUNTED = ("index", "device_ms", "tokens", "step", "is_final", "paused_by", "paused_checkpoint")


@dataclass(slots=True, kw_only=True)
class RunEntry:
    """A run, as far as the record has counted it."""

    declared: RunDeclared
    index: int
    """Of its run-declared leaf."""
    lineage_flop: int | None
    """Of all it descends from, when it was declared; without the run itself."""
    parent_runs: tuple[str, ...] = ()
    """For each of ``declared.parents`` the run that had made it by then; empty for outside ones.
    Not asked again later: a run may save its parent's weights unchanged, as a model of its own."""
    flop: int = 0
    """Counted in this run."""
    device_ms: int = 0
    tokens: int = 0
    step: int = 0
    is_final: bool = False
    paused_by: str = ""
    """Order that it is paused by, until it is resumed."""
    paused_checkpoint: str = ""
    """Digest that it must be resumed from."""
    last_time: str
    """Of the last leaf about it."""

    @property
    def device_s(self) -> Decimal:
        """Devices times seconds."""
        return Decimal(self.device_ms) / 1000

    @property
    def total_flop(self) -> int | None:
        """Counted, with its whole lineage."""
        return None if self.lineage_flop is None else self.lineage_flop + self.flop

    @property
    def planned_total(self) -> int | None:
        """Planned, with its whole lineage."""
        if self.lineage_flop is None:
            return None
        return self.lineage_flop + int(self.declared.planned_flop)

    def covered_total(self, flop: int = 0) -> int | None:
        """The largest of what is planned, what is counted, and ``flop`` in this run."""
        if self.lineage_flop is None:
            return None
        return self.lineage_flop + max(self.flop, flop, int(self.declared.planned_flop))

    def to_json(self) -> Json:
        """As plain JSON."""
        declared = {name: getattr(self.declared, name) for name in _DECLARED}
        declared["parents"] = [asdict(parent) for parent in self.declared.parents]
        counted = {name: getattr(self, name) for name in _COUNTED}
        counted["parent_runs"] = list(self.parent_runs)
        lineage = None if self.lineage_flop is None else str(self.lineage_flop)
        flop = {"flop": str(self.flop), "lineage_flop": lineage}
        return {"declared": declared, "last_time": self.last_time, **flop, **counted}

    @classmethod
    def from_json(cls, raw: Json) -> "RunEntry":
        """The inverse."""
        declared = dict(raw["declared"])
        declared["parents"] = tuple(ParentModel(**parent) for parent in declared["parents"])
        lineage = raw["lineage_flop"]
        return cls(
            declared=RunDeclared(**declared),
            lineage_flop=None if lineage is None else int(lineage),
            parent_runs=tuple(raw["parent_runs"]),
            flop=int(raw["flop"]),
            last_time=raw["last_time"],
            **{name: raw[name] for name in _COUNTED},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A model that a run of this record has made."""

    name: str
    lineage_flop: int | None
    run: str

    def to_json(self) -> Json:
        """As plain JSON."""
        flop = None if self.lineage_flop is None else str(self.lineage_flop)
        return [self.name, flop, self.run]

    @classmethod
    def from_json(cls, raw: Json) -> "ModelEntry":
        """The inverse."""
        name, flop, run = raw
        return cls(name=name, lineage_flop=None if flop is None else int(flop), run=run)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderEntry:
    """An order as the log has it: every signature that any of its leaves bears."""

    signed: SignedOrder
    index: int
    """Of its first pause-ordered leaf."""
    time: str
    """Of that leaf."""
    lifted: PauseLifted | None = None
    lifted_index: int | None = None

    @property
    def order(self) -> Order:
        """The terms."""
        return self.signed.order

    @property
    def envelope(self) -> bytes:
        """The signed order."""
        return self.signed.envelope

    @property
    def is_lifted(self) -> bool:
        """Whether it is over, by a leaf of this log."""
        return self.lifted is not None

    def is_in_force(self, now_us: int) -> bool:
        """Whether it binds at a time: it has begun, and nothing has lifted it."""
        return self.lifted is None and self.order.begins_us <= now_us

    def to_json(self) -> Json:
        """As plain JSON."""
        return {
            "envelope": orjson.loads(self.envelope),
            "index": self.index,
            "time": self.time,
            "lifted": None if self.lifted is None else asdict(self.lifted),
            "lifted_index": self.lifted_index,
        }

    @classmethod
    def from_json(cls, raw: Json) -> "OrderEntry":
        """The inverse; checks the signatures again."""
        lifted = raw["lifted"]
        return cls(
            signed=read_order(canonical_json(raw["envelope"])),
            index=raw["index"],
            time=raw["time"],
            lifted=None if lifted is None else PauseLifted(**lifted),
            lifted_index=raw["lifted_index"],
        )


@dataclass(slots=True, kw_only=True)
class PoolEntry:
    """Machines under one name, and what all runs have used of them."""

    pool: str
    device: str
    num_devices: int
    """At most, in any run."""
    runs: list[str] = field(default_factory=lambda: [])
    flop: int = 0
    device_s: Decimal = Decimal(0)
