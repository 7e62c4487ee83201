"""Replica groups that live and die apart: torchft sums gradients over those that are there.

Each replica group is a world of its own, with its own mesh, and holds a whole copy of the weights.
A step begins with a quorum: which groups take part. They share its documents, sum their gradients
(sums, as everywhere in the trainer), and each asks whether to keep the result. When a group dies in
the middle, nobody keeps it, and the next quorum, of those that are left, computes the same step
again from the same documents: the run is the same number whoever takes part. A group that comes
back gets weights, optimizer state and counters from a living one. One group speaks for all.

Reads the environment that ``replica_manager`` names; writes what ``speaker`` does. Needs the extra
``mynah[ft]``.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.distributed import ReduceOp  # pyright: ignore[reportPrivateImportUsage]

from mynah.errors import ConfigError, MachineError
from mynah.train.replica_manager import make_manager
from mynah.train.sharding import local
from mynah.train.speaker import Speaker
from mynah.train.world import World

__all__ = ["Membership", "ReplicaGroups", "Replicated"]

logger = logging.getLogger(__name__)

BUCKET_BYTES = 32 << 20
"""Gradients are summed in pieces of this size: small ones cost a round trip each, one large one
could not overlap its copies with the sums. PyTorch's DDP takes 25 MB for the same reason."""


class Replicated(Protocol):
    """What every replica group holds equally, and a group that comes back must be given."""

    def named_tensors(self) -> Mapping[str, Tensor]:
        """The live ones of this rank, read and written in place: weights, optimizer state.

        The same names before the first step as after it.
        """
        ...

    def numbers(self) -> dict[str, Any]:
        """What else goes on from step to step: numbers, words, lists and dicts of them."""
        ...

    def set_numbers(self, numbers: Mapping[str, Any]) -> None:
        """Go on from those of another group."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """This group's place in one step."""

    group_rank: int
    """Among the groups that take part, from 0."""
    num_groups: int
    """Groups that take part."""
    step: int
    """Steps that the run has behind it."""
    is_healed: bool
    """Whether the weights have just come from another group."""


