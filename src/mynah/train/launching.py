"""Start the processes of a layout on this machine, and start them again when one dies.

Each process gets torchrun's environment, so that a worker does not know who started it: this
module on one machine, torchrun or Slurm beyond. Writes ``ranks/rank-00003.log`` of a run's folder;
reads how each process ended. A replica group (see ``replicas``) is started again alone, the others
go on; a layout without replica groups is one group.
"""

import logging
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import torch
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from mynah.errors import ConfigError, MachineError, MynahError, PausedError, machine_errors
from mynah.train.config import Recipe

__all__ = ["Processes", "asked_to_stop", "is_launched", "launch", "log_of_rank", "stop_with_parent"]

logger = logging.getLogger(__name__)

POLL_S = 0.05
"""A death is seen after at most this; the others must not wait for it in a collective."""
PARENT_VARIABLE = "MYNAH_LAUNCHER_PID"
"""Of the process that a worker belongs to: it may be gone before the worker has looked."""
PARENT_POLL_S = 0.5
CPU_PROCESSES_PER_CORE = 4
"""More would only wait for each other; enough to try a layout on a laptop."""
GRACE_S = 30.0
START = "-- start"
"""Begins the line of a log that a process' own follow."""
LAST_LINES = 10
"""Of a log, that an error is looked for in: torch may warn after it, as it is taken down."""
OWN_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"
"""For torchrun. That of torch 2.13 otherwise gives the workers of every restart the store of the
first start, they find addresses of the dead in it, and no restart succeeds."""
RANKS_PER_MACHINE = 8
"""Devices of the machine that a hint assumes: as all large systems have had since 2016."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """How many processes train, and what is done when one of them dies."""

    group_size: int
    """Processes of one replica group; of the layout, when there is one group."""
    num_groups: int = 1
    """Replica groups."""
    max_restarts: int = 3
    """How often a group is started again before the run fails."""
    grace_s: float = GRACE_S
    """Seconds from SIGTERM to SIGKILL; a checkpoint must fit. Slurm's and Kubernetes' default."""

    @classmethod
    def of(cls, recipe: Recipe) -> "Processes":
        """Those of a recipe's layout; its replica groups are started apart from each other."""
        group_size = recipe.mesh_layout.world_size
        return cls(group_size=group_size, num_groups=recipe.layout.world_size // group_size)

    @property
    def count(self) -> int:
        """Processes in all."""
        return self.group_size * self.num_groups

    def check_fit(self, command: Sequence[str]) -> None:
        """Refuse what this machine has not the devices for.

        Args:
            command: Of a worker; the hint says how to start it on several machines.

        Raises:
            ConfigError: More processes than GPUs, or than cores can take turns with.
        """
        gpus, cores = torch.cuda.device_count(), os.cpu_count() or 1
        room = gpus or cores * CPU_PROCESSES_PER_CORE
        if self.count <= room:
            return
        what = f"{gpus} GPUs" if gpus else f"{cores} cores, enough for {room} processes"
        raise ConfigError(
            f"the layout has {self.count} processes, this machine has {what}",
            hint=f"start it on every machine: {self.cluster_line(command)}",
        )

    def cluster_line(self, command: Sequence[str]) -> str:
        """How to start ``command`` with srun and torchrun on machines of eight GPUs each."""
        per_machine = min(self.group_size, RANKS_PER_MACHINE)
        nodes = -(-self.group_size // per_machine)
        worker = shlex.join(command[1:])  # without the interpreter: torchrun has its own
        line = (
            f"{OWN_STORE} srun --nodes {nodes} --ntasks-per-node 1 torchrun --nnodes {nodes} "
            f"--nproc-per-node {per_machine} --max-restarts {self.max_restarts} "
            f"--rdzv-backend c10d --rdzv-endpoint FIRST_MACHINE:29400 {worker}"
        )
        if self.num_groups == 1:
            return line
        return (
            f"torchft_lighthouse --min_replicas 1 on one machine, then for each G of "
            f"0..{self.num_groups - 1}: TORCHFT_LIGHTHOUSE=http://THAT_MACHINE:29510 "
            f"REPLICA_GROUP_ID=G {line}"
        )


def is_launched() -> bool:
    """Whether this process was given a place in a world already, by torchrun or by ``launch``."""
    return "RANK" in os.environ


def log_of_rank(folder: Path, rank: int) -> Path:
    """Where process ``rank``, counted over all groups, writes what it says."""
    return folder / f"rank-{rank:05}.log"


def launch(
    command: Sequence[str],
    processes: Processes,
    *,
    logs: Path,
    tick: Callable[[], object] = lambda: None,
) -> None:
    """Run ``command`` in every process of a layout until all of them are done.

    SIGTERM, SIGINT and SIGHUP are passed on as SIGTERM: each worker saves a checkpoint and ends.
    A second one kills. Only for the main thread, as all handling of signals.

    Args:
        command: Of one worker, its interpreter first.
        processes: How many.
        logs: Folder of the logs; a process that is started again goes on writing its own.
        tick: Called a few times a second meanwhile, such as to show progress.

    Raises:
        ConfigError: The machine has too few devices, or a worker said that a setting is wrong.
        PausedError: A worker said that a pause order covers the run.
        MachineError: A worker died once too often, or did not end in time.
    """
    processes.check_fit(command)
    with ExitStack() as stack:
        environment = dict(os.environ)
        if processes.num_groups > 1:
            from mynah.train.replica_manager import lighthouse  # needs the extra mynah[ft]

            environment["TORCHFT_LIGHTHOUSE"] = stack.enter_context(lighthouse())
        groups = [
            _Group(command, processes, number=number, logs=logs, environment=environment)
            for number in range(processes.num_groups)
        ]
        for group in groups:
            stack.callback(group.kill)  # whatever happens, nobody is left behind
        asked = stack.enter_context(asked_to_stop())
        for group in groups:
            group.start()
        while any(group.is_running for group in groups):
            if asked:
                _stop(groups, processes.grace_s, asked)
                return
            for group in groups:
                _look_after(group, groups)
            tick()
            time.sleep(POLL_S)


@dataclass(slots=True)
class _Group:
    """The processes of one replica group."""

    command: Sequence[str]
    layout: Processes
    number: int = field(kw_only=True)
    logs: Path = field(kw_only=True)
    environment: dict[str, str] = field(kw_only=True)
    workers: list["subprocess.Popen[bytes]"] = field(default_factory=lambda: [])
    num_restarts: int = 0
    is_lost: bool = False
    store: TCPStore | None = None

    @property
    def is_running(self) -> bool:
        """Whether a process of it is alive, or is to be started again."""
        return not self.is_lost and any(code != 0 for code in self.codes())

    def codes(self) -> list[int | None]:
        """How each process ended; ``None`` while it runs."""
        return [worker.poll() for worker in self.workers]

    def start(self) -> None:
        # A new store each time: a key of the last attempt would be read for one of this.
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.workers = [self._start(local) for local in range(self.layout.group_size)]

    def _start(self, local: int) -> "subprocess.Popen[bytes]":
        path = log_of_rank(self.logs, self._rank(local))
        with machine_errors(self.logs):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as log:
                log.write(f"{START} {self.num_restarts}\n".encode())
                log.flush()
                return subprocess.Popen(
                    list(self.command),
                    env=self.environment | self._place(local),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    # The terminal's Ctrl-C is for the launcher, which passes it on once.
                    start_new_session=True,
                )

    def _rank(self, local: int) -> int:
        return self.number * self.layout.group_size + local

    def _place(self, local: int) -> dict[str, str]:
        assert self.store is not None, "started without a store"
        size = str(self.layout.group_size)
        threads = max(1, (os.cpu_count() or 1) // self.layout.count)
        return {
            "RANK": str(local),
            "LOCAL_RANK": str(self._rank(local)),  # its device: groups share the machine
            "WORLD_SIZE": size,
            "LOCAL_WORLD_SIZE": size,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self.store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCHELASTIC_RESTART_COUNT": str(self.num_restarts),
            "TORCHELASTIC_MAX_RESTARTS": str(self.layout.max_restarts),
            "TORCHELASTIC_RUN_ID": f"group-{self.number}",
            "REPLICA_GROUP_ID": str(self.number),
            "OMP_NUM_THREADS": self.environment.get("OMP_NUM_THREADS", str(threads)),
            PARENT_VARIABLE: str(os.getpid()),
        }

    def last_words(self) -> MynahError | None:
        """The error of this tree that a process ended with, if one did."""
        for local, code in enumerate(self.codes()):
            if code is not None and code > 0:
                said = _said(log_of_rank(self.logs, self._rank(local)), code)
                if said is not None:
                    return said
        return None

    def death(self) -> str:
        """Which process ended first, as far as can be told, and how."""
        codes = list(enumerate(self.codes()))
        ended = [(local, code) for local, code in codes if code]
        # Those that a dead one takes with it say that a connection broke.
        local, code = min(ended, key=lambda one: (one[1] >= 0, one[0]))
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"process {self._rank(local)} {how}; its log is " + str(
            log_of_rank(self.logs, self._rank(local))
        )

    def send(self, number: signal.Signals) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(number)

    def wait(self, seconds: float) -> bool:
        """Whether all of them end by themselves in this time."""
        deadline_s = time.monotonic() + seconds
        while None in self.codes() and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
        return None not in self.codes()

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        for worker in self.workers:
            worker.wait()


def _look_after(group: _Group, groups: list[_Group]) -> None:
    """Start a group again when one of its processes has died; raise when that is no use."""
    if group.is_lost or not any(group.codes()):
        return
    said = group.last_words()
    if isinstance(said, ConfigError | PausedError):
        # It would say so again. The others end by themselves: one may still write the record.
        for other in groups:
            other.wait(group.layout.grace_s)
        raise said
    died = group.death()
    # What the others hold is lost with the dead one; the checkpoint is on the disk.
    group.kill()
    if group.num_restarts < group.layout.max_restarts:
        group.num_restarts += 1
        logger.warning("%s; starting again, time %d", died, group.num_restarts)
        group.start()
        return
    group.is_lost = True
    if any(other.is_running for other in groups):
        logger.warning("%s; the other replica groups go on without it", died)
        return
    raise said or MachineError(
        f"{died}; it was started again {group.num_restarts} times",
        hint="read that log; the same command goes on from the last checkpoint",
    )


def _stop(groups: list[_Group], grace_s: float, asked: list[int]) -> None:
    """Let every process save a checkpoint and end."""
    deadline_s = time.monotonic() + grace_s
    for group in groups:
        group.send(signal.SIGTERM)
    while any(None in group.codes() for group in groups):
        for group in groups:
            if -signal.SIGTERM in group.codes():
                # It was too young to listen, so none of its group has anything to save.
                group.kill()
        if time.monotonic() > deadline_s or len(asked) > 1:
            raise MachineError(
                f"the training did not stop within {grace_s:g} s and was killed",
                hint="the same command goes on from the last checkpoint",
            )
        time.sleep(POLL_S)
    for group in groups:
        if any(code not in (0, -signal.SIGTERM, -signal.SIGKILL) for code in group.codes()):
            raise group.last_words() or MachineError(
                f"while stopping, {group.death()}",
                hint="the same command goes on from the last checkpoint",
            )


def _said(log: Path, code: int) -> MynahError | None:
    """The error of this package that a process ended with, from what it wrote since it began."""
    lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
    for first, second in reversed(list(pairwise(lines))):
        if first.startswith(START):
            return None
        if first.startswith("error: ") and second.startswith("hint: "):
            kinds = {kind.exit_code: kind for kind in (ConfigError, PausedError)}
            kind = kinds.get(code, MachineError)
            return kind(first.removeprefix("error: "), hint=second.removeprefix("hint: "))
    return None


@contextmanager
def asked_to_stop() -> Generator[list[int]]:
    """Collect the numbers of signals that ask to end, until the block does.

    SIGTERM, SIGINT and SIGHUP. Only for the main thread, as all handling of signals.
    """
    asked: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.signal(number, lambda n, _: asked.append(n)) for number in numbers]
    try:
        yield asked
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def stop_with_parent(grace_s: float = GRACE_S) -> None:
    """Send this process SIGTERM when the one that started it is gone, however it went.

    A worker calls it once its handler of SIGTERM stands. A process that waits in a collective for
    a rank that is gone cannot listen: it is ended after ``grace_s``.
    """
    parent = int(os.environ.get(PARENT_VARIABLE, "0")) or os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_S)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_s)
        os._exit(MachineError.exit_code)

    threading.Thread(target=watch, name="stop-with-parent", daemon=True).start()
