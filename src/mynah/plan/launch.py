"""Launch files: what starts a layout with mynah's trainer, on the system that a cluster has.

Pure: a launch in, texts by file name out; the caller writes them. Every format has a health check
before the start, a way back after a failure, and its checkpoints on a disk that all nodes share.
"""

from collections.abc import Callable, Mapping

from mynah.errors import ConfigError
from mynah.plan.launch_config import Launch, Site, check_launch
from mynah.plan.launch_jobset import jobset_files
from mynah.plan.launch_scripts import torchrun_files
from mynah.plan.launch_skypilot import skypilot_files
from mynah.plan.launch_slurm import slurm_files
from mynah.plan.launch_trainjob import trainjob_files

__all__ = ["FORMATS", "Launch", "Site", "launch_files"]

FORMATS: Mapping[str, Callable[[Launch], dict[str, str]]] = {
    "torchrun": torchrun_files,
    "slurm": slurm_files,
    "jobset": jobset_files,
    "trainjob": trainjob_files,
    "skypilot": skypilot_files,
}
"""Who writes the files of a format."""


def launch_files(launch: Launch, file_format: str) -> dict[str, str]:
    """Write the files that start a layout.

    Args:
        launch: What, on which nodes, and where.
        file_format: One of ``FORMATS``.

    Returns:
        Texts by file name, the first of which says how to start.

    Raises:
        ConfigError: A field is wrong, does not fit another, or is one that the format cannot
            express; or there is no such format.
    """
    if file_format not in FORMATS:
        raise ConfigError(
            f"no launch files are called {file_format!r}", hint=f"choose {', '.join(FORMATS)}"
        )
    return FORMATS[file_format](check_launch(launch))
