"""Records to posts, thousands at a time: the same posts as ``PostBuilder`` gives one by one.

A chunk of records becomes columns, each parsed as a whole, and the public posts among them one
batch of ``POST_SCHEMA``. A record with anything unusual in it, private posts among them, is read
by ``PostBuilder`` instead, which alone says why a record is rejected.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Protocol

import polars as pl
import pyarrow as pa

from mynah.posts.post import POST_SCHEMA
from mynah.posts.reader import Found, ReadOptions, Rejected, SourceReport
from mynah.posts.readers import values_columns as values
from mynah.posts.readers.columns import Path
from mynah.posts.readers.records import (
    NUM_LOOKED_AT,
    Numbered,
    PostBuilder,
    builder_for,
    derived_id,
    repeated_author,
)
from mynah.posts.readers.values_columns import Parsed, Parser

__all__ = ["Chunk", "Columns", "posts_from_chunks"]

_NO_SPACE = r"[^\s\x1c-\x1f]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The records of a chunk as columns."""

    num_rows: int
    cells: Mapping[Path, Sequence[pl.Series]]
    """The values at each path, a column for each type among them."""
    others: Sequence[Numbered]
    """Records that have to be read one by one, and those that could not be parsed."""


class Chunk(Protocol):
    """Some of the records of a file, in their order."""

    def first(self, count: int) -> list[Numbered]:
        """Return its first records, those that cannot be parsed among them."""
        ...

    def columns(self, paths: Iterable[Path]) -> Columns:
        """Return the values at some paths."""
        ...

    def record(self, row: int) -> Numbered:
        """Return the record of a row of the columns, exactly as it is written."""
        ...


def posts_from_chunks(
    chunks: Iterable[Chunk], *, options: ReadOptions, report: SourceReport
) -> Iterator[Found]:
    """Map the columns from the first records, then turn every chunk into posts.

    Raises:
        DataError: There are records, but none of their columns holds a text.
    """
    stream = iter(chunks)
    looked_at: list[Chunk] = []
    items: list[Numbered] = []
    for chunk in stream:
        looked_at.append(chunk)
        items += _first_of(chunk, max(1, NUM_LOOKED_AT - len(items)))
        if len(items) >= NUM_LOOKED_AT and not _are_rejected(items):
            break
    builder = builder_for(items, options=options, report=report)
    for chunk in chain(looked_at, stream):
        yield from _found(chunk, builder) if builder else chunk.columns(()).others


def _first_of(chunk: Chunk, count: int) -> list[Numbered]:
    """Return the first items of a chunk, and more of them until one can be read."""
    items = chunk.first(count)
    return chunk.first(sys.maxsize) if _are_rejected(items) else items


def _are_rejected(items: Iterable[Numbered]) -> bool:
    return all(isinstance(item, Rejected) for item in items)


def _found(chunk: Chunk, builder: PostBuilder) -> Iterator[Found]:
    columns = chunk.columns({path for places in builder.columns.places.values() for path in places})
    alone = list(columns.others)
    if columns.num_rows:
        reading = _Reading(columns, builder)
        posts = reading.posts()
        if reading.is_odd.any():
            alone += [chunk.record(row) for row in reading.is_odd.arg_true().to_list()]
            posts = posts.filter(~reading.is_odd)
        if posts.height:
            yield _batch(posts)
    yield from map(builder.read, sorted(alone, key=_position))


def _position(item: Numbered) -> int:
    return item.position if isinstance(item, Rejected) else item[0]


def _batch(posts: pl.DataFrame) -> pa.RecordBatch:
    table = posts.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(POST_SCHEMA)
    return table.combine_chunks().to_batches()[0]


