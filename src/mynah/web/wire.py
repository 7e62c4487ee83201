"""What goes over HTTP: bodies that clients send, checked once; objects that they get back.

The shapes are OpenAI's; what mynah adds stands under the one key ``mynah``.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mynah.ads import Campaign, CampaignDraft, Impression
from mynah.chat import CitedPost, Sentence
from mynah.errors import RequestError
from mynah.posts import Post
from mynah.search import Candidate, SearchResult
from mynah.serve import Message, Role, Sampling

__all__ = [
    "CampaignBody",
    "ChatBody",
    "campaign_object",
    "candidate_object",
    "cited_object",
    "error_object",
    "impression_object",
    "search_object",
    "sentence_object",
    "sentences_text",
]

Json = Any
"""A value that JSON can hold."""

MAX_CONTENT_CHARS = 200_000
"""Of one message; no context of a model served here holds as much."""
MAX_MESSAGES = 1_000
DEFAULT_MAX_TOKENS = 256
ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


class _Body(BaseModel):
    """Types are as JSON says, never converted; what OpenAI's API may grow is let through."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class TextPart(_Body):
    """A part of a message that comes in parts."""

    type: Literal["text"]
    text: str = Field(max_length=MAX_CONTENT_CHARS)


class MessageBody(_Body):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] = Field(max_length=MAX_CONTENT_CHARS)

    def as_message(self) -> Message:
        """The turn as engines know it."""
        content = self.content
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        return Message(ROLES[self.role], text)


class StreamOptions(_Body):
    """What a stream carries beside text."""

    include_usage: bool = False


class ChatBody(_Body):
    """The body of ``POST /v1/chat/completions``."""

    messages: list[MessageBody] = Field(min_length=1, max_length=MAX_MESSAGES)
    model: str | None = None
    """``None`` is the model in use."""
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    """The newer name; wins over ``max_tokens``."""
    temperature: float | None = Field(None, ge=0, le=2)
    """``None`` is 0: an answer from posts should say what they say, every time."""
    top_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = None
    stop: str | list[str] | None = Field(None, max_length=1_000)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = 1
    grounded: bool = True
    """Ours: false talks to the model alone, without posts, citations and creatives."""

    @property
    def has_usage(self) -> bool:
        """Whether a stream ends with the counts of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage

    def as_messages(self) -> list[Message]:
        """The conversation as engines know it."""
        return [message.as_message() for message in self.messages]

    def as_sampling(self, *, max_context_tokens: int) -> Sampling:
        """How tokens are drawn; at most half of the context is left to the answer."""
        asked = self.max_completion_tokens or self.max_tokens or DEFAULT_MAX_TOKENS
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Sampling(
            max_tokens=min(asked, max_context_tokens // 2),
            temperature=self.temperature or 0.0,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=self.seed,
            stop=tuple(stop),
        )


class CampaignBody(_Body):
    """The body of ``POST /v1/ads/campaigns``; money is whole micros of the currency."""

    title: str = Field(max_length=1_000)
    text: str = Field(max_length=1_000)
    link: str = Field(max_length=10_000)
    keywords: list[str] = Field(max_length=1_000)
    bid_micros: int
    budget_micros: int
    is_paused: bool = False

    def as_draft(self) -> CampaignDraft:
        """Check it as ads do.

        Raises:
            RequestError: Names the field and what it may hold.
        """
        return CampaignDraft(
            title=self.title,
            text=self.text,
            link=self.link,
            keywords=tuple(self.keywords),
            bid_micros=self.bid_micros,
            budget_micros=self.budget_micros,
            is_paused=self.is_paused,
        )


def post_object(post: Post) -> dict[str, Json]:
    """A post as clients see it."""
    return {
        "id": post.id,
        "author": post.author,
        "created_at": post.created_at.isoformat() if post.created_at else None,
        "text": post.text,
        "lang": post.lang,
        "url": post.url,
        "likes": post.likes,
        "reposts": post.reposts,
        "replies": post.replies,
    }


def cited_object(cited: CitedPost) -> dict[str, Json]:
    """A post that an answer may cite as ``[number]``."""
    return {"number": cited.number, **post_object(cited.post), "score": cited.score}


def sentence_object(sentence: Sentence) -> dict[str, Json]:
    """A sentence and the posts that support it."""
    return {
        "text": sentence.text,
        "citations": list(sentence.citations),
        "is_quotation": sentence.is_quotation,
    }


def candidate_object(candidate: Candidate) -> dict[str, Json]:
    """A post that a search found; highlights are ``[start, end)`` characters of its text."""
    return {
        "position": candidate.position,
        "score": candidate.score,
        **post_object(candidate.post),
        "highlights": [list(span) for span in candidate.highlights],
        "matched": list(candidate.matched),
    }


def search_object(
    query: str, result: SearchResult, impression: Impression | None
) -> dict[str, Json]:
    """The answer of ``GET /v1/search``."""
    return {
        "object": "list",
        "query": query,
        "num_matches": result.num_matches,
        "time_ms": result.time_ms,
        "data": [candidate_object(candidate) for candidate in result.candidates],
        "ad": impression_object(impression),
    }


def impression_object(impression: Impression | None) -> dict[str, Json] | None:
    """A creative as it is shown: with its label and why, without its price."""
    if impression is None:
        return None
    return {
        "id": impression.id,
        "label": impression.label,
        "title": impression.title,
        "text": impression.text,
        "link": impression.link,
        "click_url": f"/v1/ads/{impression.id}/click",
        "reason": impression.reason,
    }


def campaign_object(campaign: Campaign) -> dict[str, Json]:
    """A campaign with its sums."""
    return {
        **asdict(campaign),
        "keywords": list(campaign.keywords),
        "created_at": campaign.created_at.isoformat(),
        "remaining_micros": campaign.remaining_micros,
    }


def error_object(error: RequestError, *, param: str | None = None) -> dict[str, Json]:
    """An error in OpenAI's shape, with our hint beside it."""
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    return {
        "error": {
            "message": error.message,
            "type": kinds.get(error.status, kind),
            "param": param,
            "code": error.code,
            "hint": error.hint,
        }
    }


def sentences_text(sentences: Sequence[Sentence]) -> str:
    """The whole answer: sentences carry the space between them."""
    return "".join(sentence.text for sentence in sentences)
