"""The search over layouts: its rules and memory are the trainer's, its best is the best."""

import json
import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from mynah.errors import ConfigError
from mynah.model import LlamaConfig
from mynah.plan.constants import CALIBRATED
from mynah.plan.hardware import find_accelerator
from mynah.plan.layout_grid import candidates_of
from mynah.plan.layout_memory import capacity_bytes, cut_of, memory_by_kind, rank_bytes, step_recipe
from mynah.plan.layout_rules import RULES, Question, rows_of
from mynah.plan.layout_times import PARTS, layout_times
from mynah.plan.layouts import Candidate, Cluster, Grid, parse_candidate, setups_of
from mynah.plan.memory import FIXED_BYTES, FRAGMENTED
from mynah.plan.search import KIND, Search, Wanted, search_layouts
from mynah.plan.step import step_times
from mynah.plan.verdicts import why
from mynah.train.formulas import expected
from mynah.train.layout import LayoutConfig, check_layout
from mynah.train.pipeline import Pipeline, make_parts

DENSE = LlamaConfig(
    vocab_size=32_768,
    hidden_size=2048,
    intermediate_size=8192,
    num_hidden_layers=22,
    num_attention_heads=16,
    num_key_value_heads=8,
    head_dim=128,
    max_position_embeddings=4096,
)
TIED = replace(DENSE, tie_word_embeddings=True, num_attention_heads=12, num_key_value_heads=4)
SPARSE = replace(
    DENSE,
    qk_norm=True,
    num_experts=24,
    num_experts_per_token=4,
    num_shared_experts=1,
    expert_intermediate_size=512,
    num_dense_layers=2,
)
SHAPES = {"dense": DENSE, "tied": TIED, "sparse": SPARSE}
H100 = find_accelerator("H100")
WANTED = Wanted(row_tokens=4096, batch_tokens=2**21, precisions=("bfloat16", "float8"))


def question(config: LlamaConfig = DENSE, num: int = 64, wanted: Wanted = WANTED) -> Question:
    cluster = Cluster(accelerator=H100, num_accelerators=num)
    return Question(config=config, cluster=cluster, wanted=wanted)


def any_candidate(rng: random.Random) -> Candidate:
    """Of which about every second one breaks a rule."""
    pipeline = rng.choice((1, 1, 2, 4, 11, 32))
    kinds = (("1f1b", 1), ("1f1b", 2), ("interleaved", 2), ("interleaved", 3), ("zero_bubble", 2))
    schedule, stages = rng.choice(kinds) if pipeline > 1 or rng.random() < 0.1 else ("1f1b", 1)
    layout = LayoutConfig(
        pipeline=pipeline,
        replicate=rng.choice((1, 2)),
        shard=rng.choice((1, 2, 4, 8)),
        expert=rng.choice((1, 1, 2, 3, 8)),
        context=rng.choice((1, 1, 2, 3)),
        tensor=rng.choice((1, 1, 1, 2, 3, 8)),
        schedule=cast("Any", schedule),
        stages_per_rank=stages,
        recompute=rng.choice(("nothing", "layers")),
    )
    return Candidate(
        layout=layout,
        micro_rows=rng.choice((1, 2, 3)),
        precision=rng.choice(("bfloat16", "float8")),
        is_compiled=rng.random() < 0.4,
    )


def trainer_takes(candidate: Candidate, config: LlamaConfig, row_tokens: int) -> bool:
    try:
        check_layout(
            candidate.layout,
            config,
            world_size=candidate.layout.world_size,
            row_tokens=candidate.micro_rows * row_tokens,
            is_compiled=candidate.is_compiled,
            is_float8=candidate.precision == "float8",
        )
    except ConfigError:
        return False
    return True


# Rules


@pytest.mark.parametrize("name", SHAPES)
def test_the_rules_let_through_what_the_trainer_takes(name: str):
    config, rng = SHAPES[name], random.Random(7)
    candidates = [any_candidate(rng) for _ in range(3000)]
    grid, asked = Grid.of(candidates), question(config)
    rules = [rule for rule in RULES[1:] if not rule.is_own]
    allowed = np.logical_and.reduce([rule.holds(grid, asked) for rule in rules])
    taken = [trainer_takes(one, config, WANTED.row_tokens) for one in candidates]
    assert allowed.tolist() == taken
    assert 100 < sum(taken) < 2900


