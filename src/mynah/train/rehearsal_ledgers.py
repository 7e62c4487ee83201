"""What a rehearsed step does, written down while it runs: collectives, FLOP and memory.

One ``Ledgers`` stands between the step and the fake tensors that it computes with: every operation
of this rank passes through it, after DTensor has cut it to the rank's own share. It reads shapes
and changes no shape. Reads and writes nothing else.

Shapes: N tokens a query sees or is seen by, H heads, W width of a head.
"""

# torch's own ways to see what it allocates and sends are not public.
# pyright: reportPrivateUsage=false

import weakref
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.distributed import distributed_c10d
from torch.distributed.tensor._sharding_prop import ShardingPropagator
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

__all__ = [
    "CATEGORIES",
    "CollectiveLedger",
    "FlopLedger",
    "Ledgers",
    "MemoryLedger",
    "Traffic",
]

CATEGORIES = (
    "parameters",
    "gathered_weights",
    "gradients",
    "optimizer",
    "activations",
    "workspace",
)
"""Of memory. Gathered weights are whole in the dtype of the products; activations are what a
forward pass, the loss or a recomputation made and what came from another stage; workspace is all
else: gradients of activations, buffers of collectives, what the optimizer makes on its way."""

Held = Callable[[], Iterable[tuple[str, Tensor | None]]]

aten = torch.ops.aten

PLAIN = (Tensor, nn.Parameter, FakeTensor)
"""Types of tensors that are one rank's own; any other, such as DTensor, is opened first."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """One kind of message over one group.

    Args:
        name: ``all_gather``, ``reduce_scatter``, ``all_reduce``, ``all_to_all``, ``broadcast``,
            ``send`` or ``receive``.
        group: Name of the process group.
        dtype: Of what is sent.
    """

    name: str
    group: str
    dtype: str


_COLLECTIVES: dict[str, tuple[str, int]] = {
    # operation: (its name here, which argument is the whole of what is moved; -1 the result)
    "_c10d_functional::all_gather_into_tensor": ("all_gather", -1),
    "_c10d_functional::all_gather_into_tensor_out": ("all_gather", -1),
    "_c10d_functional::reduce_scatter_tensor": ("reduce_scatter", 0),
    "_c10d_functional::all_reduce": ("all_reduce", 0),
    "_c10d_functional::all_reduce_": ("all_reduce", 0),
    "_c10d_functional::all_to_all_single": ("all_to_all", 0),
    "_c10d_functional::broadcast": ("broadcast", 0),
    "_dtensor::shard_dim_alltoall": ("all_to_all", 0),
    "c10d::_allgather_base_": ("all_gather", 0),
    "c10d::allgather_": ("all_gather", 0),
    "c10d::_reduce_scatter_base_": ("reduce_scatter", 1),
    "c10d::reduce_scatter_": ("reduce_scatter", 1),
    "c10d::allreduce_": ("all_reduce", 0),
    "c10d::alltoall_base_": ("all_to_all", 1),
    "c10d::alltoall_": ("all_to_all", 1),
    "c10d::broadcast_": ("broadcast", 0),
    "c10d::send": ("send", 0),
    "c10d::recv_": ("receive", 0),
}
_SILENT = {"c10d::barrier", "c10d::monitored_barrier_"}


class CollectiveLedger:
    """Every message: how often, and how many bytes altogether.

    Bytes are those of the whole tensor that a collective makes or takes apart: of the result of
    an all-gather, of what goes into a reduce-scatter, all-reduce or all-to-all.
    """

    def __init__(self) -> None:
        self.count: Counter[Traffic] = Counter()
        self.num_bytes: Counter[Traffic] = Counter()
        self.ranks: dict[str, list[int]] = {}
        """Of each group, by its name."""

    def add(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """Write down one operation of the namespaces of torch's collectives."""
        group = _group_of((*args, *kwargs.values()))
        if group is None or name in _SILENT:  # without a group it only waits for another's result
            return
        # One that is not in the table shows under its own name, with what it is given first.
        kind, place = _COLLECTIVES.get(name, (name.partition("::")[2].strip("_"), 0))
        tensors = [t for t in tree_leaves(out if place < 0 else args[place]) if _is_tensor(t)]
        traffic = Traffic(kind, group.group_name, str(tensors[0].dtype).removeprefix("torch."))
        if group.group_name not in self.ranks:
            self.ranks[group.group_name] = dist.get_process_group_ranks(group)
        self.count[traffic] += 1
        self.num_bytes[traffic] += sum(t.numel() * t.element_size() for t in tensors)


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def _group_of(values: Sequence[Any]) -> dist.ProcessGroup | None:
    """The process group among an operation's arguments: boxed, or its name, the last string."""
    for value in reversed(values):
        if isinstance(value, torch.ScriptObject) and "ProcessGroup" in str(value._type()):
            return dist.ProcessGroup.unbox(value)
        if isinstance(value, str):
            return cast(Any, distributed_c10d)._resolve_process_group(value)
    return None


