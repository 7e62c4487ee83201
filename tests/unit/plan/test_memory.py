from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.plan.setup_of import EXPERTS, setups_with

from mynah.plan.memory import Memory, memory_of
from mynah.plan.setups import Attention, Recompute, Sharding

KINDS = [one.name for one in fields(Memory) if one.name != "capacity"]
STATES = ("weights", "gradients", "optimizer")
WEIGHTS = float(setups_with().shapes.weights[0])
ALL = [
    Recompute.LAYERS,
    Recompute.OPERATORS,
    Recompute.SMALL,
    Recompute.SELECTIVE,
    Recompute.NOTHING,
]
"""From what keeps least to what keeps all."""


def memory(**given: float | Sequence[float]) -> Memory:
    return memory_of(setups_with(**given))


def held(name: str, **given: float) -> float:
    return float(getattr(memory(**given), name)[0])


def states(**given: float) -> float:
    return sum(held(name, **given) for name in STATES)


def degrees() -> st.SearchStrategy[float]:
    return st.sampled_from([1.0, 2.0, 4.0, 8.0])


# What always holds


@settings(deadline=None)
@given(degrees(), degrees(), degrees(), degrees(), st.sampled_from(ALL))
def test_kinds_add_up_and_none_is_below_zero(
    tensor: float, pipeline: float, data: float, context: float, recompute: float
):
    found = memory(
        tensor=tensor, pipeline=pipeline, data=data, context=context, recompute=recompute
    )
    assert found.total == pytest.approx(sum(getattr(found, name) for name in KINDS))
    assert all(getattr(found, name) >= 0 for name in KINDS)
    assert (found.fits == (found.total <= found.capacity)).all()


@settings(deadline=None)
@given(degrees(), degrees(), degrees())
def test_more_ranks_of_any_kind_never_need_more_each(tensor: float, data: float, context: float):
    sharded = {"sharding": Sharding.WEIGHTS, "is_sequence_cut": 1, "batch_rows": 512}
    own = memory(tensor=tensor, data=data, context=context, **sharded).total
    for more in ({"tensor": 2 * tensor}, {"data": 2 * data}, {"context": 2 * context}):
        layout = {"tensor": tensor, "data": data, "context": context} | more
        assert memory(**layout, **sharded).total <= own * (1 + 1e-9)


def test_less_memory_than_is_needed_does_not_fit():
    needed = held("total", data=64, sharding=Sharding.WEIGHTS)
    around = [needed * 0.9, needed * 1.1]
    assert memory(data=64, sharding=Sharding.WEIGHTS, memory_bytes=around).fits.tolist() == [
        False,
        True,
    ]


# States


def test_adam_with_a_master_copy_takes_eighteen_bytes_a_weight():
    # 2 + 4 + 12: weights, float32 gradients, and the copy with two moments (Rajbhandari et al.
    # 2020, section 3.1, whose gradients have 16 bits: 16 bytes).
    assert states() == pytest.approx(18 * WEIGHTS, rel=0.02)
    assert states(gradient_bytes=2) == pytest.approx(16 / 18 * states())


def test_twice_the_tensor_ranks_hold_half_of_the_weights_each():
    for name in STATES:
        assert held(name, tensor=2) == pytest.approx(held(name) / 2), name
        assert held(name, tensor=8) == pytest.approx(held(name) / 8), name


def test_stages_hold_their_own_layers():
    layers = {"vocab": 128}
    assert states(**layers, pipeline=4) == pytest.approx(states(**layers) / 4, rel=1e-3)
    assert states(**layers, pipeline=4, stages=2) == pytest.approx(states(**layers) / 4, rel=1e-3)


@pytest.mark.parametrize(
    ("sharding", "shared"),
    [
        (Sharding.NOTHING, ()),
        (Sharding.OPTIMIZER, ("optimizer",)),
        (Sharding.GRADIENTS, ("optimizer", "gradients")),
    ],
)
def test_data_ranks_share_out_what_they_are_told_to(sharding: float, shared: tuple[str, ...]):
    alone, many = memory(sharding=sharding), memory(sharding=sharding, data=64)
    for name in STATES:
        share = 64 if name in shared else 1
        assert getattr(many, name) == pytest.approx(getattr(alone, name) / share), name


def test_whoever_shares_weights_gathers_few_layers_at_a_time():
    many = states(sharding=Sharding.WEIGHTS, data=4096, batch_rows=4096)
    layer = (WEIGHTS - 128_256 * 4096) / 32
    assert many < 2 * (4 * layer + 2 * 128_256 * 4096)
    assert many > 2 * layer


def test_replicas_share_nothing_with_each_other():
    sharded = {"data": 64, "sharding": Sharding.WEIGHTS}
    assert states(**sharded, replicate=1) == states(**sharded)
    assert states(**sharded, replicate=8) == pytest.approx(
        states(data=8, sharding=Sharding.WEIGHTS), rel=1e-6
    )


