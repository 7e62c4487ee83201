"""The search over layouts against trying each of them: its best is the best."""

from dataclasses import replace

import pytest

from mynah.model import LlamaConfig
from mynah.plan.hardware import find_accelerator
from mynah.plan.layout_grid import candidates_of
from mynah.plan.layout_rules import Question
from mynah.plan.layouts import Cluster
from mynah.plan.search import NO_ROOM, Wanted, judge, search_layouts, search_worlds

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
CLUSTER = Cluster(accelerator=find_accelerator("H100"), num_accelerators=64)


def test_the_best_is_the_best_of_all_that_fit():
    wanted = Wanted(row_tokens=16_384, batch_tokens=2**18, num_shown=3, is_compiled=(True,))
    cluster = replace(CLUSTER, num_accelerators=8)
    asked = Question(config=DENSE, cluster=cluster, wanted=wanted)
    grid = candidates_of(asked, [8]).grid
    judged = [judge(asked, grid.candidate(number)) for number in range(len(grid))]
    fitting = [one for one in judged if one.fits]
    found = search_layouts(DENSE, cluster, wanted)
    assert found.num_fitting == len(fitting)
    assert found.rejected.get(NO_ROOM, 0) == len(judged) - len(fitting)
    best = max(fitting, key=lambda one: one.tokens_per_s.middle)
    assert found.ranked[0].tokens_per_s.middle == pytest.approx(best.tokens_per_s.middle)


def test_of_several_numbers_of_ranks_the_one_that_trains_most_is_taken():
    wanted = Wanted(row_tokens=4096, batch_tokens=2**21, precisions=("bfloat16", "float8"))
    several = search_worlds(DENSE, CLUSTER, wanted, worlds=[48, 56, 64])
    alone = [
        search_worlds(DENSE, CLUSTER, wanted, worlds=[world]).ranked[0] for world in (48, 56, 64)
    ]
    best = max(alone, key=lambda one: one.tokens_per_s.middle * one.num_accelerators)
    assert several.ranked[0] == best
