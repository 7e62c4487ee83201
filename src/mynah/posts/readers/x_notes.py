"""Long posts of X archives: ``tweets.js`` holds their beginning, ``note-tweet.js`` all of it.

The archive does not say which post a long text belongs to. It is taken for the post that was
made within a minute of it and whose own text, cut where X cuts, it begins with; a long text that
fits no post is never read by itself, for its post may have been deleted.
"""

import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from mynah.posts.post import Post
from mynah.posts.readers.native import pick
from mynah.posts.values import BadValue, parse_text, parse_time

__all__ = ["Note", "NoteShelf", "note_of"]

_NEAR = timedelta(seconds=60)
_KEY_CHARS = 60
_MAX_ALIKE = 100
"""Nobody writes more long posts that begin alike within one minute."""
_MIN_CUT_CHARS = 200
"""A text cut by X is longer: it is cut near 280, a link in it counts as 23."""
_CUT = re.compile("(?:\N{HORIZONTAL ELLIPSIS}|\\.\\.\\.)$")
_SHORT_LINK = re.compile(r"https://t\.co/\w+", re.A)
_MENTIONS = re.compile(r"(?:@\w{1,30}\s+)+", re.A)
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Note:
    """The whole text of a long post."""

    text: str
    plain: str
    """The same as it is compared."""
    created_at: datetime


def note_of(record: Mapping[str, Any]) -> Note:
    """Read an entry of ``note-tweet.js``.

    Raises:
        BadValue: It has no text, or no time to know its post by.
    """
    text = parse_text(pick(record, "noteTweet", "core", "text"))
    created_at = parse_time(pick(record, "noteTweet", "createdAt"))
    if not text or created_at is None:
        raise BadValue("the long text lacks its words or its time")
    return Note(text, _plain(text), created_at)


@dataclass(slots=True)
class NoteShelf:
    """Long texts by the minute they were written in, and how they begin."""

    notes: dict[tuple[int, str], list[Note]] = field(default_factory=lambda: {})

    @classmethod
    def of(cls, notes: Iterable[Note]) -> "NoteShelf":
        """Put notes in their places."""
        shelf = cls()
        for note in notes:
            key = _minute(note.created_at), note.plain[:_KEY_CHARS]
            alike = shelf.notes.setdefault(key, [])
            if len(alike) < _MAX_ALIKE:
                alike.append(note)
        return shelf

    def completed(self, post: Post) -> Post:
        """Return the post with its whole text, if there is one."""
        stem = _stem(post.text) if self.notes and post.created_at else ""
        if post.created_at is None or len(stem) < _MIN_CUT_CHARS:
            return post
        if note := self._fitting(stem, post.created_at):
            return replace(post, text=note.text)
        # The long text of a reply may leave out the people answered.
        mentions = _MENTIONS.match(post.text)
        rest = stem.removeprefix(_plain(mentions.group())).lstrip() if mentions else ""
        if mentions and len(rest) >= _KEY_CHARS and (note := self._fitting(rest, post.created_at)):
            return replace(post, text=mentions.group() + note.text)
        return post

    def _fitting(self, stem: str, time: datetime) -> Note | None:
        """Return the long text that goes on where ``stem`` is cut, the nearest in time."""
        minute = _minute(time)
        fitting = [
            note
            for near in (minute - 1, minute, minute + 1)
            for note in self.notes.get((near, stem[:_KEY_CHARS]), ())
            if abs(note.created_at - time) <= _NEAR
            and len(note.plain) > len(stem)
            and note.plain.startswith(stem)
        ]
        return min(fitting, key=lambda note: abs(note.created_at - time), default=None)


def _minute(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(minutes=1)


def _stem(text: str) -> str:
    """Return what of a post's text can be compared: its words up to where X cut."""
    words = text.rsplit(maxsplit=1)
    if len(words) == 2 and _SHORT_LINK.fullmatch(words[1]):
        text = words[0]
    return _CUT.sub("", _plain(text)).rstrip()


def _plain(text: str) -> str:
    return _SPACES.sub(" ", html.unescape(text)).strip()
