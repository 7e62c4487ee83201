"""Layouts, and what one process can see of them: refusals, stages, cut rows, sums of squares."""

from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from mynah.errors import ConfigError
from mynah.model import Llama, LlamaConfig, PackedAttention, Part, pack
from mynah.train.context_parallel import ContextPacking, attend_from_the_end, cut_row
from mynah.train.data import Batch
from mynah.train.gradients import clip
from mynah.train.layout import LayoutConfig, check_layout
from mynah.train.mesh import build_mesh
from mynah.train.parallelize import parallelize
from mynah.train.pipeline import Pipeline, make_parts

DENSE = LlamaConfig(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=6,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=4,
    max_position_embeddings=64,
)
SPARSE = replace(
    DENSE,
    qk_norm=True,
    num_experts=6,
    num_experts_per_token=2,
    expert_intermediate_size=16,
)
ALONE = build_mesh(LayoutConfig(), "cpu")


def check(config: LlamaConfig = DENSE, **settings: Any) -> None:
    """Check a layout, in a world of its own size unless told otherwise."""
    degrees = {name: value for name, value in settings.items() if name in FIELDS}
    layout = LayoutConfig(**degrees)
    others = {name: value for name, value in settings.items() if name not in FIELDS}
    check_layout(layout, config, **{"world_size": layout.world_size, "row_tokens": 64, **others})


FIELDS = LayoutConfig.__dataclass_fields__


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"shard": 4, "world_size": 8}, ["needs 4 ranks", "there are 8"]),
        ({"tensor": 3, "row_tokens": 63}, ["layout.tensor is 3", "num_attention_heads, 8"]),
        ({"tensor": 8}, ["layout.tensor is 8", "num_key_value_heads, 4"]),
        ({"config": replace(DENSE, intermediate_size=50), "tensor": 4}, ["intermediate_size, 50"]),
        ({"config": replace(DENSE, vocab_size=97), "tensor": 2}, ["vocab_size, 97"]),
        ({"tensor": 2, "is_compiled": True}, ["layout.tensor is 2", "compile"]),
        ({"tensor": 2, "is_float8": True}, ["layout.tensor is 2", "float8"]),
        ({"context": 2, "row_tokens": 62}, ["62 tokens", "layout.context 2"]),
        ({"tensor": 2, "row_tokens": 63}, ["63 tokens", "layout.tensor 2"]),
        ({"context": 2, "tensor": 2, "row_tokens": 68}, ["68 tokens", "divide by 8"]),
        ({"config": SPARSE, "shard": 4, "expert": 3}, ["layout.expert is 3", "layout.shard, 4"]),
        ({"shard": 2, "expert": 2}, ["layout.expert is 2", "no experts"]),
        ({"config": SPARSE, "shard": 4, "expert": 4}, ["layout.expert is 4", "num_experts, 6"]),
        ({"config": SPARSE, "tensor": 2}, ["layout.tensor is 2", "experts"]),
        ({"pipeline": 8}, ["8 stages", "6 layers"]),
        (
            {"config": replace(DENSE, tie_word_embeddings=True), "pipeline": 2},
            ["layout.pipeline is 2", "tie_word_embeddings"],
        ),
        ({"pipeline": 2, "stages_per_rank": 2}, ["layout.stages_per_rank is 2", "'1f1b'"]),
        ({"pipeline": 2, "schedule": "interleaved"}, ["layout.stages_per_rank is 1"]),
        (
            {"pipeline": 2, "schedule": "zero_bubble", "stages_per_rank": 3},
            ["layout.stages_per_rank is 3", "'zero_bubble' needs 2"],
        ),
        ({"schedule": "interleaved", "stages_per_rank": 2}, ["layout.pipeline is 1"]),
        (
            {
                "pipeline": 2,
                "schedule": "zero_bubble",
                "stages_per_rank": 2,
                "recompute": "layers",
            },
            ["layout.recompute is 'layers'", "'zero_bubble'"],
        ),
        (
            {
                "pipeline": 2,
                "schedule": "zero_bubble",
                "stages_per_rank": 2,
                "is_compiled": True,
            },
            ["'zero_bubble'", "compile"],
        ),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        check(**settings)
    assert all(word in caught.value.message for word in words), caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"row_tokens": 61},
        {"replicate": 2, "shard": 3, "context": 2, "tensor": 4, "pipeline": 6},
        {"config": SPARSE, "shard": 6, "expert": 3, "context": 4, "pipeline": 2},
        {"pipeline": 3, "schedule": "zero_bubble", "stages_per_rank": 2},
        {"config": replace(DENSE, tie_word_embeddings=True), "tensor": 2},
        {"shard": 2, "is_compiled": True},
    ],
)
def test_what_can_be_is_not(settings: dict[str, Any]) -> None:
    check(**settings)