class _Reading:
    """The columns of one chunk on their way to posts."""

    def __init__(self, columns: Columns, builder: PostBuilder) -> None:
        self._columns = columns
        self._builder = builder
        self.is_odd = pl.repeat(False, columns.num_rows, eager=True)
        """Rows that have to be read one by one."""

    def posts(self) -> pl.DataFrame:
        """Return the rows as posts; what it says of odd rows is not to be used."""
        b = self._builder
        time = partial(values.times, is_day_first=b.is_day_first)
        read = self._read
        text = self._texts()
        of_account = read("is_protected", values.visibilities, "public")
        of_post = read("visibility", values.visibilities, "public")
        visibility = of_post.zip_with(of_account == "public", of_account)
        self.is_odd |= ~visibility.is_in(["public", "unlisted"])
        posts = pl.DataFrame(
            {
                "id": read("id", values.ids),
                "author": read("author", values.handles, ""),
                "created_at": self._times("created_at", time),
                "text": text,
                "lang": read("lang", values.languages),
                "reply_to": self._references("reply_to"),
                "repost_of": self._repeated(text),
                "quote_of": self._references("quote_of"),
                "likes": read("likes", values.counts, 0),
                "reposts": read("reposts", values.counts, 0),
                "replies": read("replies", values.counts, 0),
                "url": read("url", values.links),
                "visibility": visibility,
                "may_train": read("may_train", values.flags, True)
                & ~read("opt_out", values.flags, False),
                "edited_at": self._times("edited_at", _edits),
                "seen_at": self._times("seen_at", time),
                "is_repost": read("is_repost", values.flags, False),
            }
        )
        posts = posts.with_columns(self._ids(posts), _kind())
        return posts.select(POST_SCHEMA.names)

    def _read(
        self, name: str, parse: Parser, default: Any = None, dtype: type[pl.DataType] = pl.String
    ) -> pl.Series:
        paths = self._builder.columns.places.get(name, ())
        cells = (column for path in paths for column in self._columns.cells[path])
        parsed = values.first_present(cells, parse)
        if parsed is None:
            nothing = None if default is not None else dtype
            return pl.repeat(default, self._columns.num_rows, dtype=nothing, eager=True)
        if parsed.is_bad is not None:
            self.is_odd |= parsed.is_bad.fill_null(False)
        if default is None or not parsed.values.null_count():
            return parsed.values
        return parsed.values.fill_null(default)

    def _times(self, name: str, parse: Parser) -> pl.Series:
        return self._read(name, parse, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))

    def _texts(self) -> pl.Series:
        """Return title and text as one; a row without either is odd."""
        text = self._read("text", values.texts, "")
        is_blank = ~text.str.contains(_NO_SPACE)
        if self._builder.columns.places.get("title"):
            title = self._read("title", values.texts, "")
            has_no_title = ~title.str.contains(_NO_SPACE)
            both = pl.concat_str(title, pl.lit("\n\n"), text)
            choice = pl.when(has_no_title).then(text).when(is_blank).then(title).otherwise(both)
            text = pl.select(choice).to_series()
            is_blank &= has_no_title
        self.is_odd |= is_blank
        return text

    def _references(self, name: str) -> pl.Series:
        ids = self._read(name, values.ids)
        if ids.null_count() == len(ids):
            return ids
        return self._qualified(ids.set(ids == "0", None))

    def _qualified(self, ids: pl.Series) -> pl.Series:
        prefix = f"{self._builder.network}:"
        full = pl.concat_str(pl.lit(prefix), ids)
        return pl.select(pl.when(ids.str.starts_with(prefix)).then(ids).otherwise(full)).to_series()

    def _repeated(self, text: pl.Series) -> pl.Series:
        """Return the id or author of what each row repeats."""
        named = self._read("repost_author", values.handles)
        named = named.set(named == "", None)
        by_prefix: list[str | None] = [None] * len(text)
        for row in text.str.starts_with("RT @").arg_true().to_list():
            by_prefix[row] = repeated_author(text[row])
        choices = (self._references("repost_of"), named, pl.Series(by_prefix, dtype=pl.String))
        return pl.select(pl.coalesce(*choices)).to_series()

    def _ids(self, posts: pl.DataFrame) -> pl.Series:
        ids = posts["id"]
        unnamed = ids.is_null()
        if unnamed.any():
            rows = posts.filter(unnamed).select("author", "created_at", "text").iter_rows()
            derived = iter([derived_id(author, time, text) for author, time, text in rows])
            ids = pl.Series([next(derived) if i is None else i for i in ids], dtype=pl.String)
        return self._qualified(ids).alias("id")


def _edits(column: pl.Series) -> Parsed:
    """Read times of edits; what is none is only the word that there was one."""
    return Parsed(values.times(column, is_day_first=False).values)


def _kind() -> pl.Expr:
    return (
        pl.when(pl.col("repost_of").is_not_null() | pl.col("is_repost"))
        .then(pl.lit("repost"))
        .when(pl.col("quote_of").is_not_null())
        .then(pl.lit("quote"))
        .when(pl.col("reply_to").is_not_null())
        .then(pl.lit("reply"))
        .otherwise(pl.lit("post"))
        .alias("kind")
    )
