"""What a search returns, and where its words stand in a post. Reads and writes nothing."""

from collections.abc import Iterable
from dataclasses import dataclass

from mynah.posts import Post
from mynah.search.analysis import tokenise
from mynah.search.query import Query

__all__ = ["Candidate", "SearchResult", "find_highlights"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A post that matches, where it stands and why."""

    post: Post
    position: int
    """1 is the best; counts on over pages."""
    score: float
    """BM25 of the words; 0 when the query has none."""
    highlights: tuple[tuple[int, int], ...]
    """Characters ``[start, end)`` of ``post.text`` that match, in order, never overlapping."""
    matched: tuple[str, ...]
    """The query's terms that the post contains, in the query's order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """One page of what was found."""

    candidates: tuple[Candidate, ...]
    num_matches: int
    """Posts that match, on all pages."""
    time_ms: float


def find_highlights(query: Query, text: str) -> tuple[tuple[tuple[int, int], ...], tuple[str, ...]]:
    """Find where ``text`` says what ``query`` asks for: spans of characters, and terms."""
    tokens = tokenise(text)
    terms = [token.term for token in tokens]
    spans: list[tuple[int, int]] = []
    matched: set[str] = set()
    for phrase in dict.fromkeys(part.terms for c in query.clauses for part in c.wanted):
        places = _find_phrase(phrase, terms)
        spans.extend(
            (_sign_start(text, tokens[at].start), tokens[at + len(phrase) - 1].end) for at in places
        )
        matched.update(phrase if places else ())
    return _merge(spans), tuple(term for term in query.text_terms if term in matched)


def _sign_start(text: str, start: int) -> int:
    """Take the sign of a hashtag or mention into the light."""
    return start - 1 if start and text[start - 1] in "#@" else start


def _find_phrase(phrase: tuple[str, ...], terms: list[str]) -> list[int]:
    length = len(phrase)
    return [
        start
        for start in range(len(terms) - length + 1)
        if terms[start] == phrase[0] and tuple(terms[start : start + length]) == phrase
    ]


def _merge(spans: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)
