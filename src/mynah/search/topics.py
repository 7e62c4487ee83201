"""What a network talks about, and questions to begin with. Reads posts; writes nothing.

A topic is a hashtag or a pair of words that stand together more often than by chance; in a network
that has neither, a word. Same posts, same topics.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import polars as pl

from mynah.search.analysis import QUESTION_TERMS, analyse, tokenise

__all__ = ["suggest_questions", "topics"]

_MAX_POSTS = 20_000
"""Newest posts that are read: what the network talks about now, in about a second."""
_MIN_POSTS = 3
"""Posts a topic needs, so that a question about it has an answer."""
_MIN_WORDS = 5
"""Words beside tags and links that a post needs to count for its hashtags."""
_MIN_LIKELIHOOD = 10.83
"""Dunning's G2 above which a pair stands together by more than chance (p < 0.001)."""

# Words of every network and every day; a pair with one of them is no topic.
_GENERIC_WORDS = """
again ago always back best better big bring call came check click come coming day days every first
fun get gets getting give go goes going gone good got great happy help here hour join keep last let
let's like live look looking love made make making many minute month morning much must need never
new next night now one only other page part place put read really see seen send show sign
since something sure take thank thanks thing things time today together tomorrow tonight tune two
use via video want wants watch way week well went win work working year years yesterday yet
""" + " ".join(f"{number}" for number in range(100))
_GENERIC_TERMS = QUESTION_TERMS | frozenset(analyse(_GENERIC_WORDS))


@dataclass(frozen=True, slots=True)
class _Word:
    """A word of a post, what stands before it (``#`` or ``@``, as a link too) and after it."""

    term: str
    spelling: str
    sign: str
    gap: str

    @property
    def is_telling(self) -> bool:
        return self.term[0].isalnum() and self.term not in _GENERIC_TERMS

    def joins(self, following: "_Word") -> bool:
        """Whether the two may be one expression: plain words, with a space, hyphen or nothing."""
        is_pair = self.gap == "" or (
            self.gap in (" ", "-") and len(self.term) > 1 and len(following.term) > 1
        )
        is_plain = not self.sign and not following.sign and self.term != following.term
        return is_pair and is_plain and self.is_telling and following.is_telling


@dataclass(frozen=True, slots=True)
class _Words:
    """One post, read."""

    author: str
    words: list[_Word]


@dataclass(slots=True)
class _Topic:
    """A candidate while posts are counted."""

    labels: Counter[str] = field(default_factory=lambda: Counter())
    authors: Counter[str] = field(default_factory=lambda: Counter())
    is_hashtag: bool = False

    def count(self, label: str, author: str) -> None:
        """Add a post."""
        self.labels[label] += 1
        self.authors[author] += 1

    @property
    def num_posts(self) -> int:
        return self.authors.total()

    @property
    def label(self) -> str:
        """The usual spelling; of equally usual ones, the first by alphabet."""
        return min(self.labels, key=lambda label: (-self.labels[label], label))

    @property
    def score(self) -> float:
        """Many posts, and many authors more than many posts of one."""
        return self.num_posts * (1 + math.log(len(self.authors)))


def topics(posts: pl.DataFrame, *, limit: int = 10) -> tuple[str, ...]:
    """Return what most is said about, most first, as people spell it.

    Args:
        posts: Columns of ``POST_SCHEMA``; only public posts are looked at.
        limit: Topics at the most; fewer when the network has fewer.
    """
    return tuple(topic.label for topic in _find_topics(posts)[:limit])


def suggest_questions(posts: pl.DataFrame, *, limit: int = 4) -> tuple[str, ...]:
    """Return questions that posts answer, each about another topic.

    Hashtags come last: the posts that fit one best are often little more than the tag.
    """
    found = sorted(_find_topics(posts), key=lambda topic: topic.is_hashtag)
    asked: Counter[str] = Counter()
    questions: list[str] = []
    for number, topic in enumerate(found[:limit]):
        author = _talkative_author(topic, asked) if number % 2 else ""
        if author:
            asked[author] += 1
            questions.append(f"What did @{author} say about {topic.label}?")
        elif topic.is_hashtag:
            questions.append(f"What is {topic.label} about?")
        else:
            questions.append(f"What do people say about {topic.label}?")
    return tuple(questions)


def _talkative_author(topic: _Topic, asked: Counter[str]) -> str:
    """Return who said most about ``topic``, those not asked about yet first."""
    fitting = [
        author
        for author, num_posts in topic.authors.items()
        if num_posts >= _MIN_POSTS and re.fullmatch(r"[\w.@-]*\w", author)
    ]
    return min(fitting, key=lambda a: (asked[a], -topic.authors[a], a), default="")


