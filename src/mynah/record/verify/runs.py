"""Runs of a log: what each has declared and counted, what it descends from, whether it stopped.

Pure. Reads leaves in their order; each method yields what is false, and takes in what is true.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mynah.record.verify.pauses import OrderState, Pauses

__all__ = ["ModelState", "RunState", "Runs"]

Json = Any


@dataclass(slots=True)
class RunState:
    """One run."""

    facts: dict[str, Json]
    """Its declaration without the time."""
    index: int
    makers: list[str]
    """Of each parent, the run of this log that made it; empty for one from outside."""
    lineage: int | None
    """FLOP of all it descends from when it was declared; ``None`` when nobody knows."""
    planned: int
    flop: int = 0
    device_ms: int = 0
    tokens: int = 0
    paused: str = ""
    """Checkpoint it must go on from."""
    num_pauses: int = 0
    num_resumes: int = 0
    num_faults: int = 0

    def total(self, flop: int = 0) -> int | None:
        """The larger of counted and planned, with the lineage."""
        return None if self.lineage is None else self.lineage + max(self.flop, flop, self.planned)

    @property
    def counted(self) -> str:
        """Counted, with the lineage, as leaves write it."""
        return "" if self.lineage is None else str(self.lineage + self.flop)


@dataclass(frozen=True, slots=True)
class ModelState:
    """A model that a ``checkpoint`` leaf has named."""

    run: str
    name: str
    flop: str
    index: int
    num_files: int
    num_bytes: int


class Runs:
    """Every run and model of the log so far."""

    def __init__(self, pauses: Pauses) -> None:
        self.pauses = pauses
        self.runs: dict[str, RunState] = {}
        self.models: dict[str, ModelState] = {}
        """By digest; equal weights of two runs count as the larger."""
        self.names: dict[str, tuple[str, ModelState]] = {}
        """The last digest of each name."""
        self.gaps: list[tuple[int, str, int]] = []
        """What a run counted between its last leaf and its pause: (leaf, run, FLOP)."""

    def declared(self, index: int, body: dict[str, Json]) -> Iterator[str]:
        """Take a ``run-declared`` leaf."""
        name = body["run"]
        facts = {field: value for field, value in body.items() if field != "time"}
        if name in self.runs:
            if self.runs[name].facts != facts:
                yield f"the run was declared by leaf {self.runs[name].index} with other facts"
            return
        digests = [parent["digest"] for parent in body["parents"]]
        if len(set(digests)) < len(digests):
            yield "it names one parent twice"
        for parent in body["parents"]:
            yield from self._check_parent(parent)
        makers = self._makers(body["parents"])
        lineage = self._lineage(body["parents"], makers)
        run = RunState(facts, index, makers, lineage, int(body["planned_flop"]))
        self.runs[name] = run
        if order := self._stopped(name, run, body["time"], 0):
            order.num_broken += 1
            yield f"it is declared inside the pause of order {order.id[:12]}, which covers it"

    def _check_parent(self, parent: dict[str, str]) -> Iterator[str]:
        model = self.models.get(parent["digest"])
        if model is None:
            if parent["basis"] == "record":
                yield f"its parent {parent['name']} is of this record, which does not know it"
        elif parent["basis"] != "record":
            yield f"its parent {parent['name']} is of this record, and it says otherwise"
        elif parent["flop"] != model.flop:
            found, counted = parent["flop"] or "unknown", model.flop or "unknown"
            yield f"its parent {parent['name']} is given {found} FLOP, the log counted {counted}"

    def _makers(self, parents: list[dict[str, str]]) -> list[str]:
        """The run that made each parent, as far as this log knows; else an empty name."""
        found = [self.models.get(parent["digest"]) for parent in parents]
        return [model.run if model else "" for model in found]

    def _lineage(self, parents: list[dict[str, str]], makers: list[str]) -> int | None:
        seen: set[str] = set()
        outside: dict[str, int] = {}
        waiting = list(zip(parents, makers, strict=True))
        while waiting:
            parent, maker = waiting.pop()
            if maker in self.runs:
                if maker not in seen:
                    seen.add(maker)
                    run = self.runs[maker]
                    waiting += zip(run.facts["parents"], run.makers, strict=True)
            elif not parent["flop"]:
                return None
            else:
                digest = parent["digest"]
                outside[digest] = max(int(parent["flop"]), outside.get(digest, 0))
        return sum(outside.values()) + sum(self.runs[name].flop for name in seen)

    def _stopped(self, name: str, run: RunState, time: str, flop: int) -> OrderState | None:
        """The order that a run stands under at a time, with ``flop`` counted."""
        if not self.pauses.in_force:
            return None
        order = self.pauses.covering(run.total(flop), time)
        if order is not None:
            order.covered.add(name)
        return order

    def progress(self, index: int, body: dict[str, Json]) -> Iterator[str]:
        """Take a ``progress`` leaf."""
        run = self.runs.get(body["run"])
        if run is None:
            yield "the run is not declared"
            return
        if body["recipe"] != run.facts["recipe"]:
            yield "the run has another recipe than it declared"
        flop, tokens = int(body["flop"]), body["tokens"]
        device_ms = int(body["device_s"].replace(".", ""))
        if flop < run.flop or device_ms < run.device_ms or tokens < run.tokens:
            yield (
                f"the compute of the run shrinks: from {run.flop} FLOP, {run.device_ms} ms and "
                f"{run.tokens} tokens to {flop}, {device_ms} and {tokens}"
            )
        elif flop > run.flop or tokens > run.tokens:
            if order := self._stopped(body["run"], run, body["time"], flop):
                order.num_broken += 1
                yield f"the run goes on inside the pause of order {order.id[:12]}"
            elif run.paused:
                yield f"the run goes on without being resumed from {run.paused[:12]}"
        run.flop, run.tokens = max(run.flop, flop), max(run.tokens, tokens)
        run.device_ms = max(run.device_ms, device_ms)

    def checkpoint(self, index: int, body: dict[str, Json]) -> Iterator[str]:
        """Take a ``checkpoint`` leaf."""
        run = self.runs.get(body["run"])
        if run is None:
            yield "the run is not declared"
            return
        if body["lineage_flop"] != run.counted:
            found, counted = body["lineage_flop"] or "unknown", run.counted or "unknown"
            yield f"the model is given {found} FLOP, the log adds up to {counted}"
        model = ModelState(
            run=body["run"],
            name=body["name"],
            flop=run.counted,
            index=index,
            num_files=body["num_files"],
            num_bytes=body["num_bytes"],
        )
        known = self.models.get(body["digest"])
        if known is None or not model.flop or (known.flop and int(known.flop) <= int(model.flop)):
            self.models[body["digest"]] = model
        self.names[body["name"]] = (body["digest"], model)

    def paused(self, index: int, body: dict[str, Json]) -> Iterator[str]:
        """Take a ``paused`` leaf."""
        run = self.runs.get(body["run"])
        order = self.pauses.in_force.get(body["order"])
        if run is None:
            yield "the run is not declared"
            return
        flop = int(body["flop"])
        if order is None or order.begins > body["time"]:
            yield "its order is not in force"
        elif not order.covers(run.total(flop)):
            yield "its order does not cover the run"
        else:
            order.covered.add(body["run"])
        if flop < run.flop:
            yield f"the compute of the run shrinks: from {run.flop} FLOP to {flop}"
        elif run.paused and (flop > run.flop or body["checkpoint"] != run.paused):
            if order is not None:
                order.num_broken += 1
            yield f"the run is paused at {run.paused[:12]} already, and has gone on since"
        elif flop > run.flop:
            self.gaps.append((index, body["run"], flop - run.flop))
        run.flop, run.paused = max(run.flop, flop), body["checkpoint"]
        run.num_pauses += 1

    def resumed(self, index: int, body: dict[str, Json]) -> Iterator[str]:
        """Take a ``resumed`` leaf."""
        run = self.runs.get(body["run"])
        if run is None or not run.paused:
            yield "the run is not paused"
            return
        if order := self._stopped(body["run"], run, body["time"], run.flop):
            order.num_broken += 1
            yield f"the run is resumed while order {order.id[:12]} is in force and covers it"
        if body["checkpoint"] != run.paused:
            yield f"the run is resumed from another checkpoint than {run.paused[:12]}"
        run.paused = ""
        run.num_resumes += 1
