"""From a question to the few posts an answer may rest on, or to none. Reads the search index."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mynah.chat.events import CitedPost
from mynah.search import Candidate, Query, SearchIndex, parse_query
from mynah.serve import Message

__all__ = ["Retrieval", "retrieve", "stop_terms"]

STOP_WORDS = (
    "a about above after again all also am an and any anything are as ask at be been being but by "
    "can could did do does doing don down each else ever every for from get had has have having "
    "he her here hers him his how i if in into is it its just know let like me mean more most "
    "much my no nor not now of off on once one only or other our out over own people person "
    "please post posts posted said same saw say saying says see she should show since so some "
    "somebody someone something such talk talked talking talks tell than that the their them then "
    "there these they thing things think thinks this those thought through to too tweet under up "
    "us use very was we were what when where which while who whom whose why will with word words "
    "would write writes wrote you your opinion opinions happen happened matter matters discuss "
    "discussed latest recent recently today give us best hello hi hey "
    "thanks thank ok okay yes good morning evening welcome"
)
FOLLOW_UP = re.compile(
    r"\b(?:he|she|they|it|that|this|him|her|them|those|these|his|their)\b"
    r"|^(?:and|what about|why)\b",
    re.IGNORECASE,
)
SAID = re.compile(r"\b(?:say|says|said|think|thinks|thought|write|writes|wrote|post|claim)\b", re.I)
HANDLE = re.compile(r"@(\w+)")
CAPITALISED = re.compile(r"\b[A-Z]\w{3,}")

MIN_COVERAGE = 0.5
"""Share of the question's telling words that a post must have to fit."""
MAX_POSTS = 6
"""Posts put before the model."""
NUM_CANDIDATES = 60
"""Candidates that are looked at to choose them."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What was looked for, and the posts that fit."""

    terms: tuple[str, ...]
    """Telling words of the question, analysed; empty when it has none."""
    author: str | None
    """Author the question asks about, if it names one."""
    posts: tuple[CitedPost, ...]


def stop_terms(index: SearchIndex) -> frozenset[str]:
    """Return the words that a question is built with, as ``index`` knows them."""
    return frozenset(index.analyse(STOP_WORDS))


def retrieve(index: SearchIndex, messages: Sequence[Message]) -> Retrieval:
    """Find the posts for the last question of a conversation.

    Args:
        index: Where to look.
        messages: At least one turn of the person; earlier ones lend their words to a follow-up.
    """
    questions = [message.content for message in messages if message.role == "user"]
    question = questions[-1]
    stop = stop_terms(index)
    query = parse_query(question, match="any")
    terms = [term for term in query.text_terms if term not in stop]
    if len(questions) > 1 and (not terms or (len(terms) < 2 and FOLLOW_UP.search(question))):
        earlier = parse_query(questions[-2], match="any")
        query = replace(
            query, text=f"{questions[-2]} {query.text}", author=query.author or earlier.author
        )
        terms = [term for term in query.text_terms if term not in stop]
    author = query.author or _author_asked_about(index, query.text)
    if author is not None:
        named = set(index.analyse(author)) | {t for t in terms if t in author.casefold()}
        terms = [term for term in terms if term not in named]
        query = replace(query, author=author)
    return Retrieval(tuple(terms), author, _select(index, query, terms))


def _author_asked_about(index: SearchIndex, question: str) -> str | None:
    """Return the author whose words are asked for: a handle, or a name within one handle."""
    authors = index.authors
    for handle in HANDLE.findall(question):
        known = authors.get(handle.casefold())
        if known is not None:
            return known
    if not SAID.search(question):
        return None
    for name in CAPITALISED.findall(question):
        found = [shown for folded, shown in authors.items() if name.casefold() in folded]
        if len(found) == 1:
            return found[0]
    return None


def _select(index: SearchIndex, query: Query, terms: list[str]) -> tuple[CitedPost, ...]:
    if not terms and query.author is None:
        return ()
    wanted = replace(query, text=" ".join(_surface(index, query.text, set(terms))))
    result = index.search(wanted, limit=NUM_CANDIDATES)
    total = sum(index.idf(term) for term in terms)
    chosen: list[Candidate] = []
    seen: list[frozenset[str]] = []
    for candidate in result.candidates:
        found = frozenset(index.analyse(candidate.post.text))
        covered = sum(index.idf(term) for term in terms if term in found)
        if total and covered < MIN_COVERAGE * total:
            continue
        if any(len(found & other) > 0.8 * len(found | other) for other in seen):
            continue
        chosen.append(candidate)
        seen.append(found)
        if len(chosen) == MAX_POSTS:
            break
    return tuple(
        CitedPost(number=number, post=candidate.post, score=candidate.score)
        for number, candidate in enumerate(chosen, start=1)
    )


def _surface(index: SearchIndex, text: str, terms: set[str]) -> list[str]:
    """Words of ``text`` that are telling, as they were typed."""
    return [word for word in re.findall(r"[#@$]?\w+", text) if set(index.analyse(word)) & terms]
