"""The processes that train together, and where this one stands among them.

Reads what torchrun puts into the environment (``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK`` and the
rendezvous); writes nothing. One process needs none of it and starts no process group.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from mynah.errors import ConfigError, MynahError

__all__ = ["ALONE", "World"]

T = TypeVar("T")

CPU = torch.device("cpu")
COLLECTIVE_TIMEOUT = timedelta(minutes=10)
"""A collective that takes longer has lost a rank; the watchdog usually speaks first."""


@dataclass(frozen=True, slots=True)
class World:
    """One rank's place."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @classmethod
    def join(cls) -> "World":
        """Take the place that torchrun gave this process; alone when it gave none.

        Raises:
            ConfigError: The environment names a place that cannot be.
        """
        try:
            rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
            local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        except ValueError as error:
            raise ConfigError(
                f"RANK, WORLD_SIZE and LOCAL_RANK must be whole numbers: {error}",
                hint="start the processes with torchrun, or unset these variables",
            ) from error
        if not 0 <= rank < size:
            raise ConfigError(
                f"RANK is {rank}, WORLD_SIZE is {size}: a rank is below the world size",
                hint="start the processes with torchrun, or unset these variables",
            )
        device = torch.device("cpu")
        if torch.cuda.is_available():
            device = torch.device("cuda", local_rank)
            torch.cuda.set_device(device)
        if size > 1 and not dist.is_initialized():
            backend = "cpu:gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
            dist.init_process_group(backend, timeout=COLLECTIVE_TIMEOUT)
        return cls(rank, size, device)

    @property
    def is_main(self) -> bool:
        """Whether this rank speaks for all: to the record, the metrics and the log."""
        return self.rank == 0

    def broadcast(self, values: list[float]) -> list[float]:
        """Return what rank 0 passed in, on every rank; as many values on each."""
        if self.size == 1:
            return values
        # Through the host's group: reading the answer must not wait for the accelerator.
        told = torch.tensor(values, dtype=torch.float64)
        dist.broadcast(told, src=0)
        return told.tolist()

    def gather(self, value: float) -> list[float]:
        """Return the value of every rank, by rank, on every rank."""
        if self.size == 1:
            return [value]
        own = torch.tensor([value], dtype=torch.float64)
        all_of_them = [torch.zeros_like(own) for _ in range(self.size)]
        dist.all_gather(all_of_them, own)
        return [float(one) for one in all_of_them]

    def gather_objects(self, value: Any) -> list[Any]:
        """Return the value of every rank, by rank, on rank 0; nothing elsewhere."""
        if self.size == 1:
            return [value]
        gathered: list[Any] | None = [None] * self.size if self.is_main else None
        dist.gather_object(value, gathered, dst=0)
        return gathered or []

    def broadcast_object(self, value: Any) -> Any:
        """Return what rank 0 passed in, on every rank."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def largest(self, values: list[float]) -> list[float]:
        """Return, value by value, the largest that any rank passed in; the same on every rank."""
        if self.size == 1:
            return values
        told = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(told, op=dist.ReduceOp.MAX)
        return told.tolist()

    def through_main(self, act: Callable[[], T]) -> T:
        """Have rank 0 act for all; return what it got on every rank.

        Raises:
            MynahError: What it failed with, on every rank: none waits for one that has given up.
        """
        if self.size == 1:
            return act()
        got: T | None = None
        failure: tuple[type[MynahError], str, str] | None = None
        if self.is_main:
            try:
                got = act()
            except MynahError as error:
                failure = (type(error), error.message, error.hint)
        got, failure = self.broadcast_object((got, failure))
        if failure is not None:
            kind, message, hint = failure
            raise kind(message, hint=hint)
        return cast("T", got)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            dist.barrier()

    def leave(self) -> None:
        """Take the process group down, if this rank is in one."""
        if dist.is_initialized():
            dist.destroy_process_group()


ALONE = World()
"""One process, on a CPU."""
