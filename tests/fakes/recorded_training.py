"""Training with a record beside the run's folder, as the main job trains with its workspace's."""

from collections.abc import Callable
from pathlib import Path

from mynah.record.record import Record
from mynah.record.runs import RunRecord
from mynah.train import Trainer, TrainResult, run_training
from mynah.train.declaration import declare_run


def train(
    run: Path, model: Path, *, keep_going: Callable[[], bool] = lambda: True
) -> TrainResult | None:
    """Run the recipe in ``run``; the record is in the folder that holds it."""
    return run_training(run, model, record=Record.open(run.parent), keep_going=keep_going)


def ledger_of(trainer: Trainer, run: Path) -> RunRecord:
    """Declare a run that is driven by hand; its model is called ``model``."""
    record = Record.open(run.parent)
    declared = declare_run(trainer, run, "model", record)
    return RunRecord.open(record, declared)
