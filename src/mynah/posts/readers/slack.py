"""Slack exports: a folder (or zip) with one folder a channel and one JSON file a day.

Reads a day's messages, and beside the channels' folders who the users are (``users.json``) and
which channels are public (``channels.json``), private or direct (``groups.json``, ``dms.json``,
``mpims.json``).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from mynah.posts.export_file import ExportFile
from mynah.posts.format import Format, Head
from mynah.posts.post import Post
from mynah.posts.reader import Deleted, Found, ReadOptions, SourceReport
from mynah.posts.readers.chat_files import as_list, folder_name, state_beside
from mynah.posts.readers.json_records import array_records
from mynah.posts.readers.native import built, pick, post_kind
from mynah.posts.readers.records import Record
from mynah.posts.readers.slack_markup import attachments_text, blocks_text, plain_text
from mynah.posts.values import BadValue, parse_count, parse_id, parse_text

__all__ = ["FORMATS"]

_NETWORK: Final = "slack"
_USERS: Final = "users.json"
_CHANNEL_LISTS: Final = {
    "channels.json": "public",
    "groups.json": "followers",
    "mpims.json": "direct",
    "dms.json": "direct",
}
"""File to who may see the channels in it; a channel in none of them is taken for private."""
_COMPANIONS: Final = frozenset(
    [_USERS, *_CHANNEL_LISTS, "integration_logs.json", "canvases.json", "org_users.json"]
)
_TS: Final = re.compile(r"(\d{9,11})\.(\d{6})", re.A)
_WRITTEN: Final = frozenset(["", "bot_message", "me_message", "thread_broadcast", "file_share"])
"""Subtypes of messages that someone wrote; the others are notices of Slack."""
_GONE: Final = frozenset(["tombstone", "message_deleted"])
_MAX_CACHED: Final = 4

Json = Any


@dataclass(frozen=True, slots=True)
class _Workspace:
    """What lies beside the channels' folders."""

    handles: Mapping[str, str]
    """Id of a user to the handle."""
    channels: Mapping[str, tuple[str, str]]
    """Folder of a channel to its id and who may see it."""


_cache: dict[tuple[object, ...], _Workspace] = {}
"""The last few workspaces: an export has thousands of days and one list of users."""


def _sniff(head: Head) -> bool:
    record = head.record
    is_message = record.get("type") == "message" or "subtype" in record
    return (
        head.shape == "array"
        and is_message
        and isinstance(record.get("ts"), str)
        and _TS.fullmatch(record["ts"]) is not None
    )


def _read(file: ExportFile, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    report.network = options.network or _NETWORK
    folder = folder_name(file)
    workspace = _workspace(file)
    channel, visibility = workspace.channels.get(folder, (folder, "followers"))
    day = _Day(workspace, f"{report.network}:{channel or 'channel'}/", visibility, report)
    with file.open_text() as text:
        records = array_records(text.read, source=report.name)
        yield from built(records, day.found, report)
        report.num_recoded_lines += text.num_recoded_lines


def _workspace(file: ExportFile) -> _Workspace:
    key = state_beside(file, [f"../{name}" for name in (_USERS, *_CHANNEL_LISTS)])
    if key not in _cache:
        while len(_cache) >= _MAX_CACHED:
            _cache.pop(next(iter(_cache)))
        _cache[key] = _read_workspace(file)
    return _cache[key]


def _read_workspace(file: ExportFile) -> _Workspace:
    handles: dict[str, str] = {}
    for user in _entries(file, _USERS):
        name = pick(user, "name") or pick(user, "profile", "display_name")
        name = name or pick(user, "real_name") or pick(user, "profile", "real_name")
        handles[str(pick(user, "id"))] = _text(name)
    channels: dict[str, tuple[str, str]] = {}
    for name, visibility in _CHANNEL_LISTS.items():
        for channel in _entries(file, name):
            channel_id = _text(pick(channel, "id"))
            folder = _text(pick(channel, "name")) or channel_id
            # A direct conversation's folder bears its id. Of two of a name the stricter counts.
            channels[folder] = channels[channel_id] = (channel_id or folder, visibility)
    return _Workspace(handles, channels)


def _entries(file: ExportFile, name: str) -> list[Json]:
    data = file.beside(f"../{name}")
    try:
        return as_list(json.loads(data.decode("utf-8-sig", "replace"))) if data else []
    except (ValueError, RecursionError):
        return []  # the channels then count as private, the users keep their ids


def _text(value: Json) -> str:
    return value.strip() if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class _Day:
    """Turns the messages of one channel and day into posts."""

    workspace: _Workspace
    prefix: str
    """Of every id: network and channel."""
    visibility: str
    report: SourceReport

    def found(self, message: Record) -> Iterator[Found]:
        """Give the post of a message, or what else it says."""
        subtype = _text(message.get("subtype"))
        ts = message.get("deleted_ts") if subtype == "message_deleted" else message.get("ts")
        created_at = _time(ts)
        if subtype in _GONE:
            yield Deleted(f"{self.prefix}{ts}")
            return
        words = parse_text(self._words(message, subtype))
        if message.get("type", "message") != "message" or not words:
            self.report.num_not_posts += 1
            return
        thread_ts = message.get("thread_ts")
        is_reply = isinstance(thread_ts, str) and thread_ts != ts
        reply_to = f"{self.prefix}{thread_ts}" if is_reply else None
        edited_ts = pick(message, "edited", "ts")
        yield Post(
            id=f"{self.prefix}{ts}",
            author=parse_text(self._author(message)),
            created_at=created_at,
            edited_at=_time(edited_ts) if edited_ts else None,
            text=words,
            reply_to=parse_text(reply_to) or None,
            likes=sum(parse_count(pick(r, "count")) for r in as_list(message.get("reactions"))),
            replies=parse_count(message.get("reply_count")),
            visibility=self.visibility,
            kind=post_kind(reply_to=reply_to, repost_of=None, quote_of=None),
        )

    def _author(self, message: Record) -> str:
        user = parse_id(message.get("user"))
        bot = pick(message, "bot_profile", "name")
        known = self.workspace.handles.get(user) or _text(pick(message, "user_profile", "name"))
        if known or not (message.get("username") or bot):
            return known or user or parse_id(message.get("bot_id"))
        return _text(message.get("username")) or _text(bot)

    def _words(self, message: Record, subtype: str) -> str:
        """Return what someone wrote; nothing for notices, and files without words."""
        is_old_upload = subtype == "file_share" and "files" not in message
        if subtype not in _WRITTEN or is_old_upload:
            return ""
        text = message.get("text")
        if text is not None and not isinstance(text, str):
            raise BadValue("the text is not a string")
        words = plain_text(text or "", self.workspace.handles)
        if not words.strip():
            words = blocks_text(message.get("blocks"), self.workspace.handles)
        if not words.strip() and (subtype == "bot_message" or message.get("bot_id")):
            # Under a person's words these are previews of pages; a bot says all it says here.
            words = attachments_text(message.get("attachments"), self.workspace.handles)
        return words.strip()


def _time(ts: Json) -> datetime:
    match = _TS.fullmatch(ts) if isinstance(ts, str) else None
    if match is None:
        raise BadValue("the ts is not a time of Slack")
    seconds, microseconds = int(match.group(1)), int(match.group(2))
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, microseconds=microseconds)


FORMATS: tuple[Format, ...] = (
    Format(
        name="slack",
        title="Slack export: the zip, its folder, or one day of a channel",
        read=_read,
        sniff=_sniff,
        is_chat=True,
        companions=_COMPANIONS,
    ),
)
