"""One rank's part in a run of a workspace: train, then quantise what came of it.

Reads a run's recipe; writes the run, ``models/<name>/`` and the workspace's record.
"""

from collections.abc import Callable
from pathlib import Path

from mynah.record.record import Record
from mynah.train import World, run_training
from mynah.train.run import lock_run

__all__ = ["take_part"]

ORPHAN_WAIT_S = 120.0
"""How long an earlier worker, whose parent was killed, may take to notice and to save."""


def take_part(
    run: Path, model_folder: Path, workspace: Path, *, keep_going: Callable[[], bool]
) -> None:
    """Take part in a run, as the rank that the environment says; see ``run_training``."""
    world = World.join()
    try:
        if world.is_main:
            with lock_run(run, wait_s=ORPHAN_WAIT_S):
                pass  # an earlier worker has ended
        result = run_training(
            run,
            model_folder,
            record=Record.open(workspace) if world.is_main else None,
            world=world,
            keep_going=keep_going,
            complete=_quantise,
        )
    finally:
        world.leave()
    if world.is_main and result is not None:
        _quantise(model_folder)  # what is served may have been deleted since


def _quantise(folder: Path) -> None:
    """Make what an engine loads, unless it is there; a model that no engine here runs has none."""
    from mynah.job.base_model import SERVED  # these two bring the engine
    from mynah.model import read_config
    from mynah.serve import quantise

    if read_config(folder).model_type == "llama" and not (folder / SERVED).is_file():
        quantise(folder, folder / SERVED)
