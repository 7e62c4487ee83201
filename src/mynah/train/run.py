"""One training run, from its recipe to a model in Hugging Face layout.

Reads ``recipe.toml`` of the run's folder, and what it names; writes ``metrics.jsonl``,
``spent.json``, ``checkpoints/``, ``result.json``, the signed model when it is done, and the
record: without its leaves no step is done.
"""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl
import torch

from mynah.config import load_config
from mynah.corpus import CORPUS_KIND, DIALOGUES_KIND, SEPARATOR, TokenShard
from mynah.errors import ConfigError, DataError
from mynah.model import CHATML_TEMPLATE, Llama, load_checkpoint, save_checkpoint
from mynah.record.model_signature import model_digest, sign_model
from mynah.record.record import Record
from mynah.record.runs import RunRecord
from mynah.train.allocation import keep_freed_memory
from mynah.train.config import TrainConfig, placed
from mynah.train.data import CorpusSource, DataOrder, DialogueSource
from mynah.train.declaration import declare_run
from mynah.train.evaluate import HeldOut
from mynah.train.loop import Trainer, TrainResult
from mynah.train.throughput import measure_peak_flop_per_s
from mynah.workspace import Artifact, locked, read_artifact, replace_file

__all__ = ["read_result", "run_training"]

logger = logging.getLogger(__name__)

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")
"""What a model inherits from its base unchanged."""


def read_result(run: Path) -> TrainResult | None:
    """Return the result of a finished run, or ``None`` while it is not finished."""
    try:
        return TrainResult(**json.loads((run / "result.json").read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def run_training(
    run: Path,
    model_folder: Path,
    *,
    record: Record,
    keep_going: Callable[[], bool] = lambda: True,
    wait_s: float = 0.0,
    complete: Callable[[Path], object] = lambda _: None,
) -> TrainResult | None:
    """Run the recipe in ``run``, or go on with it; write the model to ``model_folder``.

    Args:
        run: Folder with ``recipe.toml``.
        model_folder: Where the finished model goes.
        record: Where the run is declared, counted and ended; its pause orders bind the run.
        keep_going: Asked before each step; when false, the run saves a checkpoint and stops.
        wait_s: How long to wait for another process that trains this run, such as one whose
            parent was killed and that still saves its checkpoint.
        complete: Puts into ``model_folder`` what else belongs there, such as the file that is
            served, before the folder is hashed and signed.

    Returns:
        The result, or ``None`` when it was stopped.

    Raises:
        ConfigError: The recipe is wrong, or another process runs it.
        CheckpointError: The base or a checkpoint cannot be read.
        MachineError: The disk is full.
        PausedError: A pause order covers the run; it has stopped at a checkpoint.
        RecordError: The record cannot be written, or says otherwise.
    """
    busy = ConfigError(
        f"another process trains {run}", hint="wait for it, or stop it, then run this again"
    )
    with locked(run / ".lock", busy=busy, wait_s=wait_s):
        finished = read_result(run)
        if finished is not None and (model_folder / "config.json").is_file():
            return finished
        config = load_config(TrainConfig, run / "recipe.toml")
        keep_freed_memory()
        torch.set_num_threads(config.num_threads)
        trainer = _make_trainer(config, run)
        declared = declare_run(trainer, run, model_folder.name, record=record)
        ledger = RunRecord.open(record, declared)
        result = trainer.run(ledger, keep_going=keep_going)
        if result is None:
            return None
        _export(trainer.model, placed(run, config.base), model_folder)
        complete(model_folder)
        sign_model(model_folder, record.identity)
        digest = model_digest(model_folder)
        ledger.finish(trainer.counters.step, trainer.counters.spent, digest)
        replace_file(run / "result.json", json.dumps(asdict(result)).encode())
        # The model is what the run was for; its optimizer state is three times as large.
        shutil.rmtree(run / "checkpoints", ignore_errors=True)
        return result


def _make_trainer(config: TrainConfig, run: Path) -> Trainer:
    shape, weights = load_checkpoint(placed(run, config.base))
    model = Llama(shape)
    model.load_state_dict(weights, strict=True)
    del weights
    corpus = _read(placed(run, config.corpus), CORPUS_KIND)
    boundary = _boundary(corpus)
    data = config.data
    documents = CorpusSource(TokenShard(corpus.folder / "train"), boundary=boundary)
    share = data.dialogue_share if config.dialogues else 0.0
    if len(documents.sizes) == 0:
        raise DataError(
            "the corpus has no training document",
            hint="give mynah more posts: --posts PATH",
        )
    orders = [_order(documents, config, round(data.tokens_per_step * (1.0 - share)))]
    if share > 0.0:
        folder = _read(placed(run, config.dialogues), DIALOGUES_KIND).folder
        starts = np.load(folder / "replies.npy")
        if len(starts):
            shard = TokenShard(folder / "train")
            source = DialogueSource(shard, reply_starts=starts, boundary=boundary)
            orders.append(_order(source, config, round(data.tokens_per_step * share)))
    held_out = HeldOut.select(
        CorpusSource(TokenShard(corpus.folder / "heldout"), boundary=boundary),
        sizes_bytes=_heldout_bytes(corpus),
        max_tokens=data.heldout_max_tokens,
    )
    peak = measure_peak_flop_per_s()
    return Trainer(config, model, tuple(orders), held_out, run, peak_flop_per_s=peak)


def _order(source: CorpusSource | DialogueSource, config: TrainConfig, tokens: int) -> DataOrder:
    return DataOrder(
        source,
        seed=config.data.seed,
        tokens_per_step=tokens,
        max_tokens=min(config.data.max_document_tokens, tokens),
    )


def _read(folder: Path, kind: str) -> Artifact:
    found = read_artifact(folder, kind=kind)
    if found is None:
        raise DataError(
            f"{folder} holds no {kind}", hint="run mynah up again: it rebuilds what is missing"
        )
    found.verify()
    return found


def _boundary(corpus: Artifact) -> int:
    shard = TokenShard(corpus.folder / "heldout")
    return int(shard[0][-1])


def _heldout_bytes(corpus: Artifact) -> list[int]:
    """UTF-8 bytes of each held-out document, what stands between its turns included."""
    sizes = (
        pl.scan_parquet(corpus.folder / "documents.parquet", glob=False)
        .filter("is_heldout")
        .group_by("document", maintain_order=True)
        .agg(pl.col("text").str.len_bytes().sum() + len(SEPARATOR) * (pl.len() - 1))
        .collect()
    )
    return sizes["text"].to_list()


def _export(model: Llama, base: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        if (base / name).is_file():
            replace_file(folder / name, (base / name).read_bytes())
    # What it learned was ChatML and no more: not the base's own first words about itself.
    replace_file(folder / "chat_template.jinja", CHATML_TEMPLATE.encode())
    weights = {name: tensor.bfloat16() for name, tensor in model.state_dict().items()}
    save_checkpoint(folder, model.config, weights)
    logger.info("model written to %s", folder)
