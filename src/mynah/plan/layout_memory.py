"""What layouts hold, by the trainer's own formulas: one of them by kind, or thousands in all.

Pure. ``mynah.train.formulas`` counts one rank of one layout, and agrees with a rehearsal of the
real step; ``rank_bytes`` is the same sum over arrays, and a test holds the two together. What no
tensor is, the driver, the buffers of collectives and what an allocator loses, comes from
``mynah.plan.memory``.

Letters in comments: C model width, p ranks of the pipeline, t tensor ranks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mynah.model import LlamaConfig
from mynah.plan.layouts import RECOMPUTE, SCHEDULES, Candidate, Grid
from mynah.plan.memory import FIXED_BYTES, FRAGMENTED, GIB_PER_GB
from mynah.plan.setups import Floats
from mynah.train.config import DataConfig, Recipe
from mynah.train.formulas import BRAIN, FLOAT, Expected, expected
from mynah.train.loss import SLICE_TOKENS

__all__ = ["Cut", "capacity_bytes", "cut_of", "memory_by_kind", "rank_bytes", "step_recipe"]

Ints = NDArray[np.int64]
KINDS = ("parameters", "gathered_weights", "gradients", "optimizer", "activations", "workspace")


def capacity_bytes(memory_gb: float) -> float:
    """Bytes that an accelerator sold with so many GB has."""
    return memory_gb * 1e9 * GIB_PER_GB


def step_recipe(candidate: Candidate, *, row_tokens: int, num_rows: int) -> Recipe:
    """Return what of a recipe decides what a step holds and computes.

    Args:
        candidate: The layout.
        row_tokens: Tokens of a row of context length.
        num_rows: Rows, of ``micro_rows`` each, that every data rank computes in a step.
    """
    tokens = candidate.micro_rows * row_tokens
    return Recipe(
        layout=candidate.layout,
        precision=candidate.precision,
        is_compiled=candidate.is_compiled,
        data=DataConfig(
            tokens_per_step=tokens * num_rows * candidate.layout.num_data,
            batch_tokens=tokens,
            max_document_tokens=row_tokens,
            dialogue_share=0.0,
        ),
    )


def memory_by_kind(
    config: LlamaConfig, candidate: Candidate, *, row_tokens: int, num_rows: int
) -> dict[str, float]:
    """Bytes of the fullest rank by kind, overhead included.

    Args:
        config: The model.
        candidate: The layout.
        row_tokens: Tokens of a row of context length.
        num_rows: Rows, of ``micro_rows`` each, that every data rank computes in a step.
    """
    recipe = step_recipe(candidate, row_tokens=row_tokens, num_rows=num_rows)
    grid, count = Grid.of([candidate]), np.array([num_rows])
    tokens = grid.micro * row_tokens
    ranks: list[tuple[Expected, float]] = []
    for cut in cut_of(config, grid):
        found = expected(recipe, config, pipeline_rank=int(cut.rank[0]), num_rows=num_rows)
        ranks.append((found, float(_Rank(config, grid, cut, tokens, count).pending()[0])))
    fullest, pending = max(ranks, key=lambda rank: rank[0].memory_bytes + rank[1])
    held = {kind: float(getattr(fullest, kind)) for kind in KINDS}
    held["workspace"] += pending
    return held | {"overhead": sum(held.values()) * (FRAGMENTED - 1.0) + FIXED_BYTES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What one rank of each candidate's pipeline holds; arrays."""

    rank: Ints
    """Its place along the pipeline."""
    layers: Ints
    sparse: Ints
    """Layers with experts among them."""
    has_embedding: NDArray[np.bool_]
    has_head: NDArray[np.bool_]


def cut_of(config: LlamaConfig, grid: Grid) -> tuple[Cut, ...]:
    """Say what ranks hold, as ``make_parts`` deals it out: the first few, and at the end the last.

    The first has most rows in flight, the second may have a layer more, the last has the head. Of
    a mixture of experts, whose first layers have none, one behind those may have most. No other
    rank has more of anything than one of them.
    """
    last = grid.pipeline - 1
    first = [_cut(config, grid, np.minimum(rank, last)) for rank in range(_num_first(config, grid))]
    return (*first, _cut(config, grid, last))


def _num_first(config: LlamaConfig, grid: Grid) -> int:
    """Ranks at the beginning that may be the fullest: a stage of each has a layer or more."""
    return min(config.num_dense_layers + 2, int(grid.pipeline.max(initial=1)))


