"""How posts are put before a model together with a question: the same in training and in chat.

Posts are data. They stand inside numbered lines of the first turn, their line breaks folded, and
nothing in them is ever an instruction to any part of this program.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mynah.corpus.clean import clean_text

__all__ = ["NO_ANSWER", "SYSTEM", "ShownPost", "grounded_question", "quotation"]

SYSTEM = (
    "You answer questions about what people write on a social network. Use only the numbered "
    "posts: say who wrote what, in their own words, and cite each post by its number."
)
"""The system turn of every grounded conversation."""

NO_ANSWER = "No post says that."
"""What the assistant says when nothing supports an answer."""

DOUBLE_QUOTES = re.compile('["\u201c\u201d\u201e\u201f\u00ab\u00bb\uff02]')
FOREIGN_MARK = re.compile(r"\[(\d+)\]")

MAX_SHOWN_CHARACTERS = 400
"""Longer posts are cut at a word, so that a few of them always fit the context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPost:
    """What a model sees of one post."""

    author: str
    created_at: datetime | None
    text: str

    @property
    def handle(self) -> str:
        """The author as it is shown: a name is a person's words too."""
        return _tamed(self.author)

    @property
    def words(self) -> str:
        """The text as it is shown: cleaned, on one line, cut at a word if it is long."""
        text = _tamed(self.text)
        if len(text) <= MAX_SHOWN_CHARACTERS:
            return text
        return text[:MAX_SHOWN_CHARACTERS].rsplit(" ", 1)[0] + " ..."


def _tamed(text: str) -> str:
    """Clean ``text`` of what has a meaning of its own in an answer.

    Double quotes become single ones, so that those of an answer always mean "word for word", and
    ``[3]`` becomes ``(3)``, so that no post can cite another.
    """
    return FOREIGN_MARK.sub(r"(\1)", DOUBLE_QUOTES.sub("'", clean_text(text)))


def _line(number: int, post: ShownPost) -> str:
    author = f"@{post.handle} " if post.handle else ""
    date = f"({post.created_at:%Y-%m-%d})" if post.created_at else ""
    return f"[{number}] {author}{date}: {post.words}"


def grounded_question(question: str, posts: Sequence[ShownPost]) -> str:
    """Write the user turn: numbered posts, then the question.

    Args:
        question: One line, as the person asked it.
        posts: Shown under numbers from 1.
    """
    lines = "\n".join(_line(number, post) for number, post in enumerate(posts, start=1))
    return f"Posts:\n{lines}\n\nQuestion: {' '.join(question.split())}"


def quotation(number: int, author: str, words: str) -> str:
    """Write one line of an answer: who wrote it, their words, the post's number."""
    who = f"@{author}" if author else "A post"
    return f'{who} writes: "{words}" [{number}]'
