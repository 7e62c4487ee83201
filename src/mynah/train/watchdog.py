"""A rank that stands still says where it stands, and ends, so that its group can be restarted.

Writes ``ranks/`` of a run's folder: ``heartbeat-00003.json`` while rank 3 lives, and on a hang
``hang-00003.txt`` (phases, memory, collectives and the stack of every thread) with
``flight_recorder_3`` beside it, torch's own record of collectives, which ``torchfrtrace`` compares
across ranks.
"""

import contextlib
import faulthandler
import json
import logging
import os
import pickle
import platform
import sys
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import psutil
import torch
import torch.distributed as dist
from torch._C import _distributed_c10d

from mynah.errors import MynahError
from mynah.train.health import HealthConfig
from mynah.workspace import replace_file

__all__ = ["EXIT_CODE", "Watchdog"]

logger = logging.getLogger(__name__)

EXIT_CODE = 3
"""Of a process that hung: we failed."""
PATIENCE = {"begin": 6.0, "evaluate": 6.0, "checkpoint": 6.0, "record": 6.0}
"""Multiples of ``hang_after_s`` that phases may take in which ranks wait for disks or hosts, or
in which a model is compiled; 1 for any other phase."""
HEARTBEATS_PER_S = 200
"""Small files that all ranks together write to the run's folder, at the most."""
NUM_PHASES = 200
"""Phases that are remembered."""
NUM_COLLECTIVES = 20
"""Collectives that the text lists; the file beside it has all that torch remembers."""
LAST_WORDS_S = 30.0
"""After so long, a report that hangs itself is cut short."""


