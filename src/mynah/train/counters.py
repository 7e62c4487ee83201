"""Where a run is: the numbers that a checkpoint holds beside its tensors.

Reads and writes nothing itself.
"""

from dataclasses import dataclass, field
from typing import Any

from mynah.record.runs import Spent

__all__ = ["Counters"]


@dataclass(slots=True, kw_only=True)
class Counters:
    """Where a run is; the same on every rank."""

    step: int = 0
    """Optimizer steps done."""
    tokens: int = 0
    """Tokens read so far."""
    elapsed_s: float = 0.0
    """Seconds of training so far; pauses, evaluations and checkpoints not counted."""
    skipped_steps: int = 0
    """Steps whose loss or gradient was not finite, or whose gradient was far too large."""
    spikes: dict[str, Any] = field(default_factory=dict[str, Any])
    """What the judge of spikes remembers of the steps before."""
    base_bits_per_byte: float = 0.0
    """Of the base model, before the first step."""
    bits_per_byte: float = 0.0
    """Of the model at its last evaluation."""
    flop: int = 0
    """Counted so far, work that a kill undid included; so are the next two. See ``spent``."""
    device_s: float = 0.0
    """Devices times seconds."""
    spent_tokens: int = 0
    """Tokens trained on."""

    @property
    def spent(self) -> Spent:
        """What the run has used."""
        return Spent(flop=self.flop, device_s=self.device_s, tokens=self.spent_tokens)

    @spent.setter
    def spent(self, value: Spent) -> None:
        self.flop, self.device_s = value.flop, value.device_s
        self.spent_tokens = value.tokens
