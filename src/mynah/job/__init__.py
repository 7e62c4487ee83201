"""Job: the main job, from an export to a served model, one stage after another.

Reads exports and a base model; writes the whole workspace through the rooms below.
"""

from mynah.job.base_model import open_newest_engine
from mynah.job.corpus_order import CorpusOrder, build_workspace_corpus
from mynah.job.options import Options, Recipe, read_options, resolve_options, save_options
from mynah.job.takedown import Receipt, take_back
from mynah.job.up import MainJob, run_up

__all__ = [
    "CorpusOrder",
    "MainJob",
    "Options",
    "Receipt",
    "Recipe",
    "build_workspace_corpus",
    "open_newest_engine",
    "read_options",
    "resolve_options",
    "run_up",
    "save_options",
    "take_back",
]
