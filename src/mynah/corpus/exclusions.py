"""Which posts are left out of a corpus, for which reason, and which post stands for them.

A post has at most one reason, the first that holds: what its own text says (``prepared``), then
that it repeats another post, then that an automated account wrote it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from mynah.corpus.bots import find_bots
from mynah.corpus.config import CorpusConfig
from mynah.corpus.duplicates import find_duplicates
from mynah.corpus.engine import Engine
from mynah.corpus.prepared import Prepared
from mynah.progress import Progress

__all__ = ["Judged", "judge_all"]


@dataclass(frozen=True, slots=True)
class Judged:
    """Every post of a store and what became of it; rows as in ``Prepared``."""

    facts: pl.DataFrame
    """``FACTS`` with the final ``reason`` (null: it is in the corpus) and ``survivor``, the row
    that stands for a repeat, -1 if none."""

    def excluded(self) -> pl.DataFrame:
        """Return ``id``, ``reason`` and ``survivor_id`` of what is left out, in order of ids."""
        is_repeat = pl.col("reason").is_in(["duplicate", "near_duplicate"])
        survivor_id = pl.col("id").gather(pl.max_horizontal("survivor", pl.lit(0)))
        return (
            self.facts.with_columns(pl.when(is_repeat).then(survivor_id).alias("survivor_id"))
            .filter(pl.col("reason").is_not_null())
            .select("id", "reason", "survivor_id")
        )


def judge_all(
    prepared: Prepared, *, config: CorpusConfig, engine: Engine, progress: Progress
) -> Judged:
    """Find repeats and automated accounts among all posts; settle every post's reason.

    A post that repeats one whose author opted out is left out with it: the words are the same.
    """
    facts = prepared.facts()
    found = find_duplicates(
        prepared.parts,
        _precedence(facts),
        min_similarity=config.min_similarity,
        num_threads=engine.num_workers,
        progress=progress,
    )
    survivor = _survivors(found.exact, found.near)
    may_train = facts["may_train"].to_numpy()
    stands = np.maximum(survivor, 0)
    facts = facts.with_columns(
        pl.Series("survivor", survivor),
        pl.Series("is_copy", found.exact >= 0),
        pl.Series("repeats_opted_out", (survivor >= 0) & ~may_train[stands]),
    )
    facts = facts.with_columns(
        pl.coalesce(
            "reason",
            pl.when("repeats_opted_out").then(pl.lit("opted_out")),
            pl.when((pl.col("survivor") >= 0) & pl.col("is_copy")).then(pl.lit("duplicate")),
            pl.when(pl.col("survivor") >= 0).then(pl.lit("near_duplicate")),
        ).alias("reason")
    )
    return Judged(_without_bots(facts, config).drop("is_copy", "repeats_opted_out"))


def _precedence(facts: pl.DataFrame) -> npt.NDArray[np.int64]:
    """Place of each post in the order in which repeats survive: opted out, then the earliest."""
    last = np.iinfo(np.int64).max
    created = facts["created_at"].cast(pl.Int64).fill_null(last).to_numpy()
    order = np.lexsort((created, facts["may_train"].to_numpy()))  # stable: then the order of ids
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    return places


def _survivors(exact: npt.NDArray[np.int64], near: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Row of the survivor: of a copy of a near duplicate it is that one's survivor."""
    of_copy = np.where(exact >= 0, near[np.maximum(exact, 0)], -1)
    return np.where(near >= 0, near, np.where(of_copy >= 0, of_copy, exact))


def _without_bots(facts: pl.DataFrame, config: CorpusConfig) -> pl.DataFrame:
    bots = find_bots(facts, config=config.bots)
    is_bot = pl.col("author").is_in(bots["author"].implode())
    return facts.with_columns(
        pl.when(pl.col("reason").is_null() & is_bot)
        .then(pl.lit("bot"))
        .otherwise("reason")
        .alias("reason")
    )
