"""Train: one loop from a base checkpoint and a corpus to a new checkpoint.

Reads token shards and a model; writes ``runs/<run>/`` and the model it ends with.
"""

from mynah.train.config import DataConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from mynah.train.data import Batch, CorpusSource, DataOrder, DialogueSource, make_batch
from mynah.train.evaluate import HeldOut, batch_loss
from mynah.train.exposure import Exposure, find_exposures
from mynah.train.loop import Trainer, TrainResult
from mynah.train.loss import linear_cross_entropy
from mynah.train.run import read_result, run_training
from mynah.train.throughput import flop_per_token, measure_peak_flop_per_s

__all__ = [
    "Batch",
    "CorpusSource",
    "DataConfig",
    "DataOrder",
    "DialogueSource",
    "Exposure",
    "HeldOut",
    "OptimizerConfig",
    "ScheduleConfig",
    "TrainConfig",
    "TrainResult",
    "Trainer",
    "batch_loss",
    "find_exposures",
    "flop_per_token",
    "linear_cross_entropy",
    "make_batch",
    "measure_peak_flop_per_s",
    "read_result",
    "run_training",
]
