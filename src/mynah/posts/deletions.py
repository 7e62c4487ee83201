"""What may never come back: ids that were taken down, ids the networks deleted, authors who left.

Reads and writes ``posts/deletions.parquet`` (ids and times) and ``posts/forgotten_authors.json``
(hashes of handles). Both are replaced whole, by rename, and hold nobody's words.
"""

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import polars as pl

from mynah.posts.reader import Deleted
from mynah.posts.versions import as_of, base_ids, nameless, shared_names
from mynah.workspace import replace_file

__all__ = ["Deletions", "author_hash", "forgotten_ids"]

_LIST = "deletions.parquet"
_AUTHORS = "forgotten_authors.json"
_SCHEMA = {
    "id": pl.String,
    "deleted_at": pl.Datetime("us", "UTC"),
    "is_shared": pl.Boolean,
}


def author_hash(author: str) -> str:
    """Return what stands for an author in the list."""
    return sha256(author.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Deletions:
    """The list: consulted whenever posts are read into a store."""

    listed: pl.DataFrame
    """``id``; ``deleted_at``: versions up to then are gone, all of them when it is null;
    ``is_shared``: one of several posts under the id was taken down, the others may stay."""
    authors: frozenset[str]
    """Hashes of the authors all of whose posts are gone."""

    @classmethod
    def load(cls, store: Path) -> "Deletions":
        """Read the list of a store; empty where there is none."""
        try:
            listed = pl.read_parquet(io.BytesIO((store / _LIST).read_bytes()))
        except FileNotFoundError:
            listed = pl.DataFrame(schema=_SCHEMA)
        try:
            authors = frozenset(json.loads((store / _AUTHORS).read_bytes()))
        except FileNotFoundError:
            authors = frozenset[str]()
        return cls(listed, authors)

    def save(self, store: Path) -> None:
        """Write the list; whole and on disk when this returns."""
        replace_file(store / _LIST, _parquet(self.listed))
        replace_file(store / _AUTHORS, json.dumps(sorted(self.authors)).encode())

    @property
    def digest(self) -> str:
        """Hash of the list; empty for an empty one."""
        if not self.listed.height and not self.authors:
            return ""
        rows = "\n".join(f"{i} {at} {shared}" for i, at, shared in self.listed.iter_rows())
        return sha256("\n".join([rows, *sorted(self.authors)]).encode()).hexdigest()

    @property
    def taken(self) -> pl.Series:
        """Ids of which one of several posts was taken down: no other may be given such an id."""
        return self.listed.filter("is_shared")["id"]

    def with_deleted(self, deleted: Iterable[Deleted]) -> "Deletions":
        """Add what a network says is deleted; of two times the later counts."""
        entries = [(entry.id, entry.at, False) for entry in deleted]
        return self._with(entries) if entries else self

    def with_forgotten(
        self, ids: Iterable[str], *, shared: Iterable[str] = (), authors: Iterable[str] = ()
    ) -> "Deletions":
        """Add what is taken down for good.

        Args:
            ids: Ids that nothing may have again.
            shared: Ids of which the posts named in ``ids`` are gone, and others stay.
            authors: Handles.
        """
        for_good = self.listed.filter(pl.col("deleted_at").is_null())["id"]
        known = set(for_good)
        entries = [(i, None, False) for i in sorted(set(ids) - known)]
        entries += [(i, None, True) for i in sorted(set(shared) - known)]
        more = Deletions(self.listed, self.authors | {author_hash(a) for a in authors})
        return more._with(entries) if entries else more

    def _with(self, entries: Sequence[tuple[str, object, bool]]) -> "Deletions":
        new = pl.DataFrame(entries, schema=_SCHEMA, orient="row")
        at = pl.col("deleted_at")
        merged = (
            pl.concat([self.listed, new])
            .group_by("id")
            .agg(
                pl.when(at.is_null().any()).then(None).otherwise(at.max()).alias("deleted_at"),
                pl.col("is_shared").all(),
            )
            .sort("id")
        )
        return Deletions(merged, self.authors)

    def holds(self, rows: pl.DataFrame) -> pl.Series:
        """Tell for every row whether it has to stay out.

        Args:
            rows: Posts under the ids that the networks gave them; ``text`` may be left out when
                no id of the list has a suffix.
        """
        held = pl.Series("held", [False]).new_from_index(0, rows.height)
        if self.listed.height:
            held = self._holds_ids(rows) | self._holds_names(rows)
        if self.authors:
            held |= _by_author(rows, self.authors)
        return held

    @property
    def has_names(self) -> bool:
        """Whether posts are listed by the suffix of their id, which their text decides."""
        return bool(self._names().len())

    def _names(self) -> pl.Series:
        ids = self.listed["id"]
        return ids.filter((base_ids(ids) != ids) | ids.str.ends_with(nameless("")))

    def _holds_ids(self, rows: pl.DataFrame) -> pl.Series:
        plain = self.listed.filter(~pl.col("is_shared")).select("id", "deleted_at", _listed=True)
        for_good = plain.filter(pl.col("deleted_at").is_null())["id"]
        seen = as_of()
        is_gone = pl.col("_listed").fill_null(value=False) & (
            pl.col("deleted_at").is_null() | seen.is_null() | (seen <= pl.col("deleted_at"))
        )
        is_repost = (pl.col("kind") == "repost") & pl.col("repost_of").is_in(for_good.implode())
        return (
            rows.select("id", "kind", "repost_of", "seen_at", "edited_at")
            .join(plain, on="id", how="left", maintain_order="left")
            .select(is_gone | is_repost.fill_null(value=False))
            .to_series()
        )

    def _holds_names(self, rows: pl.DataFrame) -> pl.Series:
        names = self._names()
        held = pl.Series("held", [False]).new_from_index(0, rows.height)
        if not names.len():
            return held
        bases = base_ids(names.str.strip_suffix(nameless("")))
        numbers = rows["id"].is_in(bases.implode()).arg_true()
        if not numbers.len():
            return held
        listed = set(names)
        some = rows[numbers]
        is_held = [
            not listed.isdisjoint(pair) or (not author and nameless(post_id) in listed)
            for pair, author, post_id in zip(
                shared_names(some), some["author"], some["id"], strict=True
            )
        ]
        return held.scatter(numbers.filter(pl.Series(is_held)), values=True)


def _by_author(rows: pl.DataFrame, authors: frozenset[str]) -> pl.Series:
    """Posts of these authors, and reposts that say whose words they repeat."""
    repeated = pl.when(pl.col("kind") == "repost").then(pl.col("repost_of"))
    handles = rows.select("author", repeated.alias("repeated"))
    distinct = pl.concat([handles["author"], handles["repeated"].drop_nulls()]).unique()
    gone = pl.Series([h for h in distinct if h and author_hash(h) in authors], dtype=pl.String)
    is_gone = pl.col("author").is_in(gone.implode()) | pl.col("repeated").is_in(gone.implode())
    return handles.select(is_gone.fill_null(value=False)).to_series()


def _parquet(table: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    table.write_parquet(out, compression="zstd")
    return out.getvalue()


def forgotten_ids(store: Path) -> frozenset[str]:
    """Return the ids of a store that may not be shown any more, whatever an index still holds.

    Cheap enough to ask on every request: the list is read again only when it has changed. Posts
    that their network deleted at a known time are not among them, since the network may have
    them again; the next snapshot lacks them.
    """
    path = store / _LIST
    try:
        facts = path.stat()
    except FileNotFoundError:
        return frozenset()
    return _for_good(path, facts.st_mtime_ns, facts.st_ino, facts.st_size)


@lru_cache(maxsize=8)
def _for_good(path: Path, _mtime_ns: int, _inode: int, _size: int) -> frozenset[str]:
    listed = pl.read_parquet(io.BytesIO(path.read_bytes()))
    return frozenset(listed.filter(pl.col("deleted_at").is_null())["id"])
