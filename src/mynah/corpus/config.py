"""Settings of a corpus."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import ConfigDict, Field

__all__ = ["CorpusConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusConfig:
    """What becomes a document, and which documents are held out."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    heldout_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Share of threads kept out of training, for evaluation."""
    min_letters: Annotated[int, Field(ge=0)] = 10
    """Letters that a cleaned post must have; counts alike in scripts without spaces."""
    min_similarity: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Jaccard similarity of character 5-grams from which two posts are near duplicates. A word
    changed in a post of 80 characters leaves 0.75, of 140 characters 0.85; at 0.7 the bands
    still propose 97.5% of pairs."""
