from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.plan.setup_of import EXPERTS, setups_with

from mynah.plan.constants import CALIBRATED
from mynah.plan.setups import Attention, Recompute, Setups, Sharding, joined
from mynah.plan.step import StepTimes, step_times

PARTS = [one.name for one in fields(StepTimes) if one.name != "step_s"]
FREE = replace(
    CALIBRATED, **{one.name: 0.0 for one in fields(CALIBRATED) if one.name.endswith("_s")}
)
"""Nothing takes time but what is computed, moved and waited for."""
LAYER_PARTS = ("products_s", "attention_s", "moving_s")
TWO_NODES = {"data": 16, "sharding": Sharding.OPTIMIZER}


def times(**given: float | Sequence[float]) -> StepTimes:
    return step_times(setups_with(**given), CALIBRATED)


def step_s(**given: float) -> float:
    return float(times(**given).step_s[0])


def part(name: str, **given: float) -> float:
    return float(getattr(times(**given), name)[0])


def powers(most: int) -> st.SearchStrategy[float]:
    return st.sampled_from([2.0**power for power in range(most + 1)])


@st.composite
def layouts(draw: st.DrawFn) -> Setups:
    """Any layout of a model of any width that is not tiny."""
    pipeline = draw(powers(3))
    sparse = EXPERTS if draw(st.booleans()) else {}
    data, replicate = draw(powers(8)), 1.0
    sharding = draw(st.sampled_from([Sharding.NOTHING, Sharding.OPTIMIZER, Sharding.WEIGHTS]))
    tensor = draw(powers(3))
    return setups_with(
        **sparse,
        hidden=draw(st.sampled_from([2048, 4096, 8192])),
        row_tokens=draw(st.sampled_from([2048, 8192, 32768])),
        micro_rows=draw(powers(2)),
        batch_rows=draw(powers(4)) * data * 4,
        tensor=tensor,
        is_sequence_cut=float(draw(st.booleans())),
        pipeline=pipeline,
        stages=draw(st.sampled_from([1, 2])) if pipeline > 1 else 1,
        data=data,
        replicate=replicate,
        context=draw(powers(2)),
        expert=min(draw(powers(3)), data) if sparse else 1,
        sharding=sharding,
        recompute=draw(st.sampled_from([Recompute.NOTHING, Recompute.LAYERS])),
        attention=draw(st.sampled_from([Attention.FUSED_SOFTMAX, Attention.FLASH_2])),
    )


# What always holds


@settings(deadline=None)
@given(layouts())
def test_the_parts_of_a_step_add_up_to_it(setups: Setups):
    found = step_times(setups, FREE)
    whole = sum(getattr(found, name) for name in PARTS)
    assert whole == pytest.approx(found.step_s, rel=1e-6)
    assert all((getattr(found, name) >= 0).all() for name in PARTS)


@settings(deadline=None)
@given(layouts())
def test_no_accelerator_does_more_than_it_can(setups: Setups):
    speed = step_times(setups, CALIBRATED).tokens_per_s(setups)
    flop = setups.shapes.flop_per_token(setups.work.row_tokens)
    assert (speed * flop < setups.machines.flop_per_s).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(layouts(), min_size=2, max_size=4))
def test_a_setup_takes_what_it_takes_whoever_stands_beside_it(several: list[Setups]):
    together = step_times(joined(several), CALIBRATED).step_s
    alone = [float(step_times(one, CALIBRATED).step_s[0]) for one in several]
    assert together.tolist() == pytest.approx(alone, rel=1e-12)


@pytest.mark.parametrize(
    "name",
    [
        "flop_per_s",
        "low_flop_per_s",
        "memory_bytes_per_s",
        "scale_up_bytes_per_s",
        "scale_up_size",
        "nic_bytes_per_s",
        "pod_size",
    ],
)
@settings(max_examples=30, deadline=None)
@given(layouts())
def test_a_better_machine_is_no_slower(name: str, setups: Setups):
    better = replace(setups.machines, **{name: 2 * getattr(setups.machines, name)})
    found = step_times(replace(setups, machines=better), FREE)
    assert (found.step_s <= step_times(setups, FREE).step_s * (1 + 1e-9)).all()


