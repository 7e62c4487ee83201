"""The loop: read rows, step, measure, now and then evaluate and save. The same on any world.

Reads a corpus, what the objective needs and a base checkpoint; writes ``metrics.jsonl``,
``spent.json`` and ``checkpoints/`` of a run, its result, and what the record is to know of it.
Rank 0 alone speaks to the record and writes the metrics; what it decides, all ranks do. Where
replica groups live and die apart (see ``replicas``), one of them speaks, and only it writes; all
others compute the same, and any of them can go on speaking when it dies.
"""

import logging
import math
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from torch import Tensor

from mynah.train.checkpoint_files import step_of
from mynah.train.checkpoints import Checkpoints, checkpoint_digest
from mynah.train.config import TrainConfig
from mynah.train.counters import Counters
from mynah.train.data import Batch, Piece
from mynah.train.engine import Engine
from mynah.train.exporting import BackgroundExport
from mynah.train.health import StepTimes, collecting_garbage
from mynah.train.inputs import Material
from mynah.train.replica_manager import group_number
from mynah.train.replicas import ReplicaGroups
from mynah.train.rows import RowPlan, deal, lay_pieces, lay_rows
from mynah.train.schedule import learning_rate_share, run_share
from mynah.train.throughput import step_flop, steps_flop
from mynah.train.voice import OpenRecord, Voice
from mynah.train.watchdog import Watchdog
from mynah.train.world import World

__all__ = ["TrainResult", "Trainer"]

logger = logging.getLogger(__name__)


class Word(IntEnum):
    """What the ranks agree to do next; the largest that any of them says."""

    GO_ON = 0
    STOP = 1
    PAUSE = 2
    LEAVE = 3
    """Another process has finished the run meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a finished run reached."""

    base_bits_per_byte: float
    bits_per_byte: float
    steps: int
    tokens: int
    seconds: float
    """Of training; evaluations and checkpoints not counted."""
    tokens_per_s: float
    peak_memory_bytes: int
    skipped_steps: int
    num_resumed_steps: int
    """Steps that an earlier process had done before this one went on; 0 for an unbroken run."""
    flop: int = 0
    """Counted in this run, work that a kill undid included."""
    device_s: float = 0.0
    """Devices times seconds, likewise."""


