"""Which runs, steps and checkpoints saw a post: arithmetic over the data order, never a log.

Reads ``recipe.toml``, ``metrics.jsonl`` and the checkpoints' names of a run, and the sidecars of
the corpus, the dialogues or the preference pairs it learns from; writes nothing.
"""

import json
import tomllib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mynah.corpus import PREFERENCES_KIND, TokenShard
from mynah.errors import DataError
from mynah.train.config import DataConfig, placed
from mynah.train.data import CorpusSource, DataOrder, DialogueSource
from mynah.train.objectives import HeldOutSplit, data_order, sft
from mynah.train.preferences import DpoConfig, dpo
from mynah.workspace import read_artifact

__all__ = ["Exposure", "find_exposures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What one run learned from one post."""

    run: str
    """Name of the run."""
    post_id: str
    source: str
    """``corpus``, ``dialogues`` or ``preferences``."""
    document: int
    """Number of the document, dialogue or pair that holds the post."""
    num_steps_run: int
    """Optimizer steps that the run has done."""
    steps: tuple[int, ...]
    """Steps that read a piece of that document, from 1 as in ``metrics.jsonl``."""
    checkpoints: tuple[str, ...]
    """Checkpoints on disk whose weights come after the first of these steps."""


def find_exposures(run: Path, post_ids: Collection[str]) -> list[Exposure]:
    """Name every step and checkpoint of ``run`` that saw one of ``post_ids``.

    Args:
        run: Folder of the run, finished or not.
        post_ids: Ids as they stood in the corpus when the run began.

    Raises:
        DataError: The run's corpus is gone, so that its order cannot be computed any more.
    """
    try:
        recipe = tomllib.loads((run / "recipe.toml").read_text())
    except FileNotFoundError:
        return []
    num_steps = _num_steps(run)
    checkpoints = sorted(path.name for path in (run / "checkpoints").glob("step-*"))
    data = DataConfig(**recipe["data"])
    found: list[Exposure] = []
    for name, order, documents in _orders(run, recipe, data, post_ids):
        for post_id, document in documents:
            steps = tuple(step + 1 for step in order.steps_of(document, num_steps=num_steps))
            later = [c for c in checkpoints if steps and int(c.partition("-")[2]) >= steps[0]]
            found.append(
                Exposure(
                    run=run.name,
                    post_id=post_id,
                    source=name,
                    document=document,
                    num_steps_run=num_steps,
                    steps=steps,
                    checkpoints=tuple(later),
                )
            )
    return found


def _place(run: Path, recorded: str) -> Path:
    """Where a folder of the recipe is now: a workspace that was moved brings it along."""
    path = placed(run, recorded)
    moved = run.parent.parent / path.parent.name / path.name
    return moved if recorded and moved.is_dir() else path


def _orders(
    run: Path, recipe: dict[str, Any], data: DataConfig, post_ids: Collection[str]
) -> Iterable[tuple[str, DataOrder, list[tuple[str, int]]]]:
    """The orders that the run's loop reads and that hold the posts, as its objective lays them."""
    objective = recipe.get("objective", "pretrain")  # a run of an earlier release has no other
    if objective == "dpo":
        folder = _place(run, recipe["preferences"])
        if documents := _documents_with(folder, post_ids):
            pairs = read_artifact(folder, kind=PREFERENCES_KIND)
            if pairs is None:
                raise _gone(folder)
            yield "preferences", dpo(pairs, data, DpoConfig(), base_digest="").orders[0], documents
        return
    has_dialogues = bool(recipe["dialogues"])
    share = data.dialogue_share if has_dialogues else 0.0
    if objective == "pretrain":
        folder = _place(run, recipe["corpus"])
        if documents := _documents_with(folder, post_ids):
            source = CorpusSource(TokenShard(folder / "train"), boundary=0)
            tokens = round(data.tokens_per_step * (1.0 - share))
            yield "corpus", data_order(source, data, tokens=tokens), documents
    folder = _place(run, recipe["dialogues"])
    if has_dialogues and (documents := _documents_with(folder, post_ids)):
        starts = np.load(folder / "replies.npy")
        prefix = folder / "train"
        source = DialogueSource(TokenShard(prefix), reply_starts=starts, boundary=0)
        if objective == "sft":
            order = sft(source, HeldOutSplit.of_dialogues(prefix), data).orders[0]
        else:
            order = data_order(source, data, tokens=round(data.tokens_per_step * share))
        yield "dialogues", order, documents


def _gone(folder: Path) -> DataError:
    return DataError(
        f"{folder} is gone, and with it the order in which its posts were learned",
        hint="restore that folder, or rebuild it with the same inputs, and ask again",
    )


def _documents_with(folder: Path, post_ids: Collection[str]) -> list[tuple[str, int]]:
    meta = folder / "train.meta.parquet"
    if not meta.is_file():
        raise _gone(folder)
    rows = (
        pl.scan_parquet(meta, glob=False)
        .select("document", "post_ids")
        .explode("post_ids")
        .filter(pl.col("post_ids").is_in(pl.Series(sorted(post_ids), dtype=pl.String)))
        .unique()
        .sort("post_ids", "document")
        .collect()
    )
    return [(post_id, document) for document, post_id in rows.iter_rows()]


def _num_steps(run: Path) -> int:
    """Steps done by the last whole line of the metrics."""
    path = run / "metrics.jsonl"
    lines: Sequence[bytes] = path.read_bytes().splitlines() if path.is_file() else []
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0
