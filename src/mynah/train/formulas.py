"""What the literature's formulas say a rank computes and holds in a step: no tensor is made.

A rehearsal is compared with them. They share with it the recipe and which layers a rank has, and
nothing else: FLOP follow Chowdhery et al. 2022, appendix B (arXiv:2204.02311), for the layers of
one rank; weights, gradients and optimizer state follow Rajbhandari et al. 2020 (ZeRO,
arXiv:1910.02054), section 5, in mynah's precisions; activations follow Korthikanti et al. 2022
(arXiv:2205.05198), section 4, counted anew for RMSNorm, SwiGLU, grouped queries, rotary positions,
attention that keeps no scores, and no dropout.

Reads a recipe and a model's shape; writes nothing. Letters in comments: C model width, F inner
width, X width of all query heads, Y of all key heads, V vocabulary, n tokens of a rank's share of
a row, t tensor ranks, L layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mynah.model import LlamaConfig, Part
from mynah.train.config import Recipe
from mynah.train.layout import LayoutConfig
from mynah.train.loss import SLICE_TOKENS
from mynah.train.pipeline import make_parts

__all__ = ["Expected", "expected", "rows_in_flight"]

FLOAT, BRAIN = 4, 2
"""Bytes of float32 and of bfloat16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a rank's step should come to."""

    flop: int
    """Forward and backward, nothing computed twice."""
    parameters: int
    """Bytes of the weights that it stores."""
    gathered_weights: int
    """Bytes of weights as products read them, at the peak."""
    gradients: int
    """Bytes of the gradients of weights, whole ones included, at the peak."""
    optimizer: int
    """Bytes of the optimizer's state."""
    activations: int
    """Bytes of what the backward passes to come need, at the peak."""
    workspace: int
    """Bytes of the widest moment of a backward pass, besides."""

    @property
    def memory_bytes(self) -> int:
        """All of them."""
        stored = self.parameters + self.gradients + self.optimizer
        return stored + self.gathered_weights + self.activations + self.workspace


@dataclass(frozen=True, slots=True)
class _Weights:
    """Weights of a stretch of layers, as many as a rank has of each before FSDP cuts them."""

    matrices: int = 0
    """Of attention, dense MLPs, embedding, output matrix and routers."""
    experts: int = 0
    vectors: int = 0

    def __add__(self, other: "_Weights") -> "_Weights":
        return _Weights(
            self.matrices + other.matrices,
            self.experts + other.experts,
            self.vectors + other.vectors,
        )

    @property
    def total(self) -> int:
        return self.matrices + self.experts + self.vectors


