"""The language of each post: evidence of its text, the network's own tag, and what is expected.

Reads columns of texts and tags; returns codes (ISO 639-1 where one exists, else 639-3) with a
score. Unknown is an answer: a post without words, or that could be several languages, has none.
Each row is judged by itself, so that batches of any size give the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import ConfigDict, Field

from mynah.corpus.language_evidence import (
    NGramModel,
    declared_languages,
    plain_words,
    spoken_languages,
    spoken_model,
)

__all__ = ["LanguageConfig", "detect_languages", "language_prior"]

Floats = npt.NDArray[np.float64]

_MACRO = {
    **dict.fromkeys(("acm", "aeb", "afb", "ajp", "apc", "arq", "ary", "arz"), "ar"),
    **dict.fromkeys(("bs", "hr", "sr"), "sh"),
    **dict.fromkeys(("nb", "nn"), "no"),
    **dict.fromkeys(("wuu", "yue"), "zh"),
    "azb": "az",
    "hif": "hi",
}
"""Languages that are written so much like another that a detector may name that one instead."""
_MIN_PROBABILITY = 1e-4
"""Below this fasttext's probabilities say nothing; a language it does not name has this one."""
_CHUNK_ROWS = 16_384
"""Rows at a time: each needs a probability of every language."""
_NO_ANSWER_PROBABILITY = 0.1
"""What fasttext gives to a language that it does not know. Measured on AfriSenti's training
half: anything from 0.02 to 0.3 does as well."""
_NGRAM_WEIGHT = 0.25
"""N-grams overlap and depend on one another: a quarter of their likelihood counts. Measured on
the training halves of both sets: 0.1 to 0.5 differ by less than one in a hundred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageConfig:
    """Which languages a network is written in, and how sure an answer must be."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    languages: tuple[Annotated[str, Field(pattern="^[a-z]{2,3}$")], ...] = ()
    """Codes of the languages expected, ISO 639-1 or 639-3. Empty: those of the network's tags."""
    keep_other_languages: bool = True
    """Whether posts in other languages than ``languages`` stay in the corpus."""
    keep_unknown_language: bool = True
    """Whether posts stay whose language nobody can tell."""
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability below which a post's language is unknown."""
    min_letters: Annotated[int, Field(ge=1)] = 3
    """Letters below which a text tells nothing; its tag still may."""
    other_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of posts expected in languages that nobody named."""
    tag_weight: Annotated[float, Field(ge=1)] = 10.0
    """How many times likelier the network's tag makes a language; 1 ignores tags."""
    min_tag_share: Annotated[float, Field(gt=0, lt=1)] = 0.002
    """Share of a network's tags from which a language is expected, when none are configured."""


def language_prior(num_tagged: Mapping[str, int], *, config: LanguageConfig) -> dict[str, float]:
    """Return the probability of each expected language before its text is read.

    Count the tags over the whole store, not over one batch. The rest up to one is for the
    languages that nobody expects. Half of what is expected is shared evenly, since a platform's
    tags favour the languages that its own detector knows.

    Args:
        num_tagged: Posts of each language, as the network tagged them; unknown tags left out.
        config: What is configured.
    """
    num_all = sum(num_tagged.values())
    if config.languages:
        expected = sorted(set(config.languages))
    else:
        fewest = config.min_tag_share * num_all
        expected = sorted(lang for lang, num in num_tagged.items() if num >= fewest and num > 0)
    if not expected:
        return {}
    num_expected = sum(num_tagged.get(lang, 0) for lang in expected)
    even = 1 / len(expected)
    shares = {
        lang: num_tagged.get(lang, 0) / num_expected if num_expected else even for lang in expected
    }
    return {lang: (1 - config.other_share) * (share + even) / 2 for lang, share in shares.items()}


def detect_languages(
    texts: pl.Series,
    tagged: pl.Series,
    *,
    config: LanguageConfig,
    prior: Mapping[str, float],
) -> pl.DataFrame:
    """Return ``lang`` (null: unknown) and ``lang_score`` (its probability) of each text.

    Args:
        texts: Cleaned texts.
        tagged: The network's own tag of each, or null; evidence, not truth.
        config: How sure to be.
        prior: Of ``language_prior``, over the whole store.
    """
    judge = _judge(tuple(sorted(prior.items())), config)
    parts = [
        judge.judge(plain_words(texts.slice(first, _CHUNK_ROWS)), tagged.slice(first, _CHUNK_ROWS))
        for first in range(0, max(len(texts), 1), _CHUNK_ROWS)
    ]
    return pl.concat(parts)


