"""Settings of a corpus."""

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import ConfigDict, Field

from mynah.corpus.bots import BotConfig
from mynah.corpus.language import LanguageConfig
from mynah.corpus.preferences import PreferenceConfig
from mynah.corpus.privacy import PrivacyConfig
from mynah.corpus.quality import QualityConfig

__all__ = ["CorpusConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusConfig:
    """What becomes a document, and which documents are held out."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    heldout_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Share of threads kept out of training, for evaluation."""
    min_similarity: Annotated[float, Field(gt=0, le=1)] = 0.55
    """Jaccard similarity of character 5-grams from which two posts are near duplicates. A word
    changed in a post of 80 characters leaves 0.75 of their 5-grams in common, in a post of 40
    only half; at 0.55 nearly every post with one edit is found (docs/decisions/0010)."""
    language: LanguageConfig = field(default_factory=LanguageConfig)
    """Which languages are expected, and which stay."""
    quality: QualityConfig = field(default_factory=QualityConfig)
    """Which posts have too little to learn from."""
    bots: BotConfig = field(default_factory=BotConfig)
    """Which accounts are taken for automated ones."""
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    """Whose data leaves the texts."""
    preferences: PreferenceConfig = field(default_factory=PreferenceConfig)
    """Which two replies say what people prefer."""