def test_every_rule_says_what_is_wrong_with_numbers():
    asked, rng = question(SPARSE), random.Random(8)
    seen: set[str] = set()
    for candidate in [any_candidate(rng) for _ in range(3000)]:
        grid = Grid.of([candidate])
        for rule in RULES:
            if rule.name not in seen and not rule.holds(grid, asked)[0]:
                said = rule.says(grid, asked)
                assert any(mark.isdigit() for mark in said) or "zero_bubble" in said, said
                seen.add(rule.name)
    assert len(seen) >= 12


def test_all_candidates_are_taken_and_none_that_is_taken_is_left_out():
    asked = question(num=8, wanted=replace(WANTED, row_tokens=32_768, is_compiled=(False,)))
    grid = candidates_of(asked, [8]).grid
    found = {grid.candidate(number).name for number in range(len(grid))}
    assert len(found) == len(grid)
    assert all(trainer_takes(grid.candidate(n), DENSE, 32_768) for n in range(len(grid)))
    for name in ("shard=8", "replicate=2 shard=4", "shard=2 tensor=4", "context=4 tensor=2"):
        assert parse_candidate(f"{name} micro=1").name in found


@pytest.mark.parametrize("schedule", ["1f1b", "interleaved", "zero_bubble"])
def test_a_step_has_rows_that_the_pipeline_fills_up_with_none(schedule: Any):
    stages = {"1f1b": 1, "interleaved": 3, "zero_bubble": 2}[schedule]
    for ranks in (2, 3, 4, 8):
        layout = LayoutConfig(pipeline=ranks, schedule=schedule, stages_per_rank=stages, shard=2)
        grid = Grid.of([Candidate(layout=layout)])
        for batch in range(1, 90):
            rows = int(rows_of(grid, batch)[0])
            assert rows * 2 <= batch
            assert (rows == 0) == (batch < 2 * ranks)
            owner = cast("Pipeline", SimpleNamespace(layout=layout))
            if rows:
                assert Pipeline.num_rows(owner, rows) == rows
                assert batch / 2 - rows < ranks + batch / 2 / ranks


# Memory and time


@pytest.mark.parametrize("name", SHAPES)
def test_memory_over_arrays_is_that_of_the_trainers_formulas(name: str):
    config, asked = SHAPES[name], question(SHAPES[name])
    grid = candidates_of(asked, [64, 1, 3]).grid
    rows = rows_of(grid, asked.wanted.batch_rows)
    held = rank_bytes(config, grid, row_tokens=4096, num_rows=rows)
    rng = random.Random(9)
    for number in rng.sample(range(len(grid)), 120):
        candidate, count = grid.candidate(number), int(rows[number])
        recipe = step_recipe(candidate, row_tokens=4096, num_rows=count)
        most = max(
            expected(recipe, config, pipeline_rank=rank, num_rows=count).memory_bytes
            for rank in range(candidate.layout.pipeline)
        )
        if candidate.layout.schedule == "zero_bubble":  # the formulas leave something out
            assert held[number] > most * FRAGMENTED + FIXED_BYTES
        else:
            assert held[number] == pytest.approx(most * FRAGMENTED + FIXED_BYTES, rel=1e-5)
        kinds = memory_by_kind(config, candidate, row_tokens=4096, num_rows=count)
        assert sum(kinds.values()) == pytest.approx(held[number], rel=1e-5)


def test_layers_are_cut_as_the_trainer_cuts_them():
    asked = question(SPARSE)
    grid = candidates_of(asked, [64]).grid
    cuts = cut_of(SPARSE, grid)
    for number in random.Random(10).sample(range(len(grid)), 100):
        layout = grid.candidate(number).layout
        parts = [make_parts(SPARSE, layout, rank) for rank in range(layout.pipeline)]
        layers = [[layer for part in one for layer in part.layers] for one in parts]
        for cut in cuts:
            own = layers[cut.rank[number]]
            assert cut.layers[number] == len(own)
            assert cut.sparse[number] == sum(SPARSE.has_experts(layer) for layer in own)
        most = max(len(own) for own in layers)
        assert most == max(cut.layers[number] for cut in cuts)


def times_of(names: list[str], config: LlamaConfig = DENSE, rows: int = 64) -> Any:
    grid = Grid.of([parse_candidate(name) for name in names])
    batch = rows * grid.num_data * grid.micro
    cluster = question().cluster
    setups = setups_of(config, cluster, grid, row_tokens=4096, batch_rows=batch)
    return layout_times(config, grid, setups, CALIBRATED), step_times(setups, CALIBRATED)


