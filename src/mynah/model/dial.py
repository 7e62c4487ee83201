"""One dial for a model from scratch: its depth, from which shape and recipe follow.

Reads nothing; writes nothing.

Shape. Up to 16 layers, a head and 64 channels a layer: nanochat's dial, with the ratio of width to
depth that Kaplan et al. 2020, section 3.1 (arXiv:2001.08361), find in a wide flat optimum. Beyond,
width grows faster than depth, as Levine et al. 2020 (arXiv:2006.12467) derive that it should, and
128 channels a layer are reached at 32 layers, where the shape is that of Llama 3 8B; 405B has 130
(Grattafiori et al. 2024, table 3, arXiv:2407.21783). From its table are heads of 128 with 8 key
heads, an MLP of 3.5 widths and a rotary base of 500,000; an output matrix of its own, since a
pipeline cannot tie one to the embedding and there it is no longer a large part of the weights.

Recipe. 20 tokens a weight: Hoffmann et al. 2022 (arXiv:2203.15556); weights that a token is
multiplied by, output matrix included: Porian et al. 2024 (arXiv:2406.19146). The learning rate of
AdamW falls with the width: Yang et al. 2022 (arXiv:2203.03466); all three Llama 3 models have 1.23
to 1.31 over their width. The batch grows with the FLOP of the whole run: Bi et al. 2024, section
3.1 (arXiv:2401.02954).
"""

import math
from dataclasses import dataclass

from mynah.errors import ConfigError
from mynah.model.config import MAX_LAYERS, LlamaConfig
from mynah.model.weights import active_weights, num_weights

__all__ = ["Dial", "recipe_from_depth", "shape_from_depth"]

SMALL_DEPTH = 16
"""The deepest model of 64 channels a layer."""
LARGE_DEPTH = 32
"""The shallowest of 128."""
TOKENS_PER_WEIGHT = 20
LR_WIDTH = 3e-4 * 4096
"""Learning rate times width of Llama 3 8B."""
MAX_LR = 6e-3
"""Reached below a width of 205: the law has been seen to hold on far wider models only."""
MIN_BATCH_TOKENS = 1024
"""One packed row of a laptop's recipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """A model and how to train it, as far as its depth decides."""

    shape: LlamaConfig
    """Shape of the model."""
    lr: float
    """Peak learning rate of AdamW."""
    batch_tokens: int
    """Tokens of one optimizer step, a power of two."""
    horizon_tokens: int
    """Tokens of the whole run."""
    num_weights: int
    """All weights, also those of experts that a token does not choose."""

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return -(-self.horizon_tokens // self.batch_tokens)


def shape_from_depth(depth: int, *, vocab_size: int, num_experts: int = 0) -> LlamaConfig:
    """Derive a model's shape.

    Args:
        depth: Layers.
        vocab_size: Tokens of its tokenizer; token 0 begins and fills, token 2 ends.
        num_experts: Of each layer but the first; 0 is a dense model. A token chooses an eighth of
            them, 2 at least and 8 at most, and passes one shared expert; together these are as
            wide as the dense MLP of this depth, so that a token costs the same.

    Raises:
        ConfigError: There are no such layers, or a single expert.

    Source: module docstring; for experts Dai et al. 2024 (arXiv:2401.06066) and DeepSeek-AI 2024
    (arXiv:2412.19437), which choose 6 of 64 and 8 of 256 beside shared ones.
    """
    if not 1 <= depth <= MAX_LAYERS:
        raise ConfigError(f"depth is {depth}", hint=f"choose a depth from 1 to {MAX_LAYERS:,}")
    is_small = depth <= SMALL_DEPTH
    head_dim = 64 if is_small else 128
    width = _width(depth)
    num_heads = width // head_dim
    inner = -(-width * 8 // 3 // 64) * 64 if is_small else width * 7 // 2
    if is_small:
        num_key_heads = num_heads // 3 if num_heads % 3 == 0 else num_heads
    else:
        num_key_heads = math.gcd(num_heads, 8)
    chosen = min(8, max(2, num_experts // 8)) if num_experts else 0
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=depth,
        num_attention_heads=num_heads,
        num_key_value_heads=num_key_heads,
        head_dim=head_dim,
        max_position_embeddings=2048 if is_small else 8192,
        rope_theta=10_000.0 if is_small else 500_000.0,
        tie_word_embeddings=is_small,
        qk_norm=num_experts > 0,
        num_experts=num_experts,
        num_experts_per_token=chosen,
        num_shared_experts=1 if num_experts else 0,
        expert_intermediate_size=-(-inner // (chosen + 1) // 64) * 64 if num_experts else 0,
        num_dense_layers=1 if num_experts and depth > 1 else 0,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=0,
    )


def _width(depth: int) -> int:
    """64 channels a layer, rising from 16 layers on to 128; in whole groups of heads."""
    if depth <= SMALL_DEPTH:
        return 64 * depth
    ratio = 64 * min(depth, LARGE_DEPTH) / SMALL_DEPTH
    group = 1024 if depth >= LARGE_DEPTH else 512
    return round(ratio * depth / group) * group


def recipe_from_depth(depth: int, *, vocab_size: int, num_experts: int = 0) -> Dial:
    """Derive a shape and the numbers of its training run, for AdamW.

    Args:
        depth: As in ``shape_from_depth``; so are the others.
        vocab_size: Tokens of its tokenizer.
        num_experts: Of a sparse layer.

    Source: module docstring. With C FLOP in the run the batch is 0.2920 * C ** 0.3271 tokens.
    """
    shape = shape_from_depth(depth, vocab_size=vocab_size, num_experts=num_experts)
    used = active_weights(shape)
    horizon = TOKENS_PER_WEIGHT * used
    batch_tokens = 0.2920 * (6.0 * used * horizon) ** 0.3271
    return Dial(
        shape=shape,
        lr=min(MAX_LR, LR_WIDTH / shape.hidden_size),
        batch_tokens=max(MIN_BATCH_TOKENS, 2 ** round(math.log2(batch_tokens))),
        horizon_tokens=horizon,
        num_weights=num_weights(shape),
    )
