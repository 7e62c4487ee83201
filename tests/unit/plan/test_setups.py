from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from tests.unit.plan.setup_of import EXPERTS, setups_with

from mynah.model import LlamaConfig, active_weights, num_weights
from mynah.plan.setups import Setups, Shapes, joined
from mynah.plan.shapes import Sparsity, flop_per_token, shape_near_active

DENSE = LlamaConfig(
    vocab_size=128_256,
    hidden_size=4096,
    intermediate_size=14_336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    max_position_embeddings=8192,
)
"""Llama 3.1 8B, which has 8,030,261,248 weights."""
SPARSE = shape_near_active(
    3e9, vocab_size=128_256, max_context_tokens=4096, sparsity=Sparsity(num_experts=64)
)


def shapes_of(config: LlamaConfig) -> Shapes:
    return setups_with(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        inner=config.intermediate_size,
        vocab=config.vocab_size,
        tables=1 if config.tie_word_embeddings else 2,
        experts=config.num_experts,
        experts_per_token=config.num_experts_per_token,
        expert_inner=config.expert_intermediate_size,
        shared_experts=config.num_shared_experts,
        dense_layers=config.num_dense_layers,
    ).shapes


@pytest.mark.parametrize("config", [DENSE, SPARSE], ids=["dense", "sparse"])
def test_weights_are_those_that_the_model_has(config: LlamaConfig):
    shapes = shapes_of(config)
    assert shapes.weights[0] == pytest.approx(num_weights(config), rel=1e-3)
    assert shapes.active_weights[0] == pytest.approx(active_weights(config), rel=1e-3)


def test_weights_of_a_published_model():
    assert shapes_of(DENSE).weights[0] == pytest.approx(8.03e9, rel=1e-3)


@pytest.mark.parametrize("config", [DENSE, SPARSE], ids=["dense", "sparse"])
@pytest.mark.parametrize("row_tokens", [2048, 32768])
def test_flop_are_those_that_the_rest_of_the_planner_counts(config: LlamaConfig, row_tokens: int):
    counted = shapes_of(config).flop_per_token(np.array([float(row_tokens)]))[0]
    assert counted == pytest.approx(flop_per_token(config, row_tokens=row_tokens), rel=1e-3)


def test_causal_attention_is_half_of_all_attention():
    shapes, rows = setups_with().shapes, np.array([4096.0])
    without = 6 * shapes.active_weights
    causal = shapes.flop_per_token(rows) - without
    assert shapes.flop_per_token(rows, is_causal=False) - without == pytest.approx(2 * causal)


def test_a_token_meets_some_experts_and_all_are_held():
    dense, sparse = setups_with(tables=1).shapes, setups_with(tables=1, **EXPERTS).shapes
    assert sparse.weights > 5 * sparse.active_weights
    assert (dense.weights == dense.active_weights).all()
    everyone = setups_with(**EXPERTS | {"experts_per_token": 64, "tables": 1}).shapes
    assert everyone.active_weights == everyone.weights


def test_without_experts_their_fields_say_nothing():
    dense, odd = setups_with().shapes, setups_with(expert_inner=2048, dense_layers=3).shapes
    assert odd.weights == dense.weights
    assert odd.sparse_layers == 0


def test_ranks_are_all_degrees_together_and_experts_lie_on_those_of_data():
    degrees = setups_with(tensor=2, pipeline=3, data=5, context=7, expert=5).degrees
    assert degrees.accelerators == 2 * 3 * 5 * 7


@pytest.mark.parametrize("which", [np.array([True, False, True]), np.array([0, 2])])
def test_taking_some_keeps_every_field_in_step(which: np.ndarray):
    hidden, tensor = [1024, 2048, 4096], [1, 2, 4]
    some = setups_with(hidden=hidden, tensor=tensor, cores=[1, 2, 3], bits=[4, 8, 16]).take(which)
    assert len(some) == 2
    assert some.shapes.hidden.tolist() == [1024, 4096]
    assert some.degrees.tensor.tolist() == [1, 4]
    assert some.machines.cores.tolist() == [1, 3]
    assert some.work.bits.tolist() == [4, 16]
    assert {len(column) for column in columns(some)} == {2}


def test_none_of_them_may_be_taken():
    assert len(setups_with(hidden=[1, 2]).take(np.array([], dtype=int))) == 0


def test_several_are_joined_in_their_order():
    several = [setups_with(hidden=[1024, 2048], tensor=2), setups_with(hidden=4096, cores=7)]
    whole = joined(several)
    assert whole.shapes.hidden.tolist() == [1024, 2048, 4096]
    assert whole.degrees.tensor.tolist() == [2, 2, 1]
    assert whole.machines.cores.tolist() == [132, 132, 7]
    assert {len(column) for column in columns(whole)} == {3}


def columns(setups: Setups) -> list[Any]:
    groups = [getattr(setups, one.name) for one in fields(setups)]
    return [getattr(group, one.name) for group in groups for one in fields(group)]
