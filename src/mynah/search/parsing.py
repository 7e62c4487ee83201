"""The query language: text in, a query or a placed fault out.

Operators: ``from:author``, ``lang:en``, ``since:2016-09-01``, ``until:2016-09-30`` (both days
belong to the span, in UTC), ``"a phrase"``, ``-word``, ``-"a phrase"``, ``OR``. Any string is a
query or a ``RequestError`` that says at which character it went wrong. Reads and writes nothing.
"""

import re
from datetime import date
from difflib import get_close_matches

from mynah.errors import RequestError
from mynah.search.analysis import without_surrogates
from mynah.search.clauses import (
    Lexeme,
    Match,
    group_alternatives,
    read_lexemes,
    render_groups,
)
from mynah.search.query import Query

__all__ = ["MAX_QUERY_CHARS", "OPERATORS", "parse_query"]

MAX_QUERY_CHARS = 2_000
"""Longer search boxes are refused; a question may be longer."""

OPERATORS = ("from", "lang", "since", "until")
"""Names that stand before a colon."""

_OPERATOR_PATTERN = re.compile(r"([A-Za-z]+):(?!//)(.*)", re.DOTALL)
_LANG_PATTERN = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_DATE_PATTERN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def parse_query(text: str, *, match: Match = "all") -> Query:
    """Read what a person typed.

    Args:
        text: Any string.
        match: ``all`` for a search box, where a wrong operator is an error; ``any`` for a
            question in prose, where what is no right operator is words.

    Raises:
        RequestError: ``all`` only: says which character is wrong, and what was expected.
    """
    if match == "all" and len(text) > MAX_QUERY_CHARS:
        raise _fault(
            f"the query has {len(text):,} characters, {MAX_QUERY_CHARS:,} are read",
            MAX_QUERY_CHARS,
            hint="search for fewer words",
        )
    return _QueryReader(without_surrogates(text), match).read()


class _QueryReader:
    """One pass over the lexemes of a query: operators into fields, the rest into groups."""

    def __init__(self, text: str, match: Match) -> None:
        self.match: Match = match
        self.lexemes = list(read_lexemes(text))
        self.words: list[Lexeme] = []
        self.found: dict[str, str] = {}

    def read(self) -> Query:
        number = 0
        while number < len(self.lexemes):
            lexeme = self.lexemes[number]
            name = _operator_name(lexeme)
            value = self._quoted_value(number) if name else None
            if name is None:
                self._add_word(lexeme)
            elif not self._add_operator(name, number, value):
                self.words.append(lexeme)
                value = None
            number += 2 if value is not None else 1
        self._check_span()
        since, until = self.found.get("since"), self.found.get("until")
        return Query(
            text=self._rendered(),
            author=self.found.get("from"),
            lang=self.found.get("lang"),
            since=date.fromisoformat(since) if since else None,
            until=date.fromisoformat(until) if until else None,
            match=self.match,
        )

    def _check_span(self) -> None:
        since, until = self.found.get("since", ""), self.found.get("until", "9999-12-31")
        if since <= until:
            return
        place = next(x.start for x in self.lexemes if _operator_name(x) == "since")
        if self.match == "all":
            raise _fault(f"since:{since} is after until:{until}", place, hint="swap the two days")
        del self.found["since"], self.found["until"]

    def _quoted_value(self, number: int) -> Lexeme | None:
        """Return the phrase that follows ``from:`` with no space between, as in from:"Jo Do"."""
        if number + 1 == len(self.lexemes) or not self.lexemes[number].text.endswith(":"):
            return None
        following = self.lexemes[number + 1]
        adjacent = following.start == self.lexemes[number].end and not following.is_excluded
        return following if following.is_quoted and adjacent else None

    def _add_word(self, lexeme: Lexeme) -> None:
        if self.match == "all":
            _refuse_typo(lexeme)
        self.words.append(lexeme)

    def _add_operator(self, name: str, number: int, value: Lexeme | None) -> bool:
        """Take an operator; in a question, return False when it is words after all."""
        lexeme = self.lexemes[number]
        try:
            self._refuse_place(name, number)
            raw = value.text if value else lexeme.text.partition(":")[2]
            start = lexeme.start + len(name) + 1
            self.found[name] = _read_value(name, raw, start)
        except RequestError:
            if self.match == "all":
                raise
            return False
        return True

    def _refuse_place(self, name: str, number: int) -> None:
        lexeme = self.lexemes[number]
        neighbours = self.lexemes[max(0, number - 1) : number] + self.lexemes[number + 1 :][:1]
        if lexeme.is_excluded:
            raise _fault(
                f"-{name}: is not read, only words and phrases can be excluded",
                lexeme.start,
                hint=f"write -word, or drop the '-' before {name}:",
            )
        if name in self.found:
            raise _fault(f"{name}: is there twice", lexeme.start, hint=f"keep one {name}:")
        if any(neighbour.is_or for neighbour in neighbours) and self.match == "all":
            raise _fault(
                f"OR joins words and phrases, not {name}:",
                lexeme.start,
                hint=f"put {name}: at the end of the query, and search twice for two values",
            )

    def _rendered(self) -> str:
        if self.match == "any":
            return " ".join(str(lexeme) for lexeme in self.words)
        return render_groups(group_alternatives(self.words))


def _operator_name(lexeme: Lexeme) -> str | None:
    shape = None if lexeme.is_quoted else _OPERATOR_PATTERN.fullmatch(lexeme.text)
    name = shape[1].lower() if shape else ""
    return name if name in OPERATORS else None


def _refuse_typo(lexeme: Lexeme) -> None:
    shape = None if lexeme.is_quoted else _OPERATOR_PATTERN.fullmatch(lexeme.text)
    if shape is None or not shape[2]:
        return
    meant = get_close_matches(shape[1].lower(), OPERATORS, n=1, cutoff=0.74)
    if meant:
        raise _fault(
            f"there is no operator {shape[1]}:",
            lexeme.start,
            hint=f"write {meant[0]}: or, if these are words to find, put them in quotation marks: "
            f'"{lexeme.text}"',
        )


def _read_value(name: str, raw: str, start: int) -> str:
    if name == "from":
        author = raw.removeprefix("@").strip()
        if author:
            return author
        raise _fault("from: has no author", start, hint="write from:author, without a space")
    if name == "lang":
        if _LANG_PATTERN.fullmatch(raw):
            return raw.lower()
        raise _fault(
            f"lang: wants a language code, found {raw!r}", start, hint="write, for one, lang:en"
        )
    try:
        if _DATE_PATTERN.fullmatch(raw):
            return date.fromisoformat(raw).isoformat()
    except ValueError:
        pass
    raise _fault(
        f"{name}: wants a day as YYYY-MM-DD, found {raw!r}",
        start,
        hint=f"write, for one, {name}:2016-09-27",
    )


def _fault(message: str, place: int, *, hint: str) -> RequestError:
    return RequestError(f"{message} (at character {place + 1})", hint=hint, code="invalid_query")
