"""What `mynah posts` prints of a store: a table of sources, totals, reasons; posts as JSON."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from mynah.posts import Post

__all__ = ["counts_line", "post_line", "summary_lines"]

_COLUMNS = ("source", "format", "posts", "rejected", "private", "deleted")
_LOSSES = (
    ("num_private", "private or direct, never kept"),
    ("num_opted_out", "opted out of training"),
    ("num_duplicates", "copies or older versions of others"),
    ("num_id_conflicts", "share an id with another post"),
    ("num_deleted", "deleted, says the network"),
    ("num_not_posts", "records that are no posts"),
    ("num_recoded_lines", "lines that were not UTF-8, read as Windows-1252"),
)


def summary_lines(counts: Mapping[str, Any]) -> Iterator[str]:
    """Lay out the counts of a store for people."""
    rows = [_COLUMNS, *(_source_row(source) for source in counts["sources"])]
    widths = [max(len(row[number]) for row in rows) for number in range(len(_COLUMNS))]
    for row in rows:
        left = (f"{cell:<{width}}" for cell, width in zip(row[:2], widths[:2], strict=True))
        right = (f"{cell:>{width}}" for cell, width in zip(row[2:], widths[2:], strict=True))
        yield "  ".join([*left, *right]).rstrip()
    yield ""
    network = f", network {counts['network']}" if counts["network"] else ""
    authors = f"{counts['num_authors']:,} authors"
    yield f"{counts['num_posts']:,} posts by {authors}{_span(counts)}{network}"
    for name, meaning in _LOSSES:
        if counts[name]:
            yield f"{counts[name]:>9,}  {meaning}"
    if counts["num_rejected"]:
        yield f"{counts['num_rejected']:>9,}  rejected:"
        for reason, count in counts["rejected_reasons"].items():
            yield f"{count:>9,}    {reason}"


def _source_row(source: Mapping[str, Any]) -> tuple[str, ...]:
    numbers = ("num_posts", "num_rejected", "num_private", "num_deleted")
    return (source["name"], source["format"], *(f"{source[name]:,}" for name in numbers))


def _span(counts: Mapping[str, Any]) -> str:
    if counts["first_created_at"] is None:
        return ""
    return f", {counts['first_created_at'][:10]} to {counts['last_created_at'][:10]}"


def post_line(post: Post) -> str:
    """Return a post as one line of JSON."""
    return json.dumps(asdict(post), default=_iso, ensure_ascii=False)


def counts_line(counts: Mapping[str, Any]) -> str:
    """Return the counts of a store as one line of JSON."""
    return json.dumps(dict(counts), ensure_ascii=False)


def _iso(value: object) -> str:
    assert isinstance(value, datetime), "a post holds text, numbers and times"
    return value.isoformat()