@settings(deadline=None)
@given(layouts())
def test_more_rows_a_step_waste_less(setups: Setups):
    more = replace(setups, work=replace(setups.work, batch_rows=2 * setups.work.batch_rows))
    before = step_times(setups, CALIBRATED).tokens_per_s(setups)
    assert (step_times(more, CALIBRATED).tokens_per_s(more) >= before * (1 - 1e-9)).all()


def test_nothing_is_sent_by_one_accelerator():
    one = times()
    sent = ("tensor_s", "exchange_s", "context_s", "gather_s", "send_s", "reduce_s", "bubble_s")
    assert {name: float(getattr(one, name)[0]) for name in sent} == dict.fromkeys(sent, 0.0)


# Shapes and kernels


def test_a_model_twice_as_deep_takes_twice_the_time_in_its_layers():
    for name in LAYER_PARTS:
        assert part(name, layers=64) == pytest.approx(2 * part(name, layers=32)), name


def test_attention_grows_with_the_length_of_rows_and_products_do_not():
    # As many tokens a step: half of the rows, twice as long.
    short, long = times(row_tokens=8192, batch_rows=64), times(row_tokens=16_384, batch_rows=32)
    assert long.attention_s == pytest.approx(2 * short.attention_s)
    assert long.products_s == pytest.approx(short.products_s, rel=0.05)


def test_each_kernel_of_attention_is_faster_than_the_one_before():
    kinds = [
        Attention.EAGER,
        Attention.FUSED_SOFTMAX,
        Attention.FLASH_1,
        Attention.FLASH_2,
        Attention.FLASH_3,
    ]
    for is_hopper in (0, 1):
        found = times(attention=kinds, row_tokens=8192, is_hopper=is_hopper).attention_s
        assert (np.diff(found) <= 0).all()
        assert found[-1] < found[2] < found[1] < found[0]


def test_fused_kernels_move_less():
    eager = part("moving_s", is_norm_fused=0, is_fused=0)
    assert eager > 1.3 * part("moving_s", is_fused=0) > part("moving_s")


def test_a_large_vocabulary_costs_where_the_loss_is():
    small, large = times(vocab=32_768), times(vocab=131_072)
    assert 3 < (large.head_s / small.head_s)[0] < 5
    assert large.products_s == small.products_s


def test_fewer_bits_help_products_alone():
    half, low = times(), times(bits=8, low_flop_per_s=1600e12)
    assert (low.products_s < 0.75 * half.products_s).all()
    assert low.attention_s == pytest.approx(half.attention_s)
    assert low.head_s == pytest.approx(half.head_s)
    scaled = times(bits=8, low_flop_per_s=1600e12, is_row_scaled=1)
    assert low.products_s < scaled.products_s


def test_a_small_model_waits_for_the_host():
    tiny = {"hidden": 256, "inner": 768, "heads": 4, "kv_heads": 4, "head_dim": 64}
    slow = replace(CALIBRATED, layer_s=1e-3)
    setups = setups_with(**tiny, row_tokens=256)
    assert step_times(setups, slow).step_s > 2 * step_times(setups, FREE).step_s
    large = setups_with(hidden=8192, row_tokens=8192)
    quick = replace(slow, layer_s=0.0)
    assert step_times(large, slow).step_s < 1.01 * step_times(large, quick).step_s


# Recomputation


def test_computing_layers_again_adds_about_a_third_to_them():
    found = times(recompute=Recompute.LAYERS)
    layers = sum(getattr(found, name) for name in LAYER_PARTS)
    assert 0.28 < (found.recompute_s / layers)[0] < 0.35


def test_computing_scores_again_costs_little_and_with_flash_nothing():
    scores = {"attention": Attention.FUSED_SOFTMAX, "recompute": Recompute.SELECTIVE}
    found = times(**scores)
    assert 0 < found.recompute_s < 0.4 * found.attention_s
    assert part("recompute_s", recompute=Recompute.SELECTIVE) == 0


