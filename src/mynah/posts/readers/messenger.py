"""Messenger and Instagram conversations: ``message_1.json`` of a download of one's information.

Both forms are read: the older one, whose text is UTF-8 written as if each byte were a character,
and that of end-to-end encrypted chats. Messages come newest first and have no ids.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from mynah.posts.export_file import ExportFile
from mynah.posts.format import Format, Head
from mynah.posts.post import Post
from mynah.posts.reader import Deleted, Found, ReadOptions, SourceReport
from mynah.posts.readers.chat_files import Repeats, as_list, chat_key, folder_name, keys_of
from mynah.posts.readers.native import built, nested_records, pick
from mynah.posts.readers.records import Record
from mynah.posts.values import BadValue, parse_text, parse_time

__all__ = ["FORMATS"]

_NETWORK: Final = "messenger"
_PART: Final = re.compile(r"message_\d{1,9}\.json(?:\.gz|\.zst)?", re.A | re.I)
_BYTES_AS_CHARACTERS: Final = re.compile("[\x80-\xff]{2,}")
_NOTICES: Final = ("Subscribe", "Unsubscribe", "Call", "Payment")
_TIME_KEYS: Final = ("timestamp_ms", "timestamp")

Json = Any


def _sniff(head: Head) -> bool:
    if head.shape not in ("object", "lines") or not {"participants", "messages"} <= head.keys:
        return False
    messages = as_list(head.record.get("messages"))
    keys = keys_of(messages[0]) if messages else frozenset()
    if not keys:  # a long file: its messages go on past the head
        return '"sender_name"' in head.text or '"senderName"' in head.text
    return bool({"sender_name", "senderName"} & keys)


def _read(file: ExportFile, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    report.network = options.network or _NETWORK
    chat = _Chat(f"{report.network}:{chat_key(_chat_name(file))}/", report)
    with file.open_text() as text:
        records = nested_records(text, "messages", source=report.name)
        yield from built(records, chat.found, report)
        report.num_recoded_lines += text.num_recoded_lines


def _chat_name(file: ExportFile) -> str:
    """Name a chat by its folder, or by its own file where that says which chat it is."""
    if _PART.fullmatch(file.file_name):
        return folder_name(file) or "chat"
    return posixpath.splitext(file.file_name)[0] or "chat"


@dataclass(slots=True)
class _Chat:
    """Turns the messages of one conversation into posts."""

    prefix: str
    report: SourceReport
    _repeats: Repeats = field(default_factory=Repeats, init=False)

    def found(self, message: Record) -> Iterator[Found]:
        """Give the post of a message; stickers, calls and files without words are none."""
        time_ms = next((message[key] for key in _TIME_KEYS if key in message), None)
        if not isinstance(time_ms, int) or isinstance(time_ms, bool):
            raise BadValue("the message has no time")
        created_at = parse_time(time_ms)
        native = self._native_id(time_ms)
        if message.get("is_unsent") or message.get("isUnsent"):
            yield Deleted(f"{self.prefix}{native}")
            return
        content = message.get("content") if "content" in message else message.get("text")
        words = _mended(parse_text(content)).strip()
        if not words or message.get("type") in _NOTICES or _is_reaction_notice(message):
            self.report.num_not_posts += 1
            return
        yield self._post(message, native, words, created_at)

    def _post(self, message: Record, native: str, words: str, created_at: datetime | None) -> Post:
        author = message.get("sender_name") or message.get("senderName")
        return Post(
            id=f"{self.prefix}{native}",
            author=_mended(parse_text(author)),
            created_at=created_at,
            text=words,
            likes=len(as_list(message.get("reactions"))),
            visibility="direct",
        )

    def _native_id(self, time_ms: int) -> str:
        """Number the messages of one millisecond; their order stays."""
        number = self._repeats.number(time_ms)
        return f"{time_ms}-{number}" if number > 1 else str(time_ms)


def _is_reaction_notice(message: Mapping[str, Json]) -> bool:
    """Whether it only reports a reaction, which the message it is about carries as well."""
    content = message.get("content")
    is_report = isinstance(content, str) and bool(
        re.match(r"(?:Reacted|Liked) .{1,20} to your message\s*$", content)
    )
    return is_report and not pick(message, "reactions")


def _mended(text: str) -> str:
    """Undo UTF-8 whose bytes were written as characters; text that is right stays."""
    if text.isascii() or not _BYTES_AS_CHARACTERS.search(text):
        return text
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


FORMATS: tuple[Format, ...] = (
    Format(
        name="messenger",
        title="Messenger or Instagram conversation: message_1.json of your information",
        read=_read,
        sniff=_sniff,
        is_chat=True,
    ),
)
