"""From a query to what tantivy runs: the index's fields, and the rules of which posts match.

Reads and writes nothing; ``building`` and ``index`` share the schema.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import tantivy
from tantivy import FieldType, Occur, Schema, SchemaBuilder

from mynah.search.clauses import Clause, Part
from mynah.search.query import Query

__all__ = ["TEXT_ANALYSER", "compile_query", "make_schema", "microseconds", "scores_by_words"]

TEXT_ANALYSER = "mynah"
"""Name under which an index knows the analyser of ``mynah.search.analysis``."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_US = 86_400_000_000
# What @name in a question is worth, in units of BM25: about as much as a common word of the topic,
# so that among an author's posts, and those that name the author, the topic decides.
_AUTHOR_SCORE = 3.0
_MENTION_SCORE = 1.5


def make_schema() -> Schema:
    """Return the fields of the index.

    ``post`` holds the whole post as JSON. ``age_order`` counts from the newest post, 0, on: the
    order of posts that score the same. Engagement is kept for ranking terms of its own.
    """
    builder = SchemaBuilder()
    for name in ("id", "author", "lang"):
        builder.add_text_field(name, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("text", tokenizer_name=TEXT_ANALYSER, index_option="position")
    builder.add_integer_field("created_at", indexed=True, fast=True)
    for name in ("age_order", "likes", "reposts", "replies"):
        builder.add_integer_field(name, fast=True)
    builder.add_bytes_field("post", stored=True)
    return builder.build()


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970, exactly; the index counts time so."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def scores_by_words(query: Query) -> bool:
    """Whether BM25 has anything to say; when not, newest first is the order.

    All posts by or naming an author score the same, so an author alone says nothing.
    """
    return any(not part.mention for clause in query.clauses for part in clause.wanted)


def compile_query(query: Query, schema: Schema) -> tantivy.Query:
    """Turn ``query`` into tantivy's tree. Filters narrow and never score."""
    compiler = _Compiler(schema)
    clauses = [clause for clause in query.clauses if clause.parts]
    filters = compiler.filters(query)
    if not clauses and (query.match == "any" or query.text) and not filters:
        return tantivy.Query.empty_query()
    tree = list(filters)
    if query.match == "any" and clauses:
        wanted = [(Occur.Should, compiler.clause(clause)) for clause in clauses]
        tree.append((Occur.Must, tantivy.Query.boolean_query(wanted)))
    else:
        tree.extend(compiler.required(clause) for clause in clauses)
    if all(occur is Occur.MustNot for occur, _ in tree):
        tree.append((Occur.Must, tantivy.Query.all_query()))
    return tantivy.Query.boolean_query(tree)


class _Compiler:
    """Builds tantivy's nodes over one schema."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def required(self, clause: Clause) -> tuple[Occur, tantivy.Query]:
        if len(clause.parts) == 1 and clause.parts[0].is_excluded:
            return Occur.MustNot, self.terms(clause.parts[0].terms)
        return Occur.Must, self.clause(clause)

    def clause(self, clause: Clause) -> tantivy.Query:
        nodes = [self.part(part) for part in clause.parts]
        if len(nodes) == 1:
            return nodes[0]
        return tantivy.Query.boolean_query([(Occur.Should, node) for node in nodes])

    def part(self, part: Part) -> tantivy.Query:
        node = self.terms(part.terms)
        if part.mention:
            author = tantivy.Query.term_query(self.schema, "author", part.mention)
            return tantivy.Query.disjunction_max_query(
                [
                    tantivy.Query.const_score_query(author, _AUTHOR_SCORE),
                    tantivy.Query.const_score_query(node, _MENTION_SCORE),
                ]
            )
        if part.is_excluded:
            everything = tantivy.Query.const_score_query(tantivy.Query.all_query(), 0.0)
            return tantivy.Query.boolean_query([(Occur.Must, everything), (Occur.MustNot, node)])
        return node

    def terms(self, terms: Sequence[str]) -> tantivy.Query:
        if len(terms) == 1:
            return tantivy.Query.term_query(self.schema, "text", terms[0])
        return tantivy.Query.phrase_query(self.schema, "text", list(terms))

    def filters(self, query: Query) -> list[tuple[Occur, tantivy.Query]]:
        nodes: list[tantivy.Query] = []
        if query.author is not None:
            author = query.author.casefold()
            nodes.append(tantivy.Query.term_query(self.schema, "author", author))
        if query.lang is not None:
            nodes.append(tantivy.Query.term_query(self.schema, "lang", query.lang.lower()))
        if query.since is not None or query.until is not None:
            nodes.append(self.span(query.since, query.until))
        return [(Occur.Must, tantivy.Query.const_score_query(node, 0.0)) for node in nodes]

    def span(self, since: date | None, until: date | None) -> tantivy.Query:
        return tantivy.Query.range_query(
            self.schema,
            "created_at",
            FieldType.Integer,
            _day_start(since) if since else None,
            _day_start(until) + _DAY_US - 1 if until else None,
        )


def _day_start(day: date) -> int:
    return microseconds(datetime(day.year, day.month, day.day, tzinfo=UTC))