class Trainer:
    """One run of one model on one rank, alone or among others.

    Args:
        config: The recipe.
        engine: Weights in float32, loaded; products as the recipe says.
        material: What a step reads and minimises, and what is held out to evaluate on.
        folder: The run's folder.
        world: The ranks; of this replica group, where there are several.
        peak_flop_per_s: Measured matrix-product peak of this rank's device, for MFU.
    """

    def __init__(
        self,
        config: TrainConfig,
        engine: Engine,
        material: Material,
        folder: Path,
        *,
        world: World,
        peak_flop_per_s: float,
    ) -> None:
        self.config = config
        self.engine = engine
        self.objective = material.objective
        self.held_out = material.held_out
        self.beside = material.beside
        self.folder = folder
        self.world = world
        self.peak_flop_per_s = peak_flop_per_s
        self.counters = Counters()
        self.voice = Voice(folder, world, is_tensorboard=config.is_tensorboard)
        self.groups: ReplicaGroups | None = None
        """All that train together, where they live and die apart."""
        self.num_resumed_steps = 0
        self.checkpoints = Checkpoints(folder / "checkpoints", config.checkpoint, world=world)
        self._exports = BackgroundExport()
        self._exported_step = 0
        self._times = StepTimes(config.health, world)
        self._row: dict[str, Any] = {}
        self._clock_s = time.perf_counter()

    @property
    def share(self) -> float:
        """Share of the run that is behind."""
        counters = self.counters
        return run_share(self.config.schedule, step=counters.step, elapsed_s=counters.elapsed_s)

    @property
    def speaks(self) -> bool:
        """Whether this rank's group writes what there is to write."""
        return self.groups is None or self.groups.speaks

    @property
    def num_devices(self) -> int:
        """How many take part in a step now."""
        return self.world.size * (1 if self.groups is None else self.groups.membership.num_groups)

    def named_tensors(self) -> Mapping[str, Tensor]:
        """What a checkpoint holds, and what a group that comes back is given."""
        return self.engine.named_state()

    def numbers(self) -> dict[str, Any]:
        """Counters, and what the last step is to be remembered by."""
        return {"counters": asdict(self.counters), "row": dict(self._row)}

    def set_numbers(self, numbers: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.counters = Counters(**numbers["counters"])
        self.engine.spikes.state = self.counters.spikes
        self._row = dict(numbers["row"])

    def _resume(self) -> None:
        """Go on from a living replica group, or from the latest whole checkpoint, if any."""
        if self.config.replicas == "torchft":
            self.groups = ReplicaGroups(self.world, self, self.folder)
            if self.groups.begin_step().is_healed:
                self.num_resumed_steps = self.counters.step
                return
        found = self.checkpoints.load_best(self.engine.named_state())
        if found is not None:
            self.set_numbers({"counters": found[1], "row": {}})
            self.num_resumed_steps = self.counters.step
            logger.info("resumed at step %d", self.counters.step)
        if self.groups is not None:
            self.groups.go_on_from(self.counters.step)

    def run(
        self,
        open_record: OpenRecord,
        *,
        keep_going: Callable[[], bool] = lambda: True,
    ) -> TrainResult | None:
        """Train until the schedule ends.

        Args:
            open_record: Declares the run. Asked on rank 0 alone, before it speaks; ``None`` when
                another process has finished the run meanwhile.
            keep_going: Asked before each step; when false on any rank, a checkpoint is saved and
                all ranks stop where they are, to be resumed.

        Returns:
            The result, or ``None`` when it was stopped, or in a group that does not speak.

        Raises:
            PausedError: A pause order covers the run: it has stopped at a checkpoint.
            RecordError: The record cannot be written, or the checkpoint is not the paused one.
        """
        self._resume()
        self._clock_s = time.perf_counter()
        watchdog = Watchdog(
            self.folder,
            self.config.health,
            rank=group_number() * self.world.size + self.world.rank,
            world_size=self.config.layout.world_size,
        )
        with watchdog, collecting_garbage(self.config.health) as collect:
            if self.groups is None and not self._speak(open_record):
                return None
            if not self.counters.base_bits_per_byte:
                watchdog.beat(self.counters.step, "evaluate")
                bits = self.counters.base_bits_per_byte = self.held_out.bits_per_byte(self.engine)
                first = {"heldout_bits_per_byte": bits}
                self._row = {"step": 0, "elapsed_s": 0.0} | first | self._measures()

            def agree() -> Word:
                watchdog.beat(self.counters.step, "begin")  # others may still start or save
                return self._agree(keep_going, open_record)

            try:
                return self._run_on(agree, watchdog, collect)
            finally:
                self._exports.stop()

    def _run_on(
        self, agree: Callable[[], Word], watchdog: Watchdog, collect: Callable[[int], None]
    ) -> TrainResult | None:
        config = self.config
        evaluated_s = saved_s = self.counters.elapsed_s
        word = agree()
        self._log()
        while self.share < 1.0 and word is Word.GO_ON:
            before = self.counters.step
            watchdog.beat(before, "step")
            self._step()
            collect(self.counters.step)
            word = agree()
            if self.counters.step == before:  # a replica group died in it
                self._log()  # it may have been the one that speaks
                continue
            is_last, now_s = self.share >= 1.0, self.counters.elapsed_s
            if is_last or now_s - evaluated_s >= config.evaluate_every_s:
                watchdog.beat(self.counters.step, "evaluate")
                self._row |= self._evaluate()
                evaluated_s = now_s
            self._log()
            if is_last or now_s - saved_s >= config.checkpoint.every_s:
                watchdog.beat(self.counters.step, "checkpoint")
                digest = self._save()
                saved_s = now_s
                self.voice.tell(self.counters, digest=digest)
            elif not self.checkpoints.is_busy and (path := self.checkpoints.wait()):
                self.voice.tell(self.counters, digest=self._saved(path))  # it was written meanwhile
            elif self.voice.silent_s >= config.record_every_s:
                self.voice.tell(self.counters)
        watchdog.beat(self.counters.step, "checkpoint")
        return self._end(word)

    def _end(self, word: Word) -> TrainResult | None:
        if word is Word.LEAVE or not self.speaks:
            return None
        if word is Word.PAUSE:
            self.voice.pause(self.counters, digest=self._save(is_final=True))
        if self.share < 1.0:
            self.voice.tell(self.counters, digest=self._save(is_final=True))
            return None
        self._save(is_final=True)
        self._exports.wait()
        return self._result()

    def _speak(self, open_record: OpenRecord) -> bool:
        """Begin to speak for all ranks, from where they are.

        Returns:
            Whether there is anything left to say.
        """
        if not self.voice.open(open_record):
            return False
        flop = steps_flop(self.engine.config, self.objective.orders, self.counters.step)
        self.voice.catch_up(self.counters, self._row, flop=flop)
        wants_checkpoint = self.voice.wants_checkpoint(self.counters)
        self.voice.begin(
            self.counters, digest=self._save(is_final=True) if wants_checkpoint else ""
        )
        return True

    def _agree(self, keep_going: Callable[[], bool], open_record: OpenRecord) -> Word:
        """What all ranks do next; from here on they have one clock."""
        word = Word.GO_ON if keep_going() else Word.STOP
        if self.voice.is_covered(self.counters):
            word = Word.PAUSE
        own_s = self.counters.elapsed_s if self.world.is_main else 0.0
        said, self.counters.elapsed_s = self.world.largest([float(word), own_s])
        word = Word(int(said))
        if self.groups is None:
            return word
        word = self._agree_with(self.groups, word)
        if self.speaks and not self.voice.has_spoken and not self._speak(open_record):
            return Word.LEAVE
        return word

    def _agree_with(self, groups: ReplicaGroups, word: Word) -> Word:
        """Begin a step with the groups that live; this one may be further when it has begun."""
        while True:
            num_groups = groups.begin_step().num_groups
            elapsed_s = self.counters.elapsed_s
            told = groups.agree([word is Word.STOP, word is Word.PAUSE, elapsed_s])
            if told is not None:
                stops, pauses, elapsed_s = told
                self.counters.elapsed_s = elapsed_s / num_groups
                return Word.PAUSE if pauses else Word.STOP if stops else Word.GO_ON
            groups.should_commit()  # it must not: a group has died, or none speaks yet

    def rows(self) -> list[Batch]:
        """This rank's rows of the next step."""
        config, mesh = self.config, self.engine.mesh
        laid = lay_rows(
            self.objective.orders, self.counters.step, batch_tokens=config.data.batch_tokens
        )
        data_rank, num_data = mesh.data_rank, mesh.num_data
        if self.groups is not None:
            place = self.groups.membership
            data_rank += place.group_rank * num_data
            num_data *= place.num_groups
        at_least = self.engine.pipeline.num_rows(-(-len(laid) // num_data))
        return self._lay(deal(laid, data_rank=data_rank, num_data=num_data, at_least=at_least))

    def _lay(self, plan: RowPlan) -> list[Batch]:
        row_tokens = self.config.row_tokens(self.engine.device.type)
        rows: list[Sequence[Piece]] = [*plan.rows, *((),) * plan.num_empty]
        return [self.objective.batch(row, row_tokens=row_tokens) for row in rows]

    def _step(self) -> None:
        started = time.perf_counter()
        config, counters = self.config, self.counters
        lr_share = learning_rate_share(config.schedule, step=counters.step, share=self.share)
        orders = self.objective.orders
        num_tokens = sum(order.work_at(counters.step)[0] for order in orders)
        flop = step_flop(self.engine.config, orders, counters.step)
        with self._times.own():
            rows = self.rows()
        outcome = self.engine.step(rows, self.objective, lr_share=lr_share, groups=self.groups)
        step_time_s = time.perf_counter() - started
        counters.elapsed_s += step_time_s
        self._count_seconds()
        if outcome.is_undone:
            return
        counters.skipped_steps = self.engine.spikes.num_skipped
        counters.spikes = self.engine.spikes.state
        counters.step += 1
        counters.tokens += num_tokens
        counters.flop += flop
        counters.spent_tokens += num_tokens
        share = self.share
        self._row = self._times.after_step(counters.step, flop=flop / self.num_devices) | {
            "step": counters.step,
            "loss": outcome.loss if math.isfinite(outcome.loss) else None,
            "lr": config.optimizer.lr * lr_share,
            "grad_norm": outcome.grad_norm if math.isfinite(outcome.grad_norm) else None,
            "is_skipped": outcome.is_skipped,
            "tokens": counters.tokens,
            "tokens_per_s": num_tokens / step_time_s,
            "step_time_s": step_time_s,
            "elapsed_s": counters.elapsed_s,
            "remaining_s": counters.elapsed_s * (1.0 - share) / share,
            "mfu": flop / step_time_s / self.peak_flop_per_s / self.num_devices,
            "flop": counters.flop,
            "device_s": counters.device_s,
            "spent_tokens": counters.spent_tokens,
        }
        if self.groups is not None:
            self._row["num_groups"] = self.groups.membership.num_groups

    def _evaluate(self) -> dict[str, Any]:
        self.counters.bits_per_byte = self.held_out.bits_per_byte(self.engine)
        return {"heldout_bits_per_byte": self.counters.bits_per_byte} | self._measures()

    def _measures(self) -> dict[str, float]:
        """What the objective measures on what it holds out."""
        if not self.objective.held_out:
            return {}
        mesh = self.engine.mesh
        laid = lay_pieces(self.objective.held_out, batch_tokens=self.config.data.batch_tokens)
        at_least = -(-len(laid) // mesh.num_data)
        plan = deal(laid, data_rank=mesh.data_rank, num_data=mesh.num_data, at_least=at_least)
        sums = self.engine.evaluate(
            self._lay(plan),
            self.objective.measures,
            num_sums=len(self.objective.measure_names),
        )
        return self.objective.metrics(sums)

    def _count_seconds(self) -> None:
        now_s = time.perf_counter()
        self.counters.device_s += self.num_devices * (now_s - self._clock_s)
        self._clock_s = now_s

    def _log(self) -> None:
        if self.speaks:
            self.voice.log(self._row)

    def _save(self, *, is_final: bool = False) -> str:
        """Save a checkpoint; return its digest, or nothing while it is being written."""
        if not self.speaks:
            return ""
        counters = self.counters
        path = self.checkpoints.save(counters.step, self.engine.named_state(), asdict(counters))
        if path is None and is_final:
            path = self.checkpoints.wait()
        return self._saved(path)

    def _saved(self, path: Path | None) -> str:
        """Export a checkpoint that is due for it; return its digest."""
        if path is None:
            return ""
        every = self.config.checkpoint.export_every_steps
        step = step_of(path)
        if self.world.is_main and every and step - self._exported_step >= every:
            folder = self.folder / "exports" / path.name
            if self._exports.start(path, self.engine.config, folder, beside=self.beside):
                self._exported_step = step
        return checkpoint_digest(path)

    def leave(self) -> None:
        """Let other replica groups go on without this one, and speak."""
        if self.groups is not None:
            self.groups.close()

    def _result(self) -> TrainResult:
        counters = self.counters
        return TrainResult(
            base_bits_per_byte=counters.base_bits_per_byte,
            bits_per_byte=counters.bits_per_byte,
            steps=counters.step,
            tokens=counters.tokens,
            seconds=counters.elapsed_s,
            tokens_per_s=counters.tokens / max(counters.elapsed_s, 1e-9),
            peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            skipped_steps=counters.skipped_steps,
            num_resumed_steps=self.num_resumed_steps,
            flop=counters.flop,
            device_s=counters.device_s,
        )
