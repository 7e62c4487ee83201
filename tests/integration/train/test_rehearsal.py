"""The real step on fake ranks: what it counts, for every layout, and for 10,240 ranks."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch.distributed as dist

from mynah.errors import ConfigError
from mynah.job import load_recipe, rehearse_recipe
from mynah.model import LlamaConfig, num_weights
from mynah.train.config import DataConfig, Recipe
from mynah.train.layout import LayoutConfig
from mynah.train.rehearsal import Rehearsal, rehearse, render

RECIPES = Path(__file__).parents[3] / "recipes"
DENSE = LlamaConfig(
    vocab_size=512,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=6,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=8,
    max_position_embeddings=256,
)
SPARSE = replace(
    DENSE,
    qk_norm=True,
    num_experts=8,
    num_experts_per_token=2,
    num_shared_experts=1,
    expert_intermediate_size=32,
    num_dense_layers=1,
)
ROW = 256
LAYOUTS = {
    "alone": LayoutConfig(),
    "shard": LayoutConfig(shard=4),
    "replicate": LayoutConfig(replicate=2, shard=2),
    "tensor": LayoutConfig(tensor=4),
    "context": LayoutConfig(context=4),
    "1f1b": LayoutConfig(pipeline=4),
    "interleaved": LayoutConfig(pipeline=2, schedule="interleaved", stages_per_rank=2),
    "zero_bubble": LayoutConfig(pipeline=2, schedule="zero_bubble", stages_per_rank=2),
    "all": LayoutConfig(pipeline=2, replicate=2, shard=2, context=2, tensor=2),
    "recomputed": LayoutConfig(pipeline=2, shard=2, tensor=2, recompute="layers"),
}


@pytest.fixture(autouse=True)
def _leaves_no_process_group() -> Iterator[None]:
    yield
    assert not dist.is_initialized()


def recipe(layout: LayoutConfig, *, rows: int = 4) -> Recipe:
    """A step of ``rows`` rows for each data rank."""
    tokens = rows * ROW * layout.num_data
    data = DataConfig(tokens_per_step=tokens, batch_tokens=ROW, max_document_tokens=ROW)
    return Recipe(layout=layout, data=data)


def all_ranks(layout: LayoutConfig, config: LlamaConfig) -> list[Rehearsal]:
    """The rehearsal of every rank of a small world."""
    size = layout.world_size
    return [rehearse(recipe(layout), config, world_size=size, rank=rank) for rank in range(size)]


@pytest.mark.parametrize("name", LAYOUTS)
def test_flop_are_those_of_the_formula_in_every_layout(name: str) -> None:
    layout = LAYOUTS[name]
    last = layout.world_size - 1
    found = rehearse(recipe(layout), DENSE, world_size=layout.world_size, rank=last)
    assert found.flop == found.expected.flop
    assert (found.recomputed_flop > found.flop / 5) == (layout.recompute == "layers")
    assert sum(found.memory.values()) == found.peak_memory_bytes
    assert found.memory["parameters"] == 4 * found.parameters
    assert found.memory["optimizer"] >= 8 * found.parameters


@pytest.mark.parametrize("layout", [LayoutConfig(shard=4), LayoutConfig(shard=4, expert=2)])
def test_flop_of_experts_are_those_of_the_formula(layout: LayoutConfig) -> None:
    found = rehearse(recipe(layout), SPARSE, world_size=4)
    # The formula leaves out the sum of what a token's two experts say, in five layers and 4 rows.
    assert found.flop == found.expected.flop + 6 * ROW * 2 * SPARSE.hidden_size * 5 * 4
    swapped = [message for message in found.messages if message.name == "all_to_all"]
    assert bool(swapped) == (layout.expert > 1)


def test_ranks_together_hold_the_model_once() -> None:
    layout = LayoutConfig(pipeline=2, shard=2)
    ranks = all_ranks(layout, DENSE)
    assert sum(rank.parameters for rank in ranks) == num_weights(DENSE)
    assert {rank.place["pipeline"] for rank in ranks} == {0, 1}
    layers = [layer for rank in ranks[::2] for stage in rank.layers for layer in stage]
    assert layers == list(range(6))


def test_fsdp_gathers_each_layer_twice_a_row_and_scatters_it_once() -> None:
    found = rehearse(recipe(LayoutConfig(shard=4), rows=3), DENSE, world_size=4)
    by_name = {message.name: message for message in found.messages if message.axes == "shard"}
    # Six layers twice, embedding and head together once, in each of three rows.
    assert by_name["all_gather"].count == 3 * (2 * 6 + 1)
    assert by_name["reduce_scatter"].count == 3 * (6 + 1)
    assert by_name["reduce_scatter"].dtype == "float32"
    assert by_name["all_gather"].dtype == "bfloat16"
    assert by_name["reduce_scatter"].num_bytes == pytest.approx(
        3 * 4 * num_weights(DENSE), rel=0.01
    )


def test_a_pipeline_sends_each_row_on_and_its_gradient_back() -> None:
    found = rehearse(recipe(LayoutConfig(pipeline=4)), DENSE, world_size=4, rank=1)
    state = 2 * ROW * DENSE.hidden_size
    for name in ("send", "receive"):
        (message,) = [message for message in found.messages if message.name == name]
        assert (message.count, message.axes, message.group_size) == (8, "pipeline", 4)
        assert message.num_bytes == 8 * state
    assert found.schedule is not None
    assert found.schedule.idle_share == pytest.approx(3 / 7)


def test_a_rehearsal_is_plain_data_and_a_page() -> None:
    found = rehearse(recipe(LAYOUTS["zero_bubble"]), DENSE, world_size=2, rank=1)
    assert json.loads(json.dumps(found.to_json())) == json.loads(json.dumps(asdict(found)))
    page = render(found)
    for piece in ("rank 1 of 2", "optimizer state", "receive", "schedule zero_bubble", ">   1 "):
        assert piece in page


@pytest.mark.parametrize(
    ("changes", "world_size", "rank", "problem"),
    [
        ({}, 8, 0, "needs 4 ranks"),
        ({}, 4, 4, "no rank 4 among 4"),
        ({"objective": "dpo"}, 4, 0, "knows 'pretrain' and 'sft'"),
    ],
)
def test_what_cannot_be_is_refused(
    changes: dict[str, str], world_size: int, rank: int, problem: str
) -> None:
    asked = replace(recipe(LayoutConfig(shard=4)), **changes)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match=problem):
        rehearse(asked, DENSE, world_size=world_size, rank=rank)


def test_a_405b_at_10240_ranks_holds_and_computes_what_the_formulas_say() -> None:
    found = rehearse_recipe(
        load_recipe(RECIPES / "405b_10240gpu.toml"), world_size=10_240, rank=6_000
    )
    assert found.whole_parameters == 405_853_388_800
    assert found.flop == pytest.approx(found.expected.flop, rel=0.005)
    assert found.peak_memory_bytes == pytest.approx(found.expected.memory_bytes, rel=0.05)
    assert found.own_peak_memory_bytes < 8e9
    assert {message.group_size for message in found.messages} >= {8, 10, 16, 80, 10_240}
