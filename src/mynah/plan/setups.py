"""Training runs to be, as arrays: thousands of them are predicted in one go.

Pure. Every field is a float64 array of N setups; counts are floats, too. A setup says what is
trained, on how many of which accelerators, in which layout and by which kind of software: nothing
that was measured on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Attention",
    "Degrees",
    "Floats",
    "Machines",
    "Recompute",
    "Setups",
    "Shapes",
    "Sharding",
    "Stacks",
    "Work",
    "joined",
]

Floats = NDArray[np.float64]


class Attention:
    """How attention is computed, slowest first."""

    EAGER = 0.0
    """Operator by operator: scores are written and read for the scale, the mask and the softmax."""
    FUSED_SOFTMAX = 1.0
    """Scale, mask and softmax in one kernel; scores still go through memory."""
    FLASH_1 = 2.0
    FLASH_2 = 3.0
    FLASH_3 = 4.0
    """Written for Hopper and later: FlashAttention-3, cuDNN 9."""


class Sharding:
    """What data-parallel ranks share out among them."""

    NOTHING = 0.0
    OPTIMIZER = 1.0
    """Optimizer state (ZeRO-1, distributed optimizer)."""
    GRADIENTS = 2.0
    """Gradients, too (ZeRO-2)."""
    WEIGHTS = 3.0
    """Weights, too, gathered layer by layer (ZeRO-3, FSDP)."""


class Recompute:
    """What the backward pass computes again."""

    NOTHING = 0.0
    SELECTIVE = 1.0
    """Scores of attention, where they would be kept."""
    SMALL = 2.0
    """What costs little to compute and much to keep: norms, activations, and scores."""
    OPERATORS = 3.0
    """Every second product, norms, activations and scores."""
    HALF = 4.0
    """Every second layer."""
    LAYERS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """Decoders, as ``LlamaConfig`` or the tables of others describe them."""

    layers: Floats
    hidden: Floats
    heads: Floats
    kv_heads: Floats
    head_dim: Floats
    inner: Floats
    """Width of a dense MLP."""
    attention_share: Floats
    """Weights of attention over those of heads times width: below 1 where its matrices are products
    of narrower ones (multi-head latent attention)."""
    is_gated: Floats
    """1 where an MLP has three matrices, 0 where it has two."""
    vocab: Floats
    tables: Floats
    """2 where embedding and output matrix are two, 1 where they are one."""
    experts: Floats
    """Routed experts of a layer; 0 where there are none."""
    experts_per_token: Floats
    expert_inner: Floats
    """Width of one expert."""
    shared_experts: Floats
    """Experts that every token meets."""
    dense_layers: Floats
    """Layers, of those with experts elsewhere, that have a dense MLP."""

    @property
    def has_experts(self) -> Floats:
        """1 where there are experts."""
        return (self.experts > 0).astype(np.float64)

    @property
    def attention_weights(self) -> Floats:
        """Weights of one layer's attention."""
        whole = 2.0 * self.hidden * self.head_dim * (self.heads + self.kv_heads)
        return self.attention_share * whole

    @property
    def dense_weights(self) -> Floats:
        """Weights of one dense MLP."""
        return (2.0 + self.is_gated) * self.hidden * self.inner

    @property
    def expert_weights(self) -> Floats:
        """Weights of one expert."""
        return (2.0 + self.is_gated) * self.hidden * self.expert_inner

    @property
    def sparse_layers(self) -> Floats:
        """Layers with experts."""
        return self.has_experts * (self.layers - self.dense_layers)

    @property
    def sparse_share(self) -> Floats:
        """Share of the layers that have experts."""
        return self.sparse_layers / self.layers

    @property
    def weights(self) -> Floats:
        """Weights in all."""
        experts = (self.experts + self.shared_experts) * self.expert_weights
        layers = self.layers * self.attention_weights
        layers += (self.layers - self.sparse_layers) * self.dense_weights
        whole = experts + self.hidden * self.experts
        return layers + self.sparse_layers * whole + self.tables * self.table

    @property
    def table(self) -> Floats:
        """Weights of the embedding, or of the output matrix."""
        return self.vocab * self.hidden

    @property
    def active_weights(self) -> Floats:
        """Weights that one token is multiplied by."""
        met = (self.experts_per_token + self.shared_experts) * self.expert_weights
        layers = self.layers * self.attention_weights
        layers += (self.layers - self.sparse_layers) * self.dense_weights
        return layers + self.sparse_layers * (met + self.hidden * self.experts) + self.table

    def flop_per_token(self, row_tokens: Floats, *, is_causal: bool = True) -> Floats:
        """FLOP of forward and backward: six a weight, and attention; nothing computed twice.

        Chowdhery et al. 2022, appendix B (arXiv:2204.02311); half of it for causal attention.
        """
        share = 0.5 if is_causal else 1.0
        scores = 12.0 * self.layers * self.heads * self.head_dim * row_tokens * share
        return 6.0 * self.active_weights + scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one step reads, and in which numbers it computes."""

    row_tokens: Floats
    batch_rows: Floats
    """Rows of one step, over all ranks."""
    micro_rows: Floats
    """Rows that a rank computes at a time."""
    bits: Floats
    """Of matrix products: 16, 8 or 4."""
    is_row_scaled: Floats
    """1 where every row of an 8-bit matrix has a scale of its own, found as it is needed."""
    recompute: Floats
    """One of ``Recompute``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Degrees:
    """The layout."""

    tensor: Floats
    is_sequence_cut: Floats
    """1 where norms and residuals are cut over tensor ranks, too (sequence parallelism)."""
    pipeline: Floats
    stages: Floats
    """Stretches of layers on each rank of the pipeline."""
    data: Floats
    context: Floats
    expert: Floats
    sharding: Floats
    """One of ``Sharding``."""
    replicate: Floats
    """Groups, of the data-parallel ranks, that each share out a whole copy of the state."""

    @property
    def accelerators(self) -> Floats:
        """Ranks of the whole layout."""
        return self.tensor * self.pipeline * self.data * self.context

    @property
    def group(self) -> Floats:
        """Ranks that share out weights or optimizer state, or hold the same."""
        return self.data * self.context / self.replicate


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """Accelerators and what joins them, one direction each."""

    flop_per_s: Floats
    """Best measured 16-bit product."""
    low_flop_per_s: Floats
    """Best measured product in the bits that ``Work`` names."""
    peak_flop_per_s: Floats
    """16-bit peak of the datasheet: what MFU is measured against."""
    cores: Floats
    memory_bytes: Floats
    memory_bytes_per_s: Floats
    scale_up_bytes_per_s: Floats
    scale_up_size: Floats
    nic_bytes_per_s: Floats
    pod_size: Floats
    """Accelerators that reach each other at the full rate of the network; infinite in a fabric
    that is built without a bottleneck."""
    oversubscription: Floats
    """Rate of the network below the links between pods over that of those links."""
    is_measured: Floats
    """1 where the rates of products were measured, 0 where they are assumed."""
    is_hopper: Floats
    """1 from Hopper on, where FlashAttention-2 leaves most of the tensor cores idle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stacks:
    """What the training software does about it; each is 0 or 1 but ``attention``."""

    attention: Floats
    """One of ``Attention``."""
    is_norm_fused: Floats
    """RMSNorm and rotation are kernels of their own."""
    is_fused: Floats
    """Biases, activations and residuals are fused (a compiler, or fused kernels)."""
    overlaps_tensor: Floats
    """Collectives of tensor parallelism run beside products."""
    overlaps_data: Floats
    """Gradients are reduced while the last backward pass runs."""
    gathers_by_rank: Floats
    """Gathers of weights use one link a rank, not all links of the machine (DeepSpeed ZeRO-3)."""
    sends_whole: Floats
    """Each tensor rank sends the whole activations to the next stage, and each stage keeps what it
    got and sent for one more micro-batch than it has in flight (DeepSpeed's ``PipelineEngine``)."""
    gradient_bytes: Floats
    """Of a weight's gradient: 4 where they are added up in float32 (Megatron, FSDP), 2 where they
    stay in 16 bits, 6 where both are there (DeepSpeed with bfloat16)."""
    gathers_logits: Floats
    """Every tensor rank has the logits of the whole vocabulary."""
    is_context_even: Floats
    """Context ranks have as many pairs to attend to as each other: each has an early and a late
    stretch of a row."""
    hides_context: Floats
    """Context ranks pass keys in a ring while they attend to those they have; 0 gathers first."""
    logit_bytes: Floats
    """Held of a logit while the loss is computed; 0 where they exist for a slice of the tokens at a
    time."""
    keeps_gathered: Floats
    """A pipeline's stages keep shared-out weights gathered, and gradients whole, until the last
    micro-batch: they are sent once a step and not once a micro-batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setups:
    """N training runs."""

    shapes: Shapes
    work: Work
    degrees: Degrees
    machines: Machines
    stacks: Stacks

    def __len__(self) -> int:
        return len(self.shapes.layers)

    @property
    def rank_tokens(self) -> Floats:
        """Tokens that a rank computes at a time."""
        return self.work.micro_rows * self.work.row_tokens / self.degrees.context

    @property
    def rank_layers(self) -> Floats:
        """Layers of the rank of a pipeline that has most."""
        stages = self.degrees.pipeline * self.degrees.stages
        return np.ceil(np.round(self.shapes.layers / stages, 3)) * self.degrees.stages

    @property
    def num_micro(self) -> Floats:
        """Micro-batches that a rank computes in a step."""
        rows = self.work.batch_rows / (self.degrees.data * self.work.micro_rows)
        return np.maximum(np.round(rows), 1.0)

    @property
    def layer_weights(self) -> Floats:
        """Weights of one layer on a tensor rank, the mean of layers with experts and without."""
        shapes, degrees = self.shapes, self.degrees
        experts = shapes.experts / degrees.expert + shapes.shared_experts
        sparse = shapes.sparse_share * experts * shapes.expert_weights
        dense = (1.0 - shapes.sparse_share) * shapes.dense_weights / degrees.tensor
        return shapes.attention_weights / degrees.tensor + dense + sparse

    def take(self, which: NDArray[Any]) -> "Setups":
        """Some of them, by a mask or by numbers."""
        return Setups(
            **{group.name: _take(getattr(self, group.name), which) for group in fields(self)}
        )


def joined(parts: Sequence[Setups]) -> Setups:
    """All of them, one after the other."""
    first = parts[0]
    groups: dict[str, Any] = {}
    for group in fields(Setups):
        some = [getattr(one, group.name) for one in parts]
        groups[group.name] = type(getattr(first, group.name))(
            **{
                one.name: np.concatenate([getattr(each, one.name) for each in some])
                for one in fields(some[0])
            }
        )
    return Setups(**groups)


def _take(group: Any, which: NDArray[Any]) -> Any:
    return type(group)(**{one.name: getattr(group, one.name)[which] for one in fields(group)})