class Watchdog:
    """Watches this process from a thread of its own, for as long as the block lasts.

    Args:
        folder: The run's.
        config: How long a silence is a hang.
        rank: This process's.
        world_size: How many write heartbeats.
    """

    def __init__(
        self, folder: Path, config: HealthConfig, *, rank: int, world_size: int = 1
    ) -> None:
        self.folder = folder / "ranks"
        self.config = config
        self.rank = rank
        self._write_every_s = max(1.0, world_size / HEARTBEATS_PER_S)
        self._tick_s = min(1.0, config.hang_after_s / 4 or 1.0)
        self._phases: deque[tuple[float, int, str]] = deque(maxlen=NUM_PHASES)
        self._num_beats = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self.beat(0, "begin")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def beat(self, step: int, phase: str) -> None:
        """Say that this rank is alive; costs next to nothing.

        Args:
            step: Steps done.
            phase: What it does next, one word; ``PATIENCE`` knows those that take long.
        """
        self._phases.append((time.time(), step, phase))
        self._num_beats += 1

    def _watch(self) -> None:
        seen, silent_s, unwritten_s = 0, 0.0, self._write_every_s
        last_s = time.monotonic()
        while not self._stopped.wait(self._tick_s):
            # Time in which this thread did not run either, the process being stopped as a whole,
            # as by Ctrl-Z or a sleeping laptop, is no silence.
            passed_s = min(time.monotonic() - last_s, 2.0 * self._tick_s)
            last_s = time.monotonic()
            silent_s = silent_s + passed_s if self._num_beats == seen else 0.0
            seen = self._num_beats
            unwritten_s += passed_s
            if unwritten_s >= self._write_every_s:
                self._write_heartbeat(silent_s)
                unwritten_s = 0.0
            limit_s = self.config.hang_after_s * PATIENCE.get(self._phases[-1][2], 1.0)
            if limit_s and silent_s > limit_s:
                self._give_up(silent_s)
            if limit_s:
                # Should the interpreter itself be stuck, so that this thread cannot run: C code
                # of faulthandler then writes the stacks to stderr and ends the process.
                faulthandler.dump_traceback_later(
                    limit_s + LAST_WORDS_S, exit=True, file=sys.__stderr__ or 2
                )
        faulthandler.cancel_dump_traceback_later()

    def _facts(self, silent_s: float) -> dict[str, Any]:
        at, step, phase = self._phases[-1]
        return {
            "rank": self.rank,
            "host": platform.node(),
            "pid": os.getpid(),
            "step": step,
            "phase": phase,
            "since": at,
            "silent_s": round(silent_s, 1),
            "at": time.time(),
        }

    def _write_heartbeat(self, silent_s: float) -> None:
        path = self.folder / f"heartbeat-{self.rank:05d}.json"
        try:
            replace_file(path, json.dumps(self._facts(silent_s)).encode() + b"\n")
        except (MynahError, OSError) as error:
            # A full disk is for the checkpoints to report; watching goes on without the file.
            logger.warning("rank %d writes no heartbeat: %s", self.rank, error)
            self._write_every_s = float("inf")

    def _give_up(self, silent_s: float) -> None:
        """Write all that may explain the hang and end the process, whatever its threads do."""
        faulthandler.dump_traceback_later(LAST_WORDS_S, exit=True, file=sys.__stderr__ or 2)
        _, step, phase = self._phases[-1]
        path = self.folder / f"hang-{self.rank:05d}.txt"
        with contextlib.suppress(OSError):  # the process must end even where nothing can be written
            self.folder.mkdir(parents=True, exist_ok=True)
            with path.open("w") as stream:
                self._explain(stream, silent_s)
        waits_for = _unfinished(_collectives(_flight_recorder()))
        logger.error(
            "rank %d hangs at step %d in phase %r for %.0f s%s; it ends, and %s says where it was",
            *(self.rank, step, phase, silent_s, waits_for, path),
        )
        os._exit(EXIT_CODE)

    def _explain(self, stream: TextIO, silent_s: float) -> None:
        for name, value in self._facts(silent_s).items():
            stream.write(f"{name}: {value}\n")
        memory = psutil.Process().memory_info()
        stream.write(f"memory_bytes: {memory.rss}\n")
        stream.write(f"memory_available_bytes: {psutil.virtual_memory().available}\n")
        stream.write("\nThreads, the call that each is in first:\n")
        stream.flush()
        faulthandler.dump_traceback(stream)
        stream.write("\nPhases, latest first (Unix time, step, phase):\n")
        stream.writelines(
            f"{at:.3f} {step} {phase}\n" for at, step, phase in reversed(self._phases)
        )
        stream.write("\nCollectives, latest first:\n")
        dump = _flight_recorder()
        for entry in reversed(_collectives(dump)[-NUM_COLLECTIVES:]):
            stream.write(_described(entry) + "\n")
        stream.flush()
        if dump:
            (self.folder / f"flight_recorder_{self.rank}").write_bytes(dump)
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            stream.write("\n" + torch.cuda.memory_summary())


def _flight_recorder() -> bytes:
    """What torch remembers of this process's collectives, of gloo and NCCL alike; none if alone."""
    if not dist.is_initialized():
        return b""
    return _distributed_c10d._dump_fr_trace()  # pyright: ignore[reportAttributeAccessIssue]


def _collectives(dump: bytes) -> list[dict[str, Any]]:
    """Its entries, oldest first."""
    return pickle.loads(dump)["entries"] if dump else []


def _unfinished(collectives: list[dict[str, Any]]) -> str:
    waiting = [entry for entry in collectives if not entry["retired"]]
    return f", waiting in {waiting[0]['profiling_name']}" if waiting else ""


def _described(entry: dict[str, Any]) -> str:
    """One line: what, among whom, how large, called from where."""
    state = "finished" if entry["retired"] else "NOT FINISHED"
    number, group = entry["collective_seq_id"], " ".join(entry["process_group"])
    frames = [
        f"{Path(frame['filename']).name}:{frame['line']} {frame['name']}"
        for frame in entry["frames"]
        if f"torch{os.sep}distributed" not in frame["filename"]
    ]
    what = f"{entry['profiling_name']} {number} of group {group}: {state}"
    return f"{what}, in {entry['input_sizes']}, out {entry['output_sizes']}, {' < '.join(frames)}"
