"""WhatsApp's exported chats: ``_chat.txt`` of an iPhone, ``WhatsApp Chat with ....txt`` of Android.

Every phone writes dates as its country does. The file is read twice: first for the order of day
and month, then for the messages. Times have no zone and are taken for UTC.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mynah.posts.export_file import ExportFile
from mynah.posts.format import Format, Head
from mynah.posts.post import Post
from mynah.posts.reader import Deleted, Found, ReadOptions, Rejected, SourceReport
from mynah.posts.readers.chat_files import Repeats, chat_key, folder_name
from mynah.posts.readers.whatsapp_dates import DateOrder, Stamp, date_order, parse_stamp
from mynah.posts.values import BadValue, parse_text

__all__ = ["FORMATS"]

_NETWORK: Final = "whatsapp"
_IOS_NAME: Final = "_chat.txt"
_LINES_LOOKED_AT: Final = 40
_MAX_MESSAGE_CHARS: Final = 1 << 20
_MAX_NAME_CHARS: Final = 100
_LEFT_TO_RIGHT: Final = "\N{LEFT-TO-RIGHT MARK}"
_NOT_IN_NAMES: Final = re.compile('["<>\N{LEFT DOUBLE QUOTATION MARK}]')
"""Such a name is a notice: someone changed the subject to "a: b"."""
_MEDIA: Final = re.compile(r"<[^<>]{1,60}>|null")
_FILE: Final = re.compile(r"[\w .+-]{1,120}\.\w{2,5} \([^()]{1,40}\)")
_EDITED: Final = re.compile(
    r"\s?\u200e?<[^<>]{0,40}?(?:edited|bearbeitet|modifi|editad|editou|bewerkt)[^<>]{0,40}>\Z"
)
_DELETED: Final = re.compile(
    "(?:this message was deleted|you deleted this message|this message was deleted by admin .*"
    "|diese nachricht wurde gel\u00f6scht|du hast diese nachricht gel\u00f6scht"
    "|ce message a \u00e9t\u00e9 supprim\u00e9|vous avez supprim\u00e9 ce message"
    "|se elimin\u00f3 este mensaje|este mensaje fue eliminado|eliminaste este mensaje"
    "|mensagem apagada|esta mensagem foi apagada|voc\u00ea apagou esta mensagem"
    "|questo messaggio \u00e8 stato eliminato|hai eliminato questo messaggio"
    "|dit bericht is verwijderd|je hebt dit bericht verwijderd)\\.?",
    re.I,
)


@dataclass(frozen=True, slots=True)
class _Message:
    """The lines of one message, or of a notice."""

    position: int
    stamp: Stamp
    lines: list[str]


def _sniff(head: Head) -> bool:
    if head.shape not in ("text", "binary") or not head.text:
        return False
    num_stamped = num_spoken = 0
    for line in head.text.splitlines()[:_LINES_LOOKED_AT]:
        if stamp := parse_stamp(line):
            num_stamped += 1
            num_spoken += bool(_sender(stamp.rest)[0])
    return num_stamped > 0 and num_spoken * 4 >= num_stamped


def _read(file: ExportFile, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    report.network = options.network or _NETWORK
    with file.open_text() as text:
        order = date_order(text.lines())
    chat = _Chat(f"{report.network}:{chat_key(_chat_name(file))}/", order, report)
    with file.open_text() as text:
        for message in _messages(text.lines(), report):
            try:
                yield from chat.found(message)
            except BadValue as error:
                yield Rejected(report.name, message.position, str(error))
        report.num_recoded_lines += text.num_recoded_lines


def _chat_name(file: ExportFile) -> str:
    """Name a chat by its file, or where all have the same name by its zip or folder."""
    if file.file_name != _IOS_NAME:
        return posixpath.splitext(file.file_name)[0]
    return folder_name(file) or posixpath.splitext(file.path.name)[0]


def _messages(lines: Iterable[str], report: SourceReport) -> Iterator[_Message]:
    """Put the lines of each message together; a line without a time goes on the one before."""
    current: _Message | None = None
    num_chars = 0
    for number, line in enumerate(lines, start=1):
        stamp = parse_stamp(line)
        if stamp is not None:
            if current is not None:
                yield current
            current = _Message(number, stamp, [stamp.rest])
            num_chars = 0
        elif current is not None and num_chars < _MAX_MESSAGE_CHARS:
            current.lines.append(line.rstrip("\r\n"))
            num_chars += len(line) + 1
        elif current is None and line.strip(" \t\r\n\ufeff\0"):
            report.num_not_posts += 1
    if current is not None:
        yield current


def _sender(rest: str) -> tuple[str, str]:
    """Split a line into who wrote it and what; of a notice nobody did."""
    name, colon, words = rest.partition(": ")
    if not colon and rest.rstrip().endswith(":"):
        name, colon = rest.rstrip()[:-1], ":"
    name = name.strip(f" ~{_LEFT_TO_RIGHT}\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}")
    if not colon or len(name) > _MAX_NAME_CHARS or _NOT_IN_NAMES.search(name):
        return "", rest
    return name, words


class _Chat:
    """Turns the messages of one chat into posts."""

    def __init__(self, prefix: str, order: DateOrder, report: SourceReport) -> None:
        self._prefix = prefix
        self._order = order
        self._report = report
        self._repeats = Repeats()

    def found(self, message: _Message) -> Iterator[Found]:
        """Give the post of a message; notices and media without words are none."""
        created_at = message.stamp.time(self._order)
        author, words = _sender(message.lines[0])
        if not author:
            self._report.num_not_posts += 1
            return
        native = self._native_id(created_at)
        text = parse_text("\n".join([words, *message.lines[1:]]))
        if _DELETED.fullmatch(text.strip(f"{_LEFT_TO_RIGHT} \r\n")[:200]):
            yield Deleted(f"{self._prefix}{native}")
            return
        text = _words(text)
        if not text:
            self._report.num_not_posts += 1
            return
        yield Post(
            id=f"{self._prefix}{native}",
            author=parse_text(author),
            created_at=created_at,
            text=text,
            visibility="direct",
        )

    def _native_id(self, time: datetime) -> str:
        """Number the messages of one minute or second: WhatsApp gives them no ids."""
        return f"{time:%Y%m%dT%H%M%S}-{self._repeats.number(time)}"


def _words(text: str) -> str:
    """Leave out what WhatsApp put in: marks of edits, names of attached files, notices."""
    tail = text[-200:].rstrip()
    text = text[:-200] + _EDITED.sub("", tail)
    first, newline, rest = text.partition("\n")
    bare = first.strip(f"{_LEFT_TO_RIGHT} \r")
    if _MEDIA.fullmatch(bare[:70]) or _FILE.fullmatch(bare[:200]):
        return rest.strip()
    if first.startswith(_LEFT_TO_RIGHT):  # an iPhone marks its own words so
        return rest.strip() if bare.startswith("<") and newline else ""
    return text.replace("\r", "").strip()


FORMATS: tuple[Format, ...] = (
    Format(
        name="whatsapp",
        title="WhatsApp chat, exported to text from a phone",
        read=_read,
        sniff=_sniff,
        is_chat=True,
    ),
)