def test_parts_of_a_step_add_up_to_it():
    found, plain = times_of(["shard=64", "shard=8 tensor=8", "shard=4 context=2 pipeline=8"])
    assert np.sum([found.parts[name] for name in PARTS], axis=0) == pytest.approx(found.step_s)
    assert list(found.parts) == list(PARTS)
    # Without a pipeline there is nothing to put right.
    assert found.step_s[:2] == pytest.approx(plain.step_s[:2])


def test_layers_that_come_out_even_take_what_the_step_model_says():
    # 22 layers, embedding and head on 2 ranks: 11 and 11. On 4: 5, 6, 6 and 5.
    found, plain = times_of(["shard=32 pipeline=2", "shard=16 pipeline=4"])
    assert found.step_s == pytest.approx(plain.step_s, rel=1e-6)


def test_layers_that_do_not_take_longer():
    # 24 layers are 3 on each of 8 ranks; with embedding and head they are 26, and 4 on some.
    long = replace(DENSE, num_hidden_layers=24)
    found, plain = times_of(["shard=8 pipeline=8"], long)
    assert found.parts["products"][0] == pytest.approx(plain.products_s[0] * 4 / 3)


def test_zero_bubble_waits_for_a_third_of_what_an_interleaved_pipeline_does():
    names = [
        "shard=8 pipeline=8 stages=2 schedule=interleaved",
        "shard=8 pipeline=8 stages=2 schedule=zero_bubble",
    ]
    (many, _), (few, _) = times_of(names, rows=64), times_of(names, rows=8)
    assert many.parts["bubble"][1] == pytest.approx(many.parts["bubble"][0] / 3)
    assert few.parts["bubble"][1] == pytest.approx(few.parts["bubble"][0] * 2 / 3)


# The search


def found_for(config: LlamaConfig = DENSE, num: int = 64, wanted: Wanted = WANTED) -> Search:
    asked = question(config, num, wanted)
    return search_layouts(config, asked.cluster, wanted)


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_found_runs_fits_and_is_ranked(name: str):
    found = found_for(SHAPES[name])
    speeds = [one.tokens_per_s.middle for one in found.ranked]
    assert speeds == sorted(speeds, reverse=True)
    assert found.num_tried == found.num_fitting + sum(found.rejected.values())
    kinds: set[tuple[Any, ...]] = set()
    for one in found.ranked:
        assert one.candidate.layout.world_size == one.num_accelerators == 64
        assert trainer_takes(one.candidate, SHAPES[name], 4096)
        assert one.fits
        assert one.needed.low < one.needed_bytes < one.needed.high
        assert one.batch_tokens <= WANTED.batch_tokens
        assert sum(one.times.values()) == pytest.approx(one.step_s.middle)
        assert one.tokens_per_s.low < one.tokens_per_s.middle < one.tokens_per_s.high
        each = one.batch_tokens / one.step_s.middle / 64
        assert one.tokens_per_s.middle == pytest.approx(each)
        assert 0 < one.mfu.middle < 1
        grid = Grid.of([one.candidate])
        kinds.add(tuple(int(getattr(grid, side)[0]) for side in KIND))
    assert len(kinds) == len(found.ranked)
    json.dumps(found.to_json(), allow_nan=False)


def test_float8_is_looked_at_where_it_is_asked_for():
    both, one = found_for(), found_for(wanted=replace(WANTED, precisions=("bfloat16",)))
    assert {found.candidate.precision for found in one.ranked} == {"bfloat16"}
    assert both.ranked[0].candidate.precision == "float8"
    assert both.ranked[0].tokens_per_s.middle > one.ranked[0].tokens_per_s.middle


def test_float8_is_not_looked_at_where_it_is_not():
    a100 = replace(question().cluster, accelerator=find_accelerator("A100"))
    found = search_layouts(DENSE, a100, WANTED)
    assert {one.candidate.precision for one in found.ranked} == {"bfloat16"}
    assert "float8 needs an accelerator that has it" in found.rejected
    assert "experts compute in 16 bits" in found_for(SPARSE).rejected


