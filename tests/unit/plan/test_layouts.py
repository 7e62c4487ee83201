"""Names of layouts, and what the models of time and memory are told of them."""

import random
from dataclasses import replace

import numpy as np
import pytest

from mynah.errors import ConfigError
from mynah.model import LlamaConfig
from mynah.plan.hardware import find_accelerator
from mynah.plan.layouts import (
    PRECISIONS,
    RECOMPUTE,
    SCHEDULES,
    Candidate,
    Cluster,
    Grid,
    parse_candidate,
    setups_of,
)
from mynah.plan.setups import Recompute, Sharding
from mynah.train.layout import LayoutConfig

SHAPE = LlamaConfig(
    vocab_size=32_000,
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=16,
    num_attention_heads=16,
    num_key_value_heads=8,
    head_dim=64,
    max_position_embeddings=4096,
)
CLUSTER = Cluster(accelerator=find_accelerator("H100"), num_accelerators=64)
LARGE = Candidate(
    layout=LayoutConfig(
        pipeline=16,
        replicate=10,
        shard=8,
        tensor=8,
        schedule="interleaved",
        stages_per_rank=4,
        recompute="layers",
    )
)


def random_candidate(rng: random.Random) -> Candidate:
    sides = ("pipeline", "replicate", "shard", "expert", "context", "tensor", "stages_per_rank")
    layout = LayoutConfig(
        **{side: rng.choice((1, 1, 2, 3, 8)) for side in sides},
        schedule=rng.choice(SCHEDULES),
        recompute=rng.choice(RECOMPUTE),
    )
    if layout.pipeline == 1:
        layout = replace(layout, schedule="1f1b")
    return Candidate(
        layout=layout,
        micro_rows=rng.choice((1, 2, 16)),
        precision=rng.choice(PRECISIONS),
        is_compiled=rng.random() < 0.5,
    )


def test_the_name_says_what_differs_from_one_process():
    assert LARGE.name == (
        "replicate=10 shard=8 tensor=8 pipeline=16 stages=4 schedule=interleaved "
        "recompute=layers micro=1 bf16"
    )
    plain = Candidate(layout=LayoutConfig(), precision="float8", is_compiled=True, micro_rows=4)
    assert plain.name == "micro=4 fp8 compiled"


def test_a_name_reads_back_in_any_order():
    rng = random.Random(1)
    for _ in range(200):
        candidate = random_candidate(rng)
        words = candidate.name.split()
        rng.shuffle(words)
        assert parse_candidate(" ".join(words)) == candidate
        assert parse_candidate(", ".join(words).upper()) == candidate


def test_what_a_name_leaves_out_has_its_default():
    assert parse_candidate("tensor=2").layout == LayoutConfig(tensor=2)
    assert parse_candidate("tensor=2").precision == "bfloat16"
    assert not parse_candidate("tensor=2").is_compiled
    found = parse_candidate("pipeline=2 stages_per_rank=3 schedule=interleaved micro_rows=2")
    assert (found.layout.stages_per_rank, found.micro_rows) == (3, 2)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "empty", "replicate=4"),
        ("  , ", "empty", "replicate=4"),
        ("tensr=8", "'tensr'", "did you mean tensor?"),
        ("comiled", "'comiled'", "did you mean compiled?"),
        ("tensor=8 tensor=4", "tensor twice", "once"),
        ("bf16 fp8", "precision twice", "once"),
        ("tensor=0", "tensor is '0'", "from 1"),
        ("tensor=-1", "tensor is '-1'", "from 1"),
        ("tensor=eight", "tensor is 'eight'", "whole number"),
        ("tensor=", "tensor is ''", "whole number"),
        ("tensor=1e3", "tensor is '1e3'", "whole number"),
        ("tensor=99999999999", "tensor is", "10,000,000"),
        ("schedule=gpipe", "'gpipe'", "1f1b, interleaved, zero_bubble"),
        ("recompute=all", "'all'", "nothing, layers"),
    ],
)
def test_a_name_that_is_wrong_says_where(text: str, message: str, hint: str):
    with pytest.raises(ConfigError) as caught:
        parse_candidate(text)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_grid_gives_its_candidates_back():
    rng = random.Random(2)
    candidates = [random_candidate(rng) for _ in range(50)]
    grid = Grid.of(candidates)
    assert [grid.candidate(number) for number in range(len(grid))] == candidates
    assert grid.world_size.tolist() == [one.layout.world_size for one in candidates]
    assert grid.num_data.tolist() == [one.layout.num_data for one in candidates]
    assert grid.num_stages.tolist() == [one.layout.num_stages for one in candidates]
    assert len(Grid.of([])) == 0


def test_setups_have_the_degrees_and_the_work_of_the_candidates():
    rng = random.Random(3)
    candidates = [random_candidate(rng) for _ in range(20)]
    rows = np.arange(20) + 100
    setups = setups_of(SHAPE, CLUSTER, candidates, row_tokens=4096, batch_rows=rows)
    worlds = [one.layout.world_size for one in candidates]
    assert setups.degrees.accelerators.tolist() == worlds
    assert setups.work.batch_rows.tolist() == rows.tolist()
    assert setups.work.micro_rows.tolist() == [one.micro_rows for one in candidates]
    is_low = [8.0 if one.precision == "float8" else 16.0 for one in candidates]
    assert setups.work.bits.tolist() == is_low
    again = [
        Recompute.LAYERS if one.layout.recompute == "layers" else Recompute.NOTHING
        for one in candidates
    ]
    assert setups.work.recompute.tolist() == again
    assert setups.stacks.is_fused.tolist() == [float(one.is_compiled) for one in candidates]
    keeps = [float(one.layout.pipeline > 1) for one in candidates]
    assert setups.stacks.keeps_gathered.tolist() == keeps


def test_the_shape_is_that_of_the_model():
    from mynah.model import active_weights

    setups = setups_of(SHAPE, CLUSTER, [LARGE], row_tokens=4096, batch_rows=100)
    # The planner's shapes count matrices only; norms have a thousandth of the weights.
    assert setups.shapes.active_weights[0] == pytest.approx(active_weights(SHAPE), rel=1e-3)


def test_weights_are_shared_out_unless_there_is_one_rank():
    alone = Candidate(layout=LayoutConfig())
    setups = setups_of(SHAPE, CLUSTER, [alone, LARGE], row_tokens=4096, batch_rows=1)
    assert setups.degrees.sharding.tolist() == [Sharding.NOTHING, Sharding.WEIGHTS]


def test_a_network_that_is_named_goes_before_the_usual_one():
    own = replace(CLUSTER, network_gb_per_s=12.5, pod_size=1024, oversubscription=2.0)
    usual, slow = (
        setups_of(SHAPE, cluster, [LARGE], row_tokens=4096, batch_rows=1).machines
        for cluster in (CLUSTER, own)
    )
    assert usual.nic_bytes_per_s[0] == CLUSTER.accelerator.nic_gb_per_s * 1e9
    assert slow.nic_bytes_per_s[0] == 12.5e9
    assert np.isinf(usual.pod_size[0])
    assert (slow.pod_size[0], slow.oversubscription[0]) == (1024, 2)


def test_a_scale_up_domain_ends_with_the_machine_unless_it_is_a_rack():
    assert CLUSTER.scale_up_size == 8
    assert replace(CLUSTER, accelerators_per_node=4).scale_up_size == 4
    rack = Cluster(
        accelerator=find_accelerator("GB200"), num_accelerators=72, accelerators_per_node=4
    )
    assert rack.scale_up_size == 72
