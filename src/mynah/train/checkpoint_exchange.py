"""What ranks tell one another about a checkpoint, and how the error of one reaches all.

Reads and writes nothing: a process group of torch carries it, and one process needs none.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import torch.distributed as dist

from mynah.errors import CheckpointError, MachineError, MynahError, machine_errors

__all__ = ["Exchange", "Place"]

T = TypeVar("T")
R = TypeVar("R")


class Place(Protocol):
    """Where this process stands among those that train together."""

    @property
    def rank(self) -> int:
        """From 0."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...


class Exchange:
    """What ranks tell one another about a checkpoint, over a gloo group of its own.

    A save in the background must not share a group with the training that goes on; and a plan is
    no business of an accelerator's.
    """

    def __init__(self, place: Place) -> None:
        self.rank, self.size = place.rank, place.size
        self._group = _gloo_group() if place.size > 1 else None

    def agree(self, local: Callable[[], T], combine: Callable[[list[T]], R], *, folder: Path) -> R:
        """Run ``local`` on every rank and ``combine`` on rank 0; return its result on every rank.

        Raises:
            MynahError: An error of any of them, on every rank.
        """
        own = self._combined(local, combine, folder)
        told = [_portable(own)]
        if self.size > 1:
            dist.broadcast_object_list(told, src=0, group=self._group)
        return _unpacked(own if self.rank == 0 else told[0])

    def deal(
        self, local: Callable[[], T], combine: Callable[[list[T]], list[R]], *, folder: Path
    ) -> R:
        """As ``agree``; but each rank gets its own element of the result."""
        told = self._combined(local, combine, folder)
        if self.size == 1:
            return _unpacked(told)[0]
        parts: list[Any] | None = None
        if self.rank == 0:
            is_failure = isinstance(told, _Failure)
            parts = [_portable(told)] * self.size if is_failure else told
        own: list[Any] = [None]
        dist.scatter_object_list(own, parts, src=0, group=self._group)
        return _unpacked(told if isinstance(told, _Failure) else own[0])

    def _combined(
        self, local: Callable[[], T], combine: Callable[[list[T]], R], folder: Path
    ) -> "R | _Failure":
        """What rank 0 has to tell; anything elsewhere."""
        own = _attempted(local, folder)
        parts: list[Any] = [own]
        if self.size > 1:
            parts = [None] * self.size
            dist.gather_object(
                _portable(own), parts if self.rank == 0 else None, dst=0, group=self._group
            )
        failures = [part for part in parts if isinstance(part, _Failure)]
        if self.rank != 0 or failures:
            return failures[0] if failures else cast("R", None)
        return _attempted(lambda: combine(parts), folder)


@dataclass(frozen=True, slots=True)
class _Failure:
    """An error on its way between ranks: classes of the tree do not survive pickling."""

    kind: type[MynahError]
    message: str
    hint: str
    error: BaseException | None = None
    """Where it was raised only."""


def _attempted(function: Callable[[], T], folder: Path) -> "T | _Failure":
    try:
        with machine_errors(folder):
            return function()
    except MynahError as error:
        return _Failure(type(error), error.message, error.hint, error)
    except OSError as error:
        message = f"{folder} cannot be used: {error.strerror or error}"
        hint = "mend the file system, then run the same command again; what was finished is kept"
        return _Failure(MachineError, message, hint, error)
    except (RuntimeError, ValueError, AssertionError) as error:  # as torch's planners raise them
        hint = "run the same command again; what was finished is kept"
        return _Failure(CheckpointError, f"{folder}: {error}".splitlines()[0], hint, error)


def _portable(told: T) -> T:
    return replace(told, error=None) if isinstance(told, _Failure) else told


def _unpacked(told: Any) -> Any:
    if isinstance(told, _Failure):
        if isinstance(told.error, MynahError):
            raise told.error
        raise told.kind(told.message, hint=told.hint) from told.error
    return told


def _gloo_group() -> dist.ProcessGroup:
    group = dist.new_group(backend="gloo")
    assert isinstance(group, dist.ProcessGroup), "a group of all ranks has this one in it"
    return group
