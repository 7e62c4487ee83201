"""The words of a query: what must, may and must not be in a post. Text in, clauses out.

``jobs "middle class" -taxes`` is three clauses; ``a OR b c`` is two, since OR binds its neighbours
first. A word that the analyser splits (``5,000``) is a phrase. A quotation mark that is never
closed is closed by the end of the query: the search box is read while a person still types.
Reads and writes nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from mynah.search.analysis import QUESTION_TERMS, analyse

__all__ = [
    "MAX_TERMS",
    "Clause",
    "Lexeme",
    "Match",
    "Part",
    "group_alternatives",
    "read_clauses",
    "read_lexemes",
    "render_groups",
]

Match = Literal["all", "any"]
"""``all``: a search box, every clause must hold. ``any``: a question, one term is enough."""

MAX_TERMS = 64
"""Terms of a question, and of a phrase in it, that are looked up: to bound its time."""


@dataclass(frozen=True, slots=True)
class Lexeme:
    """A word or quoted phrase as typed, and where: characters ``[start, end)`` of the query."""

    text: str
    start: int
    end: int
    is_quoted: bool = False
    is_excluded: bool = False

    @property
    def is_or(self) -> bool:
        """Whether this is the operator between two words."""
        return self.text == "OR" and not self.is_quoted and not self.is_excluded

    def __str__(self) -> str:
        text = f'"{self.text}"' if self.is_quoted else self.text
        return f"-{text}" if self.is_excluded else text


@dataclass(frozen=True, slots=True)
class Part:
    """Terms that stand side by side in a post, or must not."""

    terms: tuple[str, ...]
    is_excluded: bool = False
    mention: str = ""
    """The author that ``@name`` in a question speaks of, case folded."""


@dataclass(frozen=True, slots=True)
class Clause:
    """Alternatives, of which one must hold."""

    parts: tuple[Part, ...]

    @property
    def wanted(self) -> tuple[Part, ...]:
        """The alternatives that say what a post has, not what it lacks."""
        return tuple(part for part in self.parts if not part.is_excluded)


def read_lexemes(text: str) -> Iterator[Lexeme]:
    """Split ``text`` at spaces and quotation marks; never fails."""
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        lexeme = _read_lexeme(text, place)
        place = lexeme.end
        if lexeme.text.strip() or not lexeme.is_quoted:
            yield lexeme


def _read_lexeme(text: str, start: int) -> Lexeme:
    following = text[start + 1 : start + 2]
    is_excluded = text[start] == "-" and following not in ("", "-") and not following.isspace()
    place = start + is_excluded
    if text[place] == '"':
        closing = text.find('"', place + 1)
        inside = text[place + 1 : closing if closing >= 0 else len(text)]
        end = closing + 1 if closing >= 0 else len(text)
        return Lexeme(" ".join(inside.split()), start, end, True, is_excluded)
    end = place
    while end < len(text) and not text[end].isspace() and text[end] != '"':
        end += 1
    return Lexeme(text[place:end], start, end, False, is_excluded)


@lru_cache(maxsize=1024)
def read_clauses(text: str, match: Match) -> tuple[Clause, ...]:
    """Turn the words of a query into clauses; words without a letter, digit or emoji make none."""
    if match == "any":
        return _read_question(text)
    groups = group_alternatives([lexeme for lexeme in read_lexemes(text)])
    clauses = (Clause(tuple(p for p in map(_read_part, group) if p.terms)) for group in groups)
    return tuple(clause for clause in clauses if clause.parts)


def group_alternatives(lexemes: Sequence[Lexeme]) -> list[list[Lexeme]]:
    """Put what OR joins into one group; an OR with nothing on one side is left out."""
    groups: list[list[Lexeme]] = []
    joins = False
    for lexeme in lexemes:
        if lexeme.is_or:
            joins = bool(groups)
        elif joins:
            groups[-1].append(lexeme)
            joins = False
        else:
            groups.append([lexeme])
    return groups


def render_groups(groups: Sequence[Sequence[Lexeme]]) -> str:
    """Write clauses as a person would type them."""
    return " ".join(" OR ".join(str(lexeme) for lexeme in group) for group in groups)


def _read_part(lexeme: Lexeme) -> Part:
    return Part(tuple(analyse(lexeme.text)), lexeme.is_excluded)


def _read_question(text: str) -> tuple[Clause, ...]:
    """Read prose: no exclusions, no OR, and the words every question has only if all are such."""
    parts: dict[Part, None] = {}
    for lexeme in read_lexemes(text):
        terms = tuple(analyse(lexeme.text))
        if lexeme.is_quoted:
            parts[Part(terms[:MAX_TERMS])] = None
        elif lexeme.text.startswith("@") and len(terms) == 1:
            name = lexeme.text[1:].removesuffix("'s").rstrip(".,;:!?)'").casefold()
            parts[Part(terms, mention=name)] = None
        else:
            parts.update((Part((term,)), None) for term in terms)
    wanted = [part for part in parts if part.terms]
    telling = [part for part in wanted if part.mention or not QUESTION_TERMS.issuperset(part.terms)]
    return tuple(Clause((part,)) for part in (telling or wanted)[:MAX_TERMS])
