"""Mail: mbox files, archives of mailing lists, and single mails (.eml).

An mbox is cut at its "From " lines as it is read, so that memory holds one mail. A mail of a
list is public, since lists keep open archives; any other mail is direct.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parseaddr, parsedate_to_datetime
from typing import IO, Final

from mynah.posts.export_file import ExportFile
from mynah.posts.format import Format, Head
from mynah.posts.post import Post
from mynah.posts.reader import Found, ReadOptions, Rejected, SourceReport
from mynah.posts.readers.mail_text import Mail, own_words, parse_mail
from mynah.posts.readers.native import post_kind
from mynah.posts.values import BadValue

__all__ = ["FORMATS"]

_NETWORK: Final = "mail"
MAX_MAIL_BYTES: Final = 32 << 20
"""Mail servers take less, attachments included."""
_MAX_LINE_BYTES: Final = 1 << 20
_FROM: Final = re.compile(rb"From (?:[^\r\n]{0,300} )?\w{3} \w{3} +\d{1,2} \d{1,2}:\d\d|From - ")
"""The line before each mail: sender and time. Text that begins a line with "From " is not."""
_ESCAPED_FROM: Final = re.compile(rb"^>(>*From )", re.M)
_ARCHIVED: Final = re.compile(rb"From \S{1,200} at \S{1,200} ")
"""Mailman writes addresses so in the archives it publishes, and leaves the list's name out."""
_HEADER_LINE: Final = re.compile(rb"[A-Za-z][A-Za-z0-9-]{0,60}:(?:[ \t]|\r?\n)")
_EML_HEADERS: Final = re.compile(rb"^(?:From|Date|Message-ID|Subject|Received):", re.M | re.I)
_MESSAGE_ID: Final = re.compile(r"<([^<>\s]{1,400})>")
_LIST_HEADERS: Final = ("List-Id", "List-Post", "X-Mailing-List", "X-BeenThere", "Mailing-List")
_REPLY_SUBJECT: Final = re.compile(r"\s*(?:\[[^\]]{1,60}\]\s*)?(?:re|aw|sv|antw|fwd?)\s*:", re.I)


def _sniff_mbox(head: Head) -> bool:
    first, _, rest = head.data.lstrip(b"\xef\xbb\xbf\r\n").partition(b"\n")
    return _FROM.match(first) is not None and _HEADER_LINE.match(rest) is not None


def _sniff_eml(head: Head) -> bool:
    data = head.data.lstrip(b"\xef\xbb\xbf\r\n")
    headers = re.split(rb"\r?\n\r?\n", data, maxsplit=1)[0]
    names = {name.lower() for name in _EML_HEADERS.findall(headers)}
    is_mail = b"from:" in names and bool(names & {b"message-id:", b"received:", b"date:"})
    return _HEADER_LINE.match(data) is not None and is_mail


