"""Train: one loop from a base checkpoint and a corpus to a new checkpoint.

Reads token shards and a model; writes ``runs/<run>/`` and the model it ends with.
"""

from mynah.train.checkpoint_files import finished_checkpoints, latest_checkpoint, step_of
from mynah.train.config import (
    MANNER,
    CheckpointConfig,
    DataConfig,
    DpoConfig,
    HealthConfig,
    LayoutConfig,
    LineageConfig,
    Manner,
    OptimizerConfig,
    Recipe,
    ScheduleConfig,
    TrainConfig,
    placed,
    read_run,
    write_run,
)
from mynah.train.data import Batch, CorpusSource, DataOrder, DialogueSource, make_batch
from mynah.train.engine import Engine
from mynah.train.evaluate import HeldOut
from mynah.train.exporting import export
from mynah.train.exposure import Exposure, find_exposures
from mynah.train.inputs import beside_weights
from mynah.train.launching import is_launched
from mynah.train.loop import Trainer, TrainResult
from mynah.train.loss import linear_cross_entropy
from mynah.train.mesh import Mesh, build_mesh
from mynah.train.metrics import progress_of
from mynah.train.objectives import Objective, TokenObjective, pretrain, sft
from mynah.train.run import read_result, run_training
from mynah.train.throughput import batch_flop, measure_peak_flop_per_s, step_flop, steps_flop
from mynah.train.world import World

__all__ = [
    "MANNER",
    "Batch",
    "CheckpointConfig",
    "CorpusSource",
    "DataConfig",
    "DataOrder",
    "DialogueSource",
    "DpoConfig",
    "Engine",
    "Exposure",
    "HealthConfig",
    "HeldOut",
    "LayoutConfig",
    "LineageConfig",
    "Manner",
    "Mesh",
    "Objective",
    "OptimizerConfig",
    "Recipe",
    "ScheduleConfig",
    "TokenObjective",
    "TrainConfig",
    "TrainResult",
    "Trainer",
    "World",
    "batch_flop",
    "beside_weights",
    "build_mesh",
    "export",
    "find_exposures",
    "finished_checkpoints",
    "is_launched",
    "latest_checkpoint",
    "linear_cross_entropy",
    "make_batch",
    "measure_peak_flop_per_s",
    "placed",
    "pretrain",
    "progress_of",
    "read_result",
    "read_run",
    "run_training",
    "sft",
    "step_flop",
    "step_of",
    "steps_flop",
    "write_run",
]
