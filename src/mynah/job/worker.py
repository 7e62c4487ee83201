"""The background process of a run: train, then quantise. One run, then it ends.

Reads a run's recipe; writes the run, ``models/<name>/`` and the workspace's record. It stops at
a checkpoint when its parent is gone or asks it to, and the next one goes on from there; at one,
too, when a pause order covers the run, and then ends with exit code 1. A layout of several
processes is started from here: this process then only watches over them.
"""

import logging
import os
import signal
import sys
from pathlib import Path

from mynah.errors import MachineError, MynahError

__all__ = ["main"]

logger = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    """Run ``RUN_FOLDER MODEL_FOLDER PARENT_PID WORKSPACE``; return the exit code."""
    run, model_folder, parent = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    workspace = Path(arguments[3])
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    os.nice(5)  # the person who asks comes before the training
    asked_to_stop = False

    def stop(number: int, frame: object) -> None:
        nonlocal asked_to_stop
        asked_to_stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the parent's to handle

    # Imported here: torch takes seconds, and a signal before this line must not be lost.
    from mynah.job.ranks import take_part
    from mynah.train import read_run
    from mynah.train.launching import Processes, is_launched, launch, stop_with_parent

    if is_launched():
        stop_with_parent()

    def keep_going() -> bool:
        return not asked_to_stop and (is_launched() or os.getppid() == parent)

    try:
        if is_launched() or (processes := Processes.of(read_run(run))).count == 1:
            take_part(run, model_folder, workspace, keep_going=keep_going)
        elif not asked_to_stop:
            stop_with_parent()
            command = [sys.executable, "-m", "mynah.job.worker", *arguments]
            launch(command, processes, logs=run / "ranks")
    except MynahError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except Exception:  # broad: the outermost loop; exit code 1, Python's own, is that of a pause
        logger.exception("the training failed")
        return MachineError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
