"""Who runs a corpus step over its parts: the threads of this machine, or a cluster.

A step is a pure function of one part; results come back in the order of the parts, so that what
is built is the same whoever runs it and however many there are.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

__all__ = ["Engine", "LocalEngine"]

Task = TypeVar("Task")
Result = TypeVar("Result")


class Engine(Protocol):
    """Maps a step over parts."""

    @property
    def num_workers(self) -> int:
        """Parts that are worked on at once."""
        ...

    def map(self, step: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield ``step(task)`` of each task, in order.

        Args:
            step: A function of a module, so that another process can find it.
            tasks: Small and picklable: paths and settings, not posts.
        """
        ...


class LocalEngine:
    """Threads of this process: the heavy kernels let go of the interpreter's lock."""

    def __init__(self, num_workers: int | None = None) -> None:
        """Use ``num_workers`` threads; by default one for each core."""
        self._num_workers = num_workers or os.cpu_count() or 1

    @property
    def num_workers(self) -> int:
        """Parts that are worked on at once."""
        return self._num_workers

    def map(self, step: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield ``step(task)`` of each task, in order; few results wait at any time."""
        if self._num_workers == 1 or len(tasks) <= 1:
            yield from map(step, tasks)
            return
        with ThreadPoolExecutor(self._num_workers) as pool:
            waiting: deque[Future[Result]] = deque()
            try:
                for task in tasks:
                    waiting.append(pool.submit(step, task))
                    if len(waiting) > 2 * self._num_workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
