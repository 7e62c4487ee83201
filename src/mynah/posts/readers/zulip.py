"""Zulip: an organization's export, answers of its API, and archives of public channels.

Reads ``messages-000001.json`` with ``realm.json`` beside it (users, channels, reactions), pages of
``GET /messages`` with ``streams.json`` beside them, and JSON lines with stream, topic and content.

Zulip has no replies: a topic is a thread. A message that begins by quoting another answers that
one; any other answers the first message of its topic.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from mynah.posts.export_file import ExportFile
from mynah.posts.format import Format, Head
from mynah.posts.markup import html_to_text
from mynah.posts.post import Post
from mynah.posts.reader import Found, ReadOptions, SourceReport
from mynah.posts.readers.chat_files import as_list
from mynah.posts.readers.json_records import array_records, line_records
from mynah.posts.readers.native import built, nested_records, pick, post_kind
from mynah.posts.readers.records import Record
from mynah.posts.readers.zulip_realm import REALM, Realm, Topics, read_realm, read_streams
from mynah.posts.values import BadValue, parse_id, parse_text, parse_time

__all__ = ["FORMATS"]

_NETWORK: Final = "zulip"
_QUOTED: Final = re.compile(
    r'\s*<p>\s*<span class="user-mention[^<>]{0,200}>[^<>]{0,200}</span>\s*'
    r'<a href="[^"<>]{0,2000}/near/(\d{1,20})">[^<>]{1,100}</a>:</p>\s*<blockquote>',
    re.A,
)
"""How Zulip begins a message that quotes another: "@name said:", in every language."""
_QUOTED_SOURCE: Final = re.compile(
    r"\s*@_?\*\*[^*\n]{1,200}\*\* \[[^\]\n]{1,100}\]"
    r"\([^)\s]{1,2000}/near/(\d{1,20})\):\s{0,9}`{3,}quote",
    re.A,
)
"""The same in Zulip's own markup."""
_DIRECT_TYPES: Final = ("private", "direct")

Json = Any


def _sniff_export(head: Head) -> bool:
    return head.shape in ("object", "lines") and "zerver_message" in head.keys


def _sniff_page(head: Head) -> bool:
    if head.shape not in ("object", "lines") or "messages" not in head.keys:
        return False
    first = pick(head.record, "messages", 0)
    if isinstance(first, dict):
        return {"sender_full_name", "content", "id"} <= first.keys()
    return "found_newest" in head.keys or '"sender_full_name"' in head.text


def _sniff_lines(head: Head) -> bool:
    has_place = {"stream", "topic"} <= head.keys or {"display_recipient", "subject"} <= head.keys
    is_list = head.shape in ("lines", "array")
    return is_list and has_place and {"id", "sender_full_name", "content"} <= head.keys


