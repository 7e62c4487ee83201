"""One rank of a run of any size, rehearsed in one process: the real step, on fake tensors.

``Engine.step`` runs as it does in a run: forward, backward, clipping, update, all messages. Only
what lies under it is fake: a process group that moves nothing and tensors that have shapes and no
numbers. So a laptop says what each rank of 10,240 GPUs would hold, compute and send.

What stands in for an accelerator, all of it in ``_accelerated``: attention, experts and norms take
the kernels that a GPU takes, and no mask or padding of the CPU's; nothing is compiled, and what a
recipe wants in float8 runs in bfloat16. A number that the host reads is 1. Documents are as long as
the recipe lets them be, and experts are chosen evenly.

Reads a recipe and the shape of a model; writes nothing. Shapes: N tokens of a row, H query heads,
K key heads, W width of a head, X width of all query heads, E experts, k experts of a token.
"""

# What FSDP, pipelining and the model keep to themselves is what is looked at here.
# pyright: reportPrivateUsage=false

import gc
import resource
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.function import once_differentiable
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import _redistribute
from torch.distributed.tensor.debug import _clear_sharding_prop_cache
from torch.nn.attention.varlen import varlen_attn
from torch.testing._internal.distributed.fake_pg import FakeStore

from mynah.errors import ConfigError
from mynah.model import LlamaConfig, experts, num_weights, pack, packed_attention
from mynah.train import context_parallel
from mynah.train.config import Recipe
from mynah.train.data import Batch
from mynah.train.engine import Engine
from mynah.train.formulas import expected
from mynah.train.layout import check_layout
from mynah.train.mesh import AXES, build_mesh
from mynah.train.objectives import TokenObjective
from mynah.train.pipeline_slots import Slots, lay_slots, order_1f1b
from mynah.train.rehearsal_ledgers import CATEGORIES, Ledgers
from mynah.train.rehearsal_report import Message, Rehearsal, render
from mynah.train.sharding import local

__all__ = ["Rehearsal", "rehearse", "render"]

CPU = torch.device("cpu")
"""Where fake tensors say that they live. FSDP then starts no streams, which only order the same
work differently; what it holds at once is the same."""


def rehearse(recipe: Recipe, config: LlamaConfig, *, world_size: int, rank: int = 0) -> Rehearsal:
    """Run one step of ``recipe`` as ``rank`` of ``world_size`` would.

    Args:
        recipe: As for a run; its corpus is not read.
        config: The model.
        world_size: Ranks that the layout must come to.
        rank: Which of them, from 0.

    Raises:
        ConfigError: The layout does not fit the model or the world, or there is no such rank.
    """
    began_s = time.perf_counter()
    _check(recipe, config, world_size, rank)
    precision = "bfloat16" if recipe.precision == "float8" else recipe.precision
    recipe = replace(recipe, is_compiled=False, replicas="mesh", precision=precision)
    with _fake_world(world_size, rank), ExitStack() as stack:
        engine = Engine(config, recipe, build_mesh(recipe.layout, CPU.type), device=CPU)
        ledgers = Ledgers()
        stack.enter_context(_accelerated(engine))
        rows = _rows(recipe, engine)
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(ledgers.following_storages())
        stack.enter_context(ledgers.deaf_to_planning())
        stack.enter_context(ledgers)
        engine.materialise()
        ledgers.follow_update(engine.optimizer)
        ledgers.memory.held = _Held(engine)
        ledgers.memory.label(engine.parameters(), "parameters")
        ledgers.memory.label(engine.optimizer.state_tensors().values(), "optimizer")
        ledgers.memory.reset_peak()
        engine.step(rows, TokenObjective(name="pretrain", orders=()), lr_share=1.0)
        ledgers.memory.settle()
        stack.close()
        return _report(recipe, engine, ledgers, rows, began_s)


def _check(recipe: Recipe, config: LlamaConfig, world_size: int, rank: int) -> None:
    if recipe.objective == "dpo":
        raise ConfigError(
            "objective is 'dpo', a rehearsal knows 'pretrain' and 'sft'",
            hint="rehearse with --set objective=pretrain: a pair's two replies are rows like any",
        )
    check_layout(recipe.layout, config, world_size=world_size, row_tokens=recipe.data.batch_tokens)
    if not 0 <= rank < world_size:
        raise ConfigError(
            f"there is no rank {rank} among {world_size}",
            hint=f"choose --rank from 0 to {world_size - 1}",
        )