@dataclass(slots=True)
class FlopLedger:
    """Matrix products and attention, two FLOP a multiplication with its addition."""

    model: int = 0
    """What the result needs."""
    update: int = 0
    """Of the optimizer."""
    recomputed: int = 0
    """What is computed a second time so that less is kept: layers under ``recompute``, and the
    scores of attention in its backward pass."""
    by_operation: Counter[str] = field(default_factory=Counter[str])
    """Both together, by the name of the operation."""

    def add(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, *, update: bool
    ) -> None:
        """Write down one operation, if it is one that counts."""
        packet = func._overloadpacket
        if packet in _ATTENTION:
            products, again = _ATTENTION[packet]
            pair = 2 * _scored_pairs(args[1:] if again else args)
            flop, repeated = products * pair, again * pair
        elif packet is aten._grouped_mm:
            flop, repeated = _grouped_flop(*args[:2]), 0
        elif packet in flop_registry:
            flop, repeated = int(flop_registry[packet](*args, **kwargs, out_val=out)), 0
        else:
            return
        self.by_operation[packet.__name__] += flop
        if update:
            self.update += flop
            return
        if is_recomputing(packet):
            repeated = flop
        self.recomputed += repeated
        self.model += flop - repeated


ATTEND = torch.ops.torch_attn._varlen_attn
_ATTENTION: dict[Any, tuple[int, int]] = {
    # operation: products over all scored pairs, those of them that repeat the forward pass;
    # a backward pass is given the gradient of the output before the queries
    ATTEND: (2, 0),
    torch.ops.torch_attn._varlen_attn_backward: (5, 1),
}


def _scored_pairs(args: tuple[Any, ...]) -> int:
    """Pairs of a query and a key that it may see, times heads and their width.

    torch's own counter takes causal attention for the whole square. Where documents end is a
    fake tensor, too: they are taken to be as long as the longest, and a remainder.
    """
    q_MHW, k_LKW = args[:2]
    num_queries, heads, width = q_MHW.shape
    num_keys = k_LKW.shape[0]
    longest = next(value for value in args[3:] if isinstance(value, int) and value > 1)
    if num_keys != num_queries or longest >= num_queries:
        # One document, its last query aligned with its last key.
        pairs = num_queries * (num_keys - num_queries) + num_queries * (num_queries + 1) // 2
    else:
        whole, rest = divmod(num_queries, longest)
        pairs = (whole * longest * (longest + 1) + rest * (rest + 1)) // 2
    return int(heads * width * pairs)


def _grouped_flop(left: Tensor, right: Tensor) -> int:
    """One product a group: rows are dealt over matrices, or two long sides make a stack."""
    if left.ndim == right.ndim == 2:
        return 2 * left.shape[0] * left.shape[1] * right.shape[1]
    return 2 * left.shape[0] * left.shape[1] * right.shape[-1]


def is_backward() -> bool:
    """Whether autograd is running a backward pass."""
    return torch._C._current_graph_task_id() != -1


def is_recomputing(packet: Any) -> bool:
    """Whether this is part of a forward pass within the backward one.

    There gradients are recorded, but for within attention, which is an operation of its own.
    """
    return is_backward() and (torch.is_grad_enabled() or packet is ATTEND)


class MemoryLedger:
    """Every storage from its making to its end, and how things stood at the peak."""

    def __init__(self) -> None:
        self.held: Held = tuple
        """Returns tensors that are there right now, each with its category; asked at each new
        peak."""
        self._live: dict[int, tuple[int, str]] = {}
        self._ends: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self.now: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self._num_now = 0
        self._num_peak = 0
        self._is_new_peak = False

    @property
    def peak_bytes(self) -> int:
        """Most bytes that were live at once."""
        return self._num_peak

    def reset_peak(self) -> None:
        """Forget the peak so far: it is what is live now."""
        self._num_peak = self._num_now
        self._is_new_peak = True

    def add(self, tensor: Tensor, category: str) -> None:
        """Take note of a tensor's storage, unless it is known already."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._live:
            return
        self._ends[key] = weakref.ref(storage, lambda _: self._end(key))
        self._live[key] = (0, category)
        self._resize(key, storage.nbytes())

    def label(self, tensors: Iterable[Tensor | None], category: str) -> None:
        """Move the storages of these tensors to ``category``."""
        for tensor in tensors:
            if tensor is None:
                continue
            local = getattr(tensor, "_local_tensor", tensor)
            self.add(local, category)
            self._label(local.untyped_storage()._cdata, category)

    def _label(self, key: int, category: str) -> None:
        num_bytes, before = self._live[key]
        if before != category:
            self._live[key] = (num_bytes, category)
            self.now[before] -= num_bytes
            self.now[category] += num_bytes

    def category(self, tensor: Tensor) -> str:
        """Category of a tensor's storage; empty when it is not known."""
        return self._live.get(tensor.untyped_storage()._cdata, (0, ""))[1]

    def resized(self, storage: torch.UntypedStorage) -> None:
        """Follow a storage that is emptied and filled again: so FSDP keeps gathered weights."""
        key = storage._cdata
        if key in self._live:
            self._label(key, "gathered_weights")
            self._resize(key, storage.nbytes())

    def _resize(self, key: int, num_bytes: int) -> None:
        before, category = self._live[key]
        if num_bytes < before:
            self.settle()
        self._live[key] = (num_bytes, category)
        self.now[category] += num_bytes - before
        self._num_now += num_bytes - before
        if self._num_now > self._num_peak:
            self._num_peak = self._num_now
            self._is_new_peak = True

    def _end(self, key: int) -> None:
        self._resize(key, 0)
        del self._live[key], self._ends[key]

    def refresh(self) -> None:
        """Label what hangs on parameters and on FSDP's objects, if this is a new peak.

        Not from within the end of a storage: torch forbids to touch one there.
        """
        if self._is_new_peak:
            for category, tensor in self.held():
                self.label([tensor], category)

    def settle(self) -> None:
        """Keep the categories of a new peak: called before anything is taken away from it."""
        if self._is_new_peak:
            self._is_new_peak = False
            self.peak = Counter(self.now)


