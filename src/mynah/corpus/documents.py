"""Posts to documents: cleaned, chosen, split. Every post left out has a reason.

One post is one document, its text alone: a header of author and date would be copied into
everything the model writes, and the chat gives those facts beside the text anyway.
"""

from dataclasses import dataclass

import polars as pl

from mynah.corpus.clean import clean_text, comparison_key, num_letters
from mynah.corpus.config import CorpusConfig
from mynah.corpus.duplicates import find_duplicates
from mynah.corpus.split import is_held_out, thread_root
from mynah.progress import NO_PROGRESS, Progress

__all__ = ["Documents", "choose_documents"]


@dataclass(frozen=True, slots=True)
class Documents:
    """What a corpus is made of, and what it is not."""

    chosen: pl.DataFrame
    """``post_id``, ``text`` (cleaned), ``is_heldout``; in the order of ids."""
    excluded: pl.DataFrame
    """``id``, ``reason``, ``survivor_id``: the document that stands for it, if any."""


def choose_documents(
    posts: pl.DataFrame, *, config: CorpusConfig, progress: Progress = NO_PROGRESS
) -> Documents:
    """Clean, leave out what may or should not be learned, split by thread.

    A post that repeats one whose author opted out is left out with it: the words are the same.

    Args:
        posts: Rows of ``POST_SCHEMA``.
        config: What to leave out.
        progress: Told how many posts were compared.
    """
    # Precedence: opted out first, so that their repeats are found; then the earliest post.
    ordered = posts.select("id", "created_at", "text", "reply_to", "may_train").sort(
        "may_train", "created_at", "id", nulls_last=True
    )
    texts = [clean_text(text) for text in ordered["text"]]
    is_short = [num_letters(text) < config.min_letters for text in texts]
    keys = [
        "" if short else comparison_key(text) for text, short in zip(texts, is_short, strict=True)
    ]
    found = find_duplicates(keys, min_similarity=config.min_similarity, progress=progress)
    table = ordered.select("id", "reply_to", "may_train").with_columns(
        pl.Series("text", texts, dtype=pl.String),
        pl.Series("is_short", is_short, dtype=pl.Boolean),
        pl.Series("exact", found.exact),
        pl.Series("near", found.near),
    )
    table = table.with_columns(_survivor())
    table = table.with_columns(_reason())
    return Documents(chosen=_split(table, config), excluded=_excluded(table))


def _survivor() -> pl.Expr:
    """Row of the survivor: of a copy of a near duplicate it is that one's survivor."""
    of_copy = pl.col("near").gather(pl.max_horizontal("exact", pl.lit(0)))
    return (
        pl.when(pl.col("near") >= 0)
        .then("near")
        .when(pl.col("exact") >= 0)
        .then(pl.when(of_copy >= 0).then(of_copy).otherwise("exact"))
        .otherwise(-1)
        .alias("survivor")
    )


def _reason() -> pl.Expr:
    may_survivor_train = pl.col("may_train").gather(pl.max_horizontal("survivor", pl.lit(0)))
    return (
        pl.when(~pl.col("may_train"))
        .then(pl.lit("opted_out"))
        .when("is_short")
        .then(pl.lit("too_short"))
        .when((pl.col("survivor") >= 0) & ~may_survivor_train)
        .then(pl.lit("opted_out"))
        .when(pl.col("exact") >= 0)
        .then(pl.lit("duplicate"))
        .when(pl.col("near") >= 0)
        .then(pl.lit("near_duplicate"))
        .alias("reason")
    )


def _excluded(table: pl.DataFrame) -> pl.DataFrame:
    survivor_id = pl.col("id").gather(pl.max_horizontal("survivor", pl.lit(0)))
    is_repeat = pl.col("reason").is_in(["duplicate", "near_duplicate"])
    return (
        table.with_columns(pl.when(is_repeat).then(survivor_id).alias("survivor_id"))
        .filter(pl.col("reason").is_not_null())
        .select("id", "reason", "survivor_id")
        .sort("id")
    )


def _split(table: pl.DataFrame, config: CorpusConfig) -> pl.DataFrame:
    replies = table.filter(pl.col("reply_to").is_not_null())
    reply_to = dict(zip(replies["id"], replies["reply_to"], strict=True))
    chosen = table.filter(pl.col("reason").is_null()).sort("id")
    roots = [thread_root(post_id, reply_to) for post_id in chosen["id"]]
    held_out = is_held_out(roots, fraction=config.heldout_fraction)
    return chosen.select(
        pl.col("id").alias("post_id"), "text", pl.Series("is_heldout", held_out, dtype=pl.Boolean)
    )
