"""Job: the main job, from an export to a served model, one stage after another.

Reads exports and a base model; writes the whole workspace through the rooms below.
"""

from typing import TYPE_CHECKING

from mynah.loading import on_first_use

if TYPE_CHECKING:
    from mynah.job.base_model import open_newest_engine
    from mynah.job.corpus_order import CorpusOrder, build_workspace_corpus
    from mynah.job.options import Options, Recipe, read_options, resolve_options, save_options
    from mynah.job.running import (
        Trained,
        export_checkpoint,
        find_run,
        load_recipe,
        rehearse_recipe,
        summarise_run,
        train_workspace,
    )
    from mynah.job.takedown import Receipt, take_back
    from mynah.job.up import MainJob, run_up

__all__ = [
    "CorpusOrder",
    "MainJob",
    "Options",
    "Receipt",
    "Recipe",
    "Trained",
    "build_workspace_corpus",
    "export_checkpoint",
    "find_run",
    "load_recipe",
    "open_newest_engine",
    "read_options",
    "rehearse_recipe",
    "resolve_options",
    "run_up",
    "save_options",
    "summarise_run",
    "take_back",
    "train_workspace",
]

MODULES = {
    "CorpusOrder": "corpus_order",
    "MainJob": "up",
    "Options": "options",
    "Receipt": "takedown",
    "Recipe": "options",
    "Trained": "running",
    "build_workspace_corpus": "corpus_order",
    "export_checkpoint": "running",
    "find_run": "running",
    "load_recipe": "running",
    "open_newest_engine": "base_model",
    "read_options": "options",
    "rehearse_recipe": "running",
    "resolve_options": "options",
    "run_up": "up",
    "save_options": "options",
    "summarise_run": "running",
    "take_back": "takedown",
    "train_workspace": "running",
}
"""Where each name is defined."""

__getattr__ = on_first_use(__name__, MODULES)
