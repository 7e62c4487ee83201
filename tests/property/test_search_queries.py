"""Any string is a query or a placed fault; the index finds what reading every post would find."""

import contextlib
import re
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.stored_posts import store_posts

from mynah.errors import RequestError
from mynah.posts import Post
from mynah.search import (
    Query,
    SearchIndex,
    analyse,
    build_index,
    find_highlights,
    parse_query,
    tokenise,
)

PIECES = st.sampled_from(
    ["jobs", "job", "tax", "the", "cafe", "\u0928\u092f\u093e\u0901", "\U0001f600", "?",
     "from:ada", "from:", "from:b", "lang:en", "lang:", "since:2016-01-02", "until:2016-01-03",
     "since:x", "form:a", " ", "  ", "--", '""', "-tax", '"the job"', "@ada", "5,000",
     "\u65e5\u672c", "OR", "-", '"', "#", "@"]
)  # fmt: skip
QUERIES = st.lists(PIECES, max_size=9).map("".join) | st.lists(PIECES, max_size=7).map(" ".join)
ANY_TEXT = st.text(st.characters())  # half characters (surrogates) too
WORDS = st.sampled_from(
    [
        "jobs",
        "tax",
        "the",
        "cafe\u0301",
        "\u0928\u092f\u093e\u0901",
        "\U0001f600",
        "\u65e5\u672c\u65e5",
        "x",
        "ada",
    ]
)


@settings(deadline=None)
@given(ANY_TEXT | QUERIES, st.sampled_from(["all", "any"]))
def test_a_query_survives_being_written_down(text: str, match: str) -> None:
    try:
        query = parse_query(text, match=match)
    except RequestError as error:
        assert match == "all"
        place = re.search(r"\(at character (\d+)\)$", error.message)
        assert place is not None
        assert 1 <= int(place[1]) <= len(text) + 1
        return
    again = parse_query(str(query), match=match)
    assert again == query
    assert str(again) == str(query)


@settings(deadline=None)
@given(QUERIES)
def test_every_chip_leaves_a_query(text: str) -> None:
    with contextlib.suppress(RequestError):
        query = parse_query(text)
        for chip in query.chips():
            without = parse_query(chip.without)
            assert len(without.chips()) == len(query.chips()) - 1
            parse_query(chip.label)


@settings(deadline=None)
@given(ANY_TEXT, st.lists(WORDS, max_size=8).map(" ".join))
def test_highlights_lie_in_the_text_and_in_order(query_text: str, text: str) -> None:
    for candidate in (text, query_text + " " + text):
        query = parse_query(query_text[:200] + " " + text, match="any")
        highlights, matched = find_highlights(query, candidate)
        edges = [edge for span in highlights for edge in span]
        assert edges == sorted(edges)
        assert all(0 <= start < end <= len(candidate) for start, end in highlights)
        terms = analyse(candidate)
        assert set(matched) <= set(terms)
        if matched:
            lit = " ".join(candidate[start:end] for start, end in highlights)
            assert set(matched) <= set(analyse(lit))


@settings(deadline=None)
@given(ANY_TEXT)
def test_tokens_are_the_terms_in_order(text: str) -> None:
    tokens = tokenise(text)
    assert [token.term for token in tokens] == analyse(text)
    assert all(a.end <= b.start for a, b in pairwise(tokens))


@cache
def small_index() -> tuple[SearchIndex, list[Post]]:
    """Two hundred short posts of nine words, every mix of author, language and day."""
    texts = [
        "jobs",
        "tax",
        "the",
        "cafe",
        "\u0928\u092f\u093e\u0901",
        "\U0001f600",
        "\u65e5\u672c\u65e5",
        "the job",
        "ada 5,000",
    ]
    posts = [
        Post(
            id=f"t:{n}",
            author="Ada" if n % 3 else "b",
            lang=("en", "ne", None)[n % 5 % 3],
            created_at=datetime(2016, 1, 1, tzinfo=UTC) + timedelta(hours=n) if n % 7 else None,
            text=" ".join(texts[(n * step) % 9] for step in range(1, n % 4 + 2)),
            visibility="direct" if n % 11 == 0 else "public",
        )
        for n in range(200)
    ]
    root = Path(tempfile.mkdtemp())
    stored = store_posts(posts, root / "posts")
    return SearchIndex(build_index(stored, root / "search")), posts


def holds(query: Query, post: Post) -> bool:
    """Decide by reading the post, with nothing of the index."""
    terms = analyse(post.text)
    day = post.created_at.date() if post.created_at else None
    spans = query.since is not None or query.until is not None
    if not post.is_public or (spans and day is None):
        return False
    if query.author is not None and query.author.lower() != post.author.lower():
        return False
    if query.lang is not None and query.lang != post.lang:
        return False
    if day and ((query.since and day < query.since) or (query.until and day > query.until)):
        return False
    kept = [
        [contains(terms, part.terms) != part.is_excluded for part in clause.parts]
        for clause in query.clauses
    ]
    if not kept and query.text and not query.has_filter:
        return False
    return all(any(clause) for clause in kept)


def contains(terms: list[str], phrase: tuple[str, ...]) -> bool:
    return any(tuple(terms[n : n + len(phrase)]) == phrase for n in range(len(terms)))


@settings(max_examples=200, deadline=None)
@given(QUERIES)
def test_the_index_finds_what_reading_would(text: str) -> None:
    index, posts = small_index()
    with contextlib.suppress(RequestError):
        query = parse_query(text)
        found = index.search(query, limit=200)
        assert {c.post.id for c in found.candidates} == {p.id for p in posts if holds(query, p)}
        assert found.num_matches == len(found.candidates)
        dated = sum(c.post.created_at is not None for c in found.candidates)
        histogram = index.histogram(query)
        assert sum(bar.num_posts for bar in histogram.bars) == dated
        assert histogram.num_undated == found.num_matches - dated


@settings(max_examples=50, deadline=None)
@given(QUERIES, st.integers(1, 40))
def test_pages_are_the_whole_cut_up(text: str, limit: int) -> None:
    index, _ = small_index()
    query = replace(parse_query(text, match="any"))
    whole = index.search(query, limit=200).candidates
    pages = [
        candidate
        for offset in range(0, len(whole) + 1, limit)
        for candidate in index.search(query, limit=limit, offset=offset).candidates
    ]
    assert tuple(pages) == whole
    keys = [
        (-c.score, -(c.post.created_at or datetime(1, 1, 2, tzinfo=UTC)).timestamp()) for c in whole
    ]
    assert keys == sorted(keys)
