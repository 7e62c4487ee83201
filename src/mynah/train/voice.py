"""What a run says of itself: to the record, line by line in its metrics, and of what it has used.

Rank 0 speaks for all ranks, and what it fails with, all fail with. Where replica groups live
apart, one of them speaks, and another takes over when it dies. Writes ``metrics.jsonl`` and
``spent.json`` of a run, and its leaves in the record.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mynah.record.runs import RunRecord, Spent
from mynah.train.counters import Counters
from mynah.train.metrics import MetricsFile
from mynah.train.spent import keep_spent, spent_before
from mynah.train.world import World

__all__ = ["OpenRecord", "Voice"]

OpenRecord = Callable[[], RunRecord | None]
"""Declares the run; ``None`` when another process has finished it meanwhile."""


class Voice:
    """One rank's part in what its run says; on all but rank 0, to agree with what that one did.

    Args:
        folder: The run's.
        world: The ranks, of one replica group.
        is_tensorboard: Whether metrics go to TensorBoard, too.
    """

    def __init__(self, folder: Path, world: World, *, is_tensorboard: bool) -> None:
        self.folder = folder
        self.world = world
        self.record: RunRecord | None = None
        """Of rank 0, once it has spoken."""
        self.has_spoken = False
        self._metrics = MetricsFile(folder, is_tensorboard=is_tensorboard)
        self._logged_step = -1
        self._recorded_s = time.perf_counter()

    def open(self, open_record: OpenRecord) -> bool:
        """Declare the run, or find it declared.

        Returns:
            Whether there is anything left to say.
        """

        def open_it() -> bool:
            self.record = open_record()
            return self.record is not None

        return self.world.through_main(open_it)

    def catch_up(self, counters: Counters, row: dict[str, Any], *, flop: int) -> None:
        """Take over from whoever spoke before; what came after the checkpoint stays spent.

        Args:
            counters: Where the run is; its sums are raised to what is known to be spent.
            row: Of the last step, when it was done by others and may not have been written.
            flop: Of the steps that are done, had nothing been undone.
        """
        if self.record is None:
            return
        at_least = Spent(flop=flop, device_s=counters.elapsed_s, tokens=counters.tokens)
        for spent in (at_least, self.record.spent, spent_before(self.folder)):
            counters.spent = counters.spent.at_least(spent)
        keep_spent(self.folder, counters.spent)
        # A process that was killed before its first checkpoint has left its lines, too.
        self._logged_step = counters.step if counters.base_bits_per_byte else -1
        if row:  # and this step's may be missing, or cut in half
            self._logged_step = row["step"] - 1
        self._metrics.drop_after(self._logged_step)

    def wants_checkpoint(self, counters: Counters) -> bool:
        """Whether ``begin`` needs a checkpoint's digest, which all ranks have to save."""
        wanted = self.record is not None and self.record.wants_checkpoint(counters.flop)
        return bool(self.world.largest([float(wanted)])[0])

    def begin(self, counters: Counters, *, digest: str) -> None:
        """Say that a process begins, or goes on.

        Raises:
            PausedError: An order covers the run.
            RecordError: The checkpoint is not the one it was paused at.
        """

        def begin() -> None:
            assert self.record is not None, "rank 0 has the record"
            self.record.begin(counters.step, counters.spent, lambda: digest)

        self.world.through_main(begin)
        self.has_spoken = True

    def is_covered(self, counters: Counters) -> bool:
        """Whether a pause order covers the run; false on a rank that does not speak."""
        return self.record is not None and self.record.stop_order(counters.flop) is not None

    def pause(self, counters: Counters, *, digest: str) -> None:
        """Say that the run has stopped at a checkpoint.

        Raises:
            PausedError: Unless the order was lifted while the checkpoint was written.
        """

        def pause() -> None:
            assert self.record is not None, "rank 0 has the record"
            order = self.record.stop_order(counters.flop)
            if order is not None:
                raise self.record.pause(order, counters.step, counters.spent, digest)

        self.world.through_main(pause)

    def tell(self, counters: Counters, *, digest: str = "") -> None:
        """Say how far the run is, and which checkpoint it has just saved."""
        if self.record is not None:
            self.record.progress(counters.step, counters.spent, digest=digest)
        self._recorded_s = time.perf_counter()

    @property
    def silent_s(self) -> float:
        """Seconds since it told."""
        return time.perf_counter() - self._recorded_s

    def log(self, row: dict[str, Any]) -> None:
        """Write the row of a step, unless it is written already."""
        if self.world.is_main and row.get("step", -1) > self._logged_step:
            self._metrics.write(row)
            self._logged_step = row["step"]