def _find_topics(posts: pl.DataFrame) -> list[_Topic]:
    rows = (
        posts.filter(pl.col("visibility").is_in(["public", "unlisted"]))
        .sort("created_at", "id", descending=[True, False], nulls_last=True)
        .head(_MAX_POSTS)
        .select("author", "text")
    )
    told = [_read_words(*row) for row in zip(rows["author"], rows["text"], strict=True)]
    candidates = {**_count_pairs(told), **_count_hashtags(told)}
    chosen = _choose(candidates)
    return chosen or _choose(_count_words(told))


def _choose(candidates: dict[tuple[str, ...], _Topic]) -> list[_Topic]:
    """Sort by score, leaving out what repeats a better one, as 'great again' does #MAGA's words."""
    frequent = [(key, t) for key, t in candidates.items() if t.num_posts >= _MIN_POSTS]
    frequent.sort(key=lambda entry: (-entry[1].score, entry[0]))
    taken: set[str] = set()
    joined: list[str] = []
    chosen: list[_Topic] = []
    for key, topic in frequent:
        whole = "".join(key)
        if taken.isdisjoint(key) and not any(whole in j or j in whole for j in joined):
            taken.update(key)
            joined.append(whole)
            chosen.append(topic)
    return chosen


def _count_hashtags(posts: Sequence[_Words]) -> dict[tuple[str, ...], _Topic]:
    found: defaultdict[tuple[str, ...], _Topic] = defaultdict(lambda: _Topic(is_hashtag=True))
    for post in posts:
        # A post of nothing but tags says nothing about them.
        if sum(not word.sign for word in post.words) < _MIN_WORDS:
            continue
        for key, word in {word.term: word for word in post.words if word.sign == "#"}.items():
            if not word.spelling.isdecimal():
                found[(key,)].count("#" + word.spelling, post.author)
    return dict(found)


def _count_pairs(posts: Sequence[_Words]) -> dict[tuple[str, ...], _Topic]:
    found: defaultdict[tuple[str, str], _Topic] = defaultdict(_Topic)
    singles: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    for post in posts:
        singles.update(word.term for word in post.words)
        in_post: dict[tuple[str, str], str] = {}
        for left, right in pairwise(post.words):
            pairs[left.term, right.term] += 1
            if left.joins(right):
                in_post[left.term, right.term] = left.spelling + left.gap + right.spelling
        for key, label in in_post.items():
            found[key].count(label, post.author)
    total = singles.total()
    return {
        key: topic
        for key, topic in found.items()
        if topic.num_posts >= _MIN_POSTS
        and _log_likelihood(pairs[key], singles[key[0]], singles[key[1]], total) > _MIN_LIKELIHOOD
    }


def _count_words(posts: Sequence[_Words]) -> dict[tuple[str, ...], _Topic]:
    found: defaultdict[tuple[str, ...], _Topic] = defaultdict(_Topic)
    for post in posts:
        for term, word in {word.term: word for word in post.words}.items():
            if word.is_telling and not word.sign and len(term) > 2:
                found[(term,)].count(word.spelling, post.author)
    return dict(found)


def _read_words(author: str, text: str) -> _Words:
    tokens = tokenise(text)
    ends = [token.start for token in tokens[1:]] + [len(text)]
    words: list[_Word] = []
    for token, end in zip(tokens, ends, strict=True):
        sign = text[token.start - 1 : token.start] if token.start else ""
        is_link = token.term.startswith(("http:", "https:"))
        spelling = text[token.start : token.end]
        for ending in ("'s", "\u2019s"):
            spelling = spelling.removesuffix(ending)
        gap = text[token.end : end] if len(spelling) == token.end - token.start else "|"
        words.append(
            _Word(token.term, spelling, "@" if is_link else sign if sign in ("#", "@") else "", gap)
        )
    return _Words(author, words)


def _log_likelihood(both: int, left: int, right: int, total: int) -> float:
    """Dunning 1993, G2 of a two by two table; 0 where a pair is rarer than by chance."""
    if both * total <= left * right:
        return 0.0
    cells = (
        (both, left * right),
        (left - both, left * (total - right)),
        (right - both, (total - left) * right),
        (total - left - right + both, (total - left) * (total - right)),
    )
    return 2 * sum(seen * math.log(seen * total / chance) for seen, chance in cells if seen > 0)
