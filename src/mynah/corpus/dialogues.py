"""Dialogues over posts: a question, the posts found for it, an answer in their own words.

A model that goes on reading posts forgets how to answer. So a share of its training is dialogues
of exactly the form that the assistant uses, made from the training posts alone: topics are words
and word pairs that several posts share, the reply quotes the posts that have the topic and, where
the question names an author, only that author's. A part has no post with the topic, and the reply
says so. Nothing is invented: every reply is copied from what is shown.
Another part asks for a post about a topic, without showing any, and the reply is one.

Pure functions; ``dialogue_shard`` writes what they make.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from pydantic import ConfigDict

from mynah.corpus.prompt import NO_ANSWER, ShownPost, grounded_question, quotation

__all__ = ["Dialogue", "DialogueConfig", "make_dialogues"]

WRITE_A_POST = (
    "Write a post about {topic}.",
    "Post something about {topic}.",
    "Write a short post on {topic}.",
)

WORD = re.compile(r"[#@]?\w+")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")

ANY_AUTHOR = (
    "What do people say about {topic}?",
    "What is said about {topic}?",
    "Tell me about {topic}.",
    "What do people think about {topic}?",
    "Why does {topic} matter?",
    "Is there anything about {topic}?",
    "{topic}?",
    "How do people talk about {topic}?",
    "What happened with {topic}?",
    "Who talks about {topic}?",
)
ONE_AUTHOR = (
    "What did @{author} say about {topic}?",
    "What does {author} think about {topic}?",
    "What does @{author} say about {topic}?",
    "Did {author} write about {topic}?",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogueConfig:
    """How many dialogues, and of which kinds."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    seed: int = 0
    """Draws topics, posts and wording."""
    num_dialogues: int = 1500
    """Dialogues to make at the most; fewer when the posts share few topics."""
    unanswerable_share: float = 0.15
    """Share of dialogues in which no shown post has the topic."""
    one_author_share: float = 0.4
    """Share of the others that ask what one author said."""
    written_share: float = 0.1
    """Share of dialogues that ask for a post about a topic and show none."""
    max_shown: int = 6
    """Posts shown at the most; at least two."""
    max_quoted: int = 3
    """Posts a reply quotes at the most."""
    max_tokens: int = 512
    """Longer dialogues are left out: cut in two, a reply would be learned without its posts."""
    max_documents: int = 50_000
    """Documents that topics are drawn from; more than that teach no more."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A question with the posts shown for it, if any, and the reply to learn."""

    question: str
    reply: str
    is_grounded: bool = True
    """Whether posts are shown, and the system turn of grounded conversations with them."""
    posts: tuple[int, ...] = ()
    """Numbers of the posts whose words are in it."""


def _terms(text: str) -> set[str]:
    words = [word.lower() for word in WORD.findall(text)]
    single = {word for word in words if len(word) > 3 and not word.lstrip("#@").isdigit()}
    pairs = {
        f"{left} {right}"
        for left, right in pairwise(words)
        if len(left) > 3 and len(right) > 3 and left.isalpha() and right.isalpha()
    }
    return single | pairs


def _topics(posts: Sequence[ShownPost]) -> dict[str, list[int]]:
    """Posts of each topic: a term of at least 3 posts and at most 2% of them."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for number, post in enumerate(posts):
        for term in sorted(_terms(post.words)):
            found[term].append(number)
    most = max(3, len(posts) // 50)
    return {term: found[term] for term in sorted(found) if 3 <= len(found[term]) <= most}


def _quoted_words(post: ShownPost, topic: str) -> str:
    """The whole post if it is short, else its sentence that has the topic."""
    if len(post.words) <= 160:
        return post.words
    sentences = SENTENCE_END.split(post.words)
    return next((s for s in sentences if topic in s.lower() and len(s) > 20), post.words)


class _Maker:
    def __init__(
        self, posts: Sequence[ShownPost], topics: Mapping[str, list[int]], config: DialogueConfig
    ) -> None:
        self.posts = posts
        self.topics = topics
        self.names = list(topics)
        self.config = config
        self.random = np.random.default_rng(config.seed)

    def _one_of(self, choices: Sequence[str]) -> str:
        return choices[int(self.random.integers(len(choices)))]

    def _shuffled(self, numbers: Sequence[int]) -> list[int]:
        return [int(number) for number in self.random.permutation(np.array(numbers, dtype=int))]

    def _others(self, topic: str, count: int, *, also_not: set[int]) -> list[int]:
        """Posts without the topic."""
        found: list[int] = []
        for _ in range(20 * count):
            number = int(self.random.integers(len(self.posts)))
            text = self.posts[number].words.lower()
            if topic not in text and number not in also_not and number not in found:
                found.append(number)
                if len(found) == count:
                    break
        return found

    def make(self) -> Dialogue | None:
        """Draw one dialogue; ``None`` when the draw does not work out."""
        config = self.config
        topic = self._one_of(self.names)
        holders = self._shuffled(self.topics[topic])
        if self.random.random() < config.written_share:
            question = self._one_of(WRITE_A_POST).format(topic=topic)
            post = holders[0]
            return Dialogue(question, self.posts[post].words, is_grounded=False, posts=(post,))
        if self.random.random() < config.unanswerable_share:
            question = self._one_of(ANY_AUTHOR).format(topic=topic)
            num_shown = int(self.random.integers(2, config.max_shown + 1))
            shown = self._others(topic, num_shown, also_not=set(holders))
            return self._finish(question, shown, [], topic) if shown else None
        author = self.posts[holders[0]].handle
        if author and self.random.random() < config.one_author_share:
            question = self._one_of(ONE_AUTHOR).format(author=author, topic=topic)
            right = [n for n in holders if self.posts[n].handle == author]
            wrong = [n for n in holders if self.posts[n].handle != author][:2]
        else:
            question = self._one_of(ANY_AUTHOR).format(topic=topic)
            right, wrong = holders, []
        # The larger of two draws: an answer of several posts is worth more than one of one.
        right = right[: 1 + int(self.random.integers(config.max_quoted, size=2).max())]
        room = max(0, config.max_shown - len(right) - len(wrong))
        num_others = int(self.random.integers(1, room + 1)) if room else 0
        others = self._others(topic, num_others, also_not=set(holders)) if num_others else []
        return self._finish(question, self._shuffled(right + wrong + others), right, topic)

    def _finish(self, question: str, shown: list[int], right: list[int], topic: str) -> Dialogue:
        lines = [
            quotation(place, self.posts[n].handle, _quoted_words(self.posts[n], topic))
            for place, n in enumerate(shown, start=1)
            if n in right
        ]
        posts = [self.posts[n] for n in shown]
        return Dialogue(
            grounded_question(question, posts),
            "\n".join(lines) or NO_ANSWER,
            posts=tuple(sorted(shown)),
        )


def make_dialogues(posts: Sequence[ShownPost], *, config: DialogueConfig) -> list[Dialogue]:
    """Make dialogues over ``posts``; the same posts and config give the same dialogues.

    Args:
        posts: Training posts only, or held-out words would leak into the training.
        config: How many, and of which kinds.
    """
    posts = posts[: config.max_documents]
    topics = _topics(posts)
    if not topics:
        return []
    maker = _Maker(posts, topics, config)
    counts: Counter[str] = Counter()
    made: list[Dialogue] = []
    for _ in range(2 * config.num_dialogues):
        dialogue = maker.make()
        if dialogue is not None and counts[dialogue.question] == 0:
            counts[dialogue.question] += 1
            made.append(dialogue)
        if len(made) == config.num_dialogues:
            break
    return made
