"""A run in processes of its own, as a person starts it; its workers can be found and killed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from mynah.train.launching import OWN_STORE

WORKER = "mynah.job.worker"


@dataclass(slots=True)
class LaunchedRun:
    """The process that was started, and those below it.

    Args:
        run: Folder with a recipe.
        starter: What stands between the interpreter and the worker, such as torchrun.
        worker: The module that is the worker.
    """

    run: Path
    starter: Sequence[str] = ()
    worker: str = WORKER
    process: "subprocess.Popen[bytes]" = field(init=False)

    def __post_init__(self) -> None:
        model, workspace = self.run.parent / f"{self.run.name}-model", self.run.parent
        arguments = [str(self.run), str(model), str(os.getpid()), str(workspace)]
        name, value = OWN_STORE.split("=")
        with (self.run / "worker.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.starter, "-m", self.worker, *arguments],
                # The second is for torchrun; see mynah.train.launching.
                env=os.environ | {"OMP_NUM_THREADS": "1", name: value},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def model(self) -> Path:
        """Where the finished model goes."""
        return self.run.parent / f"{self.run.name}-model"

    def workers(self) -> dict[tuple[int, int], psutil.Process]:
        """Living processes that train, by their replica group and their rank in it."""
        found: dict[tuple[int, int], psutil.Process] = {}
        try:
            below = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return found
        for process in below:
            try:
                place = process.environ()
            except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
                continue
            if "RANK" in place and process.status() != psutil.STATUS_ZOMBIE:
                found[int(place.get("REPLICA_GROUP_ID", "0")), int(place["RANK"])] = process
        return found

    def steps(self) -> list[dict[str, Any]]:
        """Lines of the metrics that tell of a step."""
        return [row for row in self.rows_of(self.run) if row["step"]]

    @staticmethod
    def rows_of(run: Path) -> list[dict[str, Any]]:
        """All lines of the metrics of a run."""
        path = run / "metrics.jsonl"
        lines = path.read_bytes().splitlines() if path.is_file() else []
        rows: list[dict[str, Any]] = []
        for line in lines:
            try:
                rows.append(json.loads(line))
            except ValueError:  # being written
                continue
        return rows

    def wait_for_step(self, step: int, *, seconds: float = 120.0) -> None:
        """Return when that step is in the metrics; complain when the run has ended before."""
        deadline_s = time.monotonic() + seconds
        while not any(row["step"] >= step for row in self.steps()):
            assert self.process.poll() is None, f"ended early: {self.said()}"
            assert time.monotonic() < deadline_s, f"no step {step}: {self.said()}"
            time.sleep(0.02)

    def wait(self, *, seconds: float = 180.0) -> int:
        """Wait for its end; return the exit code."""
        return self.process.wait(seconds)

    def end(self) -> None:
        """Leave nothing behind, however a test went."""
        below = self.workers()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for worker in below.values():
            if worker.is_running():
                worker.kill()

    def said(self) -> str:
        """The ends of all logs."""
        logs = [self.run / "worker.log", *sorted((self.run / "ranks").glob("*.log"))]
        return "\n".join(f"{p.name}: {p.read_text()[-2000:]}" for p in logs if p.is_file())
