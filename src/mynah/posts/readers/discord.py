"""Discord channels as DiscordChatExporter saves them in JSON: one file a channel.

Reads the server and the channel, which stand first, then the messages one by one: such a file may
be larger than memory.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from mynah.posts.export_file import ExportFile
from mynah.posts.format import Format, Head
from mynah.posts.post import Post
from mynah.posts.reader import Found, ReadOptions, SourceReport
from mynah.posts.readers.chat_files import as_list, leading_values
from mynah.posts.readers.native import built, nested_records, pick, post_kind
from mynah.posts.readers.records import Record
from mynah.posts.values import BadValue, parse_count, parse_id, parse_text, parse_time

__all__ = ["FORMATS"]

_NETWORK: Final = "discord"
_WRITTEN: Final = frozenset(
    # The numbers are what older versions of the exporter write for kinds they do not know.
    ["Default", "Reply", "ChatInputCommand", "ContextMenuCommand", "0", "19", "20", "23"]
)
_MENTION: Final = re.compile(r"<@!?(\d{1,20})>", re.A)
_EMOJI: Final = re.compile(r"<a?(:\w{1,64}:)\d{1,20}>", re.A)

Json = Any


def _sniff(head: Head) -> bool:
    return head.shape in ("object", "lines") and {"guild", "channel", "messages"} <= head.keys


def _read(file: ExportFile, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    report.network = options.network or _NETWORK
    with file.open_text() as text:
        header = leading_values(text.read(), until="messages")
    channel = _Channel(
        network=report.network,
        channel=_native_id(pick(header, "channel", "id")),
        guild=_native_id(pick(header, "guild", "id")),
        visibility=_visibility(pick(header, "channel", "type")),
        report=report,
    )
    with file.open_text() as text:
        records = nested_records(text, "messages", source=report.name)
        yield from built(records, channel.found, report)
        report.num_recoded_lines += text.num_recoded_lines


def _visibility(channel_type: Json) -> str:
    """Say who may see a channel; of a kind that is not known: only those in it."""
    if not isinstance(channel_type, str) or not channel_type.startswith("Guild"):
        return "direct"
    return "followers" if "Private" in channel_type else "public"


def _native_id(value: Json) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"\d{1,20}", value, re.A) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Channel:
    """Turns the messages of one channel into posts."""

    network: str
    channel: str
    guild: str
    visibility: str
    report: SourceReport

    def found(self, message: Record) -> Iterator[Found]:
        """Give the post of a message; notices and files without words are none."""
        forwarded = message.get("forwardedMessage")
        words = self._words(forwarded or message).strip()
        if str(message.get("type", "Default")) not in _WRITTEN or not words:
            self.report.num_not_posts += 1
            return
        native = parse_id(message.get("id"))
        if not native:
            raise BadValue("the message has no id")
        target = self._target(message)
        # A message that stands in another channel too came from there, by forwarding it.
        is_elsewhere = pick(message, "reference", "channelId") not in (None, "", self.channel)
        is_repost = target is not None and (forwarded is not None or is_elsewhere)
        reply_to = None if is_repost else target
        repost_of = target if is_repost else None
        yield Post(
            id=f"{self.network}:{native}",
            author=parse_text(pick(message, "author", "name")),
            created_at=parse_time(message.get("timestamp")),
            edited_at=parse_time(message.get("timestampEdited")),
            text=words,
            reply_to=reply_to,
            repost_of=repost_of,
            likes=sum(parse_count(pick(r, "count")) for r in as_list(message.get("reactions"))),
            url=self._url(native),
            visibility=self.visibility,
            kind=post_kind(reply_to=reply_to, repost_of=repost_of, quote_of=None),
        )

    def _target(self, message: Record) -> str | None:
        native = parse_id(pick(message, "reference", "messageId"))
        return f"{self.network}:{native}" if native else None

    def _url(self, native: str) -> str | None:
        if not self.channel:
            return None
        server = self.guild if self.guild.strip("0") else "@me"
        return f"https://discord.com/channels/{server}/{self.channel}/{native}"

    def _words(self, message: Json) -> str:
        """Return what was written; of a bot that wrote nothing, what its cards say."""
        words = parse_text(pick(message, "content"))
        if not words.strip():
            words = "\n".join(
                line for card in as_list(pick(message, "embeds")) for line in _card_lines(card)
            )
        if "<" not in words:
            return words
        handles = {
            str(pick(mention, "id")): str(pick(mention, "name"))
            for mention in as_list(pick(message, "mentions"))
        }
        named = _MENTION.sub(lambda match: "@" + handles.get(match.group(1), match.group(1)), words)
        return parse_text(_EMOJI.sub(r"\1", named))


def _card_lines(card: Json) -> Iterator[str]:
    values = [pick(card, "title"), pick(card, "description")]
    for field in as_list(pick(card, "fields")):
        values += [pick(field, "name"), pick(field, "value")]
    for value in values:
        if words := parse_text(value).strip():
            yield words


FORMATS: tuple[Format, ...] = (
    Format(
        name="discord",
        title="Discord channel, exported to JSON with DiscordChatExporter",
        read=_read,
        sniff=_sniff,
        is_chat=True,
    ),
)
