"""What an accelerator holds at the fullest moment of a step, by kind.

Pure. Weights, gradients and optimizer state follow Rajbhandari et al. 2020 (ZeRO,
arXiv:1910.02054), activations Korthikanti et al. 2022 (arXiv:2205.05198), counted anew for gated
MLPs, RMSNorm, rotation and attention that keeps no scores. Letters in comments: C hidden width,
n tokens that a rank computes at a time, t tensor ranks.
"""

from dataclasses import dataclass

import numpy as np

from mynah.plan.setups import Attention, Floats, Recompute, Setups, Sharding

__all__ = ["Memory", "memory_of"]

FIXED_BYTES = 3e9
"""Driver, kernels, buffers of collectives: 2 to 4 GB with NCCL on 8 and more ranks."""
FRAGMENTED = 1.12
"""Memory that an allocator holds over what tensors need; 1.05 to 1.2 in PyTorch's own snapshots."""
GIB_PER_GB = 2.0**30 / 1e9
"""Makers sell 80 GB and build 80 GiB, give or take a percent."""
MASTER, MOMENTS, HALF = 4.0, 8.0, 2.0
"""Bytes a weight: the float32 copy, two moments, and the copy that products read."""
NORM_BYTES, EAGER_NORM_BYTES = 8.0, 16.0
"""Of C: inputs of two norms and of the products behind them; float32 copies where a norm is
written operator by operator."""
MASK_BYTES = 2.0
"""Of C: masks of two dropouts, which models from before flash attention have."""
GATED_BYTES, FUSED_BYTES, PLAIN_BYTES = 8.0, 6.0, 4.0
"""Of the MLP's width: gate, up, their activation and product; all but the activation where kernels
are fused; or input and output of one."""
OPERATOR_BYTES, OPERATOR_INNER = 6.0, 2.0
"""Of C and of the MLP's width where every second product is kept: the layer's input, the outputs of
attention and of the MLP; one of gate and up (torchtitan's policy by operator)."""
SCORE_BYTES, EAGER_SCORE_BYTES = 5.0, 10.0
"""Of a score: softmax, its dropout and its mask (Korthikanti et al., section 4.1); in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of the fullest rank, arrays of N."""

    weights: Floats
    gradients: Floats
    optimizer: Floats
    activations: Floats
    logits: Floats
    overhead: Floats
    """What is fixed, and what an allocator loses."""
    capacity: Floats

    @property
    def total(self) -> Floats:
        """All of them."""
        states = self.weights + self.gradients + self.optimizer
        return states + self.activations + self.logits + self.overhead

    @property
    def fits(self) -> np.ndarray:
        """Whether there is room."""
        return self.total <= self.capacity


def memory_of(setups: Setups) -> Memory:
    """Return what each setup needs."""
    return _Rank(setups).memory()