def test_groups_that_live_apart_are_whole_machines():
    found = found_for(wanted=replace(WANTED, is_parted=True))
    groups = {one.candidate.layout.replicate for one in found.ranked}
    assert len(groups) > 1
    for one in found.ranked:
        layout = one.candidate.layout
        assert layout.replicate > 1
        assert layout.world_size // layout.replicate % 8 == 0


def test_a_model_that_has_no_room_is_refused_with_what_it_needs():
    huge = replace(DENSE, hidden_size=32_768, num_hidden_layers=100, intermediate_size=131_072)
    with pytest.raises(ConfigError, match=r"the leanest needs [\d,.]+ GB of 85.9"):
        found_for(huge, 8)


def test_a_step_too_small_for_any_layout_is_refused_with_the_reason():
    short = replace(WANTED, batch_tokens=4096)
    with pytest.raises(ConfigError, match="too few rows") as caught:
        search_layouts(TIED, question(TIED, 1024).cluster, short)
    assert "a larger step" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "message"), [("V100", "no bfloat16"), ("TPU v5p", "not trained on")]
)
def test_accelerators_that_mynah_does_not_train_on_are_refused(name: str, message: str):
    cluster = Cluster(accelerator=find_accelerator(name), num_accelerators=8)
    with pytest.raises(ConfigError, match=message):
        search_layouts(DENSE, cluster, WANTED)


def test_a_step_below_a_row_is_refused():
    with pytest.raises(ConfigError, match="less than a row"):
        found_for(wanted=replace(WANTED, batch_tokens=100))


def test_a_slower_network_changes_no_layout_for_the_better():
    fast = question(DENSE, 512).cluster
    slow = replace(fast, network_gb_per_s=1.0)
    quick, late = (search_layouts(DENSE, one, WANTED).ranked[0] for one in (fast, slow))
    assert late.tokens_per_s.middle < quick.tokens_per_s.middle


# Why


def verdict(name: str, config: LlamaConfig = DENSE) -> Any:
    asked = question(config)
    return why(config, asked.cluster, asked.wanted, parse_candidate(name))


def test_the_best_is_behind_nothing():
    best = found_for().ranked[0]
    said = verdict(best.candidate.name)
    assert said.is_in
    assert said.behind == pytest.approx(0)
    assert "as fast as the best" in said.text


def test_a_layout_that_is_behind_says_by_what():
    said = verdict("shard=8 pipeline=8 recompute=layers")
    assert said.is_in
    assert said.behind > 0
    ratio = said.best.tokens_per_s.middle / said.judged.tokens_per_s.middle
    assert sum(said.costs.values()) == pytest.approx(ratio - 1)
    assert "ranks of the pipeline that wait" in said.text
    assert f"{said.behind:.1%} behind" in said.text
    json.dumps(said.to_json(), allow_nan=False)


def test_a_layout_that_is_out_has_every_reason():
    said = verdict("tensor=3 context=3 pipeline=30 compiled expert=2")
    text = said.text
    for reason in (
        "270 ranks, there are 64",
        "tensor=3 does not divide num_attention_heads 16",
        "18 pieces",
        "no experts",
        "30 stages, the model has 22 layers",
        "compiled with tensor=3",
    ):
        assert reason in text
    assert (said.judged, said.behind, dict(said.costs)) == (None, None, {})
    json.dumps(said.to_json(), allow_nan=False)


def test_a_layout_without_room_says_what_fills_it():
    config = replace(DENSE, num_hidden_layers=62, hidden_size=8192, intermediate_size=32_768)
    cluster = question(config).cluster
    said = why(config, cluster, WANTED, parse_candidate("shard=64 micro=8"))
    (reason,) = said.reasons
    assert reason.startswith("it needs ")
    assert f"of {capacity_bytes(80) / 1e9:,.1f}: activations" in reason
    assert said.judged is not None
    assert not said.judged.fits


def test_a_step_too_small_for_a_layout_is_told_with_its_rows():
    said = verdict("shard=64 micro=16")
    assert any("512 rows of 4,096" in reason and "1,024" in reason for reason in said.reasons)


def test_where_nothing_fits_a_layout_still_has_its_reasons():
    huge = replace(DENSE, hidden_size=32_768, num_hidden_layers=100, intermediate_size=131_072)
    cluster = question(huge, 8).cluster
    said = why(huge, cluster, WANTED, parse_candidate("shard=8"))
    assert said.best is None
    assert not said.is_in
    assert said.behind is None
