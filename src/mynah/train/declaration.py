"""What a run declares to the record before its first step: from what, on what, and how much.

Reads the recipe, the base and the corpus of a run; writes nothing.
"""

import hashlib
import platform
from pathlib import Path

from mynah.corpus import CORPUS_KIND
from mynah.errors import DataError
from mynah.record.record import Record
from mynah.record.statements import ParentModel, RunDeclared
from mynah.train.config import TrainConfig, placed
from mynah.train.inputs import base_digest
from mynah.train.loop import Trainer
from mynah.train.throughput import steps_flop
from mynah.workspace import read_artifact

__all__ = ["declare_run"]


def declare_run(trainer: Trainer, run: Path, model: str, record: Record) -> RunDeclared:
    """Say what a run is; the same whenever and wherever it is asked.

    What was measured (the peak, and the name of the device) is as it was declared first: another
    process, or the machine on another day, would measure something else. So is the digest of the
    corpus, which changes when a post is taken back; the recipe names its snapshot.

    Args:
        trainer: The run, ready to begin.
        run: Its folder.
        model: Name of the model that it is to end with.
        record: Knows the models that were made here, and whether the run is declared already.
    """
    config = trainer.config
    register = record.register()
    known = register.runs.get(run.name)
    peak = int(trainer.peak_flop_per_s) if known is None else int(known.declared.peak_flop_per_s)
    num_devices = config.layout.world_size
    flop, basis = _planned(trainer, peak)
    if known is not None:  # what was planned on other ranks
        flop, basis = known.declared.planned_flop, known.declared.planned_basis
        num_devices = known.declared.num_devices
    corpus = read_artifact(placed(run, config.corpus), kind=CORPUS_KIND)
    if corpus is None:
        raise DataError(f"{config.corpus} holds no corpus", hint="run the same command again")
    return RunDeclared(
        run=run.name,
        model=model,
        recipe=hashlib.sha256((run / "recipe.toml").read_bytes()).hexdigest(),
        corpus=corpus.digest if known is None else known.declared.corpus,
        objective=_objective(trainer),
        parents=_parents(config, placed(run, config.base), record),
        planned_flop=flop,
        planned_basis=basis,
        pool=config.pool,
        device=_device(config.num_threads) if known is None else known.declared.device,
        num_devices=num_devices,
        peak_flop_per_s=str(peak),
    )


def _objective(trainer: Trainer) -> str:
    if trainer.objective.name != "pretrain":
        return {"sft": "replies of dialogues", "dpo": "preference pairs"}[trainer.objective.name]
    return "posts and dialogues" if len(trainer.objective.orders) > 1 else "posts"


def _planned(trainer: Trainer, peak_flop_per_s: int) -> tuple[str, str]:
    """FLOP of a run that nothing interrupts, and how that is known."""
    schedule = trainer.config.schedule
    num_devices = trainer.config.layout.world_size
    orders = trainer.objective.orders
    by_steps = steps_flop(trainer.engine.config, orders, schedule.num_steps)
    by_time = peak_flop_per_s * 60 * schedule.max_minutes * num_devices  # may be infinite
    if by_steps <= by_time:
        return str(by_steps), f"exact: {schedule.num_steps} steps in the order of the data"
    return str(round(by_time)), (
        f"at most: {schedule.max_minutes:g} minutes on {num_devices} "
        f"device{'s' * (num_devices > 1)} at the measured peak in matrix products"
    )


def _parents(config: TrainConfig, base: Path, record: Record) -> tuple[ParentModel, ...]:
    """A model of this record by its digest; else what the recipe says of the base."""
    lineage, register = config.lineage, record.register()
    digest = base_digest(base)
    served = register.served.get(lineage.digest)
    for candidate in (digest, served.made_from if served is not None else ""):
        made = register.models.get(candidate)
        if made is not None:
            flop = "" if made.lineage_flop is None else str(made.lineage_flop)
            return (ParentModel(name=made.name, digest=candidate, flop=flop, basis="record"),)
    if lineage.is_scratch:
        return ()
    return (
        ParentModel(
            name=lineage.name or base.name,
            digest=lineage.digest or digest,
            flop=lineage.flop,
            basis=lineage.basis,
        ),
    )


def _device(num_threads: int) -> str:
    """Name of the processor, as its maker says, where the system tells it."""
    name = platform.processor() or platform.machine() or "processor"
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        lines = facts.read_text(errors="replace").splitlines()
        models = [line.partition(":")[2].strip() for line in lines if "model name" in line]
        name = models[0] if models and models[0] else name
    return f"{name}, {num_threads} threads"[:200]
