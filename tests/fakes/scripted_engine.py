"""An engine that says what a test wants: for the paths that no real model takes on demand."""

from collections.abc import Iterator, Sequence

from mynah.serve import Delta, Message, Sampling


class ScriptedEngine:
    """Says ``script`` in pieces of ``piece`` characters, and remembers how it was used.

    Args:
        script: The whole answer.
        piece: Characters of a delta.
        max_context_tokens: One word is one token.
    """

    def __init__(self, script: str, *, piece: int = 7, max_context_tokens: int = 2048) -> None:
        self.script = script
        self.piece = piece
        self._max_context_tokens = max_context_tokens
        self.prompts: list[list[Message]] = []
        self.num_said = 0
        self.num_open = 0
        self.is_closed = False

    @property
    def model(self) -> str:
        return "scripted"

    @property
    def max_context_tokens(self) -> int:
        return self._max_context_tokens

    def generate(self, messages: Sequence[Message], *, sampling: Sampling) -> Iterator[Delta]:
        self.prompts.append(list(messages))
        self.num_open += 1
        try:
            for start in range(0, len(self.script), self.piece):
                self.num_said += 1
                yield Delta(text=self.script[start : start + self.piece])
            yield Delta(finish_reason="stop", num_prompt_tokens=11, num_completion_tokens=22)
        finally:
            self.num_open -= 1

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def close(self) -> None:
        self.is_closed = True
