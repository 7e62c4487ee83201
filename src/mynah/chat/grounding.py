"""The checker: which posts support a sentence, and what takes its place when none does.

It knows nothing of the model. What stands in double quotes must be in a post word for word; what
does not must share its content words, all its numbers and its names with one post, and neither
may say "not" alone. A sentence that names an author is only supported by a post of that author.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mynah.chat.events import CitedPost, Sentence
from mynah.corpus import ShownPost, quotation

__all__ = ["Grounding", "shown_post"]

MARK = re.compile(r"\s*\[(\d+)\]")
QUOTED = re.compile(r'"([^"]*)"')
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
NAME = re.compile(r"[@#]\w+|(?<!^)\b[A-Z][\w']+")
NEGATION = re.compile(r"\b(?:not|no|never|nobody|none|nor|cannot|without)\b|n't\b", re.IGNORECASE)
ATTRIBUTION = re.compile(
    r"^\W*(@?\w+(?: \w+)?) (?:writes|wrote|says|said|thinks|claims|tweeted|posted|asks|calls)\b"
)

MIN_SHARED = 0.7
"""Share of a sentence's content words, by how telling they are, that one post must have."""
MIN_QUOTED_CHARACTERS = 8
"""Shorter quotations prove nothing."""


def shown_post(cited: CitedPost) -> ShownPost:
    """Return what the model saw of a post."""
    post = cited.post
    return ShownPost(author=post.author, created_at=post.created_at, text=post.text)


def _plain(text: str) -> str:
    """Letters and digits alone, folded: for "word for word" up to quotes, dashes and spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+", folded))


@dataclass(frozen=True, slots=True)
class _Evidence:
    cited: CitedPost
    words: str
    plain: str
    terms: frozenset[str]


class Grounding:
    """Checks the sentences of one answer against the posts it was made from.

    Args:
        posts: The posts that were shown, in the order of their numbers.
        analyse: Text to terms, as the search index does it.
        weight: How telling a term is, such as its inverse document frequency.
        stop_terms: Terms that mean nothing by themselves.
    """

    def __init__(
        self,
        posts: Sequence[CitedPost],
        *,
        analyse: Callable[[str], list[str]],
        weight: Callable[[str], float],
        stop_terms: frozenset[str],
    ) -> None:
        self._analyse = analyse
        self._weight = weight
        self._stop_terms = stop_terms
        self._evidence: list[_Evidence] = []
        for cited in posts:
            words = shown_post(cited).words
            text = f"{words} {cited.post.author}"
            self._evidence.append(_Evidence(cited, words, _plain(words), frozenset(analyse(text))))
        self._said: set[str] = set()
        self._quoted: set[int] = set()

    def check(self, sentence: str) -> Sentence | None:
        """Return the sentence with the marks of its support, or ``None`` when nothing supports it.

        A sentence that was said before is not supported again.
        """
        claim = MARK.sub("", sentence).strip()
        plain = _plain(claim)
        if not plain or plain in self._said:
            return None
        support = self.support(claim)
        if not support:
            return None
        self._said.add(plain)
        self._quoted.update(support[:1])
        marks = "".join(f" [{number}]" for number in support[:2])
        return Sentence(text=claim + marks, citations=tuple(support[:2]))

    def support(self, claim: str) -> list[int]:
        """Return the numbers of the posts that support ``claim``, best first."""
        scored = [(self._score(claim, evidence), evidence) for evidence in self._evidence]
        scored = [(score, evidence) for score, evidence in scored if score > 0.0]
        scored.sort(key=lambda pair: (-pair[0], pair[1].cited.number))
        return [evidence.cited.number for _, evidence in scored]

    def quote_next(self) -> Sentence | None:
        """Return a quotation of the best post that the answer has not used yet."""
        for evidence in self._evidence:
            number = evidence.cited.number
            if number not in self._quoted and evidence.words:
                self._quoted.add(number)
                text = quotation(number, evidence.cited.post.author, evidence.words)
                return Sentence(text=text, citations=(number,), is_quotation=True)
        return None

    def _score(self, claim: str, evidence: _Evidence) -> float:
        if not _is_attributed_rightly(claim, evidence.cited.post.author):
            return 0.0
        quoted = [_plain(part) for part in QUOTED.findall(claim)]
        if quoted and any(len(part) >= MIN_QUOTED_CHARACTERS for part in quoted):
            return 2.0 if all(f" {part} " in f" {evidence.plain} " for part in quoted) else 0.0
        shown = f"{evidence.words} {evidence.cited.post.author}"
        if not set(NUMBER.findall(claim)) <= set(NUMBER.findall(shown)):
            return 0.0
        if bool(NEGATION.search(claim)) != bool(NEGATION.search(evidence.words)):
            return 0.0
        folded = shown.casefold()
        if any(name.strip("@#").casefold() not in folded for name in NAME.findall(claim)):
            return 0.0
        return self._shared(claim, evidence)

    def _shared(self, claim: str, evidence: _Evidence) -> float:
        terms = set(self._analyse(claim)) - self._stop_terms
        total = sum(self._weight(term) for term in terms)
        if len(terms) < 2 or total <= 0.0:
            return 0.0
        shared = sum(self._weight(term) for term in terms & evidence.terms) / total
        return shared if shared >= MIN_SHARED else 0.0


def _is_attributed_rightly(claim: str, author: str) -> bool:
    """Whether the author that ``claim`` names before its verb, if any, is ``author``."""
    found = ATTRIBUTION.match(claim)
    if found is None:
        return True
    named = found[1].lstrip("@").casefold().replace(" ", "")
    if named in ("apost", "onepost", "post", "they", "people"):
        return True
    return named == author.casefold() if found[1].startswith("@") else named in author.casefold()