class Ledgers(TorchDispatchMode):
    """All three; enter it inside ``FakeTensorMode``.

    Every number that the host reads from a fake tensor is 1: a loss, a norm of gradients, a
    weight of tokens. The step then takes the same branches as one that goes well.
    """

    def __init__(self) -> None:
        super().__init__()
        self.collectives = CollectiveLedger()
        self.flop = FlopLedger()
        self.memory = MemoryLedger()
        self.is_updating = False
        """Whether the optimizer runs: what it makes is no activation."""
        self._is_deaf = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation and write it down."""
        if func is torch.ops.prim.device.default:  # DTensor asks three times an operation
            return func(*args)
        if any(kind not in PLAIN for kind in types):
            return NotImplemented
        kwargs = kwargs or {}
        if self._is_deaf:
            return func(*args, **kwargs)
        if func is aten._local_scalar_dense.default:
            return _one(args[0].dtype)
        out = func(*args, **kwargs)
        name = func._schema.name
        if "c10d" in name or name.startswith("_dtensor::"):
            self.collectives.add(name, args, kwargs, out)
            self._note_buffers(name, args)
        self.flop.add(func, args, kwargs, out, update=self.is_updating)
        self._note(func, args, out)
        self.memory.refresh()
        return out

    def _note(self, func: Any, args: tuple[Any, ...], out: Any) -> None:
        """Enter the storages of an operation's results."""
        memory = self.memory
        category = "workspace"
        if not self.is_updating and (not is_backward() or is_recomputing(func._overloadpacket)):
            category = "activations"
        if func is aten._to_copy.default and memory.category(args[0]) == "parameters":
            category = "gathered_weights"  # rounded for the products, under autocast
        if isinstance(out, Tensor):
            memory.add(out, category)
        elif isinstance(out, tuple | list):
            for tensor in cast("Sequence[Any]", out):
                if isinstance(tensor, Tensor):
                    memory.add(tensor, category)

    def _note_buffers(self, name: str, args: tuple[Any, ...]) -> None:
        """What goes into and comes out of a collective that writes in place; see CATEGORIES."""
        if not name.startswith("c10d::") or name in ("c10d::send", "c10d::recv_"):
            return
        buffers = [leaf for leaf in tree_leaves(args[:2]) if isinstance(leaf, Tensor)]
        for buffer in buffers:
            if self.memory.category(buffer) in ("activations", "gathered_weights"):
                self.memory.label([buffer], "workspace")

    def follow_update(self, optimizer: Any) -> None:
        """Know when this optimizer runs."""
        update = optimizer.step

        def followed() -> None:
            self.is_updating = True
            update()
            self.is_updating = False

        optimizer.step = followed

    @contextmanager
    def deaf_to_planning(self) -> Generator[None]:
        """Skip what DTensor runs once an operation to learn the shape of the whole result."""
        plan = ShardingPropagator._propagate_tensor_meta_non_cached

        def planned(propagator: ShardingPropagator, schema: Any) -> Any:
            was_deaf, self._is_deaf = self._is_deaf, True
            try:
                return plan(propagator, schema)
            finally:
                self._is_deaf = was_deaf

        replacement: Any = planned
        ShardingPropagator._propagate_tensor_meta_non_cached = replacement
        try:
            yield
        finally:
            ShardingPropagator._propagate_tensor_meta_non_cached = plan

    @contextmanager
    def following_storages(self) -> Generator[None]:
        """See storages that are resized in place, as FSDP does it."""
        resize = torch.UntypedStorage.resize_

        def followed(storage: torch.UntypedStorage, size: int) -> Any:
            result = resize(storage, size)
            self.memory.resized(storage)
            return result

        replacement: Any = followed
        torch.UntypedStorage.resize_ = replacement
        try:
            yield
        finally:
            torch.UntypedStorage.resize_ = resize


def _one(dtype: torch.dtype) -> float | int | bool:
    if dtype == torch.bool:
        return True
    return 1.0 if dtype.is_floating_point else 1