def test_whoever_keeps_less_computes_more():
    kinds = [Recompute.NOTHING, Recompute.SELECTIVE, Recompute.SMALL]
    kinds += [Recompute.OPERATORS, Recompute.HALF, Recompute.LAYERS]
    found = times(recompute=kinds).recompute_s
    assert (np.diff(found) >= 0).all()


# Tensor, context and expert ranks


def test_tensor_ranks_share_the_work():
    one, eight = times(), times(tensor=8)
    for name in ("attention_s", "products_s", "head_s"):
        assert getattr(eight, name)[0] == pytest.approx(getattr(one, name)[0] / 8, rel=0.25), name
    assert one.step_s / 8 < eight.step_s < one.step_s / 4


def test_tensor_ranks_of_two_domains_pay_for_it():
    slow = {"tensor": 16, "nic_bytes_per_s": 12.5e9}
    assert part("tensor_s", **slow) > 2 * part("tensor_s", **slow, scale_up_size=16)


def test_software_that_overlaps_hides_most_of_it():
    bare = part("tensor_s", tensor=8, overlaps_tensor=0)
    assert part("tensor_s", tensor=8) < 0.5 * bare


def test_cutting_the_sequence_over_tensor_ranks_saves_norms():
    assert part("moving_s", tensor=8, is_sequence_cut=1) < part("moving_s", tensor=8)
    assert part("moving_s", is_sequence_cut=1) == part("moving_s")


def test_context_ranks_share_a_row():
    one, four = times(row_tokens=32_768), times(row_tokens=32_768, context=4)
    for name in LAYER_PARTS:
        assert getattr(four, name)[0] == pytest.approx(getattr(one, name)[0] / 4, rel=0.1), name


def test_uneven_context_ranks_wait_for_the_last():
    uneven = times(row_tokens=32_768, context=4, is_context_even=0)
    even = times(row_tokens=32_768, context=4)
    # The last of four has 7/16 of the pairs, nearly twice its quarter.
    assert (uneven.context_s - even.context_s)[0] == pytest.approx(0.75 * even.attention_s[0])


def test_a_ring_hides_behind_long_rows_what_a_gather_does_not():
    far = {"context": 16, "row_tokens": 131_072}
    assert part("context_s", **far) < part("context_s", **far, hides_context=0)
    short = part("context_s", context=16, row_tokens=4096)
    assert short > 0


def test_experts_cost_an_exchange_where_they_lie_apart():
    apart = EXPERTS | {"data": 8, "expert": 8}
    assert part("exchange_s", **EXPERTS, data=8) == 0
    assert part("exchange_s", **apart) > 0
    beyond = part("exchange_s", **EXPERTS, data=64, batch_rows=512, expert=64)
    assert beyond > 2 * part("exchange_s", **EXPERTS, data=64, batch_rows=512, expert=8)


def test_sparse_layers_are_slower_than_dense_ones_of_as_many_active_weights():
    sparse, dense = times(**EXPERTS), times(inner=8192)
    assert sparse.products_s > dense.products_s
    assert sparse.moving_s > dense.moving_s
    assert sparse.step_s < 2 * dense.step_s


def test_more_experts_a_token_take_more_time():
    setups = setups_with(**EXPERTS | {"experts_per_token": [1, 2, 4, 8]})
    assert (np.diff(step_times(setups, FREE).step_s) > 0).all()


# Pipelines


@pytest.mark.parametrize(("ranks", "stages", "rows"), [(4, 1, 16), (4, 4, 16), (8, 1, 64)])
def test_the_bubble_is_the_share_that_the_schedule_says(ranks: float, stages: float, rows: float):
    near = {"scale_up_size": 1e4, "scale_up_bytes_per_s": 1e15}
    found = times(pipeline=ranks, stages=stages, batch_rows=rows, row_tokens=8192, **near)
    layers = sum(getattr(found, name) for name in LAYER_PARTS)
    expected = (ranks - 1) / (rows * stages)
    assert (found.bubble_s / layers)[0] == pytest.approx(expected, rel=0.01)


