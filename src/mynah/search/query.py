"""The query: what to look for, the same for the search box, the API and chat.

``mynah.search.parsing`` makes one of what a person typed. Reads and writes nothing.
"""

import re
from dataclasses import dataclass, replace
from datetime import date

from mynah.search.clauses import (
    Clause,
    Match,
    group_alternatives,
    read_clauses,
    read_lexemes,
    render_groups,
)

__all__ = ["Chip", "Query"]

_FIELDS = ("author", "lang", "since", "until")


@dataclass(frozen=True, slots=True)
class Chip:
    """One part of a query that a page shows by itself and can take away."""

    label: str
    without: str
    """The query's text once this part is taken away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to look for and where. ``str(query)`` is text that ``parse_query`` reads back."""

    text: str = ""
    """Words, phrases, ``-not`` and ``OR``; operators are in the fields below."""
    author: str | None = None
    """Handle without ``@``, any case."""
    lang: str | None = None
    """Language code as the network tagged it, lower case."""
    since: date | None = None
    """First day, UTC."""
    until: date | None = None
    """Last day, UTC; it is part of the span."""
    match: Match = "all"
    """Whether every clause must hold, or one term is enough (a question)."""

    @property
    def clauses(self) -> tuple[Clause, ...]:
        """What ``text`` asks of a post."""
        return read_clauses(self.text, self.match)

    @property
    def text_terms(self) -> tuple[str, ...]:
        """The analysed terms that a post may contain, in order, each once; no excluded ones."""
        terms = (t for c in self.clauses for part in c.wanted for t in part.terms)
        return tuple(dict.fromkeys(terms))

    @property
    def wanted_text(self) -> str:
        """What a post should say, without the excluded words: what the query is about."""
        lexemes = read_lexemes(self.text)
        return " ".join(x.text for x in lexemes if not (x.is_excluded or x.is_or))

    @property
    def has_filter(self) -> bool:
        """Whether an operator narrows the posts."""
        return any(value is not None for value in (self.author, self.lang, self.since, self.until))

    @property
    def operators(self) -> tuple[str, ...]:
        """The operators as they are typed."""
        written = (
            ("from", _quoted(self.author) if self.author is not None else None),
            ("lang", self.lang),
            ("since", self.since.isoformat() if self.since else None),
            ("until", self.until.isoformat() if self.until else None),
        )
        return tuple(f"{name}:{value}" for name, value in written if value is not None)

    def __str__(self) -> str:
        words = (self.text,) if self.text else ()
        # In a question a second from: is words, so the one that counts has to come first.
        return " ".join(
            (*words, *self.operators) if self.match == "all" else (*self.operators, *words)
        )

    def chips(self) -> tuple[Chip, ...]:
        """Return the parts to show as removable: phrases, exclusions, alternatives, operators."""
        groups = group_alternatives(list(read_lexemes(self.text))) if self.match == "all" else []
        chips: list[Chip] = []
        for number, group in enumerate(groups):
            if len(group) > 1 or group[0].is_quoted or group[0].is_excluded:
                rest = render_groups([*groups[:number], *groups[number + 1 :]])
                chips.append(Chip(render_groups([group]), str(replace(self, text=rest))))
        fields = (name for name in _FIELDS if getattr(self, name) is not None)
        for operator, name in zip(self.operators, fields, strict=True):
            chips.append(Chip(operator, str(replace(self, **{name: None}))))
        return tuple(chips)


def _quoted(author: str) -> str:
    return f'"{author}"' if re.search(r"\s", author) else author
