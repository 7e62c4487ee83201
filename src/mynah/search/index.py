"""The search index: posts found by words. Reads ``search/<snapshot>/``; writes nothing.

Order is BM25, then newest first, then id: the same query gives the same order, page after page.
"""

import json
import math
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import tantivy
from tantivy import DocAddress, Occur, Order

from mynah.errors import DataError, RequestError
from mynah.posts import Post
from mynah.search.analysis import analyse, make_analyser, without_surrogates
from mynah.search.building import AUTHORS_FILE, SEARCH_KIND, TIMES
from mynah.search.histogram import Histogram, make_histogram
from mynah.search.matching import TEXT_ANALYSER, compile_query, scores_by_words
from mynah.search.query import Query
from mynah.search.results import Candidate, SearchResult, find_highlights
from mynah.workspace import Artifact

__all__ = ["MAX_OFFSET", "SearchIndex", "holds_any"]

MAX_OFFSET = 10_000
"""Deepest place of a page in the order; what lies further down is found by a narrower query."""

_HOUR_US = 3_600_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SearchIndex:
    """A finished index, open for reading. Methods are thread-safe."""

    def __init__(
        self, artifact: Artifact, *, forgotten: Callable[[], frozenset[str]] = frozenset
    ) -> None:
        """Open ``artifact``, checking every file against its hash.

        Args:
            artifact: From ``build_index``.
            forgotten: Asked on every call for the ids of posts that were taken back: from then
                on none of them is found, whatever the files still hold.

        Raises:
            DataError: It is no search index, or its files are missing, cut short or changed.
        """
        if artifact.kind != SEARCH_KIND:
            raise DataError(
                f"{artifact.folder} is a {artifact.kind}, expected a {SEARCH_KIND}",
                hint="run the same command again to build the index",
            )
        artifact.verify()
        self.artifact = artifact
        try:
            index = tantivy.Index.open(str(artifact.folder))
            index.register_tokenizer(TEXT_ANALYSER, make_analyser())
            self._searcher = index.searcher()
        except ValueError as error:
            raise DataError(
                f"the search index {artifact.folder} cannot be opened: {error}",
                hint=f"delete {artifact.folder} and run the same command again to rebuild it",
            ) from error
        self._schema = index.schema
        self._forgotten = forgotten
        self._hidden: tuple[frozenset[str], tuple[str, ...]] = (frozenset(), ())
        self._authors: dict[str, str] = json.loads((artifact.folder / AUTHORS_FILE).read_text())

    @property
    def num_posts(self) -> int:
        """Posts that can be found."""
        return self._searcher.num_docs - len(self._hidden_ids())

    @property
    def authors(self) -> Mapping[str, str]:
        """Handles of those who wrote a post here: case folded, and as usually spelled."""
        return MappingProxyType(self._authors)

    def search(self, query: Query, *, limit: int = 20, offset: int = 0) -> SearchResult:
        """Find one page of posts.

        Args:
            query: From ``parse_query``.
            limit: Candidates on the page, 0 to count only.
            offset: Candidates before the page, at most ``MAX_OFFSET``.

        Raises:
            RequestError: ``limit`` or ``offset`` is out of range.
        """
        if not (0 <= limit <= MAX_OFFSET and 0 <= offset <= MAX_OFFSET):
            raise RequestError(
                f"limit is {limit} and offset {offset}, both go from 0 to {MAX_OFFSET:,}",
                hint="narrow the search with from:, since: or until: to see older posts",
            )
        started_s = time.perf_counter()
        compiled = self._compile(query)
        num_matches, page = self._find_page(compiled, query, limit, offset)
        candidates = tuple(
            self._as_candidate(query, address, score, offset + number)
            for number, (score, address) in enumerate(page, start=1)
        )
        time_ms = (time.perf_counter() - started_s) * 1000
        return SearchResult(candidates=candidates, num_matches=num_matches, time_ms=time_ms)

    def get(self, post_id: str) -> Post | None:
        """Return the post of that id, if it is in the index."""
        if post_id in self._forgotten():
            return None
        by_id = tantivy.Query.term_query(self._schema, "id", without_surrogates(post_id))
        found = self._searcher.search(by_id, 1, count=False)
        return self._read_post(found.hits[0][1]) if found.hits else None

    def idf(self, term: str) -> float:
        """Return how telling an analysed term is: BM25's inverse document frequency.

        Near 0 for a term of every post; ``log(1 + 2 * num_posts)`` or so for one of no post.
        """
        num_with_term = self._searcher.doc_freq("text", term)
        rest = self.num_posts - num_with_term
        return math.log(1 + (rest + 0.5) / (num_with_term + 0.5))

    def analyse(self, text: str) -> list[str]:
        """Return the terms of ``text`` as this index knows them, in order, repeats included."""
        return analyse(text)

    def histogram(self, query: Query, *, max_bars: int = 60) -> Histogram:
        """Count the posts that match over time, in at most ``max_bars`` equal bars or years."""
        compiled = self._compile(query)
        bounds = {"field": "created_at", "interval": _HOUR_US, "min_doc_count": 1}
        found: Any = self._searcher.aggregate(compiled, {"hours": {"histogram": bounds}})
        hours = {
            _EPOCH + timedelta(microseconds=bucket["key"]): int(bucket["doc_count"])
            for bucket in found["hours"]["buckets"]
        }
        num_matches = self._count(compiled)
        return make_histogram(
            hours, max_bars=max_bars, num_undated=num_matches - sum(hours.values())
        )

    def _hidden_ids(self) -> tuple[str, ...]:
        """The forgotten posts that this index still holds."""
        forgotten = self._forgotten()
        if self._hidden[0] is not forgotten:
            held = tuple(
                post_id
                for post_id in sorted(forgotten)
                if self._searcher.doc_freq("id", without_surrogates(post_id))
            )
            self._hidden = (forgotten, held)
        return self._hidden[1]

    def _compile(self, query: Query) -> tantivy.Query:
        compiled = compile_query(query, self._schema)
        hidden = self._hidden_ids()
        if not hidden:
            return compiled
        held = tantivy.Query.term_set_query(self._schema, "id", list(hidden))
        return tantivy.Query.boolean_query([(Occur.Must, compiled), (Occur.MustNot, held)])

    def _count(self, compiled: tantivy.Query) -> int:
        return _count_of(self._searcher.search(compiled, 1))

    def _find_page(
        self, compiled: tantivy.Query, query: Query, limit: int, offset: int
    ) -> tuple[int, list[tuple[float, DocAddress]]]:
        if limit == 0:
            return self._count(compiled), []
        if not scores_by_words(query):
            found = self._searcher.search(
                compiled, limit, offset=offset, order_by_field="age_order", order=Order.Asc
            )
            return _count_of(found), [(0.0, address) for _, address in found.hits]
        return self._find_best(compiled, limit, offset)

    def _find_best(
        self, compiled: tantivy.Query, limit: int, offset: int
    ) -> tuple[int, list[tuple[float, DocAddress]]]:
        """Order by score, then newest first.

        Tantivy breaks ties by where a post lies in its files. So look on until the score falls:
        then all posts that tie with the last of the page are known, and can be put in order.
        """
        end = offset + limit
        num_wanted = end + 32
        while True:
            found = self._searcher.search(compiled, num_wanted)
            hits = found.hits
            if len(hits) < num_wanted or hits[-1][0] < hits[end - 1][0]:
                break
            num_wanted *= 4
        addresses = [address for _, address in hits]
        ages = self._searcher.fast_field_values("age_order", addresses) if addresses else []
        keyed = [
            (-score, age or 0, address) for (score, address), age in zip(hits, ages, strict=True)
        ]
        keyed.sort(key=lambda entry: entry[:2])
        return _count_of(found), [(-entry[0], entry[2]) for entry in keyed[offset:end]]

    def _as_candidate(
        self, query: Query, address: DocAddress, score: float, position: int
    ) -> Candidate:
        post = self._read_post(address)
        highlights, matched = find_highlights(query, post.text)
        return Candidate(
            post=post, position=position, score=score, highlights=highlights, matched=matched
        )

    def _read_post(self, address: DocAddress) -> Post:
        row: dict[str, Any] = json.loads(self._searcher.doc(address).get_first("post") or b"")
        for name in TIMES:
            if row[name] is not None:
                row[name] = datetime.fromisoformat(row[name])
        return Post.from_row(row)


def holds_any(artifact: Artifact, post_ids: Collection[str]) -> bool:
    """Whether an index holds one of the posts, without checking every file's hash first."""
    searcher = tantivy.Index.open(str(artifact.folder)).searcher()
    return any(searcher.doc_freq("id", without_surrogates(post_id)) for post_id in post_ids)


def _count_of(found: tantivy.SearchResult) -> int:
    return found.count  # pyright: ignore[reportAttributeAccessIssue] - missing from the stub