def _cut(config: LlamaConfig, grid: Grid, rank: Ints) -> Cut:
    num_stages = grid.num_stages
    least, over = np.divmod(config.num_hidden_layers + 2, num_stages)
    is_folded = grid.schedule == SCHEDULES.index("zero_bubble")
    layers, dense = np.zeros_like(rank), np.zeros_like(rank)
    has_head = np.zeros(len(rank), dtype=bool)
    for turn in range(int(grid.stages.max(initial=1))):
        stage = np.where(is_folded & (turn > 0), num_stages - 1 - rank, rank + turn * grid.pipeline)
        is_there = turn < grid.stages
        begin = stage * least + np.minimum(stage, over)
        end = begin + least + (stage < over)
        first = np.maximum(0, begin - 1)
        beyond = np.minimum(config.num_hidden_layers, end - 1)
        layers += np.where(is_there, np.maximum(0, beyond - first), 0)
        early = np.minimum(beyond, config.num_dense_layers) - first
        dense += np.where(is_there, np.maximum(0, early), 0)
        has_head |= is_there & (stage == num_stages - 1)
    sparse = layers - dense if config.num_experts else np.zeros_like(layers)
    return Cut(rank=rank, layers=layers, sparse=sparse, has_embedding=rank == 0, has_head=has_head)


def rank_bytes(config: LlamaConfig, grid: Grid, *, row_tokens: int, num_rows: Ints) -> Floats:
    """Bytes of the fullest rank of each candidate, overhead included.

    Args:
        config: The model.
        grid: The candidates.
        row_tokens: Tokens of a row of context length.
        num_rows: Rows, of ``micro`` each, that every data rank computes in a step.
    """
    tokens = grid.micro * row_tokens
    ranks = [_Rank(config, grid, cut, tokens, num_rows) for cut in cut_of(config, grid)]
    needed = np.max([rank.needed() for rank in ranks], axis=0)
    return needed * FRAGMENTED + FIXED_BYTES