def test_a_recipe_names_no_other_field_and_no_degree_of_zero() -> None:
    adapter = TypeAdapter(LayoutConfig)
    assert adapter.validate_python({"shard": 8, "expert": 4}).world_size == 8
    for wrong in ({"sharded": 2}, {"shard": 0}, {"schedule": "gpipe"}):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


@pytest.mark.parametrize(
    ("schedule", "ranks", "stages"),
    [("1f1b", 4, 1), ("interleaved", 4, 2), ("interleaved", 2, 4), ("zero_bubble", 4, 2)],
)
@pytest.mark.parametrize("num_layers", [8, 9, 22, 126])
def test_stages_hold_every_layer_once(
    schedule: Any, ranks: int, stages: int, num_layers: int
) -> None:
    config = replace(DENSE, num_hidden_layers=num_layers)
    layout = LayoutConfig(pipeline=ranks, schedule=schedule, stages_per_rank=stages)
    parts = [part for rank in range(ranks) for part in make_parts(config, layout, rank)]
    parts.sort(key=lambda part: (part.has_head, part.layers.start, part.layers.stop))
    assert [layer for part in parts for layer in part.layers] == list(range(num_layers))
    assert [part.has_embedding for part in parts] == [True] + [False] * (len(parts) - 1)
    assert [part.has_head for part in parts] == [False] * (len(parts) - 1) + [True]
    work = [len(part.layers) + part.has_embedding + part.has_head for part in parts]
    assert max(work) - min(work) <= 1
    assert work[-1] == min(work)


def test_126_layers_come_out_even_on_16_ranks_of_8_stages() -> None:
    config = replace(DENSE, num_hidden_layers=126)
    layout = LayoutConfig(pipeline=16, schedule="interleaved", stages_per_rank=8)
    parts = [part for rank in range(16) for part in make_parts(config, layout, rank)]
    work = [len(part.layers) + part.has_embedding + part.has_head for part in parts]
    assert work == [1] * 128


def test_a_v_begins_and_ends_on_the_first_rank() -> None:
    layout = LayoutConfig(pipeline=2, schedule="zero_bubble", stages_per_rank=2)
    first, second = (make_parts(DENSE, layout, rank) for rank in range(2))
    assert [part.layers for part in first] == [range(0, 1), range(5, 6)]
    assert [part.layers for part in second] == [range(1, 3), range(3, 5)]
    assert (first[0].has_embedding, first[1].has_head) == (True, True)


def test_one_process_holds_the_whole_model() -> None:
    assert make_parts(DENSE, LayoutConfig(), 0) == [Part.whole(DENSE)]


@pytest.mark.parametrize(
    ("schedule", "wanted", "given"),
    [
        ("1f1b", 3, 4),
        ("1f1b", 7, 7),
        ("interleaved", 3, 3),
        ("interleaved", 9, 10),
        ("interleaved", 12, 12),
        ("zero_bubble", 1, 1),
        ("zero_bubble", 0, 1),
    ],
)
def test_rows_that_a_schedule_needs(schedule: Any, wanted: int, given: int) -> None:
    layout = LayoutConfig(pipeline=4, schedule=schedule)
    pipeline = Pipeline([], ALONE, layout, row_tokens=64, is_bfloat16=False)
    assert pipeline.num_rows(wanted) == given


def make_row(lengths: list[int], *, num_filling: int = 0) -> Batch:
    number_N = torch.arange(sum(lengths))
    return Batch(
        ids_N=number_N,
        target_N=number_N + 1,
        weight_N=number_N / 2,
        packing=pack(lengths, num_filling=num_filling),
        num_tokens=sum(lengths) - num_filling,
        extra={"place_N": number_N + 7, "kind": torch.tensor(3)},
    )


ROWS = [[24], [1, 23], [6, 6, 6, 6], [3, 10, 1, 1, 9], [2] * 12, [5, 19]]


