"""The worker of a run, which takes its time while a test needs it: else ``mynah.job.worker``.

``python -m tests.fakes.replica_worker RUN_FOLDER MODEL_FOLDER PARENT_PID WORKSPACE``. While
``slow`` is in the run's folder, a step waits for the seconds in it before it begins: a group that
was killed takes seconds to come back, in which a tiny model would have ended.
"""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mynah.config import load_config
from mynah.job import ranks, worker
from mynah.train import TrainConfig
from mynah.train.launching import Processes, is_launched, launch

PLACED = ranks.take_part


def take_part(
    run: Path, model_folder: Path, workspace: Path, *, keep_going: Callable[[], bool]
) -> None:
    def after_a_while() -> bool:
        with suppress(FileNotFoundError):
            time.sleep(float((run / "slow").read_text()))
        return keep_going()

    PLACED(run, model_folder, workspace, keep_going=after_a_while)


def main(arguments: list[str]) -> int:
    if is_launched():
        ranks.take_part = take_part
        return worker.main(arguments)
    run = Path(arguments[0])
    config = load_config(TrainConfig, run / "recipe.toml")
    size = config.mesh_layout.world_size
    processes = Processes(group_size=size, num_groups=config.layout.world_size // size)
    command = [sys.executable, "-m", "tests.fakes.replica_worker", *arguments]
    launch(command, processes, logs=run / "ranks")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
