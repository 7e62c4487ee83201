"""A Llama-family shape of about as many weights as wanted, that a cluster can cut up.

Reads the table below; writes nothing. Shapes follow published models: 80 to 130 channels a layer
where a model is dense (Grattafiori et al. 2024, table 3, arXiv:2407.21783: 128, 102 and 130) and 43
to 118 where it has experts (Qwen3, arXiv:2505.09388; DeepSeek-V3, arXiv:2412.19437), heads of 128,
8 key heads, an MLP of about 3.5 widths, experts of about a third of one. So that a layer can be cut
over 8 tensor ranks, and over 16 where it is wide, and products still fill their tiles, widths are
multiples of 128, query heads of 8 or 16, the MLP of 128 for each of the ranks; so that a pipeline
can be cut evenly, layers are a multiple of 4.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mynah.errors import ConfigError
from mynah.model import LlamaConfig, active_weights, num_weights
from mynah.plan.scaling import training_flop

__all__ = [
    "PUBLISHED",
    "PublishedShape",
    "Sparsity",
    "flop_per_token",
    "shape_near",
    "shape_near_active",
]

SMALLEST, LARGEST = 20e6, 5e12
"""Weights between which shapes are made; some miss by more than ``MAX_MISS`` below 0.1e9."""
MAX_MISS = 0.03
"""Share by which the weights may miss what was wanted."""
TIED_BELOW = 4e9
"""Embedding and output matrix are one below this, as in Llama 3.2 1B and 3B: more would be table
than model."""
CHANNELS_PER_LAYER = 112.0
"""Width over layers of a dense model: the middle, by ratio, of 80 to 130 and of Llama 2."""
SPARSE_CHANNELS_PER_LAYER = 64.0
"""Likewise with experts: 43 (Qwen3 30B and 235B), 66 (dots.llm1), 118 (DeepSeek-V3)."""
INNER_PER_WIDTH = 3.5
"""Width of the MLP over that of the model; Llama 3 8B and 70B have just that, 405B 3.25."""
EXPERT_PER_WIDTH = 0.35
"""Width of one expert over that of the model: Qwen3 0.375, dots.llm1 0.344, DeepSeek-V3 0.286."""
HEAD_DIM = 128
"""Width of a head; half of it in models narrower than 2048."""
WIDTHS = (
    *range(256, 1024, 128),
    *range(1024, 2048, 512),
    *range(2048, 8192, 1024),
    *range(8192, 65536, 2048),
)
"""From 1024 on query heads divide by 8, from 8192 on by 16."""
INNER_FACTORS = (1.0, 0.95, 1.05, 0.9, 1.1, 0.85, 1.15, 0.8, 1.2)
"""By how much an MLP may differ from published ones, to meet the number of weights."""
MIN_LAYERS = 4
MAX_GUESSES = 8
MAX_ACTIVE_MISS = 0.1
"""Share by which active weights may miss; experts come in steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparsity:
    """How many experts a layer has, and how many a token meets. As Qwen3's, with one shared."""

    num_experts: int = 128
    """Experts of a layer from which each token chooses."""
    num_chosen: int = 8
    """Experts that a token chooses."""
    num_shared: int = 1
    """Experts that every token passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedShape:
    """A model that somebody trained, as a point to compare with."""

    name: str
    source: str
    config: LlamaConfig
    printed_weights: float
    """Weights as its makers print them."""


def _dense(*sides: int, vocab_size: int, is_tied: bool = False) -> LlamaConfig:
    """Width, MLP, layers, query heads, key heads, head width."""
    width, inner, layers, heads, key_heads, head_dim = sides
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        head_dim=head_dim,
        max_position_embeddings=8192,
        rope_theta=500_000.0,
        tie_word_embeddings=is_tied,
    )


def _sparse(dense: LlamaConfig, *sides: int) -> LlamaConfig:
    """Experts, chosen ones, shared ones, width of one, dense layers."""
    experts, chosen, shared, inner, dense_layers = sides
    return replace(
        dense,
        qk_norm=True,
        num_experts=experts,
        num_experts_per_token=chosen,
        num_shared_experts=shared,
        expert_intermediate_size=inner,
        num_dense_layers=dense_layers,
    )


LLAMA_3, LLAMA_2, QWEN_3, DOTS = 128_256, 32_000, 151_936, 152_064
"""Words of their tokenizers."""
PUBLISHED = tuple(
    PublishedShape(name=name, source=source, config=config, printed_weights=printed)
    for name, source, printed, config in (
        (
            "Llama 3.2 1B",
            "model card, Meta 2024",
            1.23e9,
            _dense(2048, 8192, 16, 32, 8, 64, vocab_size=LLAMA_3, is_tied=True),
        ),
        (
            "Llama 3.2 3B",
            "model card, Meta 2024",
            3.21e9,
            _dense(3072, 8192, 28, 24, 8, 128, vocab_size=LLAMA_3, is_tied=True),
        ),
        (
            "Llama 3.1 8B",
            "arXiv:2407.21783, table 3",
            8.03e9,
            _dense(4096, 14336, 32, 32, 8, 128, vocab_size=LLAMA_3),
        ),
        (
            "Llama 2 13B",
            "arXiv:2307.09288",
            13.0e9,
            _dense(5120, 13824, 40, 40, 40, 128, vocab_size=LLAMA_2),
        ),
        (
            "Qwen3 32B",
            "arXiv:2505.09388, table 1",
            32.8e9,
            replace(_dense(5120, 25600, 64, 64, 8, 128, vocab_size=QWEN_3), qk_norm=True),
        ),
        (
            "Llama 3.1 70B",
            "arXiv:2407.21783, table 3",
            70.6e9,
            _dense(8192, 28672, 80, 64, 8, 128, vocab_size=LLAMA_3),
        ),
        (
            "Llama 3.1 405B",
            "arXiv:2407.21783, table 3",
            405.9e9,
            _dense(16384, 53248, 126, 128, 8, 128, vocab_size=LLAMA_3),
        ),
        (
            "Qwen3 30B-A3B",
            "arXiv:2505.09388, table 2",
            30.5e9,
            _sparse(_dense(2048, 6144, 48, 32, 4, 128, vocab_size=QWEN_3), 128, 8, 0, 768, 0),
        ),
        (
            "dots.llm1",
            "arXiv:2506.05767",
            142e9,
            _sparse(_dense(4096, 10944, 62, 32, 32, 128, vocab_size=DOTS), 128, 6, 2, 1408, 1),
        ),
        (
            "Qwen3 235B-A22B",
            "arXiv:2505.09388, table 2",
            235e9,
            _sparse(_dense(4096, 12288, 94, 64, 4, 128, vocab_size=QWEN_3), 128, 8, 0, 1536, 0),
        ),
    )
)
"""Members of the family, dense ones first, each kind by size."""


def shape_near(
    weights: float,
    *,
    vocab_size: int,
    max_context_tokens: int = 8192,
    sparsity: Sparsity | None = None,
) -> LlamaConfig:
    """Make a shape of about ``weights`` weights, embedding and idle experts included.

    Args:
        weights: Wanted.
        vocab_size: Words of the tokenizer.
        max_context_tokens: Longest context that positions are made for.
        sparsity: Experts of each layer but the first; ``None`` is a dense model.

    Returns:
        Of the shapes that miss by less than 3%, the one whose proportions are nearest to the
        published ones.

    Raises:
        ConfigError: There is none; the vocabulary is too large for so small a model, or ``weights``
            is out of reach.
    """
    _check_reach(weights)
    found: list[tuple[float, LlamaConfig]] = []
    for width in _widths(weights, sparsity):
        plain = replace(
            _plain(width, vocab_size, is_tied=weights < TIED_BELOW),
            max_position_embeddings=max_context_tokens,
        )
        found.extend(_deep(plain, weights, sparsity))
    if not found:
        raise ConfigError(
            f"no shape of {weights:.3g} weights has {vocab_size:,} words and "
            f"{sparsity.num_experts if sparsity else 0} experts",
            hint="ask for a larger model, a tokenizer of fewer words, or fewer experts",
        )
    return min(found, key=lambda one: one[0])[1]


def shape_near_active(
    weights: float,
    *,
    vocab_size: int,
    max_context_tokens: int = 8192,
    sparsity: Sparsity | None = None,
) -> LlamaConfig:
    """Make a shape of which a token meets about ``weights`` weights.

    The same as ``shape_near`` but for what ``weights`` counts: that of ``active_weights``, which
    leaves out the embedding and the experts that are not chosen.

    Raises:
        ConfigError: As there.
    """
    _check_reach(weights)
    wanted, best = weights, None
    if sparsity is not None:
        all_experts = sparsity.num_experts + sparsity.num_shared
        wanted *= (all_experts / (sparsity.num_chosen + sparsity.num_shared)) ** 0.9
    for _ in range(MAX_GUESSES):
        config = shape_near(
            min(max(wanted, SMALLEST), LARGEST),
            vocab_size=vocab_size,
            max_context_tokens=max_context_tokens,
            sparsity=sparsity,
        )
        ratio = active_weights(config) / weights
        if best is None or abs(math.log(ratio)) < abs(math.log(active_weights(best) / weights)):
            best = config
        if abs(ratio - 1) <= MAX_MISS / 2:
            break
        wanted /= ratio
    assert best is not None, "there is at least one guess"
    if abs(active_weights(best) / weights - 1) > MAX_ACTIVE_MISS:
        raise ConfigError(
            f"no shape that is made here has {weights:.3g} active weights",
            hint=f"shapes have from {SMALLEST:.0e} to {LARGEST:.0e} weights in all",
        )
    return best


def flop_per_token(config: LlamaConfig, *, row_tokens: int) -> float:
    """Training FLOP of one token, forward and backward: weights, and attention's causal scores.

    Chowdhery et al. 2022, appendix B (arXiv:2204.02311), halved where tokens do not look ahead.

    Args:
        config: The model.
        row_tokens: Tokens of a document, or of a row where documents fill it.
    """
    wide = config.num_attention_heads * config.head_dim
    scores = 6.0 * config.num_hidden_layers * wide * (row_tokens + 1)
    return training_flop(active_weights(config), 1.0) + scores


def _check_reach(weights: float) -> None:
    if not SMALLEST <= weights <= LARGEST:
        raise ConfigError(
            f"a model of {weights:.3g} weights is wanted",
            hint=f"shapes are made from {SMALLEST:.0e} to {LARGEST:.0e} weights",
        )


def _widths(weights: float, sparsity: Sparsity | None) -> Iterator[int]:
    """Widths that are worth a look: around that of a model that is nothing but layers."""
    a_layer, channels = 3 * INNER_PER_WIDTH + 2, CHANNELS_PER_LAYER
    if sparsity is not None:
        num = sparsity.num_experts + sparsity.num_shared
        a_layer, channels = 3 * EXPERT_PER_WIDTH * num + 2, SPARSE_CHANNELS_PER_LAYER
    likely = (weights * channels / a_layer) ** (1 / 3)
    # A large table leaves less for the width; so do experts whose width has been rounded up.
    return (width for width in WIDTHS if 0.4 * likely <= width <= 1.5 * likely)


def _plain(width: int, vocab_size: int, *, is_tied: bool) -> LlamaConfig:
    """One dense layer of that width."""
    head_dim = HEAD_DIM if width >= 2048 else HEAD_DIM // 2
    heads = width // head_dim
    inner = _rounded(width * INNER_PER_WIDTH, _inner_step(width))
    return _dense(
        *(width, inner, 1, heads, math.gcd(heads, 8), head_dim),
        vocab_size=vocab_size,
        is_tied=is_tied,
    )


def _rounded(side: float, step: int) -> int:
    return max(1, round(side / step)) * step


def _inner_step(width: int) -> int:
    """128 for each of 8 ranks, or of 16 where models are cut over as many."""
    return 2048 if width >= 8192 else 1024 if width >= 2048 else 128


def _deep(
    plain: LlamaConfig, weights: float, sparsity: Sparsity | None
) -> Iterator[tuple[float, LlamaConfig]]:
    """Shapes of that width which come near enough, each of another inner width, with its strain."""
    step = 4 if plain.hidden_size >= 2048 else 2
    rounded = dict.fromkeys(_layers(plain, factor, sparsity) for factor in INNER_FACTORS)
    for config in rounded:
        first = num_weights(config)
        more = num_weights(replace(config, num_hidden_layers=3)) - first
        layers = round(((weights - first) / more + 2) / step) * step
        found = first + (layers - 2) * more
        if layers >= MIN_LAYERS and abs(found / weights - 1) <= MAX_MISS:
            whole = replace(config, num_hidden_layers=layers)
            yield _strain(whole, found / weights), whole


def _layers(plain: LlamaConfig, factor: float, sparsity: Sparsity | None) -> LlamaConfig:
    """Two layers whose MLP is ``factor`` times as wide as published ones."""
    width, two = plain.hidden_size, replace(plain, num_hidden_layers=2)
    if sparsity is None:
        inner = _rounded(width * INNER_PER_WIDTH * factor, _inner_step(width))
        return replace(two, intermediate_size=inner)
    inner = _rounded(width * EXPERT_PER_WIDTH * factor, 128 if width >= 1024 else 64)
    met = sparsity.num_chosen + sparsity.num_shared
    dense = replace(two, intermediate_size=inner * met)  # so that a token costs as much there
    return _sparse(dense, sparsity.num_experts, sparsity.num_chosen, sparsity.num_shared, inner, 1)


def _strain(config: LlamaConfig, got: float) -> float:
    """How far the proportions are from published ones, and the weights from those wanted.

    Args:
        config: The shape.
        got: Its weights over those wanted.
    """
    channels, inner = CHANNELS_PER_LAYER, config.intermediate_size / INNER_PER_WIDTH
    if config.num_experts:
        channels = SPARSE_CHANNELS_PER_LAYER
        inner = config.expert_intermediate_size / EXPERT_PER_WIDTH
    depth = math.log(config.hidden_size / config.num_hidden_layers / channels)
    wide = math.log(inner / config.hidden_size)
    # A miss of 1% weighs as much as a depth or an MLP that is 10% off.
    return depth**2 + wide**2 + (10 * math.log(got)) ** 2