@pytest.mark.parametrize(("lengths", "num_context"), list(product(ROWS, [2, 3])))
def test_ranks_of_a_row_attend_as_one(lengths: list[int], num_context: int) -> None:
    """Both ways that a chunk has: by parts on a CPU, and by the ends that a GPU's kernel reads."""
    generator = torch.Generator().manual_seed(len(lengths))
    q_NHW, k_NKW, v_NKW = (torch.randn(24, heads, 6, generator=generator) for heads in (4, 2, 2))
    row = make_row(lengths)
    attend = PackedAttention()
    expected_NX = attend(q_NHW, k_NKW, v_NKW, row.packing)
    for rank in range(num_context):
        own = cut_row(row, context_rank=rank, num_context=num_context)
        assert isinstance(own.packing, ContextPacking)
        for chunk in own.packing.chunks:
            place = own.ids_N[chunk.own]
            q_MHW = q_NHW[place]
            parts = []
            if (first := chunk.num_continued) > 0:
                keys = slice(chunk.first_key, chunk.begin + first)
                parts.append(attend_from_the_end(q_MHW[:first], k_NKW[keys], v_NKW[keys]))
            if chunk.rest is not None:
                rest = place[first:]
                parts.append(attend(q_MHW[first:], k_NKW[rest], v_NKW[rest], chunk.rest))
            torch.testing.assert_close(torch.cat(parts), expected_NX[place])
            ends = zip(
                pairwise(chunk.query_ends.tolist()), pairwise(chunk.key_ends.tolist()), strict=True
            )
            by_ends = [
                attend_from_the_end(
                    q_MHW[slice(*queries)],
                    k_NKW[chunk.first_key :][slice(*keys)],
                    v_NKW[chunk.first_key :][slice(*keys)],
                )
                for queries, keys in ends
            ]
            torch.testing.assert_close(torch.cat(by_ends), expected_NX[place])


@pytest.mark.parametrize("lengths", ROWS)
def test_a_cut_row_has_every_token_once_and_equal_work(lengths: list[int]) -> None:
    row = make_row(lengths, num_filling=1)
    own = [cut_row(row, context_rank=rank, num_context=3) for rank in range(3)]
    ids = torch.cat([piece.ids_N for piece in own])
    assert sorted(ids.tolist()) == list(range(24))
    for piece in own:
        assert piece.target_N.tolist() == (piece.ids_N + 1).tolist()
        assert piece.weight_N.tolist() == (piece.ids_N / 2).tolist()
        assert piece.extra["place_N"].tolist() == (piece.ids_N + 7).tolist()
        assert piece.extra["kind"] == 3
        positions = row.packing.position_N[piece.ids_N]
        assert piece.packing.position_N.tolist() == positions.tolist()
        assert piece.packing.real_N is not None
        assert piece.packing.real_N.tolist() == (piece.ids_N > 0).tolist()
        # What a causal row of one document would cost: equal on all ranks.
        assert int(piece.ids_N.sum()) == int(ids.sum()) // 3
    assert cut_row(row, context_rank=0, num_context=1) is row


def test_clipping_one_process_is_that_of_torch() -> None:
    generator = np.random.default_rng(5)
    for scale in (1e-3, 1.0, 30.0):
        shapes = ((7, 5), (3,), (11, 2))
        ours, theirs = ([nn.Parameter(torch.zeros(shape)) for shape in shapes] for _ in range(2))
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.from_numpy(generator.normal(size=mine.shape) * scale).float()
            other.grad = mine.grad.clone()
        norm = clip([*ours, nn.Parameter(torch.zeros(4))], 1.0, ALONE)
        expected = torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        assert norm == pytest.approx(float(expected), rel=1e-6)
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine.grad, other.grad, rtol=1e-6, atol=0)


def test_a_gradient_that_is_not_finite_is_left_and_told() -> None:
    weight = nn.Parameter(torch.zeros(3))
    weight.grad = torch.tensor([1.0, float("inf"), 2.0])
    assert clip([weight], 1.0, ALONE) == float("inf")
    assert weight.grad.tolist() == [1.0, float("inf"), 2.0]


@pytest.mark.parametrize("config", [DENSE, SPARSE])
def test_recomputing_changes_no_number(config: LlamaConfig) -> None:
    row = make_row([4, 20])
    found: list[list[torch.Tensor]] = []
    names: list[list[str]] = []
    for recompute in ("nothing", "layers"):
        layout = LayoutConfig(recompute=recompute)
        model = Llama(config)
        model.initialise(seed=1)
        parallelize(model, ALONE, layout, is_bfloat16=False)
        pipeline = Pipeline([model], ALONE, layout, row_tokens=24, is_bfloat16=False)
        (loss,) = pipeline.step([row], lambda hidden, _: hidden.square().sum())
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        # What experts were chosen is counted once, not with every computation.
        found.append([loss, *gradients, *(mixture.load_E for mixture in model.mixtures())])
        names.append([name for name, _ in model.named_parameters()])
    assert names[0] == names[1]
    for plain, again in zip(*found, strict=True):
        assert torch.equal(plain, again)


def test_a_mesh_of_one_process_has_no_groups() -> None:
    assert ALONE.is_alone
    assert ALONE.axis("tensor") is None
    ranks = (ALONE.data_rank, ALONE.context_rank, ALONE.pipeline_rank)
    assert (ranks, ALONE.num_data, ALONE.world_size) == ((0, 0, 0), 1, 1)
    value = torch.tensor(2.5)
    for add_up in (ALONE.sum_over_all, ALONE.sum_over_data, ALONE.sum_over_losses):
        assert float(add_up(value)) == 2.5
