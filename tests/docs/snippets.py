"""Snippets of the documents: the commands of ``console`` blocks and the text of others."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Snippet:
    """A command or a program as a document shows it."""

    document: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks(language: str) -> Iterator[Snippet]:
    """Fenced blocks of a language, in the order of the documents."""
    for path in DOCUMENTS:
        text = path.read_text()
        for found in FENCE.finditer(text):
            if found[1] == language:
                line = text.count("\n", 0, found.start(2)) + 1
                yield Snippet(path.relative_to(ROOT).as_posix(), line, found[2])


def commands() -> Iterator[Snippet]:
    """Commands after ``$``, with the lines that are indented below them."""
    for block in blocks("console"):
        for found in re.finditer(r"^\$ (.*(?:\n[ ]{4,}.*)*)", block.text, re.MULTILINE):
            line = block.line + block.text.count("\n", 0, found.start())
            yield Snippet(block.document, line, found[1])