class _Rank:
    """The fullest rank: a pipeline's first by its rows in flight, or its last by its logits."""

    def __init__(self, setups: Setups) -> None:
        self.setups = setups
        self.tokens, self.num_micro = setups.rank_tokens, setups.num_micro
        self.layers, self.layer_weights = setups.rank_layers, setups.layer_weights
        self.sparse_share, self.group = setups.shapes.sparse_share, setups.degrees.group

    def memory(self) -> Memory:
        weights, gradients, optimizer = self.states()
        kept, logits = self.first()
        last_kept, last_logits = self.last()
        is_last = last_kept + last_logits > kept + logits
        activations = np.where(is_last, last_kept, kept)
        logits = np.where(is_last, last_logits, logits)
        needed = weights + gradients + optimizer + activations + logits
        return Memory(
            weights=weights,
            gradients=gradients,
            optimizer=optimizer,
            activations=activations,
            logits=logits,
            overhead=needed * (FRAGMENTED - 1.0) + FIXED_BYTES,
            capacity=self.setups.machines.memory_bytes * GIB_PER_GB,
        )

    def states(self) -> tuple[Floats, Floats, Floats]:
        """Weights, gradients and optimizer state."""
        shapes, degrees = self.setups.shapes, self.setups.degrees
        # A pipeline's ends have one each; alone a rank has both.
        tables = np.where(degrees.pipeline > 1, 1.0, shapes.tables) * shapes.table
        held = self.layers * self.layer_weights + tables / degrees.tensor
        kind, group = degrees.sharding, self.group
        is_whole = kind < Sharding.WEIGHTS
        # Shared-out weights are float32; two layers are gathered at a time, table and all.
        gathered = 2.0 * self.layer_weights + tables / degrees.tensor
        weights = np.where(is_whole, HALF * held, MASTER * held / group + HALF * gathered)
        width = self.setups.stacks.gradient_bytes
        gradients = width * held / np.where(kind >= Sharding.GRADIENTS, group, 1.0)
        keeps = (~is_whole) & (degrees.pipeline > 1) & (self.setups.stacks.keeps_gathered > 0)
        weights = np.where(keeps, MASTER * held / group + HALF * held, weights)
        gradients = np.where(keeps, width * held, gradients)
        state = np.where(is_whole, MASTER + MOMENTS, MOMENTS)
        optimizer = state * held / np.where(kind >= Sharding.OPTIMIZER, group, 1.0)
        return weights, gradients, optimizer

    def first(self) -> tuple[Floats, Floats]:
        """Activations of the first stage's rows in flight; its logits where it is the last, too."""
        degrees = self.setups.degrees
        stages, ranks = degrees.stages, degrees.pipeline
        warm = ((stages - 1.0) * ranks + 2.0 * (ranks - 1.0) + 1.0) / stages
        more = self.setups.stacks.sends_whole * (ranks > 1)
        flying = np.minimum(self.num_micro, np.where(stages > 1, warm, ranks) + more)
        return self._kept(flying), np.where(ranks > 1, 0.0, self._logits)

    def last(self) -> tuple[Floats, Floats]:
        """Activations of the one row that the last stage computes, and its logits."""
        is_piped = self.setups.degrees.pipeline > 1
        kept = self._kept(np.ones_like(self.tokens))
        return np.where(is_piped, kept, 0.0), np.where(is_piped, self._logits, 0.0)

    @property
    def _logits(self) -> Floats:
        cut = np.where(self.setups.stacks.gathers_logits > 0, 1.0, self.setups.degrees.tensor)
        return self.tokens * self.setups.shapes.vocab / cut * self.setups.stacks.logit_bytes

    def _kept(self, flying: Floats) -> Floats:
        """Of ``flying`` rows: each layer's input, or what its backward pass needs."""
        shapes, degrees = self.setups.shapes, self.setups.degrees
        cut = np.where(degrees.is_sequence_cut > 0, degrees.tensor, 1.0)
        most, scores = self._layer(cut), self._scores()
        small = self.tokens * self._small(cut)
        inputs = HALF * self.tokens * shapes.hidden / cut
        ends = 2.0 * self.setups.stacks.sends_whole * (degrees.pipeline > 1) * inputs * cut
        by_kind = {
            Recompute.NOTHING: self.layers * (most + scores),
            Recompute.SELECTIVE: self.layers * most,
            Recompute.SMALL: self.layers * (most - small),
            Recompute.OPERATORS: self.layers * self._operators(cut),
            Recompute.HALF: self.layers / 2.0 * (inputs + most + scores),
            Recompute.LAYERS: self.layers * inputs,
        }
        # One layer's inner states are there while it is computed again.
        again = {
            Recompute.SELECTIVE: scores,
            Recompute.SMALL: small + scores,
            Recompute.OPERATORS: most + scores,
            Recompute.HALF: most + scores,
            Recompute.LAYERS: most + scores,
        }
        is_kind = [self.setups.work.recompute == kind for kind in by_kind]
        kept = np.select(is_kind, list(by_kind.values()))
        working = np.select(is_kind, [again.get(kind, np.zeros_like(kept)) for kind in by_kind])
        return flying * (kept + ends) + working

    def _met(self) -> Floats:
        """Width of what a token passes through, all its experts together, on one tensor rank."""
        shapes = self.setups.shapes
        met = (shapes.experts_per_token + shapes.shared_experts) * shapes.expert_inner
        inner = (1.0 - self.sparse_share) * shapes.inner + self.sparse_share * met
        return inner / self.setups.degrees.tensor

    def _small(self, cut: Floats) -> Floats:
        """Of a layer, for one token: outputs of norms and of activations."""
        stacks, is_gated = self.setups.stacks, self.setups.shapes.is_gated > 0
        gated = np.where(stacks.is_fused > 0, FUSED_BYTES, GATED_BYTES) - 2.0 * HALF
        return 2.0 * HALF * self.setups.shapes.hidden / cut + self._met() * np.where(
            is_gated, gated, HALF
        )

    def _operators(self, cut: Floats) -> Floats:
        """Of a layer where every second product is kept, and what attention needs."""
        shapes, degrees = self.setups.shapes, self.setups.degrees
        heads = shapes.head_dim * (shapes.heads + shapes.kv_heads) / degrees.tensor
        inner = OPERATOR_INNER * self._met()
        return self.tokens * (OPERATOR_BYTES * shapes.hidden / cut + HALF * heads + inner)

    def _layer(self, cut: Floats) -> Floats:
        """What the backward pass of one layer needs, scores apart."""
        shapes, degrees, stacks = self.setups.shapes, self.setups.degrees, self.setups.stacks
        eager = shapes.is_gated * (1.0 - stacks.is_norm_fused)
        is_early = (stacks.attention < Attention.FLASH_1) * (1.0 - shapes.is_gated)
        wide = NORM_BYTES + EAGER_NORM_BYTES * eager + MASK_BYTES * is_early
        heads = shapes.head_dim * (shapes.heads + shapes.kv_heads) / degrees.tensor
        # Queries and output, keys and values, and both before rotation where that is eager.
        attention = 2.0 * HALF * heads + 2.0 * HALF * eager * heads
        gated = np.where(stacks.is_fused > 0, FUSED_BYTES, GATED_BYTES)
        mlp = np.where(shapes.is_gated > 0, gated, PLAIN_BYTES) * self._met()
        routed = self.sparse_share * 3.0 * HALF * shapes.experts_per_token * shapes.hidden
        return self.tokens * (
            wide * shapes.hidden / cut + attention + mlp + routed / degrees.tensor
        )

    def _scores(self) -> Floats:
        """Scores of one layer, where attention keeps them."""
        shapes, work, degrees = self.setups.shapes, self.setups.work, self.setups.degrees
        kind = self.setups.stacks.attention
        each = np.where(kind == Attention.EAGER, EAGER_SCORE_BYTES, SCORE_BYTES)
        scores = self.tokens * work.row_tokens / degrees.context * shapes.heads / degrees.tensor
        logsums = 4.0 * self.tokens * shapes.heads / degrees.tensor
        return np.where(kind >= Attention.FLASH_1, logsums, each * scores)
