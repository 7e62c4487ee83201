"""Train: one loop from a base checkpoint and a corpus to a new checkpoint.

Reads token shards and a model; writes ``runs/<run>/`` and the model it ends with.
"""

from mynah.train.config import (
    DataConfig,
    LineageConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)
from mynah.train.data import Batch, CorpusSource, DataOrder, DialogueSource, make_batch
from mynah.train.evaluate import HeldOut, batch_loss
from mynah.train.exposure import Exposure, find_exposures
from mynah.train.loop import Trainer, TrainResult
from mynah.train.loss import linear_cross_entropy
from mynah.train.run import read_result, run_training
from mynah.train.throughput import batch_flop, measure_peak_flop_per_s, steps_flop

__all__ = [
    "Batch",
    "CorpusSource",
    "DataConfig",
    "DataOrder",
    "DialogueSource",
    "Exposure",
    "HeldOut",
    "LineageConfig",
    "OptimizerConfig",
    "ScheduleConfig",
    "TrainConfig",
    "TrainResult",
    "Trainer",
    "batch_flop",
    "batch_loss",
    "find_exposures",
    "linear_cross_entropy",
    "make_batch",
    "measure_peak_flop_per_s",
    "read_result",
    "run_training",
    "steps_flop",
]
