"""Posts that teach a model nothing: too short, without words, repetitive, or advertising.

Reads a frame of cleaned posts; returns one reason a post, or null. Every rule is a threshold on
something that anyone can count, looks at one post alone, and is written down in ``QualityConfig``.
"""

from dataclasses import dataclass
from typing import Annotated

import polars as pl
from pydantic import ConfigDict, Field

from mynah.corpus.language import LanguageConfig
from mynah.corpus.repetition import repetitive_share
from mynah.corpus.spam_signs import num_spam_signs

__all__ = ["QUALITY_REASONS", "QualityConfig", "judge"]

QUALITY_REASONS = (
    "too_short",
    "no_words",
    "repetitive",
    "spam",
    "wrong_language",
    "unknown_language",
)
"""In the order in which they are tried: a post has the first that holds."""

Share = Annotated[float, Field(ge=0, le=1)]

_MENTION = r"[@\x{ff20}][\w.-]+"
_HASHTAG = r"[#\x{ff03}]\w+"
_LINK = r"(?i:https?://|www\.)\S+|(?:[a-zA-Z0-9-]+\.)+[a-zA-Z]{2,6}(?-u:\b)"
"""A link of a cleaned text is its host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityConfig:
    """Which posts are worth learning from."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    min_letters: Annotated[int, Field(ge=0)] = 10
    """Letters that a cleaned post must have; counts alike in scripts without spaces."""
    min_distinct_pairs: Share = 0.3
    """Distinct pairs of neighbouring characters, as a share of all, below which a stretch of text
    repeats itself. Ordinary posts have 0.6 and more; 0 turns the rule off."""
    max_repetitive_share: Share = 0.5
    """Share of a post's text in such stretches from which the post is repetitive."""
    min_spam_signs: Annotated[int, Field(ge=1)] = 3
    """Of the seven signs of advertising, how many make a post spam; 8 turns the rule off."""
    max_spam_characters: Annotated[int, Field(ge=0)] = 320
    """Characters of the longest post that is judged by its signs: a longer one comes by three of
    them by chance. Of the Reddit posts here, one in fifty did."""
    max_hashtags: Annotated[int, Field(ge=0)] = 15
    """Hashtags above which a post is there to be found, not read."""


def judge(posts: pl.DataFrame, *, quality: QualityConfig, language: LanguageConfig) -> pl.Series:
    """Return why each post should not be learned from, or null; see ``QUALITY_REASONS``.

    Args:
        posts: ``text`` (cleaned) and ``lang`` (detected; null: unknown).
        quality: Thresholds.
        language: Which languages are wanted.
    """
    text, lang = pl.col("text"), pl.col("lang")
    unaddressed = posts["text"].str.replace_all(_MENTION, "")
    words = pl.col("unaddressed").str.replace_all(f"{_HASHTAG}|{_LINK}", "")
    is_repetitive = (
        repetitive_share(unaddressed, min_distinct_pairs=quality.min_distinct_pairs)
        > quality.max_repetitive_share
    )
    is_short = posts["text"].str.len_chars() <= quality.max_spam_characters
    is_spam = (is_short & (num_spam_signs(posts["text"]) >= quality.min_spam_signs)) | (
        posts["text"].str.count_matches(_HASHTAG) > quality.max_hashtags
    )
    is_unwanted = pl.lit(False)
    if language.languages and not language.keep_other_languages:
        is_unwanted = lang.is_not_null() & ~lang.is_in(language.languages)
    holds = {
        "too_short": text.str.count_matches(r"\p{L}") < quality.min_letters,
        "no_words": ~words.str.contains(r"\p{L}"),
        "repetitive": pl.col("is_repetitive"),
        "spam": pl.col("is_spam"),
        "wrong_language": is_unwanted,
        "unknown_language": lang.is_null() & ~pl.lit(language.keep_unknown_language),
    }
    return posts.with_columns(
        unaddressed.alias("unaddressed"),
        pl.Series("is_repetitive", is_repetitive, dtype=pl.Boolean),
        is_spam.alias("is_spam"),
    ).select(
        pl.coalesce(
            *(pl.when(holds[reason]).then(pl.lit(reason)) for reason in QUALITY_REASONS)
        ).alias("reason")
    )["reason"]
