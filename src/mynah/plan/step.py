"""How long a training step takes, part by part, from what is computed, moved and waited for.

Pure. Products by ``products``, collectives by ``links``; the rest is counted here. What few
numbers cannot be counted are ``constants``. Letters in comments: C hidden width, F width of the
MLP, n tokens that a rank computes at a time, t tensor ranks.
"""

from dataclasses import dataclass

import numpy as np

from mynah.plan.constants import Constants
from mynah.plan.links import LATENCY_S, Links
from mynah.plan.products import MEMORY_SHARE, Products
from mynah.plan.setups import Attention, Floats, Recompute, Setups, Sharding

__all__ = ["StepTimes", "step_times"]

NORM_PASSES = 10.0
"""Times that C numbers of 2 bytes are read or written for a layer's two norms and two residuals,
when the norm is one kernel: 2 norms x (1 read, 1 write), 2 residuals x (2 reads, 1 write)."""
EAGER_NORM_PASSES = 36.0
"""More of them where RMSNorm is written operator by operator in float32: to float32 (2 + 4 bytes),
square (4 + 4), mean (4), times its root (4 + 4), back (4 + 2), times the weight (2 + 2): 36 bytes,
18 passes, twice a layer."""
ACTIVATION_PASSES = 3.0
"""Times that the MLP's inner numbers are: 2 reads and 1 write by an activation of its own."""
ROTATION_PASSES, EAGER_ROTATION_PASSES = 2.0, 8.0
"""Queries and keys: one kernel; or two products, a turn and a sum of their own."""
FUSED_SHARE = 0.7
"""Of those passes that are left where a compiler or fused kernels join neighbours."""
EAGER_SCORE_BYTES, FUSED_SCORE_BYTES = 30.0, 12.0
"""Bytes moved for each score of attention: written by the product (2), scaled (4), masked (4),
softmax in float32 (2 + 4, 4 + 4, 4 + 2), read by the product (2); or written (2), scaled, masked
and softmaxed in one kernel (4), dropped out (4), read (2)."""
SCORE_RATE = 0.6
"""Of products as narrow as a head, over the best ones."""
FLASH_RATES = ((0.45, 0.45), (0.65, 0.45), (0.65, 0.70))
"""Of the best product that FlashAttention 1, 2 and 3 (or cuDNN) reach forward with heads of 128,
before Hopper and from it on. Dao 2023 (arXiv:2307.08691), figure 5; Shah et al. 2024
(arXiv:2407.08608), figure 5: 225 of 312 TFLOP/s on A100, 350 to 400 of 989 on H100 with version 2,
up to 640 to 740 with version 3."""
FLASH_BACKWARD = 2.5
"""Products backward over forward: five for two; Dao 2023, section 3.1."""
OPERATORS_SHARE = 0.4
"""Of a layer that is computed again where every second product is kept: of q, k, v, o, gate, up and
down with grouped queries those dropped are 0.37 of the FLOP, and norms and activations besides."""
PERMUTE_PASSES = 14.0
"""Times that the hidden states of routed tokens are read or written on their way to experts and
back: sorted (2), handed to the network and taken from it (2), sorted by expert (2), made the
products' operands (1), back through all of it (6), weighed and added (1)."""
SPARSE_LAUNCHES, EXPERT_LAUNCHES = 3.0, 0.2
"""Kernels of a layer with experts over those of a dense one: router, sort, counts, exchange; and
those that each expert of a rank has for itself, two products and their operands."""
HEAD_64_SHARE = 0.8
"""Rate of attention kernels with heads of 64 over that with 128 (the same figures: 0.87 on A100,
0.75 on H100)."""
ROW_SCALE_SHARE = 0.5
"""Time over that of products that row-wise scales take when nothing fuses them."""
LOSS_BYTES = 16.0
"""Moved for each logit: written, read and softmaxed in float32, its gradient written and read."""
TENSOR_OVERLAP = 0.8
"""Of tensor-parallel collectives that run beside products, where the software can."""
STATE_BYTES = 30.0
"""Moved for each weight by AdamW: gradient read (4), weight and two moments read and written (24),
a 16-bit copy written (2)."""
GATHER_FLOOR, REDUCE_FLOOR = 0.05, 0.10
"""Of weights gathered, of gradients reduced, that nothing hides: the first and the last layer's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimes:
    """Seconds of one step, by what they go to; arrays of N."""

    step_s: Floats
    """The whole."""
    products_s: Floats
    """Matrix products of a rank's layers, forward and backward."""
    attention_s: Floats
    moving_s: Floats
    """Norms, activations, residuals: kernels that wait for memory."""
    recompute_s: Floats
    tensor_s: Floats
    """Collectives of tensor parallelism that nothing hides."""
    exchange_s: Floats
    """Tokens on their way between experts."""
    context_s: Floats
    gather_s: Floats
    """Weights on their way (FSDP) that nothing hides."""
    launch_s: Floats
    """Kernels that wait for the host to launch them."""
    head_s: Floats
    """Output matrix and loss, as far as the other stages wait for them."""
    bubble_s: Floats
    """Ranks of a pipeline that wait for their turn."""
    send_s: Floats
    """Activations between stages."""
    reduce_s: Floats
    """Gradients, and the weights that come back, that nothing hides."""
    optimizer_s: Floats

    def tokens_per_s(self, setups: Setups) -> Floats:
        """Of one accelerator."""
        tokens = setups.work.batch_rows * setups.work.row_tokens
        return tokens / self.step_s / setups.degrees.accelerators