def test_context_ranks_share_out_weights_as_data_ranks_do():
    sharded = {"sharding": Sharding.WEIGHTS}
    assert states(**sharded, context=8) == pytest.approx(states(**sharded, data=8))


def test_expert_ranks_hold_their_own_experts():
    assert states(**EXPERTS) > 5 * states(inner=8192)
    spread = [states(**EXPERTS, expert=ranks, data=8) for ranks in (1, 2, 4)]
    assert spread[0] - spread[1] == pytest.approx(2 * (spread[1] - spread[2]))
    assert states(**EXPERTS, expert=8, data=8) < states(**EXPERTS) / 5


# Activations


def test_twice_the_rows_keep_twice_the_activations():
    for recompute in ALL:
        one = held("activations", recompute=recompute)
        assert held("activations", recompute=recompute, micro_rows=2) == pytest.approx(2 * one)


@pytest.mark.parametrize("attention", [Attention.EAGER, Attention.FUSED_SOFTMAX, Attention.FLASH_2])
def test_whoever_computes_more_again_keeps_less(attention: float):
    found = memory(recompute=ALL, attention=attention).activations
    assert (np.diff(found) >= 0).all()
    assert found[-1] > 4 * found[0]


def test_every_second_layer_keeps_half_of_what_all_would():
    half, whole = held("activations", recompute=Recompute.HALF), held("activations")
    assert half == pytest.approx(whole / 2, rel=0.15)


def test_computing_layers_again_keeps_their_inputs():
    kept = 32 * 4096 * 4096 * 2
    found = held("activations", recompute=Recompute.LAYERS)
    # And one layer's inner states, 1/32 of all.
    assert kept < found < kept + 1.1 / 32 * held("activations")


def test_flash_attention_keeps_no_scores():
    def of_long_rows(kind: float) -> float:
        long = held("activations", attention=kind, row_tokens=8192, micro_rows=1)
        return long / held("activations", attention=kind, row_tokens=4096, micro_rows=2)

    assert of_long_rows(Attention.FLASH_2) == pytest.approx(1)
    assert of_long_rows(Attention.FUSED_SOFTMAX) > 1.3


def test_context_ranks_keep_their_share_of_a_row():
    assert held("activations", context=4) == pytest.approx(held("activations") / 4)
    assert held("logits", context=4) == pytest.approx(held("logits") / 4)


def test_tensor_ranks_keep_norms_each_unless_the_sequence_is_cut():
    whole = held("activations")
    assert held("activations", tensor=8, is_sequence_cut=1) == pytest.approx(whole / 8)
    assert held("activations", tensor=8) > 1.5 * whole / 8


@pytest.mark.parametrize(("ranks", "stages"), [(4, 1), (8, 1), (4, 2), (8, 4)])
def test_a_pipelines_first_rank_has_as_many_rows_in_flight_as_the_schedule_says(
    ranks: float, stages: float
):
    # Korthikanti et al. 2022, section 4.2.3: all layers of one row, and with v stages a rank
    # (p - 1) / (p v) more.
    found = held("activations", pipeline=ranks, stages=stages)
    more = 0 if stages == 1 else (ranks - 1) / (ranks * stages)
    assert found == pytest.approx(held("activations") * (1 + more))


def test_no_more_rows_are_in_flight_than_a_step_has():
    deep = {"pipeline": 8, "vocab": 128}
    few, many = memory(**deep, batch_rows=2), memory(**deep, batch_rows=64)
    assert few.activations == pytest.approx(many.activations / 4)


def test_the_last_stage_has_the_logits_and_few_rows():
    large = {"pipeline": 8, "vocab": 4_000_000, "batch_rows": 64}
    found = memory(**large)
    assert found.logits > 0
    assert found.activations == pytest.approx(held("activations") / 8)
    assert held("logits", pipeline=8, vocab=32_000) == 0


def test_logits_of_the_whole_vocabulary_are_not_cut():
    assert held("logits", tensor=8) == pytest.approx(held("logits") / 8)
    assert held("logits", tensor=8, gathers_logits=1) == pytest.approx(held("logits"))


def test_norms_by_operators_keep_float32_copies():
    assert held("activations", is_norm_fused=0) > 1.2 * held("activations")


def test_experts_keep_what_their_tokens_meet():
    few, many = held("activations", **EXPERTS), held("activations", **EXPERTS | {"experts": 128})
    assert many == few
    assert held("activations", **EXPERTS | {"experts_per_token": 8}) > 1.3 * few


def test_an_untied_output_matrix_is_held_besides_the_embedding():
    assert held("weights", tables=2) == pytest.approx(2 * WEIGHTS, rel=0.01)
    table = held("weights", tables=2) - held("weights", tables=1)
    assert table == pytest.approx(2 * setups_with().shapes.table[0])
