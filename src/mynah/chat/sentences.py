"""Cut a stream of text into sentences as soon as each is whole. Reads and writes nothing."""

import re

__all__ = ["SentenceSplitter"]

# A full stop, perhaps a closing quote and marks, then space and something that can begin anew.
END = re.compile(
    r"[.!?][\"')\]]*(?:\s*\[\d+\])*(?=\s+[A-Z0-9@\"'(])|\"\s*(?:\[\d+\]\s*)+(?=[^\s\[])"
)


class SentenceSplitter:
    """Feed it pieces of a stream; it gives back what is finished.

    A line break always ends a sentence. Within a quotation nothing else does, so that a quoted
    post stays in one piece with the name before it and the mark behind it.
    """

    def __init__(self) -> None:
        self._pending = ""

    def feed(self, text: str) -> list[str]:
        """Take the next piece and return the sentences it completes, in order."""
        self._pending += text
        done: list[str] = []
        while (end := self._find_end()) is not None:
            done.append(self._pending[:end].strip())
            self._pending = self._pending[end:].lstrip(" ")
        return [sentence for sentence in done if sentence]

    def flush(self) -> list[str]:
        """Return what is left when the stream ends."""
        rest, self._pending = self._pending.strip(), ""
        return [rest] if rest else []

    def _find_end(self) -> int | None:
        newline = self._pending.find("\n")
        line = self._pending if newline < 0 else self._pending[:newline]
        for match in END.finditer(line):
            if line.count('"', 0, match.end()) % 2 == 0:
                return match.end()
        return None if newline < 0 else newline + 1
