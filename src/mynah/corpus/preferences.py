"""Preference pairs: of two replies to one post, the one that people clearly liked better.

Reads tables of posts; writes nothing. The better one was posted no earlier than the other, so that
more time to be seen cannot explain its likes.

Source: Ethayarajh, Choi, Swayamdipta 2022, "Understanding Dataset Difficulty with V-Usable
Information" (arXiv:2110.08420), the Stanford Human Preferences set.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import ConfigDict, Field

__all__ = ["PreferenceConfig", "preference_pairs"]

_MAX_REPLIES_PER_SIDE = 32
"""Of more replies to one post, only the most and the least liked are compared."""
_MAX_PAIRS_AT_ONCE = 1 << 22

_COLUMNS = (
    "parent_id", "chosen_id", "rejected_id", "prompt", "chosen", "rejected", "chosen_likes",
    "rejected_likes", "ratio",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceConfig:
    """Which two replies say what people prefer."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    min_ratio: Annotated[float, Field(ge=1)] = 2.0
    """Likes of the chosen reply over likes of the other, one like at least taken for the latter."""
    min_margin: Annotated[int, Field(ge=1)] = 5
    """Likes that the chosen reply has more than the other."""
    min_characters: Annotated[int, Field(ge=1)] = 20
    """Characters that the prompt and both replies have at least."""
    max_characters: Annotated[int, Field(ge=1)] = 2_000
    """Characters that the prompt and both replies have at the most."""
    max_pairs_per_parent: Annotated[int, Field(ge=1)] = 5
    """Pairs taken from the replies to one post."""


def preference_pairs(posts: pl.DataFrame, config: PreferenceConfig) -> pl.DataFrame:
    """Return the pairs that the replies to one post make.

    Both replies are by others than the post's author, by two people, and say two things. Where a
    post has more pairs than are taken, every chosen reply brings its clearest one first.

    Args:
        posts: ``id`` (unique), ``author``, ``created_at``, ``text`` (cleaned), ``reply_to``,
            ``likes``. Only those that may be trained on: nothing held out.
        config: What a clear difference is.

    Returns:
        ``parent_id``, ``chosen_id``, ``rejected_id``, ``prompt``, ``chosen``, ``rejected``,
        ``chosen_likes``, ``rejected_likes``, ``ratio``; sorted by the three ids.
    """
    posts = posts.select("id", "author", "created_at", "text", "reply_to", "likes").sort("id")
    replies = _replies(posts.with_row_index("row"), config)
    if replies.is_empty():
        return _written(posts, _no_pairs(replies))
    found = [_pairs(part, config) for part in _parts(replies)]
    return _written(posts, pl.concat(found))


def _replies(posts: pl.DataFrame, config: PreferenceConfig) -> pl.DataFrame:
    """The replies that may be one of a pair: numbers and names alone, no text."""
    length = pl.col("text").str.len_chars()
    good = posts.filter(
        length.is_between(config.min_characters, config.max_characters), pl.col("author") != ""
    )
    parents = good.select(
        pl.col("id").alias("reply_to"),
        pl.col("row").alias("parent"),
        pl.col("author").alias("parent_author"),
    )
    return (
        good.filter(pl.col("created_at").is_not_null(), pl.col("reply_to").is_not_null())
        .select("row", "reply_to", "author", "created_at", "likes")
        .join(parents, on="reply_to", how="inner")
        .filter(pl.col("author") != pl.col("parent_author"))
        .select("parent", "row", "author", "created_at", "likes")
        .sort("parent", "likes", "row", descending=[False, True, False])
        .filter(
            pl.len().over("parent") >= 2,
            (pl.col("likes").max() - pl.col("likes").min()).over("parent") >= config.min_margin,
        )
        .with_columns(
            pl.int_range(pl.len()).over("parent").alias("place"), pl.len().over("parent").alias("n")
        )
        .filter(
            (pl.col("place") < _MAX_REPLIES_PER_SIDE)
            | (pl.col("n") - pl.col("place") <= _MAX_REPLIES_PER_SIDE)
        )
        .drop("place", "n")
    )


def _parts(replies: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Cut between parents, so that the pairs of a part fit into memory."""
    parents = replies["parent"].to_numpy()
    starts = np.flatnonzero(np.diff(parents, prepend=np.int64(-1)))
    sizes = np.diff(np.append(starts, len(parents)))
    part = np.cumsum(sizes * sizes) // _MAX_PAIRS_AT_ONCE
    firsts = starts[np.flatnonzero(np.diff(part, prepend=np.int64(-1)))]
    for at, end in zip(firsts, [*firsts[1:], len(parents)], strict=True):
        yield replies.slice(int(at), int(end - at))


def _pairs(replies: pl.DataFrame, config: PreferenceConfig) -> pl.DataFrame:
    likes, other = pl.col("likes"), pl.col("likes_other")
    pairs = (
        replies.join(replies, on="parent", how="inner", suffix="_other")
        .filter(
            likes - other >= config.min_margin,
            pl.col("created_at") >= pl.col("created_at_other"),
            pl.col("author") != pl.col("author_other"),
        )
        .with_columns((likes / other.clip(lower_bound=1)).alias("ratio"))
        .filter(pl.col("ratio") >= config.min_ratio)
        .select("parent", "row", "row_other", "likes", "likes_other", "ratio")
        .sort("parent", "ratio", "row", "row_other", descending=[False, True, False, False])
    )
    # The clearest pair of each chosen reply first, then their second ones.
    turn = pl.int_range(pl.len()).over("parent", "row")
    return (
        pairs.with_columns(turn.alias("turn"))
        .sort("parent", "turn", maintain_order=True)
        .filter(pl.int_range(pl.len()).over("parent") < config.max_pairs_per_parent)
        .drop("turn")
    )


def _no_pairs(replies: pl.DataFrame) -> pl.DataFrame:
    return replies.select(
        "parent",
        "row",
        pl.col("row").alias("row_other"),
        "likes",
        pl.col("likes").alias("likes_other"),
        pl.lit(0.0).alias("ratio"),
    )


def _written(posts: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Put ids and texts to the rows; two replies with the same words say nothing."""
    ids, texts = posts["id"], posts["text"]
    return (
        pl.DataFrame(
            {
                "parent_id": ids.gather(pairs["parent"]),
                "chosen_id": ids.gather(pairs["row"]),
                "rejected_id": ids.gather(pairs["row_other"]),
                "prompt": texts.gather(pairs["parent"]),
                "chosen": texts.gather(pairs["row"]),
                "rejected": texts.gather(pairs["row_other"]),
                "chosen_likes": pairs["likes"],
                "rejected_likes": pairs["likes_other"],
                "ratio": pairs["ratio"],
            }
        )
        .select(_COLUMNS)
        .filter(pl.col("chosen") != pl.col("rejected"))
        .sort("parent_id", "chosen_id", "rejected_id")
    )
