"""What lies beside a Zulip export's messages: users, channels, recipients, earlier topics.

Reads ``realm.json`` (or ``streams.json``, an answer of ``GET /streams``) and the message files
that come before one; writes nothing.
"""

import json
import re
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from mynah.posts.export_file import ExportFile
from mynah.posts.readers.chat_files import as_list, state_beside
from mynah.posts.readers.native import pick
from mynah.posts.values import BadValue, parse_id

__all__ = ["REALM", "Realm", "Topics", "read_realm", "read_streams"]

REALM: Final = "realm.json"
_STREAMS: Final = "streams.json"
_STREAM_RECIPIENT: Final = 2
"""``type`` of a recipient that is a channel; the others are people."""
_NUMBERED: Final = re.compile(r"messages-(\d{6})\.json", re.A)
_MAX_CACHED: Final = 2

Json = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Realm:
    """An organization: who is who, and who may see what."""

    names: Mapping[str, str] = field(default_factory=lambda: {})
    """Id of a user to the name."""
    recipients: Mapping[str, tuple[str, str]] = field(default_factory=lambda: {})
    """Id of a recipient to the channel and who may see it."""
    streams: Mapping[str, str] = field(default_factory=lambda: {})
    """Id and name of a channel to who may see it."""
    reactions: Mapping[str, int] = field(default_factory=lambda: {})
    """Id of a message to the number of its reactions."""
    default: str = "followers"
    """Who may see a channel that is not listed."""

    def visibility_of(self, stream_id: str, name: str) -> str:
        """Say who may see a channel."""
        return self.streams.get(stream_id) or self.streams.get(f"={name}") or self.default


_realms: dict[tuple[object, ...], Realm] = {}
"""The last few: an export has thousands of message files and one realm."""


def read_realm(file: ExportFile) -> Realm:
    """Read ``realm.json`` beside ``file``; without it every message counts as direct."""
    key = state_beside(file, [REALM])
    if key not in _realms:
        while len(_realms) >= _MAX_CACHED:
            _realms.pop(next(iter(_realms)))
        _realms[key] = _realm_of(_json_beside(file, REALM))
    return _realms[key]


def read_streams(file: ExportFile) -> Realm:
    """Read ``streams.json`` beside ``file``; without it every channel counts as private."""
    return Realm(
        streams=_stream_visibilities(as_list(pick(_json_beside(file, _STREAMS), "streams")))
    )


def _json_beside(file: ExportFile, name: str) -> Json:
    data = file.beside(name)
    try:
        return json.loads(data.decode("utf-8-sig", "replace")) if data else {}
    except (ValueError, RecursionError):
        return {}


def _realm_of(realm: Json) -> Realm:
    names: dict[str, str] = {}
    for table in ("zerver_userprofile_crossrealm", "zerver_userprofile"):
        for user in as_list(pick(realm, table)):
            name = pick(user, "full_name") or pick(user, "email")
            if isinstance(name, str):
                names[_id(pick(user, "id"))] = name
    streams = _stream_visibilities(as_list(pick(realm, "zerver_stream")))
    recipients: dict[str, tuple[str, str]] = {}
    for recipient in as_list(pick(realm, "zerver_recipient")):
        if pick(recipient, "type") == _STREAM_RECIPIENT:
            stream = _id(pick(recipient, "type_id"))
            recipients[_id(pick(recipient, "id"))] = stream, streams.get(stream, "followers")
    reactions = Counter(
        _id(pick(reaction, "message")) for reaction in as_list(pick(realm, "zerver_reaction"))
    )
    return Realm(names=names, recipients=recipients, streams=streams, reactions=reactions)


def _stream_visibilities(streams: list[Json]) -> dict[str, str]:
    """Map channels by id, and by name behind ``=``."""
    found: dict[str, str] = {}
    for stream in streams:
        visibility = "public" if pick(stream, "invite_only") is False else "followers"
        found[_id(pick(stream, "stream_id") or pick(stream, "id"))] = visibility
        name = pick(stream, "name")
        if isinstance(name, str):
            found[f"={name}"] = visibility
    return found


def _id(value: Json) -> str:
    try:
        return parse_id(value)
    except BadValue:
        return ""


@dataclass(slots=True)
class Topics:
    """First message of each topic, over the message files of an export in their order."""

    key: tuple[object, ...]
    number: int
    firsts: dict[tuple[str, str], str]

    @staticmethod
    @contextmanager
    def before(file: ExportFile) -> Generator["Topics"]:
        """Give the topics that begin in the message files before ``file``.

        Files are mostly read one after another, so the topics of the last one are kept; else the
        earlier files are read again, and the answer is the same.
        """
        match = _NUMBERED.match(file.file_name)
        number = int(match.group(1)) if match else 1
        key = state_beside(file, [REALM])
        kept = _topics.pop(key, None)
        if kept is not None and kept.number == number - 1:
            yield Topics(key, number, kept.firsts)
            return
        firsts: dict[tuple[str, str], str] = {}
        realm = read_realm(file)
        for earlier in range(1, number):
            page = _json_beside(file, f"messages-{earlier:06}.json")
            for message in as_list(pick(page, "zerver_message")):
                _note(firsts, realm, message)
        yield Topics(key, number, firsts)

    def keep(self) -> None:
        """Keep the topics for the next message file: this one was read to its end."""
        while len(_topics) >= _MAX_CACHED:
            _topics.pop(next(iter(_topics)))
        _topics[self.key] = self


_topics: dict[tuple[object, ...], Topics] = {}


def _note(firsts: dict[tuple[str, str], str], realm: Realm, message: Json) -> None:
    stream, visibility = realm.recipients.get(_id(pick(message, "recipient")), ("", "direct"))
    native, subject = _id(pick(message, "id")), pick(message, "subject")
    if native and visibility != "direct" and isinstance(subject, str):
        firsts.setdefault((stream, subject.removeprefix("\N{HEAVY CHECK MARK} ")), native)
