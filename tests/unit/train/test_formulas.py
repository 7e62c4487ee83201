"""The closed formulas agree with counting, and with numbers that others have published."""

from dataclasses import replace

import pytest

from mynah.model import LlamaConfig, num_weights
from mynah.train.config import DataConfig, Recipe
from mynah.train.formulas import expected, rows_in_flight
from mynah.train.layout import LayoutConfig
from mynah.train.optimizers import OptimizerConfig
from mynah.train.pipeline import make_parts

LLAMA_405B = LlamaConfig(
    vocab_size=128256,
    hidden_size=16384,
    intermediate_size=53248,
    num_hidden_layers=126,
    num_attention_heads=128,
    num_key_value_heads=8,
    head_dim=128,
    max_position_embeddings=8192,
)
SPARSE = LlamaConfig(
    vocab_size=512,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=128,
    qk_norm=True,
    num_experts=8,
    num_experts_per_token=2,
    num_shared_experts=1,
    expert_intermediate_size=32,
    num_dense_layers=1,
)
DATA = DataConfig(batch_tokens=8192, max_document_tokens=8192)


def recipe(layout: LayoutConfig | None = None, *, optimizer: str = "adamw") -> Recipe:
    chosen = OptimizerConfig(name=optimizer)  # pyright: ignore[reportArgumentType]
    return Recipe(layout=layout or LayoutConfig(), data=DATA, optimizer=chosen)


def test_weights_of_the_405b_are_those_of_the_report() -> None:
    # Grattafiori et al. 2024 (arXiv:2407.21783): 405B; the exact number is of its checkpoint.
    assert num_weights(LLAMA_405B) == 405_853_388_800


@pytest.mark.parametrize("config", [SPARSE, replace(SPARSE, tie_word_embeddings=True)])
def test_weights_are_as_many_as_the_model_has(config: LlamaConfig) -> None:
    alone = expected(recipe(), config, pipeline_rank=0, num_rows=1)
    assert alone.parameters == 4 * num_weights(config)


def test_flop_of_all_stages_are_those_of_one_process() -> None:
    layout = LayoutConfig(pipeline=16, tensor=8)
    stages = [
        expected(recipe(layout), LLAMA_405B, pipeline_rank=rank, num_rows=2).flop
        for rank in range(16)
    ]
    whole = expected(recipe(), LLAMA_405B, pipeline_rank=0, num_rows=2).flop
    assert 8 * sum(stages) == whole


def test_flop_of_the_405b_are_six_a_weight_and_token_and_attention() -> None:
    flop = expected(recipe(), LLAMA_405B, pipeline_rank=0, num_rows=1).flop
    matrices = 405_853_388_800 - 128256 * 16384 - 253 * 16384
    attention = 12 * 126 * 16384 * (8192 * 8193 // 2)
    assert flop == 6 * 8192 * matrices + attention


def test_zero_cuts_all_that_is_stored_by_the_ranks_that_share_it() -> None:
    alone = expected(recipe(), LLAMA_405B, pipeline_rank=0, num_rows=1)
    cut = expected(
        recipe(LayoutConfig(shard=16, replicate=3, context=2)),
        LLAMA_405B,
        pipeline_rank=0,
        num_rows=1,
    )
    # ZeRO: 4 + 4 + 8 bytes a weight with AdamW in float32.
    assert alone.parameters == 4 * 405_853_388_800
    assert alone.optimizer == 8 * 405_853_388_800
    assert cut.parameters == pytest.approx(alone.parameters / 32, rel=1e-6)
    assert cut.optimizer == pytest.approx(alone.optimizer / 32, rel=1e-6)


def test_muon_keeps_one_moment_of_the_matrices_within_layers() -> None:
    adamw = expected(recipe(), SPARSE, pipeline_rank=0, num_rows=1).optimizer
    muon = expected(recipe(optimizer="muon"), SPARSE, pipeline_rank=0, num_rows=1).optimizer
    ends = 2 * 512 * 64 + 64
    assert adamw == 8 * num_weights(SPARSE)
    assert muon < adamw - 3 * (num_weights(SPARSE) - ends)


@pytest.mark.parametrize(
    ("layout", "rank", "rows", "in_flight"),
    [
        (LayoutConfig(pipeline=4), 0, 8, 4),
        (LayoutConfig(pipeline=4), 3, 8, 1),
        (LayoutConfig(pipeline=4), 0, 4, 4),
        # Narayanan et al. 2021: two stages a rank, warm-up of p + 2 (p - 1) and one more.
        (LayoutConfig(pipeline=4, stages_per_rank=2, schedule="interleaved"), 0, 8, 11 / 2),
        (LayoutConfig(pipeline=4, stages_per_rank=2, schedule="interleaved"), 3, 8, 5 / 2),
        (LayoutConfig(pipeline=4, stages_per_rank=2, schedule="zero_bubble"), 2, 8, 4),
    ],
)
def test_rows_in_flight(layout: LayoutConfig, rank: int, rows: int, in_flight: float) -> None:
    assert rows_in_flight(layout, rank, rows) == in_flight


def test_recomputation_keeps_one_state_a_layer() -> None:
    layout = LayoutConfig(pipeline=16, shard=8, tensor=8)
    kept = expected(recipe(layout), LLAMA_405B, pipeline_rank=8, num_rows=16).activations
    again = expected(
        recipe(replace(layout, recompute="layers")), LLAMA_405B, pipeline_rank=8, num_rows=16
    ).activations
    state = 2 * 8192 * 16384 // 8
    layers = len(make_parts(LLAMA_405B, layout, 8)[0].layers)
    # Korthikanti et al. 2022, section 5: 8 rows in flight, less one layer that is made anew.
    assert kept > 10 * again
    assert again > 8 * layers * state