def test_more_stages_a_rank_wait_less_and_send_more():
    one, four = times(pipeline=8, stages=1), times(pipeline=8, stages=4)
    assert four.bubble_s < one.bubble_s
    assert four.send_s > one.send_s


def test_a_stage_more_than_layers_divide_into_costs_a_whole_layer():
    even, odd = times(pipeline=4, layers=32), times(pipeline=4, layers=33)
    assert (odd.products_s / even.products_s)[0] == pytest.approx(9 / 8)


def test_stages_next_to_each_other_send_faster_than_those_far_apart():
    assert part("send_s", pipeline=4, data=2) < part("send_s", pipeline=4, data=4)
    whole = part("send_s", pipeline=4, data=4)
    assert part("send_s", pipeline=4, data=4, tensor=4) < whole


# Data ranks


def test_as_many_rows_over_twice_the_ranks_take_half_the_time_and_what_they_say_to_each_other():
    one, many = times(batch_rows=512), times(batch_rows=512, data=64)
    for name in (*LAYER_PARTS, "head_s"):
        assert getattr(many, name)[0] == pytest.approx(getattr(one, name)[0] / 64), name
    assert many.reduce_s > 0


def test_gradients_hide_behind_the_last_backward_pass():
    bare = part("reduce_s", **TWO_NODES, overlaps_data=0)
    assert 0 < part("reduce_s", **TWO_NODES) < bare


def test_a_sharded_optimizer_updates_its_own_share():
    whole, shared = times(data=64), times(data=64, sharding=Sharding.OPTIMIZER)
    assert shared.optimizer_s < whole.optimizer_s / 4


def test_gathering_weights_is_hidden_by_long_layers_and_seen_with_short_ones():
    far = {"data": 256, "batch_rows": 256, "sharding": Sharding.WEIGHTS}
    long, short = times(**far, row_tokens=16_384), times(**far, row_tokens=512)
    assert 0 < long.gather_s / long.step_s < 0.03
    assert short.gather_s / short.step_s > 0.3


def test_one_link_a_rank_gathers_slower_than_all_of_a_machine():
    far = {"data": 256, "batch_rows": 256, "sharding": Sharding.WEIGHTS, "row_tokens": 512}
    assert part("gather_s", **far, gathers_by_rank=1) > 2 * part("gather_s", **far)


def test_oversubscription_slows_only_groups_that_leave_the_pod():
    near = {"data": 64, "sharding": Sharding.OPTIMIZER, "overlaps_data": 0}
    tight = {"pod_size": 64, "oversubscription": 4}
    assert step_s(**near, **tight) == step_s(**near)
    far = near | {"data": 128, "batch_rows": 128}
    assert part("reduce_s", **far, **tight) > 2 * part("reduce_s", **far)


def test_speed_is_tokens_of_the_step_by_time_and_ranks():
    setups = setups_with(data=4, tensor=2, batch_rows=64, row_tokens=4096)
    found = step_times(setups, CALIBRATED)
    assert found.tokens_per_s(setups) == pytest.approx(64 * 4096 / found.step_s / 8)


TINY = {
    "hidden": 256,
    "inner": 512,
    "heads": 4,
    "kv_heads": 4,
    "head_dim": 64,
    "row_tokens": 128,
}


@pytest.mark.parametrize(
    "given",
    [TINY, {"tensor": 16, "is_sequence_cut": 1}, {**EXPERTS, "row_tokens": 512}],
    ids=["tiny", "cut thin", "experts"],
)
def test_parts_add_up_where_the_host_is_waited_for(given: dict[str, float]):
    found = times(**given)
    assert found.launch_s[0] > 0
    assert sum(getattr(found, name) for name in PARTS) == pytest.approx(found.step_s, rel=1e-6)


def test_whole_copies_that_share_nothing_out_still_reduce_their_gradients():
    whole = {"data": 64, "overlaps_data": 0}
    plain = part("reduce_s", **whole)
    assert part("reduce_s", **whole, replicate=64) == pytest.approx(plain, rel=0.05)
