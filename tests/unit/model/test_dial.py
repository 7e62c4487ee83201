"""Shapes and recipes from one dial, beside what others published."""

import csv
import math
import re
from itertools import pairwise
from pathlib import Path

import pytest

from mynah.errors import ConfigError
from mynah.model import active_weights, num_weights, recipe_from_depth, shape_from_depth

DEPTHS = (1, 2, 6, 12, 16, 17, 20, 24, 32, 48, 64, 80, 126)


def published(shared_data: Path, kind: str) -> list[dict[str, str]]:
    path = shared_data / "scaling" / "scaling.csv"
    if not path.is_file():
        pytest.skip("needs ../shared/data/scaling, the published scaling data")
    with path.open(newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["kind"] == kind]


@pytest.mark.parametrize("depth", range(1, 17))
def test_small_models_have_a_head_and_64_channels_a_layer(depth: int):
    shape = shape_from_depth(depth, vocab_size=512)
    assert shape.hidden_size == 64 * depth
    assert (shape.num_attention_heads, shape.head_dim) == (depth, 64)
    assert shape.num_key_value_heads == (depth // 3 if depth % 3 == 0 else depth)
    assert shape.intermediate_size == math.ceil(64 * depth * 8 / 3 / 64) * 64
    assert shape.tie_word_embeddings
    assert shape.max_position_embeddings == 2048
    assert (shape.bos_token_id, shape.eos_token_id, shape.pad_token_id) == (0, 2, 0)


def test_32_layers_are_llama_3_8b():
    shape = shape_from_depth(32, vocab_size=128_256)
    assert (shape.hidden_size, shape.intermediate_size) == (4096, 14336)
    assert (shape.num_attention_heads, shape.num_key_value_heads, shape.head_dim) == (32, 8, 128)
    assert num_weights(shape) == 8_030_261_248
    assert recipe_from_depth(32, vocab_size=128_256).lr == pytest.approx(3e-4)


@pytest.mark.parametrize("num_experts", [0, 64])
def test_more_depth_is_more_of_everything(num_experts: int):
    dials = [recipe_from_depth(d, vocab_size=32_768, num_experts=num_experts) for d in DEPTHS]
    for one, more in pairwise(dials):
        assert one.num_weights < more.num_weights
        assert one.shape.hidden_size <= more.shape.hidden_size
        assert one.lr >= more.lr
        assert one.batch_tokens <= more.batch_tokens
        assert one.horizon_tokens < more.horizon_tokens
    for dial in dials:
        assert dial.num_weights == num_weights(dial.shape)
        assert dial.horizon_tokens == 20 * active_weights(dial.shape)
        assert (dial.num_steps - 1) * dial.batch_tokens < dial.horizon_tokens
        assert dial.horizon_tokens <= dial.num_steps * dial.batch_tokens
        assert dial.shape.num_attention_heads * dial.shape.head_dim == dial.shape.hidden_size


@pytest.mark.parametrize("depth", [8, 16, 32])
def test_a_token_costs_the_same_with_experts(depth: int):
    dense = shape_from_depth(depth, vocab_size=32_768)
    sparse = shape_from_depth(depth, vocab_size=32_768, num_experts=64)
    assert active_weights(sparse) == pytest.approx(active_weights(dense), rel=0.1)
    assert num_weights(sparse) > 3 * num_weights(dense)
    assert sparse.model_type == "dots1"


@pytest.mark.parametrize(("num_experts", "chosen"), [(2, 2), (8, 2), (32, 4), (64, 8), (256, 8)])
def test_a_token_chooses_an_eighth_of_the_experts(num_experts: int, chosen: int):
    shape = shape_from_depth(8, vocab_size=512, num_experts=num_experts)
    assert (shape.num_experts, shape.num_experts_per_token) == (num_experts, chosen)


@pytest.mark.parametrize("depth", [0, -1, 10_001])
def test_a_depth_that_is_none_is_named(depth: int):
    with pytest.raises(ConfigError, match=f"depth is {depth}"):
        shape_from_depth(depth, vocab_size=512)


def test_one_expert_is_no_mixture():
    with pytest.raises(ConfigError, match="num_experts is 1"):
        shape_from_depth(8, vocab_size=512, num_experts=1)


def test_tokens_a_weight_are_those_published_as_optimal(shared_data: Path):
    rows = published(shared_data, "compute-optimal pair")
    assert len(rows) > 5
    dial = recipe_from_depth(32, vocab_size=32_768)
    ours = dial.horizon_tokens / active_weights(dial.shape)
    for row in rows:
        assert ours == pytest.approx(float(row["tokens"]) / float(row["params"]), rel=0.15)


def test_batch_and_learning_rate_are_near_the_published_law(shared_data: Path):
    """Its batch to the nearest power of two; its learning rate within a factor of 3."""
    (law,) = [r for r in published(shared_data, "law") if "batch and learning rate" in r["name"]]
    numbers = [float(n) for n in re.findall(r"-?\d+\.\d+", law["value"])]
    assert len(numbers) == 4
    for depth in DEPTHS:
        dial = recipe_from_depth(depth, vocab_size=32_768)
        flop = 6.0 * active_weights(dial.shape) * dial.horizon_tokens
        batch, lr = numbers[0] * flop ** numbers[1], numbers[2] * flop ** numbers[3]
        assert 2**-0.51 <= dial.batch_tokens / batch <= 2**0.51
        assert 1 / 3 <= dial.lr / lr <= 3


def test_the_horizon_is_near_the_published_law_for_large_runs(shared_data: Path):
    (law,) = [r for r in published(shared_data, "law") if r["name"] == "Llama 3 optimal tokens"]
    factor, power = (float(n) for n in re.findall(r"\d+\.\d+", law["value"]))
    dial = recipe_from_depth(126, vocab_size=128_256)
    flop = 6.0 * active_weights(dial.shape) * dial.horizon_tokens
    assert dial.horizon_tokens == pytest.approx(factor * flop**power, rel=0.25)