def step_times(setups: Setups, constants: Constants) -> StepTimes:
    """Return what a step of each setup takes."""
    return _Step(setups, constants).times()


@dataclass(frozen=True, slots=True)
class _Both:
    """Seconds of the forward and of the backward pass of one layer."""

    forward: Floats
    backward: Floats

    @property
    def total(self) -> Floats:
        return self.forward + self.backward


class _Step:
    """The parts of a step; each method is one part for all setups."""

    def __init__(self, setups: Setups, constants: Constants) -> None:
        self.setups, self.constants = setups, constants
        shapes, work, degrees = setups.shapes, setups.work, setups.degrees
        self.tokens, self.num_micro = setups.rank_tokens, setups.num_micro
        self.queries = shapes.heads * shapes.head_dim / degrees.tensor
        self.keys = shapes.kv_heads * shapes.head_dim / degrees.tensor
        self.memory_rate = setups.machines.memory_bytes_per_s * MEMORY_SHARE
        self.products = Products(setups.machines, work.bits, setups.stacks.is_fused, constants)
        self.links = Links(setups.machines, constants)
        self.kept = 1.0 - setups.stacks.is_fused * (1.0 - FUSED_SHARE)
        self.layers, self.layer_weights = setups.rank_layers, setups.layer_weights
        free = self.layers * degrees.pipeline - shapes.layers
        self.num_free = np.clip(np.round(free), 0.0, 1.0) * (degrees.pipeline > 1)
        self.sparse_share, self.group = shapes.sparse_share, degrees.group

    def times(self) -> StepTimes:
        degrees, constants = self.setups.degrees, self.constants
        products, attention, moving = self.dense_products(), self.attention(), self.moving()
        exchange, context, tensor = self.exchange(), self.context(attention), self.tensor()
        local = self.setups.shapes.experts / degrees.expert
        launches = SPARSE_LAUNCHES - 1.0 + EXPERT_LAUNCHES * local
        floor = constants.layer_s * (1.0 + launches * self.sparse_share)
        forward = products.forward + attention.forward + moving.forward
        backward = products.backward + attention.backward + moving.backward
        launch = np.maximum(floor - forward, 0.0) + np.maximum(2.0 * floor - backward, 0.0)
        forward, backward = np.maximum(forward, floor), np.maximum(backward, 2.0 * floor)
        recompute = self.recompute(forward, moving.forward, tensor, attention.forward)
        layer = forward + backward + recompute + 2.0 * tensor + exchange + context
        gather = self.gather(layer)
        chunk = self.layers * (layer + gather)
        head = self.head()
        # A pipeline goes at the pace of its slowest stage. The last one has the output matrix, and
        # a layer less where layers and stages leave a place free.
        last = chunk * (1.0 - self.num_free / self.layers) + head
        busy = np.where(degrees.pipeline > 1, np.maximum(chunk, last), last)
        send = self.send()
        bubble = (degrees.pipeline - 1.0) / degrees.stages * (chunk + 2.0 * self.hop())
        reduce, optimizer = self.reduce(chunk), self.optimizer()
        step = self.num_micro * (busy + send) + bubble + reduce + optimizer + constants.step_s
        whole = self.num_micro * self.layers
        return StepTimes(
            step_s=step,
            products_s=whole * products.total,
            attention_s=whole * attention.total,
            moving_s=whole * moving.total,
            recompute_s=whole * recompute,
            tensor_s=whole * 2.0 * tensor,
            exchange_s=whole * exchange,
            context_s=whole * context,
            gather_s=whole * gather,
            launch_s=whole * launch,
            head_s=self.num_micro * (busy - chunk),
            bubble_s=bubble,
            send_s=self.num_micro * send,
            reduce_s=reduce,
            optimizer_s=optimizer + constants.step_s,
        )

    def dense_products(self) -> _Both:
        """Of one layer; the mean of layers with experts and without."""
        shapes, work, degrees = self.setups.shapes, self.setups.work, self.setups.degrees
        seconds, width, n = self.products.seconds, shapes.hidden, self.tokens
        attention = seconds(n, self.queries + 2.0 * self.keys, width)
        attention = shapes.attention_share * (attention + seconds(n, width, self.queries))
        wide, inner = 1.0 + shapes.is_gated, shapes.inner / degrees.tensor
        dense = seconds(n, wide * inner, width) + seconds(n, width, inner)
        local = np.maximum(shapes.experts / degrees.expert, 1.0)
        # Tensor ranks deal the tokens of a row out among them before experts see any.
        met = np.maximum(n / degrees.tensor * shapes.experts_per_token / local, 1.0)
        one = np.maximum(shapes.expert_inner, 1.0)
        sparse = local * (seconds(met, wide * one, width) + seconds(met, width, one))
        cut = one / degrees.tensor
        shared = seconds(n, wide * cut, width) + seconds(n, width, cut)
        sparse = sparse + shapes.shared_experts * shared
        share = self.sparse_share
        forward = attention + (1.0 - share) * dense + np.where(share > 0, share * sparse, 0.0)
        scaling = work.is_row_scaled * (work.bits < 16) * ROW_SCALE_SHARE * forward
        return _Both(forward + scaling, 2.0 * forward + scaling)

    def attention(self) -> _Both:
        """Scores and what they weigh, of one layer."""
        shapes, work = self.setups.shapes, self.setups.work
        machines, kind = self.setups.machines, self.setups.stacks.attention
        degrees = self.setups.degrees
        scores = work.micro_rows * work.row_tokens**2 / degrees.context
        flop = 4.0 * scores * self.queries
        rates = [np.where(machines.is_hopper > 0, late, early) for early, late in FLASH_RATES]
        rate = np.select(
            [kind == Attention.FLASH_1, kind == Attention.FLASH_2], rates[:2], rates[2]
        )
        rate = rate * np.where(shapes.head_dim <= 64, HEAD_64_SHARE, 1.0)
        rate = rate * machines.flop_per_s * self.constants.flash
        flash = 0.5 * flop / rate  # causal: half of the blocks are left out
        heads = shapes.heads / degrees.tensor
        each = np.where(kind == Attention.EAGER, EAGER_SCORE_BYTES, FUSED_SCORE_BYTES)
        moved = scores * heads * each / self.memory_rate
        whole = flop / (machines.flop_per_s * SCORE_RATE) + moved
        is_flash = kind >= Attention.FLASH_1
        forward = np.where(is_flash, flash, whole)
        return _Both(forward, np.where(is_flash, FLASH_BACKWARD * flash, 2.0 * whole))

    def moving(self) -> _Both:
        """Kernels that wait for memory, of one layer."""
        shapes, degrees, stacks = self.setups.shapes, self.setups.degrees, self.setups.stacks
        has_rms = shapes.is_gated  # models with gated MLPs have RMSNorm and rotation, too
        eager = has_rms * (1.0 - stacks.is_norm_fused)
        cut = np.where(degrees.is_sequence_cut > 0, degrees.tensor, 1.0)
        norms = (NORM_PASSES * self.kept + EAGER_NORM_PASSES * eager) * shapes.hidden / cut
        met = (shapes.experts_per_token + shapes.shared_experts) * shapes.expert_inner
        inner = (1.0 - self.sparse_share) * shapes.inner + self.sparse_share * met
        activation = (
            ACTIVATION_PASSES * self.kept * (1.0 + shapes.is_gated) * inner / degrees.tensor
        )
        turning = ROTATION_PASSES * self.kept + EAGER_ROTATION_PASSES * eager
        rotation = turning * (self.queries + self.keys)
        routed = self.sparse_share * PERMUTE_PASSES * shapes.experts_per_token * shapes.hidden
        forward = 2.0 * self.tokens * (norms + activation + rotation + routed) / self.memory_rate
        return _Both(forward, 2.0 * forward)

    def tensor(self) -> Floats:
        """Collectives of one layer's forward pass, the backward pass has the same."""
        shapes, degrees = self.setups.shapes, self.setups.degrees
        num_bytes = 2.0 * self.tokens * shapes.hidden
        one = self.links.gather_s(num_bytes, degrees.tensor, np.ones_like(num_bytes))
        # Two all-reduces, or the gathers and scatters that they are made of.
        return 4.0 * one * (1.0 - TENSOR_OVERLAP * self.setups.stacks.overlaps_tensor)

    def exchange(self) -> Floats:
        """Tokens to their experts and back, forward and backward.

        Nothing hides it, unless software computes two micro-batches in turn, which few do. A token
        crosses the network once for each machine that has one of its experts, and is
        handed on inside (DeepSeek-AI 2024, arXiv:2412.19437, section 3.2.2).
        """
        shapes, degrees = self.setups.shapes, self.setups.degrees
        machines, constants = self.setups.machines, self.constants
        each = np.where(self.setups.work.bits < 16, 1.5, 2.0)
        num_bytes = self.tokens / degrees.tensor * shapes.hidden * each
        chosen = shapes.experts_per_token
        num_machines = np.maximum(degrees.expert * degrees.tensor / machines.scale_up_size, 1.0)
        reached = num_machines * (1.0 - (1.0 - 1.0 / num_machines) ** chosen)
        away = reached * (1.0 - 1.0 / num_machines)
        outside = num_bytes * away / (machines.nic_bytes_per_s * constants.scale_out)
        rate = machines.scale_up_bytes_per_s * constants.scale_up
        inside = num_bytes * chosen * (1.0 - 1.0 / degrees.expert) / rate
        times = 4.0 * (outside + inside + LATENCY_S)
        return np.where(degrees.expert > 1, self.sparse_share * times, 0.0)

    def context(self, attention: _Both) -> Floats:
        """Keys and values of the other ranks, as far as attention does not hide them."""
        degrees, stacks = self.setups.degrees, self.setups.stacks
        num_bytes = 2.0 * self.tokens * 2.0 * self.keys * (degrees.context - 1.0)
        rate = self.links.single_bytes_per_s(degrees.context, degrees.tensor)
        seconds = num_bytes / rate
        forward = np.maximum(seconds - stacks.hides_context * attention.forward, 0.0)
        backward = np.maximum(2.0 * seconds - stacks.hides_context * attention.backward, 0.0)
        # Whoever has the end of the rows has nearly twice the mean, unless work is dealt out.
        uneven = (1.0 - stacks.is_context_even) * (1.0 - 1.0 / degrees.context) * attention.total
        return np.where(degrees.context > 1, forward + backward + uneven, 0.0)

    def recompute(self, forward: Floats, small: Floats, tensor: Floats, scores: Floats) -> Floats:
        """What a layer's backward pass computes again."""
        kind = self.setups.work.recompute
        has_scores = self.setups.stacks.attention < Attention.FLASH_1
        kept_scores = np.where(has_scores, scores, 0.0)
        cases = {
            Recompute.SELECTIVE: kept_scores,
            Recompute.SMALL: small + kept_scores,
            Recompute.OPERATORS: OPERATORS_SHARE * forward,
            Recompute.HALF: 0.5 * (forward + tensor),
            Recompute.LAYERS: forward + tensor,
        }
        return np.select([kind == one for one in cases], list(cases.values()), 0.0)

    @property
    def is_kept(self) -> Floats:
        """1 where shared-out weights stay gathered, and gradients whole, for the whole step."""
        degrees, stacks = self.setups.degrees, self.setups.stacks
        is_cut = (degrees.sharding == Sharding.WEIGHTS) & (degrees.pipeline > 1)
        return (is_cut & (stacks.keeps_gathered > 0)).astype(np.float64)

    def gather(self, layer: Floats) -> Floats:
        """Weights of the next layer, twice, and its gradients, where weights are shared out."""
        degrees, stacks = self.setups.degrees, self.setups.stacks
        num_bytes = 3.0 * 2.0 * self.layer_weights
        ring = self.links.gather_s(num_bytes, self.group, degrees.tensor)
        alone = num_bytes / self.links.single_bytes_per_s(self.group, degrees.tensor)
        seconds = np.where((stacks.gathers_by_rank > 0) & (self.group > 1), alone, ring)
        # Groups with a copy each add up their shares of the gradients besides: there and back.
        share = 2.0 * 2.0 * self.layer_weights / self.group
        seconds = seconds + self.links.gather_s(share, degrees.replicate, self.outer)
        hidden = self.constants.gather_overlap * layer
        exposed = np.maximum(seconds - hidden, GATHER_FLOOR * seconds)
        is_now = (degrees.sharding == Sharding.WEIGHTS) & (self.is_kept == 0)
        return np.where(is_now, exposed, 0.0)

    @property
    def outer(self) -> Floats:
        """Ranks that lie closer together than the copies of one share."""
        return self.setups.degrees.tensor * self.group

    def head(self) -> Floats:
        """Output matrix three times, loss and embedding."""
        shapes, degrees = self.setups.shapes, self.setups.degrees
        # Software fills a vocabulary up to a multiple of 128 on every tensor rank.
        words = np.ceil(shapes.vocab / degrees.tensor / 128.0) * 128.0
        products = 3.0 * self.products.seconds(self.tokens, words, shapes.hidden, is_wide=True)
        moved = self.tokens * (LOSS_BYTES * words + 8.0 * shapes.hidden)
        return products + moved / self.memory_rate

    def hop(self) -> Floats:
        """One row's activations to the next stage."""
        shapes, degrees = self.setups.shapes, self.setups.degrees
        cut = np.where(self.setups.stacks.sends_whole > 0, 1.0, degrees.tensor)
        num_bytes = 2.0 * self.tokens * shapes.hidden / cut
        inner = degrees.tensor * degrees.context * degrees.data
        rate = self.links.single_bytes_per_s(degrees.pipeline, inner)
        return np.where(degrees.pipeline > 1, num_bytes / rate + LATENCY_S, 0.0)

    def send(self) -> Floats:
        """Hops of one row, there and back, that its ranks wait for."""
        overlapped = 0.7 * self.setups.stacks.overlaps_tensor
        return 2.0 * self.setups.degrees.stages * self.hop() * (1.0 - overlapped)

    def reduce(self, chunk: Floats) -> Floats:
        """Gradients to their owners and weights back, once a step."""
        degrees, stacks = self.setups.degrees, self.setups.stacks
        is_cut = degrees.sharding == Sharding.WEIGHTS
        back = np.where(degrees.sharding >= Sharding.OPTIMIZER, 2.0, 3.0)
        # Kept weights are gathered once, too, and their gradients go as float32.
        num_bytes = np.where(is_cut, 6.0, 3.0 + back) * self.rank_weights
        seconds = self.links.gather_s(num_bytes, self.group, degrees.tensor)
        copies = 2.0 * np.where(is_cut, 4.0, 3.0) * self.rank_weights / self.group
        seconds = seconds + self.links.gather_s(copies, degrees.replicate, self.outer)
        # Gradients are whole only in the last row's backward pass: six tenths of its time.
        hidden = 0.6 * chunk * self.constants.reduce_overlap * stacks.overlaps_data
        exposed = np.maximum(seconds - hidden, REDUCE_FLOOR * seconds)
        return np.where(is_cut & (self.is_kept == 0), 0.0, exposed)

    @property
    def rank_weights(self) -> Floats:
        """Weights of one rank's stages, and its share of the tables."""
        shapes, degrees = self.setups.shapes, self.setups.degrees
        return self.layers * self.layer_weights + shapes.table / degrees.tensor / degrees.pipeline

    def optimizer(self) -> Floats:
        """AdamW over what a rank owns."""
        is_cut = self.setups.degrees.sharding >= Sharding.OPTIMIZER
        owned = self.rank_weights / np.where(is_cut, self.group, 1.0)
        return owned * STATE_BYTES / self.memory_rate
