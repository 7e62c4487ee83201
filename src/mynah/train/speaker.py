"""Which replica group speaks for all: to the record, the metrics and the checkpoints.

Reads and writes ``.speaker`` of a run's folder: a lock that the system frees when its holder dies,
and within it who that is. All groups must see that folder, on a disk whose locks hold between
machines (NFS, Lustre and their like, mounted with them).
"""

import fcntl
import os
import socket
import time
from pathlib import Path
from typing import IO

from mynah.errors import MachineError, machine_errors

__all__ = ["Speaker"]

PATIENCE_S = 1800.0
"""How long the right may be held by a process that takes no part: it may be writing a checkpoint or
the finished model, and one that hangs is ended by its own watchdog."""


class Speaker:
    """One process's claim to speak. Who has it keeps it until it dies or leaves.

    So the right moves as seldom as can be: a group that comes back does not ask for it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: IO[str] | None = None
        self._silent_since_s: float | None = None

    def take(self, *, is_candidate: bool) -> bool:
        """Whether this process holds the right; a candidate takes it when it is free."""
        if self._held is None and is_candidate:
            with machine_errors(self.path):
                stream = self.path.open("a+")
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.close()
            else:
                stream.truncate(0)
                stream.write(f"process {os.getpid()} on {socket.gethostname()}")
                stream.flush()
                self._held = stream
        return self._held is not None

    def wait_for_one(self) -> None:
        """Pause: nobody speaks, as when the lock's holder is just being ended.

        Raises:
            MachineError: Nobody has spoken for ``PATIENCE_S``.
        """
        now_s = time.monotonic()
        self._silent_since_s = self._silent_since_s or now_s
        if now_s - self._silent_since_s > PATIENCE_S:
            raise MachineError(
                f"{self.path.read_text()} holds {self.path} and takes no part in the run",
                hint="end that process; another replica group speaks for the run then",
            )
        time.sleep(0.1)

    def hear(self) -> None:
        """Somebody speaks."""
        self._silent_since_s = None

    def leave(self) -> None:
        """Let another speak."""
        if self._held is not None:
            self._held.close()
        self._held = None