@contextmanager
def _fake_world(world_size: int, rank: int) -> Generator[None]:
    """A process group of ``world_size`` in which nothing moves; none for one process."""
    assert not dist.is_initialized(), "a rehearsal has a process to itself"
    if world_size > 1:
        dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world_size)
    _forget_groups()
    gc.disable()  # as in a run
    try:
        yield
    finally:
        gc.enable()
        if world_size > 1:
            dist.destroy_process_group()
        _forget_groups()


def _forget_groups() -> None:
    """Clear what DTensor remembers of operations: with them it keeps process groups.

    A later mesh of the same ranks counts as the same to it, and would get groups that are gone.
    """
    _clear_sharding_prop_cache()
    _redistribute._gen_transform_infos.cache_clear()


def _rows(recipe: Recipe, engine: Engine) -> list[Batch]:
    """A step's rows of one data rank: documents as long as the recipe lets them be."""
    data = recipe.data
    row_tokens = data.batch_tokens
    share = -(-data.tokens_per_step // (row_tokens * engine.mesh.num_data))
    length = min(data.max_document_tokens, row_tokens)
    lengths = [length] * (row_tokens // length)
    lengths += [row_tokens % length] if row_tokens % length else []
    zero_N = torch.zeros(row_tokens, dtype=torch.int64)
    row = Batch(
        ids_N=zero_N,
        target_N=zero_N,
        weight_N=torch.ones(row_tokens),
        packing=pack(lengths),
        num_tokens=row_tokens,
        weight=float(row_tokens),
    )
    return [row] * engine.pipeline.num_rows(share)


class _KernelAttention(torch.nn.Module):
    """``PackedAttention`` as it is on a GPU: one kernel reads the row as it lies."""

    def forward(
        self, q_NHW: Tensor, k_NKW: Tensor, v_NKW: Tensor, packing: packed_attention.Packing
    ) -> Tensor:
        """Return ``out_NX``."""
        return packed_attention._attend_as_it_lies(q_NHW, k_NKW, v_NKW, packing)


class _FusedNorm(torch.autograd.Function):
    """RMSNorm by the shapes of a GPU's one kernel: of what goes in it keeps the input alone.

    On a CPU it is half a dozen operations, of which autograd keeps three results.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        x, weight = inputs
        ctx.save_for_backward(x, weight, x[..., :1].float())
        return x * weight

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, ...]:
        x, weight, _ = ctx.saved_tensors
        (grad,) = gradients
        return grad * weight, (grad * x).flatten(0, -2).sum(0)


def _fused_norm(x: Tensor, shape: Any, weight: Tensor, eps: float | None) -> Tensor:
    out = _FusedNorm.apply(x, weight)
    assert isinstance(out, Tensor)
    return out


@contextmanager
def _accelerated(engine: Engine) -> Generator[None]:
    """Let fake tensors on a CPU go a GPU's way."""
    for part in engine.parts:
        for layer in part.layers():
            attention = layer.self_attn
            if isinstance(attention.attend, context_parallel.ContextAttention):
                attention.attend.attend = _KernelAttention()
            else:
                attention.attend = _KernelAttention()
        for mixture in part.mixtures():
            count: Any = partial(_even, engine.config)
            mixture.count = count
    swapped = {
        (context_parallel, "attend_from_the_end"): _attend_from_the_end,
        (experts, "_can_group"): lambda *_: True,
        (F, "rms_norm"): _fused_norm,
    }
    kept = {(module, name): getattr(module, name) for module, name in swapped}
    for (module, name), value in swapped.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name), value in kept.items():
            setattr(module, name, value)


def _attend_from_the_end(q_MHW: Tensor, k_LKW: Tensor, v_LKW: Tensor) -> Tensor:
    num_queries, num_keys = q_MHW.shape[0], k_LKW.shape[0]
    out_MHW = varlen_attn(
        q_MHW,
        k_LKW,
        v_LKW,
        torch.tensor([0, num_queries], dtype=torch.int32),
        torch.tensor([0, num_keys], dtype=torch.int32),
        num_queries,
        num_keys,
        window_size=(-1, 0),
        enable_gqa=True,
    )
    assert isinstance(out_MHW, Tensor)
    return out_MHW.flatten(1)


def _even(config: LlamaConfig, expert_Nk: Tensor) -> list[int]:
    """Choices of each expert if all get as many; what is left over goes to the first ones."""
    each, over = divmod(expert_Nk.numel(), config.num_experts)
    return [each + (expert < over) for expert in range(config.num_experts)]


class _Held:
    """Gradients and gathered weights that there are right now, by category.

    While FSDP works, they hang on its own objects and not on the parameters.
    """

    def __init__(self, engine: Engine) -> None:
        self.weights = engine.parameters()
        self.sharded: list[Any] = []
        for part in engine.parts:
            for module in part.modules():
                if isinstance(module, FSDPModule):
                    group = module._get_fsdp_state()._fsdp_param_group
                    self.sharded += [] if group is None else group.fsdp_params

    def __call__(self) -> Iterator[tuple[str, Tensor | None]]:
        """Each with its category; none where there is none yet."""
        for weight in self.weights:
            yield "gradients", weight.grad
        for weight in self.sharded:
            yield "gradients", weight.unsharded_accumulated_grad
            for gathered in weight.all_gather_outputs:
                yield "gathered_weights", gathered
            whole = getattr(weight, "_unsharded_param", None)
            if whole is not None:
                yield "gradients", whole.grad


def _report(
    recipe: Recipe, engine: Engine, ledgers: Ledgers, rows: Sequence[Batch], began_s: float
) -> Rehearsal:
    mesh, config = engine.mesh, engine.config
    memory = ledgers.memory
    return Rehearsal(
        world_size=recipe.layout.world_size,
        rank=dist.get_rank() if dist.is_initialized() else 0,
        place=dict(zip(AXES, _place(recipe, engine), strict=True)),
        layers=tuple(tuple(part.part.layers) for part in engine.parts),
        num_rows=len(rows),
        row_tokens=recipe.data.batch_tokens,
        parameters=sum(local(weight).numel() for weight in engine.parameters()),
        whole_parameters=num_weights(config),
        memory={name: memory.peak[name] for name in CATEGORIES},
        peak_memory_bytes=memory.peak_bytes,
        flop=ledgers.flop.model,
        recomputed_flop=ledgers.flop.recomputed,
        update_flop=ledgers.flop.update,
        messages=_messages(recipe, ledgers),
        schedule=_slots(recipe, engine),
        expected=expected(recipe, config, pipeline_rank=mesh.pipeline_rank, num_rows=len(rows)),
        seconds=time.perf_counter() - began_s,
        own_peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def _sizes(recipe: Recipe) -> tuple[int, ...]:
    layout = recipe.layout
    shard = layout.shard // layout.expert
    return (
        layout.pipeline,
        layout.replicate,
        shard,
        layout.expert,
        layout.context,
        layout.tensor,
    )


def _place_of(rank: int, sizes: Sequence[int]) -> tuple[int, ...]:
    """Where a rank is on each axis, the last axis fastest."""
    place: list[int] = []
    for size in reversed(sizes):
        rank, along = divmod(rank, size)
        place.append(along)
    return tuple(reversed(place))


def _place(recipe: Recipe, engine: Engine) -> tuple[int, ...]:
    return _place_of(dist.get_rank() if engine.mesh.grid is not None else 0, _sizes(recipe))


def _messages(recipe: Recipe, ledgers: Ledgers) -> tuple[Message, ...]:
    sizes, found = _sizes(recipe), ledgers.collectives
    messages: list[Message] = []
    for traffic, count in found.count.items():
        ranks = found.ranks[traffic.group]
        first, *others = (_place_of(rank, sizes) for rank in (ranks[0], ranks[-1]))
        axes = [axis for axis, one, other in zip(AXES, first, *others, strict=True) if one != other]
        messages.append(
            Message(
                name=traffic.name,
                axes="+".join(axes),
                group_size=len(ranks),
                dtype=traffic.dtype,
                count=count,
                num_bytes=found.num_bytes[traffic],
            )
        )
    return tuple(sorted(messages, key=lambda message: -message.num_bytes))


def _slots(recipe: Recipe, engine: Engine) -> Slots | None:
    """The plan of the schedule that has run."""
    layout = recipe.layout
    if layout.pipeline == 1:
        return None
    schedule = engine.pipeline._schedule
    assert schedule is not None, "the step has run"
    num_rows, plan = schedule
    order: Mapping[int, Sequence[Any]] = plan.pipeline_order
    if layout.schedule == "1f1b":
        order = order_1f1b(layout.pipeline, num_rows)
    return lay_slots(order, name=layout.schedule, num_stages=layout.num_stages)
