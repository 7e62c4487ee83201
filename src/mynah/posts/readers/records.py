"""Records to posts: any mapping of column to value, once its columns are mapped."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Any, cast

from mynah.posts.post import Post
from mynah.posts.reader import Found, PrivatePost, ReadOptions, Rejected, SourceReport
from mynah.posts.readers.columns import ColumnMap, Path, map_columns
from mynah.posts.values import (
    BadValue,
    parse_count,
    parse_flag,
    parse_id,
    parse_lang,
    parse_text,
    parse_time,
    parse_visibility,
    starts_with_day,
)

__all__ = [
    "NUM_LOOKED_AT",
    "Numbered",
    "PostBuilder",
    "Record",
    "builder_for",
    "derived_id",
    "repeated_author",
    "time_or_flag",
]

Record = Mapping[str, Any]
Numbered = tuple[int, Record] | Rejected
"""A record and its line or number, or why it could not be read."""

NUM_LOOKED_AT = 300
"""Records whose columns and dates are looked at before the first is read."""
_MAX_DEPTH = 3
_DEFAULT_NETWORK = "posts"
_REPOST_PREFIX = re.compile(r"RT @(\w{1,30}):?\s")


def builder_for(
    items: Iterable[Numbered], *, options: ReadOptions, report: SourceReport
) -> "PostBuilder | None":
    """Guess from the first records which column is which; ``None`` when there is no record.

    Raises:
        DataError: There are records, but none of their columns holds a text.
    """
    known = [item[1] for item in items if not isinstance(item, Rejected)]
    if not known:
        return None
    paths = (path for record in known for path in _paths(record))
    columns = map_columns(paths, overrides=options.columns, source=report.name)
    report.columns = columns.described()
    report.network = options.network or report.network or columns.network or _DEFAULT_NETWORK
    is_day_first = any(starts_with_day(_pick(record, columns, "created_at")) for record in known)
    return PostBuilder(
        columns, source=report.name, network=report.network, is_day_first=is_day_first
    )


def _paths(record: Record, prefix: Path = ()) -> Iterator[Path]:
    for key, value in record.items():
        path = (*prefix, key)
        if isinstance(value, dict) and len(path) < _MAX_DEPTH:
            yield from _paths(cast("Record", value), path)
        else:
            yield path


def _pick(record: Record, columns: ColumnMap, field: str) -> Any:
    for path in columns.places.get(field, ()):
        value: Any = record
        for key in path:
            value = cast("Record", value).get(key) if isinstance(value, dict) else None
        if value is not None and value != "":
            return value
    return None


class PostBuilder:
    """Turns one record into a post: what ``columnar`` does for most of them a chunk at a time."""

    def __init__(
        self, columns: ColumnMap, *, source: str, network: str, is_day_first: bool
    ) -> None:
        self.columns = columns
        self.network = network
        self.is_day_first = is_day_first
        self._source = source

    def read(self, item: Numbered) -> Found:
        """Return the post of a numbered record, or why there is none."""
        if isinstance(item, Rejected):
            return item
        try:
            return self._build(item[1])
        except BadValue as error:
            return Rejected(self._source, item[0], str(error))

    def _build(self, record: Record) -> Post | PrivatePost:
        def get(field: str) -> Any:
            return _pick(record, self.columns, field)

        text = self._text(get("title"), get("text"))
        author = _handle(get("author"))
        created_at = parse_time(get("created_at"), is_day_first=self.is_day_first)
        native = parse_id(get("id")) or derived_id(author, created_at, text)
        post = Post(
            id=self._qualified(native),
            author=author,
            created_at=created_at,
            text=text,
            lang=parse_lang(get("lang")),
            reply_to=self._reference(get("reply_to")),
            repost_of=(
                self._reference(get("repost_of"))
                or _handle(get("repost_author"))
                or repeated_author(text)
            ),
            quote_of=self._reference(get("quote_of")),
            likes=parse_count(get("likes")),
            reposts=parse_count(get("reposts")),
            replies=parse_count(get("replies")),
            url=parse_text(_as_text(get("url"))).strip() or None,
            visibility=self._visibility(get("visibility"), get("is_protected")),
            may_train=self._may_train(get("may_train"), get("opt_out")),
            edited_at=time_or_flag(get("edited_at")),
            seen_at=parse_time(get("seen_at"), is_day_first=self.is_day_first),
        )
        if not post.is_public:
            return PrivatePost(post.id)
        return replace(post, kind=_kind(post, is_repost=parse_flag(get("is_repost"))))

    def _text(self, title: Any, text: Any) -> str:
        parts = [parse_text(title), parse_text(text)]
        whole = "\n\n".join(part for part in parts if part.strip())
        if not whole:
            raise BadValue("there is no text")
        return whole

    def _qualified(self, native: str) -> str:
        prefix = f"{self.network}:"
        return native if native.startswith(prefix) else prefix + native

    def _reference(self, value: Any) -> str | None:
        native = parse_id(value)
        return self._qualified(native) if native and native != "0" else None

    def _visibility(self, value: Any, is_protected: Any) -> str:
        """The stricter of what the post says and what its author's account says."""
        of_account = parse_visibility(is_protected)
        return of_account if of_account != "public" else parse_visibility(value)

    def _may_train(self, may_train: Any, opt_out: Any) -> bool:
        return parse_flag(may_train) is not False and parse_flag(opt_out) is not True


def repeated_author(text: str) -> str | None:
    """Return whom a text names as the author of what it repeats."""
    match = _REPOST_PREFIX.match(text)
    return match.group(1) if match else None


def _handle(value: Any) -> str:
    return parse_text(_as_text(value)).strip().removeprefix("@")


def time_or_flag(value: Any) -> datetime | None:
    """Reddit's tables hold the time of the last edit, or whether there was one."""
    if isinstance(value, bool) or str(value).strip().lower() in ("true", "false"):
        return None
    try:
        return parse_time(value)
    except BadValue:
        return None


def _as_text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return parse_id(value)
    raise BadValue("a field that should be text holds something else")


def _kind(post: Post, *, is_repost: bool | None) -> str:
    if post.repost_of or is_repost:
        return "repost"
    if post.quote_of:
        return "quote"
    return "reply" if post.reply_to else "post"


def derived_id(author: str, created_at: object, text: str) -> str:
    """Name a post that has no id by what it is, so that reading it again finds it again."""
    seed = "\0".join((author, str(created_at), text))
    return "h" + sha256(seed.encode()).hexdigest()[:20]