def _layer(config: LlamaConfig, number: int, layout: LayoutConfig) -> _Weights:
    width, head = config.hidden_size, config.head_dim
    heads = 2 * config.num_attention_heads + 2 * config.num_key_value_heads
    vectors = 2 * width + (2 * head if config.qk_norm else 0)
    attention = heads * head * width // layout.tensor
    if not config.has_experts(number):
        return _Weights(
            attention + 3 * width * config.intermediate_size // layout.tensor, 0, vectors
        )
    inner = 3 * width * config.expert_intermediate_size
    dense = config.num_experts * width + config.num_shared_experts * inner
    return _Weights(attention + dense, config.num_experts // layout.expert * inner, vectors)


def _layers(config: LlamaConfig, part: Part, layout: LayoutConfig) -> list[_Weights]:
    return [_layer(config, number, layout) for number in part.layers]


def _ends(config: LlamaConfig, part: Part, layout: LayoutConfig) -> _Weights:
    table = config.vocab_size * config.hidden_size // layout.tensor
    num_tables = part.has_embedding + part.has_head
    if config.tie_word_embeddings:
        num_tables = 1
    return _Weights(table * num_tables, 0, config.hidden_size * part.has_head)


def _sum(parts: Sequence[_Weights]) -> _Weights:
    total = _Weights()
    for part in parts:
        total = total + part
    return total


def rows_in_flight(layout: LayoutConfig, pipeline_rank: int, num_rows: int) -> float:
    """Rows whose forward is done and whose backward is not, at most, of a whole rank's layers.

    1F1B: Narayanan et al. 2021, section 2.2.1 (arXiv:2104.04473); interleaved: the warm-up of
    section 2.2.2, and the one forward that follows it; zero-bubble in a V holds as much as 1F1B
    on its first rank, Qi et al. 2023, section 6 (arXiv:2401.10241).
    """
    ranks, stages = layout.pipeline, layout.stages_per_rank
    if layout.schedule == "1f1b":
        return min(num_rows, ranks - pipeline_rank)
    if layout.schedule == "zero_bubble":
        return min(num_rows, ranks)
    a_round = num_rows // max(1, num_rows // ranks)  # of rows; torch takes more than ranks if odd
    warmup = (stages - 1) * a_round + 2 * (ranks - 1 - pipeline_rank) + 1
    return min(num_rows * stages, warmup) / stages


def expected(recipe: Recipe, config: LlamaConfig, *, pipeline_rank: int, num_rows: int) -> Expected:
    """Return what one rank's step comes to.

    Args:
        recipe: Its layout, precision, optimizer and rows.
        config: The model.
        pipeline_rank: Place of the rank along the pipeline.
        num_rows: Rows that it reads.
    """
    rank = _Rank(recipe, config, pipeline_rank=pipeline_rank, num_rows=num_rows)
    peak = max(rank.moments(), key=lambda moment: moment.num_bytes)
    return Expected(
        flop=rank.flop(),
        parameters=rank.stored(FLOAT),
        gathered_weights=peak.gathered_weights,
        gradients=peak.gradients,
        optimizer=rank.optimizer(),
        activations=peak.activations,
        workspace=peak.workspace,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """What is held beside weights and optimizer state at a moment that may be the peak."""

    gathered_weights: int
    gradients: int
    activations: int
    workspace: int

    @property
    def num_bytes(self) -> int:
        return self.gathered_weights + self.gradients + self.activations + self.workspace


class _Rank:
    """The formulas of one rank."""

    def __init__(
        self, recipe: Recipe, config: LlamaConfig, *, pipeline_rank: int, num_rows: int
    ) -> None:
        self.config = config
        self.layout = layout = recipe.layout
        self.has_muon = recipe.optimizer.name == "muon"
        self.pipeline_rank = pipeline_rank
        self.num_rows = num_rows
        self.row_tokens = recipe.data.batch_tokens
        self.document_tokens = min(recipe.data.max_document_tokens, self.row_tokens)
        self.tokens = self.row_tokens // layout.context
        self.product = FLOAT if recipe.precision == "float32" else BRAIN
        self.parts = make_parts(config, layout, pipeline_rank)
        self.layers = [w for part in self.parts for w in _layers(config, part, layout)]
        self.ends = _sum([_ends(config, part, layout) for part in self.parts])
        self.has_embedding = any(part.has_embedding for part in self.parts)
        self.has_head = any(part.has_head for part in self.parts)
        self.weights = _sum([*self.layers, self.ends])
        self.is_alone = layout.world_size == 1

    def flop(self) -> int:
        """Six a weight and token, the output matrix included and the embedding not."""
        config, layout = self.config, self.layout
        whole, length = self.row_tokens // self.document_tokens, self.document_tokens
        rest = self.row_tokens % length
        pairs = (whole * length * (length + 1) + rest * (rest + 1)) // 2
        wide = config.num_attention_heads * config.head_dim
        total = 0
        for part in self.parts:
            matrices = sum(self._products(number) for number in part.layers)
            matrices += config.vocab_size * config.hidden_size * part.has_head
            attention = len(part.layers) * 2 * wide * pairs
            total += 6 * (self.row_tokens * matrices + attention)
        return total * self.num_rows // (layout.context * layout.tensor)

    def _products(self, number: int) -> int:
        """Weights of a layer that a token meets."""
        config = self.config
        heads = 2 * config.num_attention_heads + 2 * config.num_key_value_heads
        attention = heads * config.head_dim * config.hidden_size
        if not config.has_experts(number):
            return attention + 3 * config.hidden_size * config.intermediate_size
        met = config.num_experts_per_token + config.num_shared_experts
        inner = 3 * config.hidden_size * config.expert_intermediate_size
        return attention + config.num_experts * config.hidden_size + met * inner

    def stored(self, num_bytes: int) -> int:
        """ZeRO: whatever there is of a weight is cut over the ranks that share the weights."""
        layout, weights = self.layout, self.weights
        dense = (weights.matrices + weights.vectors) // (layout.shard * layout.context)
        experts = weights.experts // (layout.shard // layout.expert * layout.context)
        return num_bytes * (dense + experts)

    def optimizer(self) -> int:
        """Two moments of float32 for AdamW, one for Muon, which moves the matrices of layers."""
        if not self.has_muon:
            return self.stored(2 * FLOAT)
        layout, inside = self.layout, _sum(self.layers)
        matrices = inside.matrices // (layout.shard * layout.context)
        experts = inside.experts // (layout.shard // layout.expert * layout.context)
        return self.stored(2 * FLOAT) - FLOAT * (matrices + experts)

    def moments(self) -> list[_Moment]:
        """The moments of a step that may hold most."""
        found = [self._at_layer()]
        if self.has_head:
            found.append(self._at_loss())
        if not self.is_alone and self.layout.pipeline == 1:
            found.append(self._at_end())
        return found

    @property
    def _widest(self) -> int:
        return max((layer.total for layer in self.layers), default=0)

    @property
    def _table(self) -> int:
        """Weights of the output matrix here."""
        config = self.config
        return config.vocab_size * config.hidden_size // self.layout.tensor * self.has_head

    def _at_layer(self) -> _Moment:
        """Backward of the last layer's MLP: all that was kept, and one layer's inner states."""
        layout = self.layout
        workspace = self._inner_gradients()
        inner = self._layer_activations() if layout.recompute == "layers" else 0
        kept = self._kept() + inner
        if layout.pipeline > 1:
            # A stage keeps all of its weights gathered, and their gradients whole in float32,
            # until the last row's backward: cutting them after each row would send M times.
            return _Moment(
                gathered_weights=self.product * self.weights.total,
                gradients=FLOAT * self.weights.total,
                activations=kept,
                workspace=workspace,
            )
        if self.is_alone:
            return _Moment(
                gathered_weights=self._rounded(),
                gradients=self.stored(FLOAT),
                activations=kept,
                workspace=workspace,
            )
        # FSDP2 lets go of what it has reduced when it reduces the next: what it reduced last for
        # the row before, embedding and output matrix in float32, is there until then.
        reduced = FLOAT * (self.ends.total if self.num_rows > 1 else self._widest)
        return _Moment(
            # The layer in work and the next one, which is fetched meanwhile.
            gathered_weights=self.product * (min(2, len(self.layers)) * self._widest)
            + self.product * self.ends.total,
            gradients=self.stored(FLOAT) + self.product * self._table,
            activations=kept,
            workspace=workspace + reduced,
        )

    def _inner_gradients(self) -> int:
        """Gradients within an MLP, and of its last matrix, at the widest moment of its backward.

        Either those of the product, the silu and the gated half, in place of the product (2 F/t);
        or that of the product beside that of the output, gathered (F/t + C).
        """
        config, t = self.config, self.layout.tensor
        width, inner, matrix = config.hidden_size, config.intermediate_size, 1
        tokens = self.tokens
        if config.num_experts:
            inner = config.expert_intermediate_size
            matrix = config.num_experts // self.layout.expert
            tokens *= config.num_experts_per_token
        states = max(2 * inner // t, inner // t + width)
        return self.product * (tokens * states + matrix * width * inner // t)

    def _at_loss(self) -> _Moment:
        """The loss has made the gradient of the output matrix, in float32."""
        layout = self.layout
        logits = SLICE_TOKENS * self.config.vocab_size // layout.tensor * (2 * FLOAT + BRAIN)
        gathered, gradients = self._rounded(), self.stored(FLOAT)
        workspace = logits + BRAIN * self._table
        if layout.pipeline > 1:
            gathered, gradients = self.product * self.weights.total, FLOAT * self.weights.total
        elif not self.is_alone:
            gathered = self.product * (self.ends.total + self._widest)
            workspace += FLOAT * self.ends.total * (self.num_rows > 1)
        if self.num_rows == 1:
            gradients = 0
        states = 2 * BRAIN * self.tokens * self.config.hidden_size
        return _Moment(
            gathered_weights=gathered,
            gradients=gradients,
            activations=self._kept() + states + FLOAT * self._table,
            workspace=workspace,
        )

    def _at_end(self) -> _Moment:
        """FSDP reduces the gradients of embedding and output matrix, nothing else being left."""
        return _Moment(
            gathered_weights=self.product * (self.ends.total + self._widest),
            gradients=self.stored(FLOAT) + self.product * self.ends.total,
            activations=0,
            workspace=FLOAT * self.ends.total,
        )

    def _rounded(self) -> int:
        """Weights as autocast rounds them for products, once a step, where nothing gathers them."""
        matrices = self.weights.matrices + self.weights.experts
        return BRAIN * matrices * (self.product == BRAIN)

    def _between(self) -> int:
        """Hidden states of a row between two layers; float32 where weights are stored whole."""
        width = FLOAT if self.is_alone else self.product
        return width * self.tokens * self.config.hidden_size // self.layout.tensor

    def _layer_activations(self) -> int:
        """What the backward pass of one layer needs, were nothing computed again.

        Korthikanti et al., equation 4 with sequence parallelism, term by term: inputs of the two
        norms (2 C/t), which are also the layer's residuals; inputs of q, k, v and of gate, up,
        gathered (2 C); q, k, v, and the output of attention (2 X/t + 2 Y/t); gate, up, their
        product and the silu between (4 F/t). Alone, norms are of float32, and autocast rounds
        their output for each of its five readers.
        """
        config, t = self.config, self.layout.tensor
        wide = config.num_attention_heads * config.head_dim
        narrow = config.num_key_value_heads * config.head_dim
        shared = 2 * config.hidden_size / t + 2 * config.hidden_size
        if self.is_alone and self.product == BRAIN:
            shared = (2 * FLOAT / BRAIN + 5) * config.hidden_size
        attention = 2 * (wide + narrow) / t
        inner = 4 * config.intermediate_size / t
        if config.num_experts:
            met = config.num_experts_per_token + config.num_shared_experts
            inner = 4 * met * config.expert_intermediate_size
            inner += 3 * config.num_experts_per_token * config.hidden_size
        return round(self.product * self.tokens * (shared + attention + inner))

    def _kept(self) -> int:
        """Of all rows in flight: each layer's input, or all that it needs; and between stages."""
        in_flight = rows_in_flight(self.layout, self.pipeline_rank, self.num_rows)
        again = self.layout.recompute == "layers"
        a_layer = self._between() if again else self._layer_activations()
        return round(in_flight * len(self.layers) * a_layer) + self._passed_on(in_flight)

    def _passed_on(self, in_flight: float) -> int:
        """What a pipeline keeps of stages: outputs of rows in flight, and torch's buffers.

        There is one a row for what comes from the stage before, and one for the gradient from the
        stage after.
        """
        if self.layout.pipeline == 1:
            return 0
        num_stages = len(self.parts)
        buffers = (num_stages - self.has_embedding) + (num_stages - self.has_head)
        outputs = in_flight * num_stages
        # A layer's input that came from another stage lies in its buffer already.
        inputs = in_flight * (num_stages - self.has_embedding)
        return round((buffers * self.num_rows + outputs - inputs) * self._between())
