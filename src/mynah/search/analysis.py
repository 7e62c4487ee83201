"""How text becomes terms: one analyser for posts, queries, highlights and the contexts of ads.

A term is a word: accents folded, lower case, English stem. The signs of hashtags and mentions are
no part of it, so ``#jobs``, ``@jobs`` and ``jobs`` are one term. A link is one term, an emoji is
one, and so is every Han, Hiragana or Katakana character, since those scripts put no spaces.
Reads and writes nothing.
"""

import re
import unicodedata
from dataclasses import dataclass

from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

__all__ = [
    "ANALYSIS_VERSION",
    "QUESTION_TERMS",
    "Token",
    "analyse",
    "make_analyser",
    "normalise",
    "tokenise",
    "without_surrogates",
]

ANALYSIS_VERSION = 1
"""Part of an index's name: a change of the rules below makes a new index."""

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}"
_WORD_PATTERN = "|".join(
    (
        r"https?://\S*[\p{L}\p{N}/]",
        rf"[{_UNSPACED}]",
        r"\p{Extended_Pictographic}",
        r"\p{Regional_Indicator}{2}",
        # Letters and digits with their marks and joiners; underscores and apostrophes only inside.
        rf"[[\p{{L}}\p{{N}}]--[{_UNSPACED}]]"
        rf"(?:_*[[\p{{L}}\p{{M}}\p{{N}}\x{{200C}}\x{{200D}}]--[{_UNSPACED}]])*"
        rf"(?:['\x{{2019}}][[\p{{L}}\p{{M}}]--[{_UNSPACED}]]+)*",
    )
)
_MAX_TERM_BYTES = 256
_SURROGATE = re.compile("[\ud800-\udfff]")

# Words that a question is made of. They find every post and none in particular.
_QUESTION_WORDS = """
a about after all also am an and any are as at be because been before being but by can could did do
does doing don't for from had has have he her him his how i if in into is it its just let me more
most my no not of on or our out over own she should so some such than that the their them then
there these they this those to too until up us was we were what what's when where which while who
who's whom whose why will with would you your anybody anyone everybody everyone people say says said
saying tell think thinks thought thinking talk talks talking post posts posted posting opinion
opinions please know
"""


@dataclass(frozen=True, slots=True)
class Token:
    """One word of a text: its term and the characters ``[start, end)`` it was made from."""

    term: str
    position: int
    start: int
    end: int


def make_analyser() -> TextAnalyzer:
    """Build a fresh analyser, for an index to register."""
    # Folding before lower case: a dotted capital I keeps its dot as a mark otherwise.
    return (
        TextAnalyzerBuilder(Tokenizer.regex(_WORD_PATTERN))
        .filter(Filter.remove_long(_MAX_TERM_BYTES))
        .filter(Filter.ascii_fold())
        .filter(Filter.lowercase())
        .filter(Filter.stemmer("english"))
        .build()
    )


_ANALYSER = make_analyser()


def without_surrogates(text: str) -> str:
    """Replace half characters, which JSON can carry and no file or index can hold, one for one."""
    return _SURROGATE.sub("\ufffd", text)


def normalise(text: str) -> str:
    """Compose accents (NFC), as the index sees text."""
    return unicodedata.normalize("NFC", without_surrogates(text))


def analyse(text: str) -> list[str]:
    """Return the terms of ``text`` in order, repeats included."""
    return _ANALYSER.analyze(normalise(text))


def tokenise(text: str) -> list[Token]:
    """Return the terms of ``text`` with their places in it, in characters of ``text`` as given."""
    text = without_surrogates(text)
    found = [
        Token(token.text, token.position, token.char_offset_from, token.char_offset_to)
        for token in _ANALYSER.pre_tokenize(text).tokens
    ]
    if unicodedata.is_normalized("NFC", text):
        return found
    # The words of the composed text are the same ones, only spelled with fewer characters.
    return [_respell(token, text) for token in found]


def _respell(token: Token, text: str) -> Token:
    terms = analyse(text[token.start : token.end])
    term = terms[0] if len(terms) == 1 else token.term
    return Token(term, token.position, token.start, token.end)


QUESTION_TERMS = frozenset(analyse(_QUESTION_WORDS))
"""Terms that are left out of a question as long as it has another."""