class _Judge:
    """Weighs the evidence for one prior: columns are expected languages, then the best other."""

    def __init__(self, prior: Mapping[str, float], config: LanguageConfig) -> None:
        self.config = config
        self.expected = sorted(prior)
        self._spoken = spoken_languages()
        known = frozenset(self._spoken)
        self._evidence = [self._columns_of(lang, known) for lang in self._spoken]
        self._is_other = np.array([not columns for columns in self._evidence], bool)
        heard = {column for columns in self._evidence for column in columns}
        modelled = [self._modelled(lang) for lang in self.expected]
        self._is_heard = np.array([c in heard for c in range(len(self.expected))], bool)
        self._has_ngrams = np.array([lang is not None for lang in modelled], bool)
        others = sorted(known & declared_languages()) if self._has_ngrams.any() else []
        # The expected ones side by side, since each n-gram is looked up in all of them.
        first = sorted(set(filter(None, modelled)))
        models = [*first, *(lang for lang in others if lang not in first)]
        self._ngrams = NGramModel(models) if models else None
        self._ngram_columns = [self._ngram_column(lang) for lang in modelled]
        other_share = config.other_share if prior else 1.0
        other = other_share / len(known)
        self._log_prior = np.log([*(prior[x] for x in self.expected), other, other])

    def _columns_of(self, label: str, known: frozenset[str]) -> list[int]:
        """Return the expected languages of which a label of fasttext is evidence."""
        if label in self.expected:
            return [self.expected.index(label)]
        macro = _MACRO.get(label, label)
        if macro in self.expected:
            return [self.expected.index(macro)]
        # A variety that fasttext does not know is taken for the language it is a variety of.
        return [
            column
            for column, lang in enumerate(self.expected)
            if _MACRO.get(lang) == macro and lang not in known
        ]

    def _modelled(self, lang: str) -> str | None:
        """Return the language whose n-grams stand for ``lang``, if there is one."""
        declared = declared_languages()
        macro = _MACRO.get(lang, lang)
        return lang if lang in declared else macro if macro in declared else None

    def _ngram_column(self, lang: str | None) -> int:
        return -1 if lang is None or self._ngrams is None else self._ngrams.columns.get(lang, -1)

    def judge(self, words: pl.Series, tagged: pl.Series) -> pl.DataFrame:
        """Return the most probable language of each row and its probability."""
        is_silent = (words.str.count_matches(r"\p{L}") < self.config.min_letters).to_numpy()
        heard, others = self._hear(words, is_silent)
        logits = np.log(heard) + self._log_prior
        if self._ngrams is not None:
            likelihoods = self._read_ngrams(self._ngrams, words, others)
            likelihoods[is_silent] = 0.0
            logits += _NGRAM_WEIGHT * likelihoods
        tags = tagged.to_list()
        self._add_tags(logits, tags, others)
        logits -= logits.max(axis=1, keepdims=True)
        posterior = np.exp(logits)
        posterior /= posterior.sum(axis=1, keepdims=True)
        best = posterior[:, :-1].argmax(axis=1)
        scores = posterior[np.arange(len(best)), best]
        is_known = (scores >= self.config.min_score) & (
            ~is_silent | tagged.is_not_null().to_numpy()
        )
        names: list[str | None] = [*self.expected, None]
        languages = [
            None if not known else names[column] or other
            for column, other, known in zip(best, others, is_known, strict=True)
        ]
        return pl.DataFrame(
            {
                "lang": pl.Series(languages, dtype=pl.String),
                "lang_score": pl.Series(scores, dtype=pl.Float32),
            }
        )

    def _hear(
        self, words: pl.Series, is_silent: npt.NDArray[np.bool_]
    ) -> tuple[Floats, list[str | None]]:
        """Ask fasttext: expected languages, then the best of the others, then all the rest."""
        probabilities = spoken_model().probabilities(words)
        num_columns = len(self.expected)
        heard = np.zeros((len(words), num_columns + 2))
        # Column by column, since a product of matrices rounds by the size of the batch.
        for label, columns in enumerate(self._evidence):
            for column in columns or [num_columns + 1]:
                heard[:, column] += probabilities[:, label]
        heard[:, :num_columns][:, ~self._is_heard & self._has_ngrams] = _NO_ANSWER_PROBABILITY
        probabilities[:, ~self._is_other] = 0
        best = probabilities.argmax(axis=1)
        heard[:, num_columns] = probabilities[np.arange(len(best)), best]
        heard[:, num_columns + 1] -= heard[:, num_columns]
        heard[is_silent] = 1.0  # the tag alone speaks
        others = [
            None if is_none else self._spoken[label]
            for label, is_none in zip(best, is_silent, strict=True)
        ]
        return np.maximum(heard, _MIN_PROBABILITY), others

    def _read_ngrams(
        self, ngrams: NGramModel, words: pl.Series, others: Sequence[str | None]
    ) -> Floats:
        """Return likelihoods in the columns of ``judge``, relative to the best of each row.

        A language without a model has the best, so that n-grams do not speak against it.
        """
        num_columns = len(self.expected)
        columns = np.empty((len(words), num_columns + 2), np.int64)
        columns[:, :num_columns] = self._ngram_columns
        columns[:, num_columns] = [self._ngram_column(lang) for lang in others]
        columns[:, num_columns + 1] = columns[:, num_columns]
        found = ngrams.log_likelihoods(words, columns).astype(float)
        found[columns < 0] = -np.inf
        best = found.max(axis=1, keepdims=True)
        return np.where(columns < 0, 0.0, found - best)

    def _add_tags(
        self, logits: Floats, tagged: Sequence[str | None], others: list[str | None]
    ) -> None:
        gain = np.log(self.config.tag_weight)
        for row, tag in enumerate(tagged):
            if tag is None:
                continue
            if tag in self.expected:
                logits[row, self.expected.index(tag)] += gain
            elif others[row] in (tag, None) and gain:
                others[row] = tag
                logits[row, -2] += gain


@lru_cache(maxsize=8)
def _judge(prior: tuple[tuple[str, float], ...], config: LanguageConfig) -> _Judge:
    return _Judge(dict(prior), config)
