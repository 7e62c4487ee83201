"""Telegram Desktop's ``result.json``: one chat, or every chat of an account.

Telegram writes one value a line, so the file is read line by line: what stands before a chat's
messages says which chat it is, the messages come one by one. A file that something else has
written onto one line is read whole.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from mynah.posts.export_file import ExportFile
from mynah.posts.format import Format, Head
from mynah.posts.post import Post
from mynah.posts.reader import Found, ReadOptions, SourceReport
from mynah.posts.readers.chat_files import as_list, keys_of
from mynah.posts.readers.json_records import array_records
from mynah.posts.readers.native import built, pick, post_kind, whole_json
from mynah.posts.readers.records import Record
from mynah.posts.values import BadValue, parse_count, parse_id, parse_text, parse_time

__all__ = ["FORMATS"]

_NETWORK: Final = "telegram"
_VISIBILITIES: Final = {
    "public_supergroup": "public",
    "public_channel": "public",
    "private_group": "followers",
    "private_supergroup": "followers",
    "private_channel": "followers",
}
"""Kind of chat to who may see it; all others are between two."""
_KEY: Final = re.compile(r'\s*+"(messages|name|type|id)"\s*+:\s*+')
_MAX_HEADER_CHARS: Final = 2_000
_MAX_LINES: Final = 64
"""Lines that are read at once, unless a list ends before."""

Json = Any


def _sniff(head: Head) -> bool:
    if head.shape not in ("object", "lines"):
        return False
    if {"type", "id", "messages"} <= head.keys:
        messages = as_list(head.record.get("messages"))
        return not messages or any({"date", "date_unixtime"} & keys_of(m) for m in messages[:3])
    has_chats = "chats" in head.keys and isinstance(head.record.get("chats", {}), dict)
    return has_chats and ("about" in head.keys or "Telegram" in head.text)


def _read(file: ExportFile, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    report.network = options.network or _NETWORK
    with file.open_text() as text:
        lines = _Lines(text.lines())
        num_chats = 0
        while lines.find_messages():
            num_chats += 1
            chat = _Chat(lines.header, report)
            records = array_records(lines.next_piece, source=report.name, key="messages")
            yield from built(records, chat.found, report)
        report.num_recoded_lines += text.num_recoded_lines
    if num_chats == 0:
        yield from _read_whole(file, report)


def _read_whole(file: ExportFile, report: SourceReport) -> Iterator[Found]:
    document = whole_json(file)
    chats = as_list(pick(document, "chats", "list")) or [document]
    number = 0
    for header in chats:
        chat = _Chat(header if isinstance(header, dict) else {}, report)
        for message in as_list(pick(header, "messages")):
            number += 1
            if isinstance(message, dict):
                yield from built([(number, message)], chat.found, report)


class _Lines:
    """The lines of an export, and the chat they are in."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._next = ""
        """Line of the next list of messages, once it is found."""
        self._opening = ""
        """The same of the list that is read, until it is taken."""
        self.header: dict[str, Json] = {}
        """Name, type and id of the chat whose messages come next."""
        self._next_header: dict[str, Json] = {}

    def find_messages(self) -> bool:
        """Go on to the next list of messages; false when there is none."""
        while not self._next and (line := next(self._lines, "")):
            self._take(line)
        self._opening, self._next = self._next, ""
        self.header, self._next_header = self._next_header, {}
        return bool(self._opening)

    def next_piece(self) -> str:
        """Return the next lines of a list of messages; nothing when another chat begins.

        A piece ends where a list may end, so that not a line past the messages is taken. A broken
        list may have no end: no message is ever taken for one of the chat before.
        """
        piece = [self._opening] if self._opening else []
        self._opening = ""
        while not self._next and len(piece) < _MAX_LINES and (line := next(self._lines, "")):
            self._take(line)
            if self._next:
                break
            piece.append(line)
            if line.lstrip()[:1] == "]":
                break
        return "".join(piece)

    def _take(self, line: str) -> None:
        """Keep what may describe a chat. Messages have these keys, too, but end before one."""
        match = _KEY.match(line)
        if match is None:
            return
        if match.group(1) == "messages":
            if line.startswith("[", match.end()):
                self._next = line
        elif len(line) < _MAX_HEADER_CHARS:
            try:
                value: Json = json.loads(line[match.end() :].strip().removesuffix(","))
            except (ValueError, RecursionError):
                value = None
            self._next_header[match.group(1)] = value


class _Chat:
    """Turns the messages of one chat into posts."""

    def __init__(self, header: dict[str, Json], report: SourceReport) -> None:
        kind = header.get("type")
        self._visibility = _VISIBILITIES.get(kind if isinstance(kind, str) else "", "direct")
        self._prefix = f"{report.network}:{_chat_id(header.get('id'))}/"
        self._report = report

    def found(self, message: Record) -> Iterator[Found]:
        """Give the post of a message; notices and pictures without words are none."""
        words = _words(message).strip()
        if message.get("type") != "message" or not words:
            self._report.num_not_posts += 1
            return
        native = parse_id(message.get("id"))
        if not native:
            raise BadValue("the message has no id")
        reply = parse_id(message.get("reply_to_message_id"))
        reply_to = f"{self._prefix}{reply}" if reply else None
        # Another chat's message cannot be told by its number here.
        reply_to = None if message.get("reply_to_peer_id") else reply_to
        forwarded = message.get("forwarded_from")
        repost_of = parse_text(forwarded if isinstance(forwarded, str) else None) or None
        yield Post(
            id=f"{self._prefix}{native}",
            author=_author(message),
            created_at=_time(message, "date"),
            edited_at=_time(message, "edited"),
            text=words,
            reply_to=reply_to,
            repost_of=repost_of,
            likes=sum(parse_count(pick(r, "count")) for r in as_list(message.get("reactions"))),
            visibility=self._visibility,
            kind=post_kind(reply_to=reply_to, repost_of=repost_of, quote_of=None),
        )


def _chat_id(value: Json) -> str:
    return str(value) if isinstance(value, int | str) and str(value).isalnum() else "chat"


def _author(message: Record) -> str:
    name = message.get("from")
    return parse_text(name) if name else parse_id(message.get("from_id"))


def _time(message: Record, key: str) -> Json:
    """Read seconds since 1970; older exports have only the clock of whoever exported."""
    return parse_time(message.get(f"{key}_unixtime") or message.get(key))


def _words(message: Record) -> str:
    """Join the pieces that Telegram cuts a text into, links and mentions among them."""
    text = message.get("text")
    if not isinstance(text, list):
        return parse_text(text)
    pieces = [piece if isinstance(piece, str) else pick(piece, "text") for piece in as_list(text)]
    return "".join(parse_text(piece) for piece in pieces)


FORMATS: tuple[Format, ...] = (
    Format(
        name="telegram",
        title="Telegram Desktop's result.json: one chat or all of an account",
        read=_read,
        sniff=_sniff,
        is_chat=True,
    ),
)
