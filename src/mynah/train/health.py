"""How well the ranks keep up: which is slow, and when rubbish is collected.

Reads clocks; writes nothing. What it finds goes into the metrics and the log of rank 0.

In a synchronous step every rank ends when the slowest does, so the time of a step says nothing of
who was slow: all others wait for it, inside collectives. Two things can be told apart from waiting
on any layout and any hardware. The first is the time in stretches that hold no collective: reading
documents and laying them into rows, where slow disks and busy hosts show. The second is the speed
of a fixed product, timed at each report on all ranks at once: there shows a device that is hot,
broken or shared. A rank's own time of a step is the first, plus what its share of the step's
arithmetic takes at the second: what the step would cost it if it never had to wait. A slow link
between ranks is seen in neither.
"""

import gc
import logging
import math
import platform
import statistics
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import ConfigDict, Field

from mynah.train.world import World

__all__ = ["HealthConfig", "StepTimes", "collecting_garbage"]

logger = logging.getLogger(__name__)

REPORTS_IN_A_ROW = 3
"""So many reports must agree before a rank is called slow: one may have met a busy moment."""
MAX_NAMED = 16
"""Ranks that a warning names; when more are slow, it is the whole cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthConfig:
    """When a rank counts as hung or slow."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    hang_after_s: Annotated[float, Field(ge=0)] = 300.0
    """Seconds without a sign of life after which a rank writes down where it stands and ends, so
    that its group restarts; evaluations and checkpoints get several times as long. 0 is never."""
    straggler_ratio: Annotated[float, Field(gt=1)] = 1.3
    """A rank whose own time of a step is more than this many times the median is slow."""
    report_every_steps: Annotated[int, Field(ge=1)] = 50
    """Steps between two comparisons of all ranks."""
    gc_every_steps: Annotated[int, Field(ge=1)] = 50
    """Steps between two collections of Python's garbage, on all ranks at the same step: left to
    itself each rank would stop at another moment, and all others wait each time."""


class StepTimes:
    """Each rank's own time of a step, compared now and then.

    Args:
        config: How often, and from where on a rank is slow.
        world: All ranks.
    """

    def __init__(self, config: HealthConfig, world: World) -> None:
        self.config = config
        self.world = world
        self._own_s = 0.0
        self._num_steps = 0
        self._streaks: dict[int, int] = {}
        self._hosts: list[str] = []

    @contextmanager
    def own(self) -> Generator[None]:
        """Time a stretch of work in which this rank waits for no other."""
        began_s = time.perf_counter()
        yield
        self._own_s += time.perf_counter() - began_s

    def after_step(self, step: int, *, flop: float) -> dict[str, float]:
        """Count a step; compare the ranks when it is time. Every rank must call it at every step.

        Args:
            step: Steps done.
            flop: This rank's share of the step's arithmetic.

        Returns:
            ``rank_step_time_median_s``, ``rank_step_time_max_s`` and ``slowest_rank`` when they
            were compared, on every rank; nothing otherwise, and never of a rank that is alone.
        """
        self._num_steps += 1
        if self.world.size == 1 or step % self.config.report_every_steps:
            return {}
        own_s = self._own_s / self._num_steps + flop / product_flop_per_s(self.world.device)
        self._own_s, self._num_steps = 0.0, 0
        if not self._hosts:
            self._hosts = self.world.gather_objects(platform.node()) or [""]
        times_s = self.world.gather(own_s)
        median_s = statistics.median_low(times_s)  # of two ranks, the faster
        slowest = max(range(len(times_s)), key=times_s.__getitem__)
        self._warn(step, times_s, median_s)
        return {
            "rank_step_time_median_s": median_s,
            "rank_step_time_max_s": times_s[slowest],
            "slowest_rank": slowest,
        }

    def _warn(self, step: int, times_s: list[float], median_s: float) -> None:
        slow = {
            rank: own_s / median_s
            for rank, own_s in enumerate(times_s)
            if own_s > self.config.straggler_ratio * median_s
        }
        self._streaks = {rank: self._streaks.get(rank, 0) + 1 for rank in slow}
        lasting = [rank for rank in slow if self._streaks[rank] >= REPORTS_IN_A_ROW]
        if not lasting or not self.world.is_main:
            return
        lasting.sort(key=slow.__getitem__, reverse=True)
        named = ", ".join(f"{r} on {self._hosts[r]} ({slow[r]:.2f})" for r in lasting[:MAX_NAMED])
        logger.warning(
            "step %d: %d of %d ranks are slow, in multiples of the median's own time: rank %s",
            *(step, len(lasting), len(times_s), named),
        )


@torch.no_grad()
def product_flop_per_s(device: torch.device) -> float:
    """Speed of a fixed product of matrices on ``device`` now, the median of five."""
    size, repeats = (4096, 8) if device.type == "cuda" else (512, 1)
    # Not drawn: a random number taken here would change those that the run takes.
    x = torch.arange(size * size, device=device).view(size, size).sin().bfloat16()
    times_s: list[float] = []
    for _ in range(6):
        _finish(device)
        began_s = time.perf_counter()
        for _ in range(repeats):
            x @ x  # pyright: ignore[reportUnusedExpression]
        _finish(device)
        times_s.append(time.perf_counter() - began_s)
    return 2.0 * math.pow(size, 3) * repeats / statistics.median(times_s[1:])


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def collecting_garbage(config: HealthConfig) -> Generator[Callable[[int], None]]:
    """Switch Python's own collections off; yield a function that collects at the steps agreed.

    It takes the number of steps done, and is called after each by every rank. What exists at the
    beginning, which is most of what there will be, is not searched again.
    """
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()

    def collect(step: int) -> None:
        if step % config.gc_every_steps == 0:
            gc.collect()

    try:
        yield collect
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
