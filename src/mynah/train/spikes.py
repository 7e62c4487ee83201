"""Which steps are skipped: those of a broken batch or a broken device. A few are; more end the run.

Reads a step's loss and gradient norm; writes nothing. Both numbers are sums over all ranks, the
same on each of them, so all ranks decide alike without asking.
"""

import logging
import math
import statistics
from typing import Any

from mynah.errors import CheckpointError
from mynah.train.optimizers import OptimizerConfig

__all__ = ["SpikeGuard"]

logger = logging.getLogger(__name__)

WINDOW = 128
"""Norms of accepted steps that the median is taken over; OLMo-core's skipping optimizers look
back as far (``SkipStepOptimizer``, github.com/allenai/OLMo-core)."""
LEAST = 32
"""With fewer norms than this nothing is a spike: a run's first norms fall quickly."""


class SpikeGuard:
    """Decides which steps are skipped, counts them, gives up when they are too many."""

    def __init__(self, config: OptimizerConfig) -> None:
        self.config = config
        self.step = 0
        """Steps judged so far."""
        self.num_skipped = 0
        self.norms: list[float] = []
        """Of the last accepted steps, oldest first."""

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint must keep for the same decisions afterwards; plain JSON.

        An empty one, put back, is a run's beginning.
        """
        return {"step": self.step, "num_skipped": self.num_skipped, "norms": list(self.norms)}

    @state.setter
    def state(self, kept: dict[str, Any]) -> None:
        self.step, self.num_skipped = kept.get("step", 0), kept.get("num_skipped", 0)
        self.norms = list(kept.get("norms", ()))

    def skips(self, loss: float, norm: float) -> bool:
        """Whether the next step's gradients must not reach the weights.

        Args:
            loss: Its mean loss over all ranks.
            norm: Norm of all its gradients, before clipping.

        Raises:
            CheckpointError: It is one more than ``max_skipped_steps``. The last checkpoint is good.
        """
        step, self.step = self.step, self.step + 1
        reason = self._reason(loss, norm)
        if not reason:
            self.norms = [*self.norms[1 - WINDOW :], norm]
            return False
        self.num_skipped += 1
        logger.warning("step %d skipped: its %s", step, reason)
        if self.num_skipped > self.config.max_skipped_steps:
            raise CheckpointError(
                f"{self.num_skipped} steps had a loss or gradient that is not finite, or a "
                f"gradient far larger than those before it; step {step} was the last",
                hint="lower the learning rate: --set optimizer.lr=1e-4",
            )
        return True

    def _reason(self, loss: float, norm: float) -> str:
        if not math.isfinite(loss):
            return f"loss is {loss}"
        if not math.isfinite(norm):
            return f"gradient norm is {norm}"
        factor = self.config.spike_factor
        if factor and len(self.norms) >= LEAST:
            median = statistics.median(self.norms)
            if norm > factor * median:
                return f"gradient norm is {norm:.3g}, the median before it {median:.3g}"
        return ""
