"""What an engine is: messages in, a stream of text out. Other rooms know no more of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["Delta", "Engine", "FinishReason", "Message", "Role", "Sampling"]

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn."""

    max_tokens: int = 256
    """Tokens to generate at the most."""
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    """Nucleus: the smallest set of tokens with this probability."""
    seed: int | None = None
    """Same seed, same answer; ``None`` draws one."""
    stop: tuple[str, ...] = ()
    """Texts that end the answer; not part of it."""
    repeat_penalty: float = 1.0
    """Above 1 makes a token that was just used less likely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A piece of a stream. The last one has a finish reason and the counts of the whole."""

    text: str = ""
    finish_reason: FinishReason | None = None
    num_prompt_tokens: int = 0
    num_completion_tokens: int = 0


class Engine(Protocol):
    """A loaded model. Methods are thread-safe; ``generate`` runs in the caller's thread."""

    @property
    def model(self) -> str:
        """Name under which the API lists it."""
        ...

    @property
    def max_context_tokens(self) -> int:
        """Prompt and answer together, per request."""
        ...

    def generate(self, messages: Sequence[Message], *, sampling: Sampling) -> Iterator[Delta]:
        """Stream an answer. Closing the iterator early stops the generation.

        Raises:
            RequestError: The prompt does not fit the context.
            MachineError: The engine died.
        """
        ...

    def count_tokens(self, text: str) -> int:
        """How many tokens ``text`` is to this model."""
        ...

    def close(self) -> None:
        """Free the model. Only called when no ``generate`` is running."""
        ...
