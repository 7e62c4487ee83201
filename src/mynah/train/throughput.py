"""Counted FLOP of a batch and of a whole run, and the peak that this machine was measured at."""

import statistics
import time
from collections.abc import Iterable

import torch

from mynah.model import LlamaConfig
from mynah.train.data import Batch, DataOrder

__all__ = ["batch_flop", "measure_peak_flop_per_s", "steps_flop"]


def batch_flop(config: LlamaConfig, batch: Batch) -> int:
    """FLOP of forward and backward over a batch, what fills its row not counted; see ``_flop``."""
    position_N = batch.packing.position_N[len(batch.ids_N) - batch.num_tokens :]
    return _flop(config, batch.num_tokens, int(position_N.sum()) + batch.num_tokens)


def steps_flop(config: LlamaConfig, orders: Iterable[DataOrder], num_steps: int) -> int:
    """FLOP of the first ``num_steps`` steps over ``orders``: what ``batch_flop`` will add up to."""
    return sum(_flop(config, *order.work_of(num_steps)) for order in orders)


def _flop(config: LlamaConfig, num_tokens: int, num_pairs: int) -> int:
    """FLOP of forward and backward, as an exact number.

    Two a weight forward and four backward, the output matrix included and the embedding not;
    attention reads the token itself and those before it, once for scores and once for values.

    Args:
        config: The model.
        num_tokens: Tokens read.
        num_pairs: Pairs of a token and one it reads, itself included.

    Source: Chowdhery et al. 2022, appendix B (arXiv:2204.02311).
    """
    wide = config.num_attention_heads * config.head_dim
    narrow = config.num_key_value_heads * config.head_dim
    projections = config.hidden_size * (2 * wide + 2 * narrow)
    gates = 3 * config.hidden_size * config.intermediate_size
    matrices = config.num_hidden_layers * (projections + gates)
    attention = config.num_hidden_layers * 2 * wide * num_pairs
    return 6 * (num_tokens * (matrices + config.vocab_size * config.hidden_size) + attention)


@torch.no_grad()
def measure_peak_flop_per_s(*, size: int = 1536, repeats: int = 5) -> float:
    """Measure the bfloat16 matrix-product peak of this process, median of ``repeats``.

    Args:
        size: Side of the square matrices.
        repeats: Products timed, after one that is not.
    """
    left = torch.randn(size, size).bfloat16()
    right = torch.randn(size, size).bfloat16()
    times: list[float] = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        left @ right  # pyright: ignore[reportUnusedExpression]
        times.append(time.perf_counter() - started)
    return 2.0 * size**3 / statistics.median(times[1:])
