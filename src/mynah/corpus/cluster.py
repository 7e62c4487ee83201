"""The corpus steps on a Ray cluster, driven by Daft: the same functions, on more machines.

Daft spreads the tasks, a row each, over the machines and brings the results back in order. A task
names files and rows of them, so every machine has to see the workspace under the same path, on a
shared disk. Needs the extra ``mynah[ray]``.
"""

import logging
import pickle
import signal
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from mynah.errors import ConfigError, MachineError

__all__ = ["ClusterEngine", "opened_cluster"]

Task = TypeVar("Task")
Result = TypeVar("Result")

_PATIENCE_S = 5.0
_TASKS_PER_WORKER = 2
"""Tasks handed to Daft at once, for each worker: few results wait at any time."""


@dataclass(frozen=True, slots=True)
class ClusterEngine:
    """Maps a step over tasks as a Daft dataframe, a partition a task."""

    num_workers: int
    """Cores of the whole cluster."""

    def map(self, step: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield ``step(task)`` of each task, in order.

        Raises:
            MachineError: A machine of the cluster failed.
        """
        size = _TASKS_PER_WORKER * self.num_workers
        for begin in range(0, len(tasks), size):
            yield from self._some(step, tasks[begin : begin + size])

    def _some(self, step: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        import daft

        packed = [pickle.dumps((step, task)) for task in tasks]
        frame = daft.from_pydict({"number": list(range(len(packed))), "task": packed})
        frame = frame.into_partitions(len(packed)).with_column("result", _step()(frame["task"]))
        done: dict[int, Result] = {}
        try:
            for batch in frame.select("number", "result").to_arrow_iter():
                for number, result in zip(batch["number"], batch["result"], strict=True):
                    done[number.as_py()] = _unpacked(result.as_py())
        except RuntimeError as error:  # Ray's and Daft's own errors are all of this kind
            raise MachineError(
                f"the Ray cluster could not finish a step: {str(error).splitlines()[0]}",
                hint="do all its machines see the workspace under the same path, and have they "
                "the same mynah installed? `ray status` lists them",
            ) from error
        yield from (done[number] for number in range(len(packed)))


def _step() -> Any:
    """The function that Daft calls on the machines of the cluster."""
    import daft

    @daft.func.batch(return_dtype=daft.DataType.binary())
    def run(tasks: daft.Series) -> list[bytes]:
        return [_run(task) for task in tasks.to_pylist()]

    return run


def _run(packed: bytes) -> bytes:
    step, task = pickle.loads(packed)
    return pickle.dumps(step(task))


def _unpacked(packed: bytes) -> Any:
    return pickle.loads(packed)


def _knock(address: str) -> None:
    """Look whether anybody listens: Ray itself would wait for minutes."""
    if not address:
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.removeprefix("ray://"), int(port)), _PATIENCE_S).close()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Ray cluster answers at {address}: {error}",
            hint="start one: ray start --head; its address, HOST:PORT, is what that prints",
        ) from error


@contextmanager
def opened_cluster(address: str) -> Generator[ClusterEngine]:
    """Connect to a Ray cluster, or start one on this machine when ``address`` is empty.

    Once a process: Daft keeps what it knows of the first cluster.

    Raises:
        ConfigError: The extra is not installed, or no cluster answers at ``address``.
    """
    try:
        import daft
        import ray
    except ImportError as error:
        raise ConfigError(
            f"--engine ray needs the package {error.name}",
            hint="install it: pip install 'mynah[ray]'",
        ) from error
    is_ours = not ray.is_initialized()
    _knock(address)
    if is_ours:
        handler = signal.getsignal(signal.SIGTERM)
        ray.init(address=address or None, log_to_driver=False, logging_level=logging.ERROR)
        signal.signal(signal.SIGTERM, handler)  # Ray puts one of its own in its place
    try:
        daft.set_runner_ray(noop_if_initialized=True)
        yield ClusterEngine(max(1, int(ray.cluster_resources().get("CPU", 1))))
    finally:
        if is_ours:
            ray.shutdown()
