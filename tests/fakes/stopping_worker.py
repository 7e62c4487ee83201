"""One rank of a run that stops by itself: ``RUN MODEL STOP_AFTER``; -1 runs to the end.

Started by ``mynah.train.launching.launch``, or by hand as a run of one process.
"""

import sys
from pathlib import Path

import torch

from mynah.errors import MynahError
from mynah.record.record import Record
from mynah.train import World, run_training


def main() -> int:
    run, model, stop_after = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    asked = 0

    def keep_going() -> bool:
        nonlocal asked
        asked += 1
        return stop_after < 0 or asked <= stop_after

    world = World.join()
    try:
        record = Record.open(run.parent) if world.is_main else None
        run_training(run, model, record=record, world=world, keep_going=keep_going)
    except MynahError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    finally:
        world.leave()
    return 0


if __name__ == "__main__":
    sys.exit(main())
