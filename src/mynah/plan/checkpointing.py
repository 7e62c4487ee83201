"""What a checkpoint weighs, what saving one costs, and how often it pays.

Pure. A checkpoint is what training goes on from: weights and optimizer state. Saving stops training
for ``stall_s`` and is safe after ``write_s``; when the two are equal, saving blocks.
"""

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import ConfigDict, Field

from mynah.errors import ConfigError
from mynah.plan.failures import Figure
from mynah.plan.ranges import Range

__all__ = [
    "CheckpointCost",
    "StorageConfig",
    "checkpoint_bytes",
    "checkpoint_cost",
    "daly_interval_s",
    "expected_goodput",
    "first_order_goodput",
    "planned_interval_s",
    "young_interval_s",
]

GB = 1e9
GB_PER_S_PER_ACCELERATOR = Range(low=0.044, middle=0.13, high=0.325)
OVERHEAD_S = Range(low=3.0, middle=6.3, high=12.0)
ADAMW_BYTES = 12
"""Of a parameter: float32 weight and the two moments of AdamW, as ``mynah train`` saves them. A
trainer that adds a 16-bit copy of the weights has 14 (BLOOM: 2.3 TB of 176 billion)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageConfig:
    """Where checkpoints go, and how fast."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    gb_per_s_per_accelerator: Figure = GB_PER_S_PER_ACCELERATOR
    """GB/s that each accelerator writes, all at once. BLOOM: 2.3 TB in 40 s from 384, 0.15; Llama 3
    (arXiv:2407.21783, 3.3.1): 2 TB/s sustained for 16,384, 0.12; low and high are what nodes of
    eight B200 used (arXiv:2605.09370), 1.4-10.4% of 200 Gb/s."""
    storage_gb_per_s: Annotated[float, Field(gt=0)] = math.inf
    """GB/s that the storage takes from all together; infinite where the links are the limit."""
    copy_gb_per_s: Annotated[float, Field(gt=0)] = 20.0
    """GB/s from an accelerator to its host's memory, for ``is_async``: PCIe 4.0 x16 carries 32,
    pinned copies reach two thirds of it."""
    overhead_s: Figure = OVERHEAD_S
    """Seconds that every save stops training for besides moving bytes: ranks agree what to write.
    6.3 is PyTorch's of a 7B model (blog on asynchronous checkpointing, 2024), in line with the
    "several seconds" of MegaScale (arXiv:2402.15627, 4.4); low and high are half and twice it."""
    is_async: bool = True
    """Whether training goes on from a copy in the host's memory while that is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointCost:
    """What saving and reading one checkpoint costs."""

    size_bytes: float
    """Of the whole checkpoint."""
    stall_s: Range
    """Seconds that training stands still for a save."""
    write_s: Range
    """Seconds from the start of a save until it can be gone on from; not below ``stall_s``."""
    read_s: Range
    """Seconds to read it after a failure."""

    def to_json(self) -> dict[str, float | dict[str, float]]:
        """Return it for machines."""
        return {
            "size_bytes": self.size_bytes,
            "stall_s": self.stall_s.to_json(),
            "write_s": self.write_s.to_json(),
            "read_s": self.read_s.to_json(),
        }


def checkpoint_bytes(num_weights: int, *, bytes_per_weight: float = ADAMW_BYTES) -> float:
    """Bytes of a checkpoint: every weight of the model, with what the optimizer keeps of it."""
    return num_weights * bytes_per_weight


def checkpoint_cost(
    size_bytes: float, storage: StorageConfig, *, num_accelerators: int
) -> CheckpointCost:
    """What a checkpoint costs when every accelerator writes, and reads, its share.

    With replica groups pass the accelerators of one: one group writes for all.

    Args:
        size_bytes: Of the whole checkpoint.
        storage: Where it goes.
        num_accelerators: That share the writing, at least one.
    """
    size_gb = size_bytes / GB

    def move_s(gb_per_s: float) -> float:
        return size_gb / min(gb_per_s * num_accelerators, storage.storage_gb_per_s)

    speed = storage.gb_per_s_per_accelerator
    if not speed.low:
        raise ConfigError(
            "storage that writes 0 GB/s never finishes a checkpoint",
            hint="set gb_per_s_per_accelerator above zero",
        )
    moving_s = speed.through(move_s)
    write_s = storage.overhead_s.plus(moving_s)
    copy_s = Range.exactly(size_gb / num_accelerators / storage.copy_gb_per_s)
    stall_s = storage.overhead_s.plus(copy_s) if storage.is_async else write_s
    if storage.is_async:
        write_s = stall_s.plus(moving_s)
    return CheckpointCost(size_bytes=size_bytes, stall_s=stall_s, write_s=write_s, read_s=moving_s)


def young_interval_s(stall_s: float, mtti_s: float) -> float:
    """Best seconds of training between saves, for a stall far shorter than ``mtti_s``.

    Source: Young 1974, Communications of the ACM 17(9).
    """
    return math.sqrt(2 * stall_s * mtti_s)


def daly_interval_s(stall_s: float, mtti_s: float) -> float:
    """Best seconds of training between saves, for any stall.

    Source: Daly 2006, Future Generation Computer Systems 22(3), equation 37.
    """
    if stall_s >= 2 * mtti_s:
        return mtti_s
    ratio = stall_s / (2 * mtti_s)
    return young_interval_s(stall_s, mtti_s) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - stall_s


def planned_interval_s(cost: CheckpointCost, *, mtti_s: float) -> float:
    """Daly's interval, or longer where a save would not be finished before the next begins."""
    in_background_s = cost.write_s.middle - cost.stall_s.middle
    return max(daly_interval_s(cost.stall_s.middle, mtti_s), in_background_s, 1.0)


def first_order_goodput(
    interval_s: float, *, stall_s: float, recovery_s: float, mtti_s: float
) -> float:
    """Share of time that makes progress, as long as all losses are small against ``mtti_s``.

    Saving takes its share of every interval; a failure costs the recovery and half an interval.
    """
    return 1 - stall_s / interval_s - (interval_s / 2 + recovery_s) / mtti_s


def expected_goodput(
    interval_s: float, *, stall_s: float, recovery_s: float, mtti_s: float
) -> float:
    """Share of time that makes progress when failures are a Poisson process and saving blocks.

    Exact: failures may also hit a save or a recovery, which then begins anew.

    Source: Daly 2006, the complete model.
    """
    attempt = math.expm1(min((interval_s + stall_s) / mtti_s, 700.0))
    return interval_s / (mtti_s * math.exp(min(recovery_s / mtti_s, 700.0)) * attempt)
