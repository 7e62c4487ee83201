"""One training run, from its recipe to a model in Hugging Face layout.

Reads ``recipe.toml`` of the run's folder, and what it names; writes ``metrics.jsonl``,
``spent.json``, ``checkpoints/``, ``result.json``, the signed model when it is done, and the
record: without its leaves no step is done. Every rank of a run calls it; rank 0 writes, that of the
replica group that speaks where there are several.
"""

import json
import logging
import shutil
import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from pathlib import Path

import torch

from mynah.errors import ConfigError
from mynah.model import read_config, stream_checkpoint
from mynah.record.model_signature import model_digest, sign_model
from mynah.record.record import Record
from mynah.record.runs import RunRecord
from mynah.train.allocation import keep_freed_memory
from mynah.train.checkpoints import latest_checkpoint
from mynah.train.config import TrainConfig, placed, read_run
from mynah.train.declaration import declare_run
from mynah.train.engine import Engine
from mynah.train.exporting import export
from mynah.train.inputs import open_material
from mynah.train.loop import Trainer, TrainResult
from mynah.train.mesh import build_mesh
from mynah.train.replica_manager import group_number
from mynah.train.rows import check_documents
from mynah.train.throughput import measure_peak_flop_per_s
from mynah.train.world import ALONE, World
from mynah.workspace import locked, replace_file

__all__ = ["has_weights", "lock_run", "make_trainer", "read_result", "run_training"]

logger = logging.getLogger(__name__)


def read_result(run: Path) -> TrainResult | None:
    """Return the result of a finished run, or ``None`` while it is not finished."""
    try:
        return TrainResult(**json.loads((run / "result.json").read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def run_training(  # long: half of it says what it asks for and what can go wrong
    run: Path,
    model_folder: Path,
    *,
    record: Record | None,
    world: World = ALONE,
    keep_going: Callable[[], bool] = lambda: True,
    complete: Callable[[Path], object] = lambda _: None,
) -> TrainResult | None:
    """Run the recipe in ``run``, or go on with it; write the model to ``model_folder``.

    Args:
        run: Folder with ``recipe.toml``.
        model_folder: Where the finished model goes.
        record: Where the run is declared, counted and ended; its pause orders bind the run. Of
            rank 0; the others have none.
        world: The ranks that train together; of one replica group, where there are several.
        keep_going: Asked before each step; when false, the run saves a checkpoint and stops.
        complete: Puts into ``model_folder`` what else belongs there, such as the file that is
            served, before the folder is hashed and signed.

    Returns:
        The result, or ``None`` when it was stopped, and on every rank but the one that speaks.

    Raises:
        ConfigError: The recipe is wrong, or another process runs it.
        CheckpointError: The base or a checkpoint cannot be read.
        MachineError: The disk is full.
        PausedError: A pause order covers the run; it has stopped at a checkpoint.
        RecordError: The record cannot be written, or says otherwise.
    """
    with ExitStack() as held:

        def hold() -> None:
            held.enter_context(lock_run(run))

        def finished() -> TrainResult | None:
            has_model = (model_folder / "config.json").is_file()
            return read_result(run) if has_model else None

        world.through_main(hold)
        if (result := finished()) is not None:
            return result
        config = read_run(run)
        keep_freed_memory()
        torch.set_num_threads(config.num_threads)
        trainer = make_trainer(config, run, world=world)
        held.callback(trainer.leave)  # nobody else may speak before all of this is written

        def open_record() -> RunRecord | None:
            assert record is not None, "rank 0 has the record"
            if finished() is not None:
                return None
            return RunRecord.open(record, declare_run(trainer, run, model_folder.name, record))

        result = trainer.run(open_record, keep_going=keep_going)
        if result is None or record is None:
            return None
        _write_model(trainer, model_folder, record, complete)
        replace_file(run / "result.json", json.dumps(asdict(result)).encode())
        if not config.checkpoint.keep_every_steps:
            # The model is what the run was for; its optimizer state is three times as large.
            shutil.rmtree(run / "checkpoints", ignore_errors=True)
        return result


def _write_model(
    trainer: Trainer, model_folder: Path, record: Record, complete: Callable[[Path], object]
) -> None:
    """Write, complete and sign the model; say that the run is over."""
    checkpoint, ledger = latest_checkpoint(trainer.folder / "checkpoints"), trainer.voice.record
    assert checkpoint is not None, "the last step was saved"
    assert ledger is not None, "who has a result has spoken"
    export(checkpoint, trainer.engine.config, model_folder, beside=trainer.beside)
    logger.info("model written to %s", model_folder)
    complete(model_folder)
    sign_model(model_folder, record.identity)
    counters, digest = trainer.counters, model_digest(model_folder)
    ledger.finish(counters.step, counters.spent, digest)


def lock_run(run: Path, *, wait_s: float = 0.0) -> AbstractContextManager[object]:
    """Hold the right to train ``run``, in a layout or in this replica group of it.

    Args:
        run: Its folder.
        wait_s: How long to wait for a process that has it, such as one whose parent was killed
            and that still saves its checkpoint.

    Raises:
        ConfigError: Another process has it.
    """
    busy = ConfigError(
        f"another process trains {run}", hint="wait for it, or stop it, then run this again"
    )
    number = group_number()
    name = f".lock-{number:05}" if number else ".lock"
    return locked(run / name, busy=busy, wait_s=wait_s)


def make_trainer(config: TrainConfig, run: Path, *, world: World = ALONE) -> Trainer:
    """Load what a recipe names, each rank its own part."""
    base = placed(run, config.base)
    mesh = build_mesh(config.mesh_layout, world.device.type)
    engine = Engine(read_config(base), config, mesh, device=world.device)
    material = open_material(config, run, world=world)
    check_documents(material.objective.orders, num_data=config.layout.num_data)
    if has_weights(base):
        engine.load(stream_checkpoint(base, engine.config))
    else:
        engine.initialise(seed=config.data.seed)
    material.objective.prepare(engine, run, world)
    peaks = world.gather(measure_peak_flop_per_s(world.device))
    return Trainer(
        config,
        engine,
        material,
        run,
        world=world,
        peak_flop_per_s=statistics.mean(peaks),
    )


def has_weights(base: Path) -> bool:
    """Whether a base brings weights; without them, they are drawn at the start."""
    return any(base.glob("*.safetensors*"))
