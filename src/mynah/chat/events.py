"""What an answer is made of: the posts retrieved, sentences tied to them, how it ended."""

from dataclasses import dataclass

from mynah.posts import Post
from mynah.serve import FinishReason

__all__ = ["AnswerEvent", "CitedPost", "Finished", "Retrieved", "Sentence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CitedPost:
    """A post that an answer may cite as ``[number]``."""

    number: int
    """Counts from 1 within one answer."""
    post: Post
    score: float
    """How well it fits the question, as search scored it."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The first event: the posts that the answer may rest on; empty when none fits."""

    posts: tuple[CitedPost, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One checked sentence, ready to show; ``text`` carries its marks and following space."""

    text: str
    citations: tuple[int, ...] = ()
    """Numbers of the posts that support it."""
    is_quotation: bool = False
    """True where the checker put a post's own words in place of an unsupported sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The last event."""

    model: str
    finish_reason: FinishReason
    num_prompt_tokens: int
    num_completion_tokens: int
    is_answered: bool
    """False when no post fits and the answer says so."""


AnswerEvent = Retrieved | Sentence | Finished
"""In order: one ``Retrieved``, any number of ``Sentence``, one ``Finished``."""
