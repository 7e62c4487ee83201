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
    r"^\W*(@?\w+(?: \w+)?) (?:writes|wrote|says|said|thinks|claims|tweeted|posted|asks|calls)"
    r"\b(?: that\b)?:?"
)
PREAMBLE = re.compile(r"^(?:The|My) answer(?: to (?:the|this|your) question)? is[:,]?\s*", re.I)

MIN_SHARED = 0.7
"""Share of a sentence's content words, by how telling they are, that one post must have."""
MIN_MEANT = 0.5
"""Share from which a sentence that no post supports still says which post it meant."""


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
        claim = PREAMBLE.sub("", MARK.sub("", sentence).strip())
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

    def quote_meant(self, sentence: str) -> Sentence | None:
        """Return a quotation of the post that an unsupported sentence comes closest to.

        A model that gets a word of a quotation wrong has still chosen the post.
        """
        claim = MARK.sub("", sentence)
        closest = max(
            (e for e in self._evidence if self._is_unused(e)),
            key=lambda evidence: self._shared(claim, evidence.terms),
            default=None,
        )
        if closest is None or self._shared(claim, closest.terms) < MIN_MEANT:
            return None
        return self._quote(closest)

    def quote_next(self) -> Sentence | None:
        """Return a quotation of the best post that the answer has not used yet."""
        unused = next((e for e in self._evidence if self._is_unused(e)), None)
        return None if unused is None else self._quote(unused)

    def _is_unused(self, evidence: _Evidence) -> bool:
        return bool(evidence.words) and evidence.cited.number not in self._quoted

    def _quote(self, evidence: _Evidence) -> Sentence:
        number = evidence.cited.number
        self._quoted.add(number)
        text = quotation(number, evidence.cited.post.author, evidence.words)
        return Sentence(text=text, citations=(number,), is_quotation=True)

    def _score(self, claim: str, evidence: _Evidence) -> float:
        """How well a post supports a claim; 0 where it does not."""
        if not _is_attributed_rightly(claim, evidence.cited.post.author):
            return 0.0
        quoted = [_plain(part) for part in QUOTED.findall(claim)]
        if not all(f" {part} " in f" {evidence.plain} " for part in quoted):
            return 0.0
        own = QUOTED.sub(" ", ATTRIBUTION.sub("", claim))
        is_only_quoted = not set(self._analyse(own)) - self._stop_terms
        if any(" " in part for part in quoted) and is_only_quoted:
            return 2.0
        # What is said around a quotation, or without one, has to stand on its own.
        shown = f"{evidence.words} {evidence.cited.post.author}"
        if not set(NUMBER.findall(claim)) <= set(NUMBER.findall(shown)):
            return 0.0
        if bool(NEGATION.search(own)) != bool(NEGATION.search(evidence.words)):
            return 0.0
        folded = shown.casefold()
        if any(name.strip("@#").casefold() not in folded for name in NAME.findall(own)):
            return 0.0
        shared = self._shared(own, evidence.terms)
        return shared if shared >= MIN_SHARED else 0.0

    def _shared(self, claim: str, evidence: frozenset[str]) -> float:
        """Share of a claim's content words, by how telling they are, that are in a post."""
        terms = set(self._analyse(claim)) - self._stop_terms
        total = sum(self._weight(term) for term in terms)
        if len(terms) < 2 or total <= 0.0:
            return 0.0
        return sum(self._weight(term) for term in terms & evidence) / total


def _is_attributed_rightly(claim: str, author: str) -> bool:
    """Whether the author that ``claim`` names before its verb, if any, is ``author``."""
    found = ATTRIBUTION.match(claim)
    if found is None:
        return True
    named = found[1].lstrip("@").casefold().replace(" ", "")
    if named in ("apost", "onepost", "post", "they", "people"):
        return True
    return named == author.casefold() if found[1].startswith("@") else named in author.casefold()
