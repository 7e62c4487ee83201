"""How fast a step could be: counted FLOP, and the peak that this machine was measured at."""

import statistics
import time

import torch

from mynah.model import LlamaConfig, Packing

__all__ = ["flop_per_token", "measure_peak_flop_per_s"]


def flop_per_token(config: LlamaConfig, packing: Packing) -> float:
    """FLOP of forward and backward for one token of a batch, on average.

    Two a weight forward and four backward, the output matrix included and the embedding not;
    attention reads the token itself and
    those before it, once for scores and once for values.

    Source: Chowdhery et al. 2022, appendix B (arXiv:2204.02311).
    """
    wide = config.num_attention_heads * config.head_dim
    narrow = config.num_key_value_heads * config.head_dim
    projections = config.hidden_size * (2 * wide + 2 * narrow)
    gates = 3 * config.hidden_size * config.intermediate_size
    matrices = config.num_hidden_layers * (projections + gates)
    earlier = float(packing.position_N.float().mean()) + 1.0
    attention = config.num_hidden_layers * 2 * earlier * wide
    return 6.0 * (matrices + config.vocab_size * config.hidden_size + attention)


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
