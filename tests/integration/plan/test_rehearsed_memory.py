"""What the planner says of a layout beside what the trainer does: the real step, on fake tensors.

Memory by kind, FLOP, and how long ranks of a pipeline wait.
"""

from functools import cache

import pytest

from mynah.model import LlamaConfig
from mynah.plan.constants import CALIBRATED
from mynah.plan.hardware import find_accelerator
from mynah.plan.layout_memory import step_recipe
from mynah.plan.layout_rules import Question
from mynah.plan.layout_times import layout_times
from mynah.plan.layouts import Cluster, Grid, parse_candidate, setups_of
from mynah.plan.search import Judged, Wanted, judge
from mynah.plan.shapes import flop_per_token
from mynah.train.formulas import expected
from mynah.train.rehearsal import Rehearsal, rehearse

MAX_MISS = 0.10
"""Of memory, the planner's over the rehearsal's."""
WIDE = LlamaConfig(
    vocab_size=32_768,
    hidden_size=2048,
    intermediate_size=8192,
    num_hidden_layers=14,
    num_attention_heads=16,
    num_key_value_heads=8,
    head_dim=128,
    max_position_embeddings=4096,
)
SPARSE = LlamaConfig(
    vocab_size=32_768,
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=6,
    num_attention_heads=16,
    num_key_value_heads=8,
    head_dim=64,
    max_position_embeddings=4096,
    qk_norm=True,
    num_experts=16,
    num_experts_per_token=2,
    num_shared_experts=1,
    expert_intermediate_size=1024,
    num_dense_layers=1,
)
ROW = 2048
LAYOUTS = {
    "shard": (WIDE, "replicate=2 shard=4 micro=2"),
    "tensor": (WIDE, "shard=2 tensor=4 recompute=layers"),
    "interleaved": (WIDE, "shard=2 pipeline=4 stages=2 schedule=interleaved recompute=layers"),
    "zero_bubble": (WIDE, "shard=2 pipeline=4 stages=2 schedule=zero_bubble"),
    "all": (WIDE, "replicate=2 shard=2 context=2 tensor=2 pipeline=2 micro=2"),
    "experts": (SPARSE, "shard=8 expert=4"),
    "experts in a V": (SPARSE, "shard=2 pipeline=2 stages=2 schedule=zero_bubble"),
}


@cache
def both(config: LlamaConfig, name: str) -> tuple[Judged, list[Rehearsal]]:
    """What the planner says, and the rehearsals of the pipeline's first and last rank."""
    candidate = parse_candidate(name)
    world = candidate.layout.world_size
    cluster = Cluster(accelerator=find_accelerator("H100"), num_accelerators=world)
    rows = 2 * candidate.layout.pipeline * candidate.micro_rows * candidate.layout.num_data
    wanted = Wanted(row_tokens=ROW, batch_tokens=rows * ROW)
    judged = judge(Question(config=config, cluster=cluster, wanted=wanted), candidate)
    recipe = step_recipe(candidate, row_tokens=ROW, num_rows=judged.num_rows)
    ends = sorted({0, world - world // candidate.layout.pipeline})
    return judged, [rehearse(recipe, config, world_size=world, rank=rank) for rank in ends]


@pytest.mark.parametrize("name", LAYOUTS)
def test_memory_and_flop_are_those_of_a_rehearsal(name: str):
    config, layout = LAYOUTS[name]
    judged, ranks = both(config, layout)
    kinds = {kind: size for kind, size in judged.memory_bytes.items() if kind != "overhead"}
    most = max(rank.peak_memory_bytes for rank in ranks)
    assert sum(kinds.values()) == pytest.approx(most, rel=MAX_MISS)
    fullest = max(ranks, key=lambda rank: rank.peak_memory_bytes)
    for kind in ("parameters", "optimizer"):
        assert kinds[kind] == pytest.approx(fullest.memory[kind], rel=0.01)
    assert {rank.num_rows for rank in ranks} == {judged.num_rows}
    for rank in ranks:
        assert rank.flop == pytest.approx(rank.expected.flop, rel=0.001)
    # Ranks of a stage compute equal shares; the planner counts the whole step.
    recipe = step_recipe(judged.candidate, row_tokens=ROW, num_rows=judged.num_rows)
    num_stages = recipe.layout.pipeline
    whole = sum(
        expected(recipe, config, pipeline_rank=stage, num_rows=judged.num_rows).flop
        for stage in range(num_stages)
    )
    planned = flop_per_token(config, row_tokens=ROW) * judged.batch_tokens
    assert planned == pytest.approx(whole * judged.num_accelerators / num_stages, rel=0.001)


@pytest.mark.parametrize("name", ["interleaved", "zero_bubble", "all"])
def test_ranks_of_a_pipeline_wait_as_long_as_their_schedule_does(name: str):
    config, layout = LAYOUTS[name]
    judged, ranks = both(config, layout)
    slots = ranks[0].schedule
    assert slots is not None
    stages = judged.candidate.layout.stages_per_rank
    # A forward takes a slot and a backward two, of each of the rank's stages.
    rows_waited = len(slots.ranks[0]) / (3 * stages) - judged.num_rows
    grid = Grid.of([judged.candidate])
    cluster = Cluster(
        accelerator=find_accelerator("H100"), num_accelerators=judged.num_accelerators
    )
    rows = judged.batch_rows
    setups = setups_of(WIDE, cluster, grid, row_tokens=ROW, batch_rows=rows)
    parts = layout_times(WIDE, grid, setups, CALIBRATED).parts
    ends = ("head", "bubble", "send", "reduce", "optimizer")
    a_row = sum(parts[name][0] for name in parts if name not in ends) / judged.num_rows
    # The planner adds what a hop between ranks takes.
    assert parts["bubble"][0] / a_row == pytest.approx(rows_waited, rel=0.05)
