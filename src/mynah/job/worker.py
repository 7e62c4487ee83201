"""The background process of the main job: train, then quantise. One run, then it ends.

Reads a run's recipe; writes the run, ``models/<name>/`` and the workspace's record. It stops at
a checkpoint when its parent is gone or asks it to, and the next one goes on from there; at one,
too, when a pause order covers the run, and then ends with exit code 1.
"""

import logging
import os
import signal
import sys
from pathlib import Path

from mynah.errors import MynahError

__all__ = ["main"]

ORPHAN_WAIT_S = 120.0
"""How long an earlier worker, whose parent was killed, may take to notice and to save."""


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
    from mynah.job.base_model import SERVED
    from mynah.record.record import Record
    from mynah.serve import quantise
    from mynah.train import run_training

    def keep_going() -> bool:
        return not asked_to_stop and os.getppid() == parent

    try:
        result = run_training(
            run,
            model_folder,
            record=Record.open(workspace),
            keep_going=keep_going,
            wait_s=ORPHAN_WAIT_S,
            complete=lambda folder: quantise(folder, folder / SERVED),
        )
        if result is not None and not (model_folder / SERVED).is_file():  # it was deleted since
            quantise(model_folder, model_folder / SERVED)
    except MynahError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
