"""Accounts that a machine runs: their posts repeat one another, or come at a machine's pace.

Reads a frame of posts; returns the authors. A person who posts much is no machine, so that every
rule asks for two things at once that people do not do together, over many posts.
"""

from dataclasses import dataclass
from typing import Annotated

import polars as pl
from pydantic import ConfigDict, Field

__all__ = ["BotConfig", "author_habits", "find_bots"]

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class BotConfig:
    """From which habits on an account is a machine's. Counts are of one author's posts."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    leave_out: bool = True
    """Whether posts of such accounts are left out."""
    min_posts: Annotated[int, Field(ge=2)] = 50
    """Posts below which nobody is judged: few posts show no habit."""
    min_repeat_share: Share = 0.6
    """Share of posts that repeat another post, from which an account only repeats."""
    min_link_share: Share = 0.9
    """Share of posts with a link, from which an account that posts by the clock is a feed."""
    min_posts_per_day: Annotated[float, Field(gt=0)] = 200.0
    """Posts a day, over the days with a post, that no person keeps up."""
    min_clock_share: Share = 0.5
    """Share of pauses that equal the account's most frequent pause, to the second: a timer."""
    min_burst_share: Share = 0.5
    """Share of posts less than two seconds after the one before: faster than anyone types."""


def find_bots(posts: pl.DataFrame, *, config: BotConfig) -> pl.DataFrame:
    """Return ``author`` and ``reason`` of accounts that a machine runs, in order of authors.

    Reasons are ``repeats`` (mostly copies of other posts), ``clock`` (at even intervals and mostly
    links), ``pace`` (more posts than a person writes, in bursts or by the clock).

    Args:
        posts: ``author``, ``created_at``, ``has_link`` and ``survivor`` (-1: repeats no post), one
            row a post of the whole store. Posts without an author are nobody's.
        config: What counts as a habit.
    """
    habits = author_habits(posts).filter(pl.col("num_posts") >= config.min_posts)
    is_by_clock = pl.col("clock_share") >= config.min_clock_share
    is_in_bursts = pl.col("burst_share") >= config.min_burst_share
    reason = (
        pl.when(pl.col("repeat_share") >= config.min_repeat_share)
        .then(pl.lit("repeats"))
        .when(is_by_clock & (pl.col("link_share") >= config.min_link_share))
        .then(pl.lit("clock"))
        .when((pl.col("posts_per_day") >= config.min_posts_per_day) & (is_by_clock | is_in_bursts))
        .then(pl.lit("pace"))
    )
    found = habits.select("author", reason.alias("reason")).filter(pl.col("reason").is_not_null())
    return found if config.leave_out else found.clear()


def author_habits(posts: pl.DataFrame) -> pl.DataFrame:
    """Measure each author's habits; columns as in ``find_bots``, one row an author, in order."""
    pause_s = pl.col("created_at").sort().diff().drop_nulls().dt.total_seconds()
    days = pl.col("created_at").dt.date().n_unique()
    num_dated = pl.col("created_at").count()
    return (
        posts.lazy()
        .filter(pl.col("author") != "")
        .group_by("author")
        .agg(
            pl.len().alias("num_posts"),
            (pl.col("survivor") >= 0).mean().alias("repeat_share"),
            pl.col("has_link").mean().alias("link_share"),
            (num_dated / days).alias("posts_per_day"),
            pause_s.alias("pauses_s"),
        )
        .with_columns(
            pl.col("pauses_s")
            .list.eval(pl.element().filter(pl.element() < 2))
            .list.len()
            .alias("num_bursts"),
            pl.col("pauses_s").list.len().alias("num_pauses"),
            pl.col("pauses_s")
            .list.eval(
                pl.element()
                .filter(pl.element() >= 2)
                .value_counts(name="num")
                .struct.field("num")
                .max()
            )
            .list.first()
            .fill_null(0)
            .alias("num_even"),
        )
        .select(
            "author",
            "num_posts",
            "repeat_share",
            "link_share",
            "posts_per_day",
            (pl.col("num_bursts") / pl.col("num_pauses")).fill_nan(0).alias("burst_share"),
            (pl.col("num_even") / pl.col("num_pauses")).fill_nan(0).alias("clock_share"),
        )
        .sort("author")
        .collect()
    )