def _read_mbox(file: ExportFile, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    report.network = options.network or _NETWORK
    reading = _Reading(report)
    with file.open_bytes() as stream:
        for raw in _cut(stream):
            yield from reading.found(raw)


def _read_eml(file: ExportFile, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    report.network = options.network or _NETWORK
    with file.open_bytes() as stream:
        data = stream.read(MAX_MAIL_BYTES + 1)
    yield from _Reading(report).found(_RawMail(b"", data, len(data) > MAX_MAIL_BYTES))


@dataclass(frozen=True, slots=True)
class _RawMail:
    """One mail as it lies in the file."""

    from_line: bytes
    data: bytes
    is_too_long: bool


def _cut(stream: IO[bytes]) -> Iterator[_RawMail]:
    """Cut an mbox into mails; of one that is too long only the beginning is kept."""
    from_line = b""
    lines: list[bytes] = []
    num_bytes = 0
    is_after_blank = True
    while line := stream.readline(_MAX_LINE_BYTES):
        if is_after_blank and line.startswith(b"From ") and _FROM.match(line):
            if from_line or b"".join(lines[:3]).strip():
                yield _RawMail(from_line, b"".join(lines), num_bytes > MAX_MAIL_BYTES)
            from_line, lines, num_bytes = line, [], 0
            is_after_blank = False
            continue
        num_bytes += len(line)
        if num_bytes <= MAX_MAIL_BYTES:
            lines.append(line)
        is_after_blank = not line.strip(b"\r\n")
    if from_line or b"".join(lines[:3]).strip():
        yield _RawMail(from_line, b"".join(lines), num_bytes > MAX_MAIL_BYTES)


@dataclass(slots=True)
class _Reading:
    """Turns mails into posts, numbered from 1."""

    report: SourceReport
    _number: int = field(default=0, init=False)

    def found(self, raw: _RawMail) -> Iterator[Found]:
        """Give the post of a mail; one that only quotes or attaches is none."""
        self._number += 1
        try:
            if raw.is_too_long:
                raise BadValue(f"the mail is larger than {MAX_MAIL_BYTES >> 20} MiB")
            mail = parse_mail(_ESCAPED_FROM.sub(rb"\1", raw.data))
            post = self._post(raw, mail)
        except BadValue as error:
            yield Rejected(self.report.name, self._number, str(error))
            return
        if post is None:
            self.report.num_not_posts += 1
            return
        yield post

    def _post(self, raw: _RawMail, mail: Mail) -> Post | None:
        words = own_words(mail.text)
        subject = mail.header("Subject")
        reply_to = self._reply_to(mail)
        if subject and not reply_to and not _REPLY_SUBJECT.match(subject):
            words = f"{subject}\n\n{words}".strip()  # the first mail of a thread says it there
        if not words:
            return None
        is_archived = _ARCHIVED.match(raw.from_line) is not None
        is_list = is_archived or any(mail.header(name) for name in _LIST_HEADERS)
        return Post(
            id=f"{self.report.network}:{self._native_id(raw, mail)}",
            author=_author(mail.header("From")),
            created_at=_time(mail.header("Date")) or _time_of_line(raw.from_line),
            text=words,
            reply_to=reply_to,
            visibility="public" if is_list else "direct",
            kind=post_kind(reply_to=reply_to, repost_of=None, quote_of=None),
        )

    def _native_id(self, raw: _RawMail, mail: Mail) -> str:
        match = _MESSAGE_ID.search(mail.header("Message-ID"))
        # A mail without an id is known by its bytes.
        return match.group(1) if match else hashlib.sha256(raw.data).hexdigest()[:24]

    def _reply_to(self, mail: Mail) -> str | None:
        found = _MESSAGE_ID.findall(mail.header("In-Reply-To"))[:1]
        found = found or _MESSAGE_ID.findall(mail.header("References"))[-1:]
        return f"{self.report.network}:{found[0]}" if found else None


def _author(sender: str) -> str:
    """Return the name of a sender, or the address of one without a name."""
    try:
        name, address = parseaddr(sender)
    except (ValueError, IndexError, RecursionError):
        return ""
    return name.strip().strip("'\"") or address or sender.strip()


def _time(value: str) -> datetime | None:
    """Read a mail's date; a date that is none says nothing, the mail is still one."""
    try:
        found = parsedate_to_datetime(value) if value else None
        if found is None:
            return None
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _time_of_line(line: bytes) -> datetime | None:
    """Read the time of a "From " line, which is UTC."""
    match = re.search(
        rb"\w{3} (\w{3}) {1,2}(\d{1,2}) (\d{1,2}:\d\d(?::\d\d)?) (?:[A-Z]{1,5} )?(\d{4})", line
    )
    if match is None:
        return None
    month, day, clock, year = (part.decode("ascii", "replace") for part in match.groups())
    return _time(f"{day} {month} {year} {clock} +0000")


FORMATS: tuple[Format, ...] = (
    Format(
        name="mbox",
        title="Mail: an mbox file or the archive of a mailing list",
        read=_read_mbox,
        sniff=_sniff_mbox,
        is_chat=True,
    ),
    Format(
        name="eml",
        title="Mail: a single message (.eml)",
        read=_read_eml,
        sniff=_sniff_eml,
        is_chat=True,
    ),
)
