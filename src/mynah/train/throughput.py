"""Counted FLOP of a batch and of a whole run, and the peak that this machine was measured at."""

import time
from collections.abc import Iterable, Sequence

import torch

from mynah.model import LlamaConfig, active_weights
from mynah.train.data import Batch, DataOrder

__all__ = ["batch_flop", "measure_peak_flop_per_s", "step_flop", "steps_flop"]

PEAK_SIZES = {"cpu": (1024, 1536, 2048)}
"""Sides of the matrices that come closest to a device's peak; of 512 to 4,096 on 2 cores."""
GPU_SIZES = (8192,)
"""A launch takes as long as a small product."""
MIN_ROUNDS = 3
"""The first makes kernels and threads, the second fills caches."""


def batch_flop(config: LlamaConfig, batch: Batch) -> int:
    """FLOP of forward and backward over a batch, what fills its row not counted; see ``_flop``."""
    position_N = batch.packing.position_N[len(batch.ids_N) - batch.num_tokens :]
    return _flop(config, batch.num_tokens, int(position_N.sum()) + batch.num_tokens)


def step_flop(config: LlamaConfig, orders: Iterable[DataOrder], step: int) -> int:
    """FLOP of one step over ``orders``, from 0: what all ranks together compute."""
    return sum(_flop(config, *order.work_at(step)) for order in orders)


def steps_flop(config: LlamaConfig, orders: Iterable[DataOrder], num_steps: int) -> int:
    """FLOP of the first ``num_steps`` steps: what ``step_flop`` will add up to."""
    return sum(_flop(config, *order.work_of(num_steps)) for order in orders)


def _flop(config: LlamaConfig, num_tokens: int, num_pairs: int) -> int:
    """FLOP of forward and backward, as an exact number.

    Two a weight forward and four backward, the output matrix included and the embedding not, of
    experts those that a token goes through; attention reads the token itself and those before it,
    once for scores and once for values. What is computed again to save memory is not counted.

    Args:
        config: The model.
        num_tokens: Tokens read.
        num_pairs: Pairs of a token and one it reads, itself included.

    Source: Chowdhery et al. 2022, appendix B (arXiv:2204.02311).
    """
    wide = config.num_attention_heads * config.head_dim
    attention = config.num_hidden_layers * 2 * wide * num_pairs
    return 6 * (num_tokens * active_weights(config) + attention)


@torch.no_grad()
def measure_peak_flop_per_s(
    device: torch.device | str = "cpu", *, sizes: Sequence[int] = (), seconds: float = 0.5
) -> float:
    """Measure the bfloat16 matrix-product peak of one device, or of this process's threads.

    The fastest product of all: what else runs on the machine only ever makes one slower, and a
    median would call a busy machine a slow one and every share of its peak too good. All sizes
    are tried in turn until the time is over, each at least three times.

    Args:
        device: Where the products run.
        sizes: Sides of the square matrices; none are those that suit the device.
        seconds: How long to try.
    """
    device = torch.device(device)
    sizes = sizes or PEAK_SIZES.get(device.type, GPU_SIZES)
    pairs = [torch.randn(2, size, size, device=device).bfloat16() for size in sizes]
    outs = [torch.empty_like(pair[0]) for pair in pairs]  # no page of it is new when timed
    best = 0.0
    began = time.perf_counter()
    num_rounds = 0
    while num_rounds < MIN_ROUNDS or time.perf_counter() - began < seconds:
        for size, (left, right), out in zip(sizes, pairs, outs, strict=True):
            started = time.perf_counter()
            torch.mm(left, right, out=out)
            if device.type != "cpu":
                torch.accelerator.synchronize(device)
            best = max(best, 2.0 * size**3 / (time.perf_counter() - started))
        num_rounds += 1
    return best
