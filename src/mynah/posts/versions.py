"""Versions of posts, and posts that share an id. Reads and writes nothing but tables in memory.

``merge_versions`` is commutative, associative and idempotent: a store does not depend on which
export came first, or on whether they came one by one.
"""

from collections.abc import Collection
from hashlib import sha256

import polars as pl

from mynah.posts.post import POST_SCHEMA

__all__ = [
    "base_ids",
    "merge_versions",
    "name_shared",
    "nameless",
    "names_beside",
    "shared_names",
]

_SUFFIX = "~[0-9a-f]{12}$"
_NAMES = POST_SCHEMA.names
_COUNTS = ["likes", "reposts", "replies"]


def base_ids(ids: pl.Series) -> pl.Series:
    """Return ids as the networks gave them, without the suffix of a shared id."""
    if not ids.str.contains("~", literal=True).any():
        return ids
    return ids.str.replace(_SUFFIX, "")


def as_of() -> pl.Expr:
    """When a version is known to have been so: a version edited at T was not seen before T."""
    return pl.max_horizontal("seen_at", "edited_at")


def merge_versions(rows: pl.DataFrame, taken: pl.Series) -> pl.DataFrame:
    """Keep the newest version of every post, and give posts that share an id names of their own.

    Args:
        rows: Posts sorted by the id that the network gave; copies, versions, and different posts
            under one id among them.
        taken: Ids that were taken down from one of several posts: no other post may get them.

    Returns:
        The posts, each with an id of its own, no longer quite sorted.
    """
    is_same = rows["id"] == rows["id"].shift(1)
    is_repeated = (is_same | is_same.shift(-1)).fill_null(value=False)
    if taken.len():
        is_repeated |= rows["id"].is_in(taken.implode())
    if not is_repeated.any():
        return rows
    newest = _newest(rows.filter(is_repeated))
    return pl.concat([rows.filter(~is_repeated), name_shared(newest, taken)])


def _newest(rows: pl.DataFrame) -> pl.DataFrame:
    """Choose among rows of the same ids.

    An author's newest rows stay, each text once. A row without an author says less than one with
    it, and stays only where its id has no other.
    """
    post = ["id", "author"]
    ties = [name for name in _NAMES if name not in (*_COUNTS, "created_at")]
    order = [*_COUNTS, "created_at", *ties]
    return (
        rows.with_columns(_as_of=as_of(), _has_author=(pl.col("author") != "").any().over("id"))
        .filter((pl.col("author") != "") | ~pl.col("_has_author"))
        .filter(pl.col("_as_of").eq_missing(pl.col("_as_of").max().over(post)))
        .with_columns(pl.col("may_train").all().over(post))
        .filter(pl.col("edited_at").eq_missing(pl.col("edited_at").max().over(post)))
        .sort(order, descending=[True] * 4 + [False] * len(ties), nulls_last=True)
        .unique(["id", "author", "text"], keep="first", maintain_order=True)
        .select(_NAMES)
    )


def name_shared(rows: pl.DataFrame, taken: pl.Series) -> pl.DataFrame:
    """Give all posts of one id but the earliest a suffix made of what they are."""
    ordered = rows.sort("id", "created_at", "author", "text", nulls_last=True)
    needs_name = ordered.select(
        (pl.int_range(pl.len()).over("id") > 0) | pl.col("id").is_in(taken.implode())
    ).to_series()
    if not needs_name.any():
        return ordered
    alone = ordered.select(pl.len().over("id", "author") == 1).to_series()
    ids = [
        (by_author if is_alone else by_text) if is_needed else post_id
        for post_id, (by_author, by_text), is_needed, is_alone in zip(
            ordered["id"], shared_names(ordered), needs_name, alone, strict=True
        )
    ]
    return ordered.with_columns(pl.Series("id", ids, dtype=pl.String))


def shared_names(rows: pl.DataFrame) -> list[tuple[str, str]]:
    """Return the two names that each row may have beside others under its id.

    The first is of its author, so that an edit keeps it; the second of author and text, for an
    author with several posts under one id.
    """
    return [
        (f"{post_id}~{_digest(author)}", f"{post_id}~{_digest(author, text)}")
        for post_id, author, text in rows.select("id", "author", "text").iter_rows()
    ]


def names_beside(posts: Collection[tuple[str, str]]) -> list[str]:
    """Return the names that posts of these ids and authors have beside others of the same id."""
    named = [f"{post_id}~{_digest(author)}" for post_id, author in posts]
    return [*named, *(nameless(post_id) for post_id, author in posts if author)]


def nameless(post_id: str) -> str:
    """Return what stands, on the list of deletions, for the rows under an id without an author.

    They may be anybody's of that id, so they go with the first of them.
    """
    return f"{post_id}~"


def _digest(*parts: str) -> str:
    return sha256(b"\0".join(part.encode() for part in parts)).hexdigest()[:12]
