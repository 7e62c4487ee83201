"""Which runs, steps and checkpoints saw a post: arithmetic over the data order, never a log.

Reads ``recipe.toml``, ``metrics.jsonl`` and the checkpoints' names of a run, and the sidecars of
the corpus and dialogues it names; writes nothing.
"""

import json
import tomllib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from mynah.corpus import TokenShard
from mynah.errors import DataError
from mynah.train.config import DataConfig, placed
from mynah.train.data import CorpusSource, DataOrder, DialogueSource

__all__ = ["Exposure", "find_exposures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What one run learned from one post."""

    run: str
    """Name of the run."""
    post_id: str
    source: str
    """``corpus`` or ``dialogues``."""
    document: int
    """Number of the document, or dialogue, that holds the post."""
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
    run: Path, recipe: dict[str, str], data: DataConfig, post_ids: Collection[str]
) -> Iterable[tuple[str, DataOrder, list[tuple[str, int]]]]:
    """The orders that the run's loop reads, as ``train.run`` lays them out."""
    has_dialogues = bool(recipe["dialogues"])
    share = data.dialogue_share if has_dialogues else 0.0
    folder = _place(run, recipe["corpus"])
    if documents := _documents_with(folder, post_ids):
        source = CorpusSource(TokenShard(folder / "train"), boundary=0)
        yield "corpus", _order(source, data, round(data.tokens_per_step * (1.0 - share))), documents
    folder = _place(run, recipe["dialogues"])
    if has_dialogues and (documents := _documents_with(folder, post_ids)):
        shard = TokenShard(folder / "train")
        starts = np.load(folder / "replies.npy")
        source = DialogueSource(shard, reply_starts=starts, boundary=0)
        yield "dialogues", _order(source, data, round(data.tokens_per_step * share)), documents


def _order(source: CorpusSource | DialogueSource, data: DataConfig, tokens: int) -> DataOrder:
    return DataOrder(
        source,
        seed=data.seed,
        tokens_per_step=tokens,
        max_tokens=min(data.max_document_tokens, tokens),
    )


def _documents_with(folder: Path, post_ids: Collection[str]) -> list[tuple[str, int]]:
    meta = folder / "train.meta.parquet"
    if not meta.is_file():
        raise DataError(
            f"{folder} is gone, and with it the order in which its posts were learned",
            hint="restore that folder, or rebuild it with the same inputs, and ask again",
        )
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
