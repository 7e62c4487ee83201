"""Search: posts found by words, in an order that can be explained.

Reads the post store; writes ``search/<snapshot>/``, a tantivy index that holds public posts only.
"""

from mynah.search.analysis import ANALYSIS_VERSION, Token, analyse, tokenise
from mynah.search.building import SEARCH_KIND, build_index
from mynah.search.clauses import Clause, Match, Part
from mynah.search.histogram import Bar, Histogram
from mynah.search.index import MAX_OFFSET, SearchIndex, holds_any
from mynah.search.parsing import MAX_QUERY_CHARS, OPERATORS, parse_query
from mynah.search.query import Chip, Query
from mynah.search.results import Candidate, SearchResult, find_highlights
from mynah.search.topics import suggest_questions, topics

__all__ = [
    "ANALYSIS_VERSION",
    "MAX_OFFSET",
    "MAX_QUERY_CHARS",
    "OPERATORS",
    "SEARCH_KIND",
    "Bar",
    "Candidate",
    "Chip",
    "Clause",
    "Histogram",
    "Match",
    "Part",
    "Query",
    "SearchIndex",
    "SearchResult",
    "Token",
    "analyse",
    "build_index",
    "find_highlights",
    "holds_any",
    "parse_query",
    "suggest_questions",
    "tokenise",
    "topics",
]
