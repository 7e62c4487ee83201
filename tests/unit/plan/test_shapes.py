"""Shapes near a wanted number of weights, beside published ones."""

import math

import pytest

from mynah.errors import ConfigError
from mynah.model import active_weights, num_weights
from mynah.plan.shapes import (
    PUBLISHED,
    PublishedShape,
    Sparsity,
    flop_per_token,
    shape_near,
    shape_near_active,
)

WANTED = [1e8 * 2e4 ** (step / 18) for step in range(19)]
"""0.1B to 2T."""
MIXTURES = (Sparsity(), Sparsity(num_experts=8, num_chosen=2, num_shared=0))


@pytest.mark.parametrize("one", PUBLISHED, ids=lambda one: one.name)
def test_published_shapes_have_the_weights_that_are_printed(one: PublishedShape):
    assert num_weights(one.config) == pytest.approx(one.printed_weights, rel=0.006)


@pytest.mark.parametrize(
    ("name", "printed"),
    [("Qwen3 30B-A3B", 3.3e9), ("dots.llm1", 14e9), ("Qwen3 235B-A22B", 22e9)],
)
def test_published_mixtures_have_the_active_weights_that_are_printed(name: str, printed: float):
    config = next(one.config for one in PUBLISHED if one.name == name)
    # Printed ones count the embedding.
    table = config.vocab_size * config.hidden_size
    assert active_weights(config) + table == pytest.approx(printed, rel=0.03)


@pytest.mark.parametrize("sparsity", [None, *MIXTURES])
def test_every_size_is_met_within_3_percent(sparsity: Sparsity | None):
    for wanted in WANTED:
        if sparsity == Sparsity() and wanted < 0.3e9:
            continue  # 128 experts and 32,768 words leave too few steps there
        config = shape_near(wanted, vocab_size=32_768, sparsity=sparsity)
        assert num_weights(config) == pytest.approx(wanted, rel=0.03)
        assert config.num_experts == (sparsity.num_experts if sparsity else 0)


@pytest.mark.parametrize("wanted", [w for w in WANTED if w > 1e9])
def test_sides_divide_by_tensor_ranks_and_fill_tiles(wanted: float):
    config = shape_near(wanted, vocab_size=128_256)
    ranks = 16 if config.hidden_size >= 8192 else 8
    assert config.hidden_size % 128 == 0
    assert config.num_attention_heads % ranks == 0
    assert config.intermediate_size % (128 * ranks) == 0
    assert config.num_hidden_layers % 4 == 0
    assert config.num_key_value_heads == 8
    assert config.num_attention_heads * config.head_dim == config.hidden_size
    assert 60 < config.hidden_size / config.num_hidden_layers < 200
    assert 2.6 < config.intermediate_size / config.hidden_size < 4.4


@pytest.mark.parametrize("one", [one for one in PUBLISHED if not one.config.num_experts])
def test_shapes_are_like_the_published_ones_of_that_size(one: PublishedShape):
    made = shape_near(num_weights(one.config), vocab_size=one.config.vocab_size)
    assert made.hidden_size == pytest.approx(one.config.hidden_size, rel=0.25)
    assert made.num_hidden_layers == pytest.approx(one.config.num_hidden_layers, rel=0.5)


@pytest.mark.parametrize("sparsity", [None, *MIXTURES])
@pytest.mark.parametrize("wanted", [1e9, 7e9, 40e9, 150e9])
def test_active_weights_are_met(wanted: float, sparsity: Sparsity | None):
    config = shape_near_active(wanted, vocab_size=128_256, sparsity=sparsity)
    assert active_weights(config) == pytest.approx(wanted, rel=0.1 if sparsity else 0.02)


def test_a_larger_vocabulary_leaves_less_for_the_layers():
    small, large = (shape_near(2e9, vocab_size=size) for size in (32_000, 256_000))
    assert num_weights(large) == pytest.approx(num_weights(small), rel=0.05)
    layers = [num_weights(one) - one.vocab_size * one.hidden_size for one in (small, large)]
    assert layers[1] < layers[0]


@pytest.mark.parametrize("wanted", [0.0, 1e6, 1e14, math.nan])
def test_a_size_out_of_reach_is_refused(wanted: float):
    with pytest.raises(ConfigError, match="weights is wanted"):
        shape_near(wanted, vocab_size=32_768)
    with pytest.raises(ConfigError):
        shape_near_active(wanted, vocab_size=32_768)


def test_a_vocabulary_that_is_larger_than_the_model_is_refused():
    with pytest.raises(
        ConfigError, match="no shape of 3e\\+07 weights has 256,000 words"
    ) as caught:
        shape_near(3e7, vocab_size=256_000)
    assert "fewer words" in caught.value.hint


def test_flop_of_a_token_are_those_of_llama_3():
    config = next(one.config for one in PUBLISHED if one.name == "Llama 3.1 405B")
    # 3.8e25 on 15.6T tokens, section 3.2 of arXiv:2407.21783.
    assert flop_per_token(config, row_tokens=8192) * 15.6e12 == pytest.approx(3.8e25, rel=0.05)
    assert flop_per_token(config, row_tokens=1) == pytest.approx(
        6 * active_weights(config), rel=1e-3
    )
