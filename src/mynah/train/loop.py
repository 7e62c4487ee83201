"""The loop: read a batch, step, measure, now and then evaluate and save. One process.

Reads a corpus, dialogues and a base checkpoint; writes ``metrics.jsonl``, ``spent.json`` and
``checkpoints/`` of a run, its result, and what the record is to know of it.
"""

import gc
import json
import logging
import math
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mynah.errors import CheckpointError, machine_errors
from mynah.model import Llama
from mynah.record.model_signature import model_digest
from mynah.record.runs import RunRecord, Spent
from mynah.train.config import TrainConfig
from mynah.train.data import Batch, DataOrder, Piece, make_batch
from mynah.train.evaluate import HeldOut, autocast, batch_loss
from mynah.train.schedule import learning_rate_share, run_share
from mynah.train.spent import keep_spent, spent_before
from mynah.train.state import Counters, latest_checkpoint, load_state, save_state
from mynah.train.throughput import batch_flop, steps_flop
from mynah.workspace import replace_file

__all__ = ["TrainResult", "Trainer"]

logger = logging.getLogger(__name__)

NUM_DEVICES = 1
"""One process: its threads are one device."""
DIGEST_SHARE = 1 / 400
"""Of the time, at most, that goes into hashing checkpoints that are neither a pause's nor the
last. SHA-256 takes about a second for the 1.6 GB of a small model: at every save, that second
would be 2% of a minute of training. A thread beside the loop would take it from the same cores."""
FIRST_GUESS_BYTES_PER_S = 1e9
"""How fast a checkpoint is hashed, before the first has been."""


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
    """One run of one model on one process.

    Args:
        config: The recipe.
        model: Weights in float32; products run in bfloat16.
        orders: Documents first, then dialogues if there are any.
        held_out: What to evaluate on.
        folder: The run's folder.
        peak_flop_per_s: Measured matrix-product peak of this machine, for MFU.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: Llama,
        orders: tuple[DataOrder, ...],
        held_out: HeldOut,
        folder: Path,
        *,
        peak_flop_per_s: float,
    ) -> None:
        self.config = config
        self.model = model
        self.orders = orders
        self.held_out = held_out
        self.folder = folder
        self.peak_flop_per_s = peak_flop_per_s
        self.counters = Counters()
        self.num_resumed_steps = 0
        self._clock_s = self._recorded_s = self._digested_s = time.perf_counter()
        self._digest_bytes_per_s = FIRST_GUESS_BYTES_PER_S
        optimizer = config.optimizer
        matrices = [w for w in model.parameters() if w.ndim > 1]
        vectors = [w for w in model.parameters() if w.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": optimizer.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=optimizer.lr,
            betas=(optimizer.beta1, optimizer.beta2),
            eps=optimizer.eps,
            fused=True,
        )

    @property
    def share(self) -> float:
        """Share of the run that is behind."""
        counters = self.counters
        return run_share(self.config.schedule, step=counters.step, elapsed_s=counters.elapsed_s)

    def resume(self, recorded: Spent) -> None:
        """Go on from the latest checkpoint, if there is one; what came after it stays spent.

        Args:
            recorded: What the record says that the run has used.
        """
        checkpoint = latest_checkpoint(self.folder / "checkpoints")
        if checkpoint is not None:
            self.counters = load_state(checkpoint, self.model, self.optimizer)
            self.num_resumed_steps = self.counters.step
            logger.info("resumed at step %d", self.counters.step)
        counters = self.counters
        flop = steps_flop(self.model.config, self.orders, counters.step)
        at_least = Spent(flop=flop, device_s=counters.elapsed_s, tokens=counters.tokens)
        for spent in (at_least, recorded, spent_before(self.folder)):
            counters.spent = counters.spent.at_least(spent)
        keep_spent(self.folder, counters.spent)
        # A process that was killed before its first checkpoint has left its lines, too.
        step = counters.step if counters.base_bits_per_byte else -1
        _drop_metrics_after(self.folder / "metrics.jsonl", step)

    def run(
        self, record: RunRecord, *, keep_going: Callable[[], bool] = lambda: True
    ) -> TrainResult | None:
        """Train until the schedule ends.

        Args:
            record: Told what is used; asked before each step whether a pause order covers it.
            keep_going: Asked before each step; when false, a checkpoint is saved and the run
                stops where it is, to be resumed.

        Returns:
            The result, or ``None`` when it was stopped.

        Raises:
            PausedError: A pause order covers the run: it has stopped at a checkpoint.
            RecordError: The record cannot be written, or the checkpoint is not the paused one.
        """
        self.resume(record.spent)
        counters = self.counters
        self._clock_s = time.perf_counter()
        record.begin(counters.step, counters.spent, self._saved_digest)
        if not counters.base_bits_per_byte:
            base = self.held_out.bits_per_byte(self.model)
            counters.base_bits_per_byte = base
            self._log({"step": 0, "elapsed_s": 0.0, "heldout_bits_per_byte": base})
        gc.collect()
        gc.disable()  # a collection in the middle of a step costs tens of milliseconds
        try:
            return self._run_on(record, keep_going)
        finally:
            gc.enable()

    def _run_on(self, record: RunRecord, keep_going: Callable[[], bool]) -> TrainResult | None:
        counters, config = self.counters, self.config
        evaluated_s = saved_s = counters.elapsed_s
        while self.share < 1.0:
            self._stop_if_ordered(record)
            if not keep_going():
                self._tell(record, digest=self._saved_digest())
                return None
            metrics = self._step()
            is_last = self.share >= 1.0
            if is_last or counters.elapsed_s - evaluated_s >= config.evaluate_every_s:
                counters.bits_per_byte = self.held_out.bits_per_byte(self.model)
                metrics["heldout_bits_per_byte"] = counters.bits_per_byte
                evaluated_s = counters.elapsed_s
                gc.collect()
            self._log(metrics)
            if is_last or counters.elapsed_s - saved_s >= config.checkpoint_every_s:
                checkpoint = self._save()
                saved_s = counters.elapsed_s
                self._tell(record, digest=self._affordable_digest(checkpoint))
            elif time.perf_counter() - self._recorded_s >= config.record_every_s:
                self._tell(record)
        self._stop_if_ordered(record)
        return self._result()

    def _stop_if_ordered(self, record: RunRecord) -> None:
        order = record.stop_order(self.counters.flop)
        if order is not None:
            digest = self._saved_digest()
            raise record.pause(order, self.counters.step, self.counters.spent, digest)

    def _tell(self, record: RunRecord, *, digest: str = "") -> None:
        record.progress(self.counters.step, self.counters.spent, digest=digest)
        self._recorded_s = time.perf_counter()

    def _saved_digest(self) -> str:
        return model_digest(self._save()).hex

    def _affordable_digest(self, checkpoint: Path) -> str:
        """Digest of a checkpoint, or nothing when it is too early for the next one."""
        num_bytes = sum(path.stat().st_size for path in checkpoint.iterdir())
        began_s = time.perf_counter()
        if (began_s - self._digested_s) * DIGEST_SHARE < num_bytes / self._digest_bytes_per_s:
            return ""
        digest = model_digest(checkpoint).hex
        self._digested_s = time.perf_counter()
        self._digest_bytes_per_s = num_bytes / (self._digested_s - began_s)
        return digest

    def _batches(self) -> list[Batch]:
        """Return what the next step reads, in batches that fit the memory, short pieces first."""
        chosen = [
            (order.source, piece)
            for order in self.orders
            for piece in order.pieces(self.counters.step)
        ]
        chosen.sort(key=lambda piece: piece[1][2])
        parts: list[list[Piece]] = [[]]
        size = 0
        for piece in chosen:
            if parts[-1] and size + piece[1][2] > self.config.data.batch_tokens:
                parts.append([])
                size = 0
            parts[-1].append(piece)
            size += piece[1][2]
        return [make_batch(part) for part in parts]

    def _gradients(self, batches: list[Batch]) -> float:
        """Add up the gradients of a step; return its mean loss."""
        weight = sum(float(batch.weight_N.sum()) for batch in batches)
        total = 0.0
        with autocast(self.model):  # around them all: weights are rounded once a step
            for batch in batches:
                loss = batch_loss(self.model, batch) / max(1.0, weight)
                loss.backward()
                total += loss.item()
        return total

    def _step(self) -> dict[str, Any]:
        started = time.perf_counter()
        config, counters = self.config, self.counters
        lr = config.optimizer.lr * learning_rate_share(
            config.schedule, step=counters.step, share=self.share
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        batches = self._batches()
        loss = self._gradients(batches)
        norm = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), config.optimizer.clip_norm, error_if_nonfinite=False
        ).item()
        if math.isfinite(loss) and math.isfinite(norm):
            self.optimizer.step()
        else:
            self._skip(loss)
        self.optimizer.zero_grad()
        num_tokens = sum(batch.num_tokens for batch in batches)
        step_time_s = time.perf_counter() - started
        counters.step += 1
        counters.tokens += num_tokens
        counters.elapsed_s += step_time_s
        flop = sum(batch_flop(self.model.config, batch) for batch in batches)
        counters.flop += flop
        counters.spent_tokens += num_tokens
        self._count_seconds()
        share = self.share
        return {
            "step": counters.step,
            "loss": loss if math.isfinite(loss) else None,
            "lr": lr,
            "grad_norm": norm if math.isfinite(norm) else None,
            "tokens": counters.tokens,
            "tokens_per_s": num_tokens / step_time_s,
            "step_time_s": step_time_s,
            "elapsed_s": counters.elapsed_s,
            "remaining_s": counters.elapsed_s * (1.0 - share) / share,
            "mfu": flop / step_time_s / self.peak_flop_per_s,
            "flop": counters.flop,
            "device_s": counters.device_s,
            "spent_tokens": counters.spent_tokens,
        }

    def _count_seconds(self) -> None:
        now_s = time.perf_counter()
        self.counters.device_s += NUM_DEVICES * (now_s - self._clock_s)
        self._clock_s = now_s

    def _skip(self, loss: float) -> None:
        self.counters.skipped_steps += 1
        logger.warning("step %d skipped: its loss is %s", self.counters.step, loss)
        if self.counters.skipped_steps > self.config.optimizer.max_skipped_steps:
            raise CheckpointError(
                f"{self.counters.skipped_steps} steps had a loss or gradient that is not finite",
                hint="lower the learning rate: --set optimizer.lr=1e-4",
            )

    def _log(self, metrics: dict[str, Any]) -> None:
        with machine_errors(self.folder), (self.folder / "metrics.jsonl").open("a") as stream:
            stream.write(json.dumps(metrics) + "\n")

    def _save(self) -> Path:
        folder = self.folder / "checkpoints"
        return save_state(folder, self.model, self.optimizer, self.counters)

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


def _drop_metrics_after(path: Path, step: int) -> None:
    """Take back lines that a killed process wrote past its last checkpoint, or cut in half."""
    kept: list[bytes] = []
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
        try:
            if line.endswith(b"\n") and json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError):
            continue
    replace_file(path, b"".join(kept))
