"""Fertility: how many tokens a tokenizer takes for a language's words, letters and bytes.

Reads a tokenizer and a table of posts; writes nothing.
"""

import numpy as np
import polars as pl

from mynah.corpus.tokens import DocumentEncoder

__all__ = ["fertility"]

_SAMPLE_POSTS = 2_000
_UNKNOWN = "unknown"


def fertility(
    tokenizer: DocumentEncoder, posts: pl.DataFrame, *, posts_per_language: int = _SAMPLE_POSTS
) -> pl.DataFrame:
    """Measure a tokenizer by language, on a sample that the same posts always give.

    Args:
        tokenizer: What counts the tokens.
        posts: ``text`` (cleaned) and ``lang``; a null is the language "unknown".
        posts_per_language: At the most, taken at even distances.

    Returns:
        By language, most posts first: ``lang``, ``num_posts`` (of all), ``num_sampled``,
        ``tokens_per_word`` (words are what spaces part: of scripts without spaces, this says
        little), ``tokens_per_character``, ``bytes_per_token``.
    """
    place = pl.int_range(pl.len()).over("lang")
    num_posts = pl.len().over("lang")
    sample = (
        posts.select(pl.col("lang").fill_null(_UNKNOWN), "text")
        .with_columns(place.alias("place"), num_posts.alias("num_posts"))
        .with_columns((1 + (pl.col("num_posts") - 1) // posts_per_language).alias("distance"))
        .filter(pl.col("place") % pl.col("distance") == 0)
    )
    _, offsets = tokenizer.encode_batch(sample["text"])
    return (
        sample.with_columns(
            pl.Series("num_tokens", np.diff(offsets)),
            pl.col("text").str.count_matches(r"\S+").alias("num_words"),
            pl.col("text").str.len_chars().alias("num_characters"),
            pl.col("text").str.len_bytes().alias("num_bytes"),
        )
        .group_by("lang")
        .agg(
            pl.col("num_posts").first().cast(pl.Int64),
            pl.len().cast(pl.Int64).alias("num_sampled"),
            _ratio("num_tokens", "num_words").alias("tokens_per_word"),
            _ratio("num_tokens", "num_characters").alias("tokens_per_character"),
            _ratio("num_bytes", "num_tokens").alias("bytes_per_token"),
        )
        .sort("num_posts", "lang", descending=[True, False])
    )


def _ratio(over: str, under: str) -> pl.Expr:
    """Of sums; posts of spaces alone have no words, but no infinite ratio either."""
    return pl.col(over).sum() / pl.col(under).sum().clip(lower_bound=1)
