"""The real command line in a process of its own, and what a person does with it from outside."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

T = TypeVar("T")

MYNAH = Path(sys.executable).with_name("mynah")
TINY_MODEL = (
    *("--base", "scratch", "--set", "depth=2", "--set", "vocab_size=400"),
    *("--set", "data.tokens_per_step=512", "--set", "optimizer.lr=2e-3"),
)
"""Options of a model from scratch that learns something within seconds."""
LIMIT_S = 200.0
"""After this long on the most loaded machine something has gone wrong."""


def run_mynah(
    *arguments: str | Path, env: Mapping[str, str] | None = None, user: int | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    return subprocess.run(
        [str(MYNAH), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        timeout=LIMIT_S,
        check=False,
        user=user,
    )


def refusal(stderr: str) -> tuple[str, str]:
    """Return error and hint of a command that failed as it should: in two lines, no traceback."""
    lines = stderr.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    hints = [line for line in lines if line.startswith("hint: ")]
    assert len(errors) == len(hints) == 1, stderr
    assert "Traceback" not in stderr, stderr
    return errors[0], hints[0]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(get: Callable[[], T], *, what: str) -> T:
    """Return the first true value of ``get``."""
    deadline_s = time.monotonic() + LIMIT_S
    while not (value := get()):
        assert time.monotonic() < deadline_s, f"waited in vain for {what}"
        time.sleep(0.1)
    return value


@dataclass(slots=True)
class JobProcess:
    """`mynah up` that runs; killed at the end of the block, worker and all, if it still does."""

    workspace: Path
    options: Sequence[str | Path]
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes]" = field(init=False)

    def __enter__(self) -> "JobProcess":
        command = [MYNAH, "up", self.workspace, "--port", self.port, *self.options]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.workspace.with_name(f"{self.workspace.name}.log")

    @property
    def key(self) -> str:
        """The admin key that the first start prints."""
        find = re.compile(r"(mk_\S+)\n")
        return wait_until(lambda: find.findall(self.log.read_text()), what="an admin key")[0]

    def health(self) -> dict[str, Any]:
        """What ``/healthz`` says; empty while nobody answers."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/healthz", timeout=10).json()
        except httpx.TransportError:
            return {}

    def wait_for_stage(self, *names: str) -> None:
        """Return when one of these stages runs, or failed."""
        wait_until(lambda: self.health().get("stage") in names, what=f"stage {names}")

    def terminate(self) -> int:
        """Ask it to stop, as an operating system does; return its exit code."""
        self.process.terminate()
        return self.process.wait(LIMIT_S)
