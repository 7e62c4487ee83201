"""The fold over all leaves of a log: what they add up to, and which of them contradict others.

Pure. ``take`` is called for each leaf in its order; ``finish`` lists what holds and, as plainly,
what no log can show.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

from mynah.errors import RecordError
from mynah.record.verify.notes import SIGNER, Key
from mynah.record.verify.pauses import Log, Pauses
from mynah.record.verify.report import Report
from mynah.record.verify.runs import Runs, RunState

__all__ = ["LIMITS", "Fold"]

Json = Any
Handler = Callable[[int, dict[str, Json]], Iterator[str]]

LIMITS = (
    ("no other run exists", "a log shows what was written to it, never what was not"),
    ("the FLOP are the true ones", "the trainer counts them; nothing here has seen the machines"),
    ("the hardware is as declared", "only proofs by the chips themselves could show it"),
    ("the times are right", "they strictly increase, by the writer's own clock"),
    ("idle machines are idle", "a pool that runs nothing in this log may run something else"),
)
"""What a record can't prove, whatever it holds; each report says so."""


class Fold:
    """What the leaves so far add up to."""

    def __init__(self, log: Log, report: Report) -> None:
        self.report = report
        self.pauses = Pauses(log)
        self.runs = Runs(self.pauses)
        self.last_time = ""
        self.counts: Counter[str] = Counter()
        self.num_faults = 0
        self.signer = ""
        self.served: dict[str, str] = {}
        self.withdrawn: set[str] = set()
        self.served_again = 0
        self.granted: set[str] = set()
        self.num_unknown_cuts = 0
        self.handlers: dict[str, Handler] = {
            "run-declared": self.runs.declared,
            "progress": self.runs.progress,
            "checkpoint": self.runs.checkpoint,
            "paused": self.runs.paused,
            "resumed": self.runs.resumed,
            "pause-ordered": self.pauses.ordered,
            "pause-lifted": self.pauses.lifted,
            "log-followed": self._followed,
            "share-granted": self._granted,
            "share-cut": self._cut,
            "model-served": self._served,
            "model-withdrawn": self._withdrawn,
        }

    def take(self, index: int, kind: str, body: dict[str, Json]) -> None:
        """Add a leaf that was found to be well formed and truly signed."""
        self.counts[kind] += 1
        if body["time"] <= self.last_time:
            self._contradict(index, kind, f"its time {body['time']} is not after that before it")
        self.last_time = max(self.last_time, body["time"])
        handler = self.handlers.get(kind)
        if handler is not None:
            for fault in handler(index, body):
                self._contradict(index, kind, fault)
                if "run" in body and body["run"] in self.runs.runs:
                    self.runs.runs[body["run"]].num_faults += 1

    def _contradict(self, index: int, kind: str, fault: str) -> None:
        self.num_faults += 1
        self.report.contradicted(f"leaf {index}, {kind}", fault, index)

    def take_signer(self, index: int, signer: str) -> None:
        """A log has one party; the first leaf names it."""
        self.signer = self.signer or signer
        if signer != self.signer:
            fault = f"it is signed as {signer[:80]}, the leaves before it as {self.signer[:80]}"
            self._contradict(index, "signature", fault)

    def _followed(self, index: int, body: dict[str, Json]) -> Iterator[str]:
        try:
            key = Key.parse(body["log"])
        except RecordError as error:
            yield f"the log that is followed has no key: {error.message}"
            return
        if key.kind != SIGNER or sha256(body["log"].encode()).hexdigest() != body["key"]:
            yield "the key of the log that is followed has another hash, or is one of a witness"

    def _granted(self, index: int, body: dict[str, Json]) -> Iterator[str]:
        self.granted.add(body["grant"])
        return iter(())

    def _cut(self, index: int, body: dict[str, Json]) -> Iterator[str]:
        self.num_unknown_cuts += body["grant"] not in self.granted
        return iter(())

    def _served(self, index: int, body: dict[str, Json]) -> Iterator[str]:
        digest, made_from = body["digest"], body["made_from"]
        if made_from and made_from not in self.runs.models:
            yield f"it is made from {made_from[:12]}, which no checkpoint leaf names"
        if self.served.get(digest, made_from) != made_from:
            yield "the same file is said to be made from another checkpoint than before"
        self.served[digest] = made_from
        if digest in self.withdrawn:
            self.withdrawn.discard(digest)
            self.served_again += 1

    def _withdrawn(self, index: int, body: dict[str, Json]) -> Iterator[str]:
        self.withdrawn.add(body["digest"])
        return iter(())

    def finish(self) -> None:
        """List the claims that hold over the whole log."""
        if not self.num_faults:
            count = sum(self.counts.values())
            self.report.proved(
                f"{count} leaves are canonical, signed by the log's owner, in order of time",
                ", ".join(f"{kind} {n}" for kind, n in sorted(self.counts.items())),
            )
        self._finish_runs()
        self._finish_orders()
        self._finish_unknown()
        for what, detail in LIMITS:
            self.report.not_proved(what, detail)

    def _finish_runs(self) -> None:
        for name, run in self.runs.runs.items():
            if not run.num_faults:
                total = run.counted or "unknown, for a parent's compute is"
                self.report.proved(
                    f"the counts of run {name} only grow",
                    f"{run.flop} FLOP, {run.device_ms / 1000:.3f} device-seconds, {run.tokens} "
                    f"tokens; with all it descends from: {total}",
                    run.index,
                )
            self._finish_machines(name, run)
            if run.num_resumes and not run.num_faults:
                self.report.proved(
                    f"run {name} went on from the checkpoint it was paused at",
                    f"paused {run.num_pauses} times, resumed {run.num_resumes} times",
                )
            if run.flop > run.planned:
                self.report.not_proved(
                    f"run {name} stays within its plan",
                    f"it counts {run.flop} FLOP and planned {run.planned}; a kill counts twice",
                )
        for index, name, flop in self.runs.gaps:
            self.report.not_proved(
                f"run {name} stopped within one step",
                f"{flop} FLOP were counted between the progress before the pause and the stop",
                index,
            )

    def _finish_machines(self, name: str, run: RunState) -> None:
        """Divide: FLOP by what the declared devices could have done in the time they took."""
        most = run.device_ms * int(run.facts["peak_flop_per_s"]) // 1000
        if not run.flop or run.num_faults:
            return
        share = f"{run.flop / most:.1%}" if most else "more than all"
        what = f"the FLOP of run {name} fit its device-seconds"
        detail = f"{share} of what the declared devices can do at their declared peak"
        if run.flop <= most:
            self.report.proved(what, detail, run.index)
        else:
            self.report.not_proved(what, detail, run.index)

    def _finish_orders(self) -> None:
        for order in self.pauses.orders.values():
            if order.num_broken:
                continue
            ended = f"to leaf {order.lifted}, by {order.basis}" if order.basis else "to the end"
            self.report.proved(
                f"order {order.id[:12]} was kept",
                f"above {order.above} FLOP, from leaf {order.index}, {ended}; "
                f"signed by {len(order.signers)} of {len(order.parties)} parties; "
                f"{len(order.covered)} runs under it made no progress",
                order.index,
            )
            if order.basis == "until" and not order.timekeepers:
                self.report.not_proved(
                    f"the time of order {order.id[:12]} had come",
                    "the order names no timekeeper: the writer's clock says so",
                    order.lifted,
                )

    def _finish_unknown(self) -> None:
        """What is said, and would need more than the log to show."""
        counts = self.counts
        for num, what, detail in (
            (counts["run-declared"], "corpora and recipes", "their digests, without the files"),
            (counts["post-forgotten"], "which posts were taken back", "salted hashes"),
            (counts["audit"], "what audits found", "digests of reports, without the reports"),
            (counts["model-served"], "which model answers", "what an engine has loaded"),
            (self.served_again, "why a withdrawn model is served again", "each time said anew"),
            (counts["share-granted"], "what was shared", "salted hashes of grants"),
            (self.num_unknown_cuts, "which grants were cut", "this log has not granted them"),
        ):
            if num:
                self.report.not_proved(f"{what} ({num})", detail)
