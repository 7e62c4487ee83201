"""The register: what a record adds up to, folded statement by statement.

Pure. Reads the bodies of a log in order; keeps runs, models, orders and what is served, and refuses
a statement that contradicts what stands. ``record.verify`` adds up again with code of its own.

Compute of a lineage: what a run has counted, plus what each distinct run that it descends from
had counted when it was declared, plus what is said of each distinct model from outside. It is
unknown (``None``) as soon as a model from outside has no number.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from hashlib import sha256
from typing import Any

from mynah.errors import PausedError, RecordError
from mynah.record.entries import ModelEntry, OrderEntry, PoolEntry, RunEntry
from mynah.record.lifting import check_lift
from mynah.record.notes import VerifierKey
from mynah.record.orders import merge_orders, read_order
from mynah.record.statements import (
    Body,
    CheckpointSaved,
    LogFollowed,
    ModelServed,
    ModelWithdrawn,
    ParentModel,
    Paused,
    PauseLifted,
    PauseOrdered,
    Progress,
    Resumed,
    RunDeclared,
    parse_time,
)
from mynah.workspace import canonical_json

__all__ = ["ModelEntry", "OrderEntry", "PoolEntry", "Register", "RunEntry"]

FORMAT = "mynah.register/1"
Json = Any
_HINT = "the record says otherwise already: mynah record compute WORKSPACE shows what stands"


def _contradiction(message: str, *, hint: str = _HINT) -> RecordError:
    return RecordError(message, hint=hint)


class Register:
    """What the statements of one log add up to."""

    def __init__(self, origin: str = "") -> None:
        """Begin empty; with ``origin``, evidence of other logs lifts nothing."""
        self.origin = origin
        self.size = 0
        self.last_time = ""
        self.runs: dict[str, RunEntry] = {}
        self.models: dict[str, ModelEntry] = {}
        self.orders: dict[str, OrderEntry] = {}
        self.served: dict[str, ModelServed] = {}
        self.withdrawn: dict[str, ModelWithdrawn] = {}
        self.made_from: dict[str, str] = {}
        """Of each file that was ever served: the model's digest, or empty."""
        self.followed: dict[str, LogFollowed] = {}
        self.counts: Counter[str] = Counter()
        self._folds: dict[type[Body], Callable[[int, Any], None]] = {
            RunDeclared: self._declare,
            Progress: self._progress,
            CheckpointSaved: self._checkpoint,
            PauseOrdered: self._order,
            PauseLifted: self._lift,
            Paused: self._pause,
            Resumed: self._resume,
            LogFollowed: self._follow,
            ModelServed: self._serve,
            ModelWithdrawn: self._withdraw,
        }

    @property
    def last_time_us(self) -> int:
        """Time of the last leaf; 0 when there is none."""
        return parse_time(self.last_time) if self.last_time else 0

    def apply(self, index: int, body: Body) -> None:
        """Add one statement.

        Raises:
            PausedError: A run goes on inside a pause. Nothing is changed.
            RecordError: It contradicts what stands; says how. Nothing is changed.
        """
        if index != self.size:
            raise _contradiction(f"leaf {index} comes after leaf {self.size - 1}")
        if body.time <= self.last_time:  # texts of one length, which sort as the times do
            raise _contradiction(f"leaf {index} is of {body.time}, not after {self.last_time}")
        parse_time(body.time)
        fold = self._folds.get(type(body))
        if fold:
            fold(index, body)
        self.size += 1
        self.last_time = body.time
        self.counts[body.kind] += 1

    # As a file

    def to_json(self) -> dict[str, Json]:
        """All of it as plain JSON; not to be trusted before the log's own leaves are."""
        return {
            "format": FORMAT,
            "origin": self.origin,
            "size": self.size,
            "last_time": self.last_time,
            "counts": dict(self.counts),
            "runs": [run.to_json() for run in self.runs.values()],
            "models": {digest: model.to_json() for digest, model in self.models.items()},
            "orders": [entry.to_json() for entry in self.orders.values()],
            "served": [asdict(body) for body in self.served.values()],
            "withdrawn": [asdict(body) for body in self.withdrawn.values()],
            "made_from": self.made_from,
            "followed": [asdict(body) for body in self.followed.values()],
        }

    @classmethod
    def from_json(cls, raw: Json) -> "Register":
        """The inverse; every order's signatures are checked again.

        Raises:
            RecordError: It is of another format, or damaged: add up the log from its begin.
        """
        try:
            if raw["format"] != FORMAT:
                raise ValueError(f"format {raw['format']}")
            register = cls(raw["origin"])
            register.size, register.last_time = raw["size"], raw["last_time"]
            register.counts = Counter(raw["counts"])
            runs = [RunEntry.from_json(one) for one in raw["runs"]]
            register.runs = {run.declared.run: run for run in runs}
            register.models = {k: ModelEntry.from_json(one) for k, one in raw["models"].items()}
            orders = [OrderEntry.from_json(one) for one in raw["orders"]]
            register.orders = {entry.signed.id: entry for entry in orders}
            register.served = {one["digest"]: ModelServed(**one) for one in raw["served"]}
            register.withdrawn = {one["digest"]: ModelWithdrawn(**one) for one in raw["withdrawn"]}
            register.made_from = dict(raw["made_from"])
            register.followed = {one["log"]: LogFollowed(**one) for one in raw["followed"]}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RecordError(
                f"the register's file cannot be read: {error!r}",
                hint="delete it: the log itself says all that it said",
            ) from error
        return register

    # Compute

    def lineage(self, parents: Iterable[ParentModel]) -> int | None:
        """FLOP of all that a run with these parents descends from, each part counted once."""
        known = tuple(parents)
        waiting = list(zip(known, self._makers(known), strict=True))
        runs: set[str] = set()
        outside: dict[str, int] = {}
        while waiting:
            parent, maker = waiting.pop()
            if not maker:
                if not parent.flop:
                    return None
                flop = int(parent.flop)
                outside[parent.digest] = max(flop, outside.get(parent.digest, 0))
            elif maker not in runs:
                runs.add(maker)
                run = self.runs[maker]
                waiting.extend(zip(run.declared.parents, run.parent_runs, strict=True))
        return sum(self.runs[run].flop for run in runs) + sum(outside.values())

    def _makers(self, parents: Iterable[ParentModel]) -> tuple[str, ...]:
        """The run that has made each model; an empty name for one from outside."""
        found = (self.models.get(parent.digest) for parent in parents)
        return tuple(model.run if model else "" for model in found)

    def pools(self) -> list[PoolEntry]:
        """What each pool of machines was used for, the most used first."""
        found: dict[tuple[str, str], PoolEntry] = {}
        for name, run in self.runs.items():
            at = run.declared
            pool = found.setdefault(
                (at.pool, at.device),
                PoolEntry(pool=at.pool, device=at.device, num_devices=at.num_devices),
            )
            pool.num_devices = max(pool.num_devices, at.num_devices)
            pool.runs.append(name)
            pool.flop += run.flop
            pool.device_s += run.device_s
        return sorted(found.values(), key=lambda pool: (-pool.flop, pool.pool, pool.device))

    def _run(self, name: str) -> RunEntry:
        run = self.runs.get(name)
        if run is None:
            raise _contradiction(f"the run {name} is not declared", hint="declare it first")
        return run

    def _declare(self, index: int, body: RunDeclared) -> None:
        known = self.runs.get(body.run)
        if known is not None:
            if replace(body, time=known.declared.time) != known.declared:
                raise _contradiction(
                    f"the run {body.run} is declared already, with other facts",
                    hint="give the new run another name",
                )
            return
        digests = [parent.digest for parent in body.parents]
        if len(set(digests)) < len(digests):
            raise _contradiction(f"the run {body.run} names one parent twice")
        for parent in body.parents:
            self._check_parent(body.run, parent)
        lineage = self.lineage(body.parents)
        run = RunEntry(
            declared=body,
            index=index,
            lineage_flop=lineage,
            parent_runs=self._makers(body.parents),
            last_time=body.time,
        )
        self._check_may_run(run, body.time, 0)
        self.runs[body.run] = run

    def _check_parent(self, run: str, parent: ParentModel) -> None:
        model = self.models.get(parent.digest)
        if (model is not None) != (parent.basis == "record"):
            raise _contradiction(
                f"the run {run} descends from {parent.name}, which this record "
                + ("does not know" if model is None else "knows as its own"),
                hint="a parent has the basis 'record' if and only if this record made it",
            )
        if model is not None and parent.flop != _text(model.lineage_flop):
            raise _contradiction(
                f"the run {run} gives its parent {parent.name} {parent.flop or 'unknown'} FLOP;"
                f" the record counts {_text(model.lineage_flop) or 'unknown'}"
            )

    def _progress(self, index: int, body: Progress) -> None:
        run = self._run(body.run)
        flop, device_ms = int(body.flop), int(body.device_s.replace(".", ""))
        if body.recipe != run.declared.recipe:
            raise _contradiction(f"the run {body.run} has another recipe than it declared")
        for before, after, what in (
            (run.flop, flop, "FLOP"),
            (run.device_ms, device_ms, "device-milliseconds"),
            (run.tokens, body.tokens, "tokens"),
        ):
            if after < before:
                raise _contradiction(
                    f"the run {body.run} counts {after} {what}, fewer than the {before} before"
                )
        if flop > run.flop or body.tokens > run.tokens:
            self._check_may_run(run, body.time, flop)
        run.flop, run.device_ms, run.tokens = flop, device_ms, body.tokens
        run.step, run.last_time = body.step, body.time
        run.is_final = run.is_final or body.is_final

    def _checkpoint(self, index: int, body: CheckpointSaved) -> None:
        run = self._run(body.run)
        if body.lineage_flop != _text(run.total_flop):
            raise _contradiction(
                f"the model {body.name} claims {body.lineage_flop or 'unknown'} FLOP; the record"
                f" counts {_text(run.total_flop) or 'unknown'} for its run and lineage"
            )
        model = ModelEntry(name=body.name, lineage_flop=run.total_flop, run=body.run)
        known = self.models.get(body.digest)
        # Equal weights of two runs count as the larger: nobody gets rid of FLOP by copying.
        if known is None or _rank(known.lineage_flop) <= _rank(model.lineage_flop):
            self.models[body.digest] = model
        run.last_time = body.time

    # Pauses

    def orders_in_force(self, now_us: int) -> list[OrderEntry]:
        """Orders that bind at a time, the strictest first."""
        found = [entry for entry in self.orders.values() if entry.is_in_force(now_us)]
        return sorted(found, key=lambda entry: (entry.order.above, entry.index))

    def _covering(self, run: RunEntry, time: str, flop: int) -> OrderEntry | None:
        if not self.orders:
            return None
        total = run.covered_total(flop)
        for entry in self.orders.values():
            if entry.lifted is None and entry.order.covers(total) and entry.order.begins <= time:
                return entry
        return None

    def _check_may_run(self, run: RunEntry, time: str, flop: int) -> None:
        name = run.declared.run
        entry = self._covering(run, time, flop)
        if entry is not None:
            raise PausedError(
                f"the run {name} is inside the pause that order {entry.signed.id[:12]} makes",
                hint="it stops at a checkpoint; the order's own terms say when it may go on",
            )
        if run.paused_by:
            raise PausedError(
                f"the run {name} is paused at checkpoint {run.paused_checkpoint[:12]}",
                hint="write resumed before it goes on: mynah record resume WORKSPACE ORDER",
            )

    def _order(self, index: int, body: PauseOrdered) -> None:
        signed = read_order(canonical_json(body.envelope))
        if signed.id != body.order:
            raise _contradiction(
                f"leaf {index} names order {body.order[:12]}, not {signed.id[:12]}"
            )
        known = self.orders.get(signed.id)
        if known is None:
            self.orders[signed.id] = OrderEntry(signed=signed, index=index, time=body.time)
        elif known.is_lifted:
            raise _contradiction(
                f"the order {signed.id[:12]} is lifted already",
                hint="make a new order: mynah record pause WORKSPACE",
            )
        else:
            whole = read_order(merge_orders(known.envelope, signed.envelope))
            self.orders[signed.id] = replace(known, signed=whole)

    def _lift(self, index: int, body: PauseLifted) -> None:
        entry = self.orders.get(body.order)
        if entry is None:
            raise _contradiction(f"no order {body.order[:12]} is in this record")
        if entry.is_lifted:
            raise _contradiction(f"the order {body.order[:12]} is lifted already")
        check_lift(entry.signed, body, order_index=entry.index, origin=self.origin)
        self.orders[body.order] = replace(entry, lifted=body, lifted_index=index)

    def _pause(self, index: int, body: Paused) -> None:
        run, flop = self._run(body.run), int(body.flop)
        entry = self.orders.get(body.order)
        if entry is None or not entry.is_in_force(parse_time(body.time)):
            raise _contradiction(f"no order {body.order[:12]} is in force at {body.time}")
        total = run.covered_total(flop)
        if not entry.order.covers(total):
            raise _contradiction(
                f"the order {body.order[:12]} is above {entry.order.above_flop} FLOP and does not"
                f" cover the run {body.run} of {total}"
            )
        if flop < run.flop:
            raise _contradiction(
                f"the run {body.run} counts {flop} FLOP, fewer than the {run.flop} before"
            )
        if run.paused_by and (flop, body.checkpoint) != (run.flop, run.paused_checkpoint):
            raise _contradiction(
                f"the run {body.run} is paused already, at {run.paused_checkpoint[:12]}"
            )
        run.flop, run.step, run.last_time = flop, body.step, body.time
        run.paused_by, run.paused_checkpoint = body.order, body.checkpoint

    def _resume(self, index: int, body: Resumed) -> None:
        run = self._run(body.run)
        if not run.paused_by:
            raise _contradiction(f"the run {body.run} is not paused")
        entry = self._covering(run, body.time, run.flop)
        if entry is not None:
            raise PausedError(
                f"the order {entry.signed.id[:12]} is in force until {entry.order.until}"
                f" and covers the run {body.run}",
                hint="mynah record resume WORKSPACE ORDER lifts it when its own terms allow",
            )
        if body.checkpoint != run.paused_checkpoint:
            raise _contradiction(
                f"the run {body.run} was paused at checkpoint {run.paused_checkpoint[:12]},"
                f" not at {body.checkpoint[:12]}",
                hint="put the checkpoint back that it was paused at",
            )
        run.paused_by = run.paused_checkpoint = ""
        run.step, run.last_time = body.step, body.time

    # The rest

    def _follow(self, index: int, body: LogFollowed) -> None:
        VerifierKey.parse(body.log)
        if body.key != sha256(body.log.encode()).hexdigest():
            raise _contradiction(f"the key of {body.log[:60]} has another hash than is said")
        if body.key != hashlib.sha256(body.log.encode()).hexdigest():
            raise _contradiction(f"{body.key[:12]} is not the hash of the key that is followed")
        self.followed[body.log] = body

    def _serve(self, index: int, body: ModelServed) -> None:
        if body.made_from and body.made_from not in self.models:
            raise _contradiction(
                f"{body.model} is served as made from {body.made_from[:12]}, which no run has made"
            )
        before = self.made_from.setdefault(body.digest, body.made_from)
        if before != body.made_from:
            raise _contradiction(
                f"{body.model} is served as made from {body.made_from[:12] or 'nothing'}; the same"
                f" file was made from {before[:12] or 'nothing'} before"
            )
        self.served[body.digest] = body
        self.withdrawn.pop(body.digest, None)

    def _withdraw(self, index: int, body: ModelWithdrawn) -> None:
        self.withdrawn[body.digest] = body
        self.served.pop(body.digest, None)


def _text(flop: int | None) -> str:
    return "" if flop is None else str(flop)


def _rank(flop: int | None) -> float | int:
    return float("inf") if flop is None else flop