def _read_export(file: ExportFile, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    report.network = options.network or _NETWORK
    realm = read_realm(file)
    with Topics.before(file) as topics, file.open_text() as text:
        reading = _Reading(report, realm=realm, topics=topics.firsts)
        records = nested_records(text, "zerver_message", source=report.name)
        yield from built(records, reading.exported, report)
        report.num_recoded_lines += text.num_recoded_lines
        topics.keep()


def _read_page(file: ExportFile, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    report.network = options.network or _NETWORK
    # A page says nothing of who may see a channel: unless the list of channels lies beside it,
    # all are taken for private.
    reading = _Reading(report, realm=read_streams(file))
    with file.open_text() as text:
        records = nested_records(text, "messages", source=report.name)
        yield from built(records, reading.fetched, report)
        report.num_recoded_lines += text.num_recoded_lines


def _read_lines(file: ExportFile, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    report.network = options.network or _NETWORK
    reading = _Reading(report, realm=Realm(default="public"))
    with file.open_text() as text:
        start = text.read().lstrip(" \t\r\n\ufeff")[:1]
    with file.open_text() as text:
        if start == "[":
            records = array_records(text.read, source=report.name)
        else:
            records = line_records(text.lines(), source=report.name)
        yield from built(records, reading.fetched, report)
        report.num_recoded_lines += text.num_recoded_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a message stands."""

    stream: str = ""
    topic: str = ""
    """Both empty in a direct message."""
    visibility: str


@dataclass(slots=True)
class _Reading:
    """Turns messages into posts; remembers the first message of each topic."""

    report: SourceReport
    realm: Realm = field(kw_only=True)
    topics: dict[tuple[str, str], str] = field(kw_only=True, default_factory=lambda: {})

    def exported(self, message: Record) -> Iterator[Found]:
        """Give the post of a message of an organization's export."""
        recipient = self.realm.recipients.get(parse_id(message.get("recipient")), ("", "direct"))
        place = _Place(
            stream=recipient[0],
            topic=_topic(message.get("subject")) if recipient[1] != "direct" else "",
            visibility=recipient[1],
        )
        sender = parse_id(message.get("sender"))
        html = message.get("rendered_content")
        yield from self._found(
            message,
            place,
            author=self.realm.names.get(sender, sender),
            words=html if html else message.get("content"),
            is_html=bool(html),
        )

    def fetched(self, message: Record) -> Iterator[Found]:
        """Give the post of a message as the API gives it."""
        recipient = message.get("stream", message.get("display_recipient"))
        if message.get("type") in _DIRECT_TYPES or not isinstance(recipient, str):
            place = _Place(visibility="direct")
        else:
            stream_id = parse_id(message.get("stream_id"))
            visibility = self.realm.visibility_of(stream_id, recipient)
            if message.get("invite_only"):
                visibility = "followers"
            topic = _topic(message.get("topic", message.get("subject")))
            place = _Place(stream=stream_id or recipient, topic=topic, visibility=visibility)
        yield from self._found(
            message,
            place,
            author=message.get("sender_full_name"),
            words=message.get("content"),
            is_html=message.get("content_type", "text/html") == "text/html",
        )

    def _found(
        self, message: Record, place: _Place, *, author: Json, words: Json, is_html: bool
    ) -> Iterator[Found]:
        native = parse_id(message.get("id"))
        if not native:
            raise BadValue("the message has no id")
        first = self.topics.setdefault((place.stream, place.topic), native)
        source = parse_text(words)
        quoted = (_QUOTED if is_html else _QUOTED_SOURCE).match(source)
        if not place.stream or first == native:
            first = ""
        answered = quoted.group(1) if quoted else first
        text = html_to_text(source) if is_html else source.strip()
        if not text:
            self.report.num_not_posts += 1
            return
        network = self.report.network
        reply_to = f"{network}:{answered}" if answered else None
        edited = message.get("last_edit_timestamp") or message.get("last_edit_time")
        num_reactions = len(as_list(message.get("reactions")))
        yield Post(
            id=f"{network}:{native}",
            author=parse_text(author),
            created_at=parse_time(message.get("timestamp") or message.get("date_sent")),
            edited_at=parse_time(edited),
            text=text,
            reply_to=reply_to,
            likes=num_reactions or self.realm.reactions.get(native, 0),
            visibility=place.visibility,
            kind=post_kind(reply_to=reply_to, repost_of=None, quote_of=None),
        )


def _topic(value: Json) -> str:
    """Return a topic's name; that it was marked as resolved makes no other topic of it."""
    return parse_text(value).removeprefix("\N{HEAVY CHECK MARK} ")


FORMATS: tuple[Format, ...] = (
    Format(
        name="zulip-export",
        title="Zulip: export of an organization",
        read=_read_export,
        sniff=_sniff_export,
        is_chat=True,
        companions=frozenset([REALM, "attachment.json", "migration_status.json", "stats.json"]),
    ),
    Format(
        name="zulip-api",
        title="Zulip: pages of GET /messages",
        read=_read_page,
        sniff=_sniff_page,
        is_chat=True,
        companions=frozenset(["streams.json"]),
    ),
    Format(
        name="zulip-archive",
        title="Zulip: archive of public channels as JSON lines",
        read=_read_lines,
        sniff=_sniff_lines,
        is_chat=True,
    ),
)
