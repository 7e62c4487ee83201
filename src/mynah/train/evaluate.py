"""Bits per byte on held-out posts: a loss that models with different tokenizers share.

Reads ``heldout.bin``; writes nothing.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mynah.model import Llama
from mynah.train.data import Batch, CorpusSource, make_batch
from mynah.train.loss import linear_cross_entropy

__all__ = ["HeldOut", "autocast", "batch_loss"]

BATCH_TOKENS = 1024
"""Tokens of one evaluation batch; bounds the memory, not the result."""


def autocast(model: Llama) -> torch.autocast:
    """Products in bfloat16 on the device of ``model``; the loss stays in float32."""
    return torch.autocast(next(model.parameters()).device.type, torch.bfloat16)


def batch_loss(model: Llama, batch: Batch) -> Tensor:
    """Sum of the weighted loss over a batch, in nats."""
    with autocast(model):
        hidden_NC = model.hidden(batch.ids_N, batch.packing)
    return linear_cross_entropy(hidden_NC.bfloat16(), model.head_VC, batch.target_N, batch.weight_N)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The held-out documents an evaluation reads, and their size as text."""

    batches: tuple[Batch, ...]
    num_bytes: int

    @classmethod
    def select(cls, source: CorpusSource, *, sizes_bytes: list[int], max_tokens: int) -> "HeldOut":
        """Take whole documents in order until ``max_tokens`` are reached, at least one.

        Args:
            source: Held-out documents.
            sizes_bytes: UTF-8 bytes of each document's text.
            max_tokens: Tokens to read at the most.
        """
        batches: list[Batch] = []
        chosen: list[tuple[CorpusSource, tuple[int, int, int]]] = []
        num_tokens = in_batch = num_bytes = 0
        for number, size in enumerate(source.sizes.tolist()):
            if num_tokens and num_tokens + size > max_tokens:
                break
            if in_batch and in_batch + size > BATCH_TOKENS:
                batches.append(make_batch(chosen))
                chosen, in_batch = [], 0
            chosen.append((source, (number, 0, size - 1)))
            num_tokens += size
            in_batch += size
            num_bytes += sizes_bytes[number]
        if chosen:
            batches.append(make_batch(chosen))
        return cls(tuple(batches), num_bytes)

    @torch.no_grad()
    def bits_per_byte(self, model: Llama) -> float:
        """Bits that ``model`` needs a byte of held-out text."""
        nats = sum(batch_loss(model, batch).item() for batch in self.batches)
        return nats / math.log(2) / self.num_bytes