class _Rank:
    """``mynah.train.formulas`` over arrays, for AdamW and 16-bit products."""

    def __init__(
        self, config: LlamaConfig, grid: Grid, cut: Cut, row_tokens: Ints, num_rows: Ints
    ) -> None:
        self.config, self.grid, self.cut, self.num_rows = config, grid, cut, num_rows
        self.tokens = row_tokens / grid.context
        self.is_alone = grid.world_size == 1
        self.is_piped = grid.pipeline > 1
        width, head = config.hidden_size, config.head_dim
        heads = 2 * config.num_attention_heads + 2 * config.num_key_value_heads
        self.vectors = 2 * width + (2 * head if config.qk_norm else 0)
        self.attention = heads * head * width / grid.tensor
        self.dense = 3 * width * config.intermediate_size / grid.tensor
        inner = 3 * width * config.expert_intermediate_size
        self.always = config.num_experts * width + config.num_shared_experts * inner
        self.experts = config.num_experts / grid.expert * inner
        self.table = config.vocab_size * width / grid.tensor
        num_tables = cut.has_embedding.astype(float) + cut.has_head
        tables = np.minimum(num_tables, 1) if config.tie_word_embeddings else num_tables
        self.ends = self.table * tables + width * cut.has_head

    def needed(self) -> Floats:
        """Bytes at the fullest moment, overhead apart."""
        moments = [
            self.at_layer(),
            np.where(self.cut.has_head, self.at_loss(), 0.0),
            np.where(self.is_alone | self.is_piped, 0.0, self.at_end()),
        ]
        return self.stored(3 * FLOAT) + np.max(moments, axis=0) + self.pending()

    def pending(self) -> Floats:
        """Gradients of products' outputs that wait for the second half of a split backward pass.

        Not in ``formulas``: there a row is done with when its backward is. In torch's V the last
        rank does the first halves of all its rows but half of one before a second half.
        """
        config, tensor = self.config, self.grid.tensor
        heads = config.num_attention_heads + 2 * config.num_key_value_heads
        inner = 2 * config.intermediate_size / tensor
        if config.num_experts:
            met = config.num_experts_per_token + config.num_shared_experts
            inner = 2.0 * met * config.expert_intermediate_size
            inner += config.num_experts_per_token * config.hidden_size
        each = 2 * config.hidden_size + heads * config.head_dim / tensor + inner
        is_last = self.cut.rank == self.grid.pipeline - 1
        rows = np.where(is_last, np.minimum(self.num_rows, self.grid.pipeline) - 0.5, 0.5)
        held = rows * self.cut.layers * BRAIN * self.tokens * each
        return np.where(self.grid.schedule == SCHEDULES.index("zero_bubble"), held, 0.0)

    @property
    def matrices(self) -> Floats:
        """Weights of layers and tables, those of experts and of norms apart."""
        plain = self.cut.layers - self.cut.sparse
        layers = self.cut.layers * self.attention + plain * self.dense
        return layers + self.cut.sparse * self.always + self.ends

    @property
    def total(self) -> Floats:
        """All weights of the rank before FSDP cuts them."""
        return self.matrices + self.cut.layers * self.vectors + self.cut.sparse * self.experts

    @property
    def widest(self) -> Floats:
        """Weights of its largest layer."""
        plain, sparse = self.cut.layers - self.cut.sparse, self.cut.sparse
        dense = np.where(plain > 0, self.dense, 0.0)
        found = np.maximum(dense, np.where(sparse > 0, self.always + self.experts, 0.0))
        return np.where(self.cut.layers > 0, found + self.attention + self.vectors, 0.0)

    def stored(self, num_bytes: int) -> Floats:
        """Of each weight that the rank owns."""
        grid = self.grid
        group = grid.shard * grid.context
        dense = (self.matrices + self.cut.layers * self.vectors) / group
        return num_bytes * (dense + self.cut.sparse * self.experts * grid.expert / group)

    def at_layer(self) -> Floats:
        """Backward of the last layer's MLP."""
        inner = np.where(self._again, self._layer(), 0.0)
        held = self._kept() + inner + self._inner_gradients()
        piped = (BRAIN + FLOAT) * self.total
        alone = BRAIN * self._rounded + self.stored(FLOAT)
        reduced = FLOAT * np.where(self.num_rows > 1, self.ends, self.widest)
        gathered = BRAIN * (np.minimum(2, self.cut.layers) * self.widest + self.ends)
        shared = gathered + self.stored(FLOAT) + BRAIN * self._head + reduced
        return held + np.select([self.is_piped, self.is_alone], [piped, alone], shared)

    def at_loss(self) -> Floats:
        """The loss has made the gradient of the output matrix."""
        words = self.config.vocab_size / self.grid.tensor
        logits = SLICE_TOKENS * words * (2 * FLOAT + BRAIN)
        states = 2 * BRAIN * self.tokens * self.config.hidden_size
        held = self._kept() + states + FLOAT * self._head + logits + BRAIN * self._head
        is_first = self.num_rows == 1
        gradients = np.where(self.is_piped, FLOAT * self.total, self.stored(FLOAT))
        held = held + np.where(is_first, 0.0, gradients)
        shared = BRAIN * (self.ends + self.widest) + np.where(is_first, 0.0, FLOAT * self.ends)
        gathered = np.select(
            [self.is_piped, self.is_alone], [BRAIN * self.total, BRAIN * self._rounded], shared
        )
        return held + gathered

    def at_end(self) -> Floats:
        """FSDP reduces the gradients of the tables, nothing else being left."""
        gathered = BRAIN * (self.ends + self.widest)
        return gathered + self.stored(FLOAT) + (BRAIN + FLOAT) * self.ends

    @property
    def _again(self) -> NDArray[np.bool_]:
        return self.grid.recompute == RECOMPUTE.index("layers")

    @property
    def _head(self) -> Floats:
        return self.table * self.cut.has_head

    @property
    def _rounded(self) -> Floats:
        return self.matrices + self.cut.sparse * self.experts

    def _inner_gradients(self) -> Floats:
        """Within an MLP, and of its last matrix."""
        config, tensor = self.config, self.grid.tensor
        width, inner = config.hidden_size, config.intermediate_size / tensor
        tokens, matrix = self.tokens, np.ones(len(tensor))
        if config.num_experts:
            inner = config.expert_intermediate_size / tensor
            matrix = config.num_experts / self.grid.expert
            tokens = tokens * config.num_experts_per_token
        states = np.maximum(2 * inner, inner + width)
        return BRAIN * (tokens * states + matrix * width * inner)

    def _between(self) -> Floats:
        """Hidden states of a row between two layers."""
        width = np.where(self.is_alone, FLOAT, BRAIN)
        return width * self.tokens * self.config.hidden_size / self.grid.tensor

    def _layer(self) -> Floats:
        """What the backward pass of one layer needs; see ``formulas``."""
        config, tensor = self.config, self.grid.tensor
        heads = config.num_attention_heads + config.num_key_value_heads
        shared = (2 / tensor + 2) * config.hidden_size
        shared = np.where(self.is_alone, (2 * FLOAT / BRAIN + 5) * config.hidden_size, shared)
        inner = 4 * config.intermediate_size / tensor
        if config.num_experts:
            met = config.num_experts_per_token + config.num_shared_experts
            inner = 4.0 * met * config.expert_intermediate_size
            inner += 3 * config.num_experts_per_token * config.hidden_size
        attention = 2 * heads * config.head_dim / tensor
        return BRAIN * self.tokens * (shared + attention + inner)

    def _kept(self) -> Floats:
        """Of all rows in flight, in layers and between stages."""
        flying, between = self._in_flight(), self._between()
        layers = flying * self.cut.layers * np.where(self._again, between, self._layer())
        stages, is_first = self.grid.stages, self.cut.has_embedding
        # torch keeps a buffer a row for what comes to each stage, forward and backward.
        buffers = 2 * stages - is_first - self.cut.has_head
        passed = (buffers * self.num_rows + flying * is_first) * between
        return layers + np.where(self.is_piped, passed, 0.0)

    def _in_flight(self) -> Floats:
        """Rows whose forward is done and whose backward is not; see ``rows_in_flight``."""
        ranks, stages, rows = self.grid.pipeline, self.grid.stages, self.num_rows
        a_round = rows // np.maximum(1, rows // ranks)
        warm = (stages - 1) * a_round + 2 * (ranks - 1 - self.cut.rank) + 1
        plain = np.minimum(rows, ranks - self.cut.rank)
        kind = self.grid.schedule
        return np.select(
            [kind == SCHEDULES.index("interleaved"), kind == SCHEDULES.index("zero_bubble")],
            [np.minimum(rows * stages, warm) / stages, np.minimum(rows, ranks)],
            plain,
        )