class ReplicaGroups:
    """One rank's tie to the same rank of the other replica groups.

    A step is ``begin_step``, ``agree``, backward, ``sum_gradients``, ``should_commit``, in this
    order, on every rank of the group; ``agree`` as often as needed before ``should_commit``.
    When it gives ``None``, all that is left of the step is ``should_commit``, which is then false.

    A group that has just started begins a step before it has read a checkpoint: others may be
    further, and then it has their state. If none is, all of them read the same checkpoint and say
    so by ``go_on_from``, within this first step.

    Args:
        world: This group's own.
        replicated: Its state, on this rank.
        run: The run's folder, on a disk that all groups see.

    Raises:
        ConfigError: The extra is not installed, or the lighthouse is not named.
        MachineError: The lighthouse does not answer.
    """

    def __init__(self, world: World, replicated: Replicated, run: Path) -> None:
        self._world = world
        self._replicated = replicated
        self._speaker = Speaker(run / ".speaker")
        self._speaks = False
        self._is_candidate = False
        self._is_healed = False
        self._membership: Membership | None = None
        self._last = Membership(group_rank=0, num_groups=1, step=0, is_healed=False)
        self._manager, self._store = make_manager(
            world, state_dict=self._state, load_state_dict=self._load
        )

    def go_on_from(self, step: int) -> None:
        """Say that this group has loaded a checkpoint with so many steps behind it."""
        self._manager.load_state_dict({"step": step, "batches_committed": 0})

    def begin_step(self) -> Membership:
        """Find out which groups take part; take over another's state when this one is behind.

        Within a step that has begun, it only says so again.

        Raises:
            MachineError: The lighthouse no longer answers.
        """
        if self._membership is not None:
            return self._membership
        self._is_healed = False
        try:
            self._manager.start_quorum()
        except (RuntimeError, TimeoutError) as error:
            raise MachineError(
                f"torchft's lighthouse gave no quorum: {error}".splitlines()[0],
                hint="is it still running at the address in TORCHFT_LIGHTHOUSE?",
            ) from error
        group_rank: int = self._manager.participating_rank() or 0
        self._is_candidate = group_rank == 0
        self._membership = Membership(
            group_rank=group_rank,
            num_groups=self._manager.num_participants(),
            step=self._manager.current_step(),
            is_healed=self._is_healed,
        )
        self._last = self._membership
        return self._membership

    @property
    def membership(self) -> Membership:
        """This group's place in the step that has begun, or in the one before."""
        return self._last

    @property
    def speaks(self) -> bool:
        """Whether this group speaks for all, by its last ``agree``; the same on all its ranks."""
        return self._speaks

    def agree(self, values: Sequence[float]) -> list[float] | None:
        """Sum numbers over the groups: rank 0 of each brings its group's, all ranks get the sums.

        What only the group that speaks may say, the others bring zeros for. Which one speaks is
        settled by the first call in a step, so that such words are for a second.

        Returns:
            The sums, the same everywhere, or ``None``: a group has died, or none speaks yet, or
            they have read different checkpoints, and the step must be begun again.

        Raises:
            MachineError: The right to speak is held by a process that takes no part.
        """
        told = [0.0, 0.0, *values]
        if self._world.is_main:
            speaks = self._speaker.take(is_candidate=self._is_candidate)
            sums = self._sum(speaks, values)
            told = [float(sums is not None), float(speaks), *(sums or values)]
        is_good, speaks, *sums = self._world.broadcast(told)
        self._speaks = bool(speaks)
        return sums if is_good else None

    def _sum(self, speaks: bool, values: Sequence[float]) -> list[float] | None:
        step = float(self._manager.current_step())
        told = torch.tensor(
            [float(speaks), 1.0, step, step * step, *values],
            dtype=torch.float64,
            device=self._world.device,
        )
        self._manager.allreduce(told, reduce_op=ReduceOp.SUM).wait()
        if self._manager.errored() is not None:
            return None
        num_speakers, num_groups, steps, squares, *sums = told.tolist()
        # All see the same sums, so that all begin again or none.
        if num_groups * squares != steps * steps:
            self._manager.report_error(RuntimeError("the groups are at different steps"))
            return None
        if num_speakers != 1.0:
            # Nothing may be done that nobody records.
            self._speaker.wait_for_one()
            self._manager.report_error(RuntimeError("no replica group speaks yet"))
            return None
        self._speaker.hear()
        return sums

    @torch.no_grad()
    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add up the gradients of all groups, in place.

        Args:
            parameters: Of this rank, in the same order in every group. One without a gradient
                counts as zeros, and then has one: another group may have reached it.
        """
        gradients: list[Tensor] = []
        for weight in parameters:
            if weight.requires_grad:
                if weight.grad is None:
                    weight.grad = torch.zeros_like(weight)
                gradients.append(weight.grad)
        self.sum_tensors(gradients)

    @torch.no_grad()
    def sum_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Add up what each group has, in place: of equal shapes, in one order."""
        waiting: list[tuple[Any, Tensor, list[Tensor]]] = []
        for pieces in _buckets(tensors):
            flat = torch.cat([piece.flatten() for piece in pieces])
            waiting.append((self._manager.allreduce(flat, reduce_op=ReduceOp.SUM), flat, pieces))
        for work, flat, pieces in waiting:
            work.wait()
            parts = flat.split([piece.numel() for piece in pieces])
            for piece, part in zip(pieces, parts, strict=True):
                piece.copy_(part.view_as(piece))

    def should_commit(self) -> bool:
        """Whether the step counts: every rank of this group has the sums of all groups.

        When false, the gradients are worth nothing, and the step is to be begun again.
        """
        self._membership = None
        return bool(self._manager.should_commit())

    def close(self) -> None:
        """Leave; the others go on without this group."""
        self._speaker.leave()
        self._manager.shutdown(wait=False)

    def _state(self) -> dict[str, Any]:
        tensors = self._replicated.named_tensors()
        return {
            "tensors": {name: local(tensor.detach()) for name, tensor in tensors.items()},
            "numbers": self._replicated.numbers(),
        }

    @torch.no_grad()
    def _load(self, state: Mapping[str, Any]) -> None:
        own = self._replicated.named_tensors()
        given = cast("dict[str, Tensor]", state["tensors"])
        for name in sorted(own.keys() | given.keys()):
            if name not in own or name not in given or local(own[name]).shape != given[name].shape:
                raise ConfigError(
                    f"another replica group trains another model, or in another layout: {name} "
                    "differs",
                    hint="start every group with the same recipe and the same mynah",
                )
            local(own[name]).copy_(given[name])
        self._replicated.set_numbers(state["numbers"])
        self._is_healed = True
        logger.info("took over the state of step %d", self._manager.current_step())


def _buckets(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """What this rank holds of them in their order, of one type and about ``BUCKET_BYTES`` each."""
    buckets: list[list[Tensor]] = []
    size = 0
    for tensor in tensors:
        piece = local(tensor)
        if not buckets or size >= BUCKET_BYTES or buckets[-1][0].dtype != piece.dtype:
            buckets.append([])
            size = 0
        buckets[-1].append(piece)
        size += piece.nbytes
    return buckets
