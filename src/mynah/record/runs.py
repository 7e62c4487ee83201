"""A training run as the record sees it: declared, counted, paused, resumed, ended.

Reads the register of a record and the pause orders that bind its identity; writes leaves. It
knows nothing of tensors: whoever trains says how much was used and gives digests.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from mynah.errors import PausedError, RecordError
from mynah.record.entries import OrderEntry, RunEntry
from mynah.record.gate import Gate
from mynah.record.model_signature import ModelDigest
from mynah.record.record import Record
from mynah.record.statements import Body, CheckpointSaved, Paused, Progress, Resumed, RunDeclared
from mynah.record.thresholds import format_flop

__all__ = ["RunRecord", "Spent"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Cumulative numbers of one run over all its processes; none ever shrinks."""

    flop: int = 0
    """Counted, forward and backward of every step; evaluations are not training and not in it."""
    device_s: float = 0.0
    """Devices times seconds from the first step on, evaluations and checkpoints included."""
    tokens: int = 0
    """Trained on."""

    def at_least(self, other: "Spent") -> "Spent":
        """The larger of each number."""
        return Spent(
            flop=max(self.flop, other.flop),
            device_s=max(self.device_s, other.device_s),
            tokens=max(self.tokens, other.tokens),
        )


class RunRecord:
    """What one process says of one run. Made by ``open``; ``begin`` comes before anything else."""

    def __init__(self, record: Record, declared: RunDeclared, gate: Gate) -> None:
        self.record = record
        self.declared = declared
        self._gate = gate
        self._orders: list[OrderEntry] = []
        self._lineage = record.register().lineage(declared.parents)

    @classmethod
    def open(cls, record: Record, declared: RunDeclared) -> "RunRecord":
        """Declare a run, or find it declared; first take in every order that binds the identity.

        A run that was under way when an order came, and was killed before it could say that it
        paused, gets past here: ``begin`` pauses it.

        Raises:
            PausedError: An order covers the run.
            RecordError: The run is declared already, with other facts, or the record cannot be
                written.
        """
        gate = Gate(record)
        ours = cls(record, declared, gate)
        ours._look()
        known = record.register().runs.get(declared.run)
        if known is None:
            order = ours._covering(0)
            if order is not None:
                raise ours._refusal(order)
            record.write(declared)
            return ours
        if replace(declared, time=known.declared.time) != known.declared:
            raise RecordError(
                f"the run {declared.run} is declared already, with other facts",
                hint="change the recipe through mynah up: another recipe is another run",
            )
        ours._lineage = known.lineage_flop
        order = ours._covering(known.flop)
        if known.paused_by and order is not None:
            raise ours._refusal(order)
        return ours

    @property
    def _entry(self) -> RunEntry:
        return self.record.register().runs[self.declared.run]

    @property
    def spent(self) -> Spent:
        """What the record has counted of this run so far."""
        entry = self._entry
        return Spent(flop=entry.flop, device_s=entry.device_ms / 1000, tokens=entry.tokens)

    def wants_checkpoint(self, flop: int) -> bool:
        """Whether ``begin`` will ask for the digest of a checkpoint, at ``flop`` counted so far.

        Ranks that save together must know before any of them begins.
        """
        return (self.stop_order(flop) is None) == bool(self._entry.paused_by)

    def begin(self, step: int, spent: Spent, checkpoint_digest: Callable[[], str]) -> None:
        """Say that a process begins or goes on, before its first step.

        Args:
            step: Where it is.
            spent: What the run has used.
            checkpoint_digest: Saves a checkpoint if there is none, and hashes it.

        Raises:
            PausedError: An order covers the run.
            RecordError: The run was paused at another checkpoint than the one it goes on from.
        """
        order = self.stop_order(spent.flop)
        if order is not None:
            if self._entry.paused_by:
                raise self._refusal(order)
            raise self.pause(order, step, spent, checkpoint_digest())
        entry = self._entry
        bodies: list[Body] = []
        if entry.paused_by:
            digest = checkpoint_digest()
            if digest != entry.paused_checkpoint:
                raise RecordError(
                    f"the run {self.declared.run} was paused at a checkpoint with digest "
                    f"{entry.paused_checkpoint[:12]}, the one on disk has {digest[:12]}",
                    hint="put the checkpoint back that it was paused at, from your backup; "
                    "another recipe begins another run",
                )
            bodies.append(Resumed(run=self.declared.run, step=step, checkpoint=digest))
        self.record.write_many([*bodies, self._progress(step, spent)])

    def stop_order(self, flop: int) -> OrderEntry | None:
        """The order that covers the run at ``flop``, if any: asked before every step, cheap.

        Reads files only when one has changed; compares numbers otherwise.
        """
        if self._gate.has_changed():
            self._look()
        return self._covering(flop)

    def progress(
        self, step: int, spent: Spent, *, digest: str = "", is_final: bool = False
    ) -> None:
        """Say how much was used. Says nothing when an order has just come: the pause will.

        Args:
            step: Done so far.
            spent: Cumulative, by this process and all before it.
            digest: Of the checkpoint of this step, if there is one.
            is_final: Whether the run is over.
        """
        try:
            self.record.write(self._progress(step, spent, digest=digest, is_final=is_final))
        except PausedError:
            self._look()
            if is_final or self.stop_order(spent.flop) is None:
                raise

    def pause(self, order: OrderEntry, step: int, spent: Spent, digest: str) -> PausedError:
        """Say that the run has stopped at the checkpoint ``digest``; return what to raise."""
        self.record.write(
            Paused(
                run=self.declared.run,
                order=order.signed.id,
                step=step,
                flop=str(spent.flop),
                checkpoint=digest,
            )
        )
        logger.info("paused at step %d by order %s", step, order.signed.id[:12])
        return self._refusal(order)

    def finish(self, step: int, spent: Spent, model: ModelDigest) -> None:
        """Say that the run is over and which model it made; once, however often it is asked.

        Args:
            step: The last one.
            spent: Cumulative.
            model: Digest of the model's folder.

        Raises:
            PausedError: An order covers the run.
        """
        entry = self._entry
        made = self.record.register().models.get(model.hex)
        if entry.is_final and entry.flop == spent.flop and made is not None:
            return
        lineage = None if entry.lineage_flop is None else entry.lineage_flop + spent.flop
        saved = CheckpointSaved(
            run=self.declared.run,
            step=step,
            name=self.declared.model,
            digest=model.hex,
            num_files=model.num_files,
            num_bytes=model.num_bytes,
            lineage_flop="" if lineage is None else str(lineage),
        )
        self.record.write_many([self._progress(step, spent, is_final=True), saved])

    def _progress(
        self, step: int, spent: Spent, *, digest: str = "", is_final: bool = False
    ) -> Progress:
        return Progress(
            run=self.declared.run,
            recipe=self.declared.recipe,
            step=step,
            flop=str(spent.flop),
            device_s=_seconds(spent.device_s),
            tokens=spent.tokens,
            checkpoint=digest,
            is_final=is_final,
        )

    def _look(self) -> None:
        """Take in orders that the log lacks; keep those that bind now."""
        self._gate.adopt()
        self._orders = self._gate.orders_in_force()

    def _covering(self, flop: int) -> OrderEntry | None:
        """The order that covers this run once it has counted ``flop``; strictest first."""
        total = None
        if self._lineage is not None:
            total = self._lineage + max(flop, int(self.declared.planned_flop))
        return next((entry for entry in self._orders if entry.order.covers(total)), None)

    def _refusal(self, order: OrderEntry) -> PausedError:
        terms, workspace = order.order, self.record.folder.parent
        why = f": {terms.reason}" if terms.reason else ""
        hint = f"mynah record pause status {workspace} shows the order and what lifts it"
        if self._lineage is None:
            hint += "; nobody knows what the base took: if you do, declare it: --set base_flop=..."
        return PausedError(
            f"the run {self.declared.run} is paused: order {order.signed.id[:12]} of "
            f"{terms.party_keys[0].name}, until {terms.until}, above "
            f"{format_flop(terms.above)} FLOP{why}",
            hint=hint,
        )


def _seconds(seconds: float) -> str:
    """Three digits, cut off: what was read back from a leaf comes out as it went in."""
    milliseconds = math.floor(seconds * 1000 + 1e-3)  # 0.629 * 1000 is a little less than 629
    return f"{milliseconds // 1000}.{milliseconds % 1000:03}"
