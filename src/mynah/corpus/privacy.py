"""Personal data out of posts: e-mail, phone, IP, card, IBAN, and people named by config.

Reads a column of texts; returns it with typed placeholders, as in ``[email]``. A placeholder is
plain words in brackets: few tokens, readable for the model, never a mark of a chat template.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import ConfigDict, Field

from mynah.corpus.privacy_patterns import GATE, replace_personal

__all__ = ["PERSONAL_KINDS", "PrivacyConfig", "redact"]

PERSONAL_KINDS = ("email", "phone", "ip", "card", "iban", "address", "name", "mention")
"""What is told apart; each is replaced by its name in brackets."""

_MAX_COUNT = np.iinfo(np.uint16).max
_MENTION = r"(?<![\w@/.])@\w+(?:@[\w-]+(?:\.[\w-]+)+)?"
_PLACEHOLDER = rf"(?!(?<=\[)(?:{'|'.join(PERSONAL_KINDS)})\])"
Name = Annotated[str, Field(min_length=2, pattern=r"\w")]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyConfig:
    """Whose data leaves the texts before anything learns from them."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    patterns: bool = True
    """Replace e-mail addresses, phone numbers, IP addresses, payment cards and IBANs."""
    people: tuple[Name, ...] = ()
    """Names and handles of people whose name is replaced, without regard to case."""
    addresses: tuple[Name, ...] = ()
    """Postal addresses to replace, as people write them; blanks and commas may differ."""
    keep_mentions: bool = True
    """Whether @mentions stay. A handle is how a network names its authors in public."""


def redact(texts: pl.Series, *, config: PrivacyConfig) -> tuple[pl.Series, pl.DataFrame]:
    """Replace personal data by placeholders; doing it again changes nothing.

    A text without any comes back byte for byte.

    Args:
        texts: Cleaned texts, without nulls.
        config: What to replace.

    Returns:
        The texts, and a frame of the same rows that counts in a column for each kind what was
        replaced.
    """
    rows = texts.to_frame("text").select(row=_gate(config)).to_series().arg_true()
    replacer = _replacer(config)
    counts = np.zeros((len(PERSONAL_KINDS), len(texts)), np.uint16)
    changed_rows: list[int] = []
    changed_texts: list[str] = []
    for row, text in zip(rows, texts.gather(rows), strict=True):
        redacted, found = replacer.replace(text)
        if found:
            changed_rows.append(row)
            changed_texts.append(redacted)
        for kind, num in found.items():
            counts[PERSONAL_KINDS.index(kind), row] = min(num, _MAX_COUNT)
    redacted_texts = texts.clone()
    if changed_rows:
        redacted_texts = redacted_texts.scatter(changed_rows, changed_texts)
    return redacted_texts, pl.DataFrame(dict(zip(PERSONAL_KINDS, counts, strict=True)))


def _gate(config: PrivacyConfig) -> pl.Expr:
    """Tell which texts may hold something: those that Python then reads one by one."""
    text = pl.col("text")
    gates = [pl.lit(False)]
    if config.patterns:
        gates.append(text.str.contains(GATE))
    named = [*config.people, *config.addresses]
    if named:
        # The first word, since blanks and commas within an address may differ.
        first = [re.findall(r"\w+", name)[0] for name in named]
        gates.append(text.str.contains(f"(?i:{'|'.join(map(re.escape, first))})"))
    if not config.keep_mentions:
        gates.append(text.str.contains("@", literal=True))
    return pl.any_horizontal(gates)


class _Replacer:
    def __init__(self, config: PrivacyConfig) -> None:
        self.has_patterns = config.patterns
        named = [(_any_of(config.addresses), "address"), (_any_of(config.people, "@?"), "name")]
        if not config.keep_mentions:
            named.append((re.compile(_MENTION), "mention"))
        self.named = [(pattern, kind) for pattern, kind in named if pattern is not None]

    def replace(self, text: str) -> tuple[str, Counter[str]]:
        found: Counter[str] = Counter()
        if self.has_patterns:
            text, kinds = replace_personal(text)
            found.update(kinds)
        for pattern, kind in self.named:
            text, num = pattern.subn(f"[{kind}]", text)
            if num:
                found[kind] += num
        return text, found


def _any_of(names: Sequence[str], prefix: str = "") -> re.Pattern[str] | None:
    """Match any of the names as whole words, the longest first; blanks and commas may differ."""
    if not names:
        return None
    words = [re.findall(r"[^\s,]+", name) for name in sorted(names, key=len, reverse=True)]
    choices = "|".join(r"[\s,]{1,3}".join(map(re.escape, found)) for found in words)
    return re.compile(rf"(?<!\w){_PLACEHOLDER}{prefix}(?:{choices})(?!\w)", re.I)


@lru_cache(maxsize=8)
def _replacer(config: PrivacyConfig) -> _Replacer:
    return _Replacer(config)
