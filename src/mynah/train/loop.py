"""The loop: read a batch, step, measure, now and then evaluate and save. One process.

Reads a corpus, dialogues and a base checkpoint; writes ``metrics.jsonl`` and ``checkpoints/``
of a run, and its result.
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
from mynah.train.config import TrainConfig
from mynah.train.data import Batch, DataOrder, Piece, make_batch
from mynah.train.evaluate import HeldOut, autocast, batch_loss
from mynah.train.schedule import learning_rate_share, run_share
from mynah.train.state import Counters, latest_checkpoint, load_state, save_state
from mynah.train.throughput import flop_per_token
from mynah.workspace import replace_file

__all__ = ["TrainResult", "Trainer"]

logger = logging.getLogger(__name__)


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

    def resume(self) -> bool:
        """Go on from the latest checkpoint, if there is one."""
        checkpoint = latest_checkpoint(self.folder / "checkpoints")
        if checkpoint is None:
            return False
        self.counters = load_state(checkpoint, self.model, self.optimizer)
        self.num_resumed_steps = self.counters.step
        _drop_metrics_after(self.folder / "metrics.jsonl", self.counters.step)
        logger.info("resumed at step %d", self.counters.step)
        return True

    def run(self, *, keep_going: Callable[[], bool] = lambda: True) -> TrainResult | None:
        """Train until the schedule ends.

        Args:
            keep_going: Asked before each step; when false, a checkpoint is saved and the run
                stops where it is, to be resumed.

        Returns:
            The result, or ``None`` when it was stopped.
        """
        if not self.resume():
            # A process that was killed before its first checkpoint has left its lines.
            _drop_metrics_after(self.folder / "metrics.jsonl", -1)
            base = self.held_out.bits_per_byte(self.model)
            self.counters.base_bits_per_byte = base
            self._log({"step": 0, "elapsed_s": 0.0, "heldout_bits_per_byte": base})
        gc.collect()
        gc.disable()  # a collection in the middle of a step costs tens of milliseconds
        try:
            return self._run_on(keep_going)
        finally:
            gc.enable()

    def _run_on(self, keep_going: Callable[[], bool]) -> TrainResult | None:
        counters, config = self.counters, self.config
        evaluated_s = saved_s = counters.elapsed_s
        while self.share < 1.0:
            if not keep_going():
                self._save()
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
                self._save()
                saved_s = counters.elapsed_s
        return self._result()

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
        share = self.share
        flop = sum(b.num_tokens * flop_per_token(self.model.config, b.packing) for b in batches)
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
        }

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

    def _save(self) -> None:
        save_state(self.folder / "checkpoints", self.model, self.optimizer, self.counters)

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
