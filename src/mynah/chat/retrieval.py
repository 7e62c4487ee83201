"""From a question to the few posts an answer may rest on, or to none. Reads the search index."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mynah.chat.events import CitedPost
from mynah.search import Candidate, Query, SearchIndex, parse_query, tokenise
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
ASKED_OF = (
    re.compile(
        r"\b(?:did|does|do|has|have)\s+(@[\w.-]+(?:@[\w.-]+)?|\w+(?:\s\w+)?)\s+(?:ever\s+|really\s+)?(?:say|"
        r"said|think|thought|write|written|wrote|post|posted|claim|claimed|feel|mean)\b",
        re.I,
    ),
    re.compile(r"\b(?:according to|by|from)\s+(@[\w.-]+(?:@[\w.-]+)?|\w+(?:\s[A-Z]\w+)?)", re.I),
    re.compile(
        r"^\W*(@[\w.-]+(?:@[\w.-]+)?|\w+(?:\s\w+)?)(?:'s|\u2019s)\s+(?:opinion|view|position|take|posts?)\b",
        re.I,
    ),
)
"""Where a question names whose words it asks for; a name after "about" is what they are about."""
NAMELESS = frozenset(("people", "they", "anyone", "anybody", "he", "she", "you", "we", "it"))

HANDLE_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]{2,}")
SMALL_TALK = re.compile(
    r"\W*(?:(?:hello|hi|hey|there|thanks|thank you|thx|very much|so much|a lot|ok|okay|yes|no|good|"
    r"great|nice|cool|morning|evening|afternoon|welcome|bye|goodbye)\b\W*)+",
    re.IGNORECASE,
)
"""A whole message of such words asks nothing, and goes on with nothing."""

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
    coverage: float
    """Share of the telling words, by how telling they are, that the best of the posts has."""


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
    if SMALL_TALK.fullmatch(question):
        return Retrieval((), None, (), 0.0)
    stop = stop_terms(index)
    query = parse_query(question, match="any")
    terms = [term for term in query.text_terms if term not in stop]
    if len(questions) > 1 and (not terms or (len(terms) < 2 and FOLLOW_UP.search(question))):
        earlier = parse_query(questions[-2], match="any")
        query = replace(
            query, text=f"{questions[-2]} {query.text}", author=query.author or earlier.author
        )
        terms = [term for term in query.text_terms if term not in stop]
    author, name = query.author, query.author or ""
    if author is None:
        author, name = _author_asked_about(index, query.text)
    if author is not None:
        named = set(index.analyse(name))
        terms = [term for term in terms if term not in named]
        query = replace(query, author=author)
    posts, coverage = _select(index, query, terms)
    return Retrieval(tuple(terms), author, posts, coverage)


def _author_asked_about(index: SearchIndex, question: str) -> tuple[str | None, str]:
    """Return the author whose words are asked for, and the name that the question gives them.

    A handle is taken at its word, even one that nobody here has; a name must be one handle's alone.
    """
    stop = stop_terms(index)
    for shape in ASKED_OF:
        for found in shape.finditer(question):
            name = found[1].rstrip(".-")
            folded = name.casefold()
            if folded.startswith("@"):
                return index.authors.get(folded[1:], folded[1:]), name
            for word in (folded.replace(" ", ""), *folded.split()):
                if len(word) < 3 or word in NAMELESS or stop.issuperset(index.analyse(word)):
                    continue
                known = [shown for shown in index.authors.values() if _is_named(shown, word)]
                if len(known) == 1:
                    return known[0], name
    return None, ""


def _is_named(author: str, word: str) -> bool:
    """Whether ``word`` is a handle, a word of it, or begins or ends it and is not short."""
    folded = author.casefold()
    if word == folded or word in (part.casefold() for part in HANDLE_PART.findall(author)):
        return True
    return len(word) >= 5 and (folded.startswith(word) or folded.endswith(word))


def _select(
    index: SearchIndex, query: Query, terms: list[str]
) -> tuple[tuple[CitedPost, ...], float]:
    """Choose the posts that fit, best first; and the share of the question the best one has."""
    if not terms and query.author is None:
        return (), 0.0
    wanted = replace(query, text=" ".join(_surface(query.text, set(terms))))
    result = index.search(wanted, limit=NUM_CANDIDATES)
    total = sum(index.idf(term) for term in terms)
    coverage = 0.0
    chosen: list[Candidate] = []
    seen: list[frozenset[str]] = []
    for candidate in result.candidates:
        found = frozenset(index.analyse(candidate.post.text))
        covered = sum(index.idf(term) for term in terms if term in found)
        if total and covered < MIN_COVERAGE * total:
            continue
        if query.author is not None and not _is_by(candidate, query.author):
            continue  # a repost is not its author's word
        if any(len(found & other) > 0.8 * len(found | other) for other in seen):
            continue
        coverage = max(coverage, covered / total if total else 1.0)
        chosen.append(candidate)
        seen.append(found)
        if len(chosen) == MAX_POSTS:
            break
    cited = tuple(
        CitedPost(number=number, post=candidate.post, score=candidate.score)
        for number, candidate in enumerate(chosen, start=1)
    )
    return cited, coverage


def _is_by(candidate: Candidate, author: str) -> bool:
    return candidate.post.speaker.casefold() == author.casefold()


def _surface(text: str, terms: set[str]) -> list[str]:
    """Words of ``text`` that are telling, as they were typed."""
    return [text[t.start : t.end] for t in tokenise(text) if t.term in terms]
