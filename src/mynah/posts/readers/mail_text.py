"""The text of a mail: which part is read, in which charset, and which lines its author wrote.

The parser is the standard library's older one (``compat32``): the newer one follows the grammar
of addresses and dates further, and fails on more mails for it.
"""

import codecs
import email
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email import policy
from email.errors import MessageError
from email.header import decode_header
from email.message import Message
from typing import Final

from mynah.posts.markup import html_to_text
from mynah.posts.values import BadValue

__all__ = ["Mail", "own_words", "parse_mail"]

_MAX_HEADER_CHARS: Final = 2_000
_MAX_PARTS: Final = 200
"""A part names its boundary; a mail with more of them is made to take long."""
_NOT_CHARSETS: Final = frozenset(
    ["punycode", "idna", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem"]
)
"""Codecs of Python that no mail is in; two of them are slow on long texts."""
_QUOTED: Final = re.compile(r"\s{0,3}>")
_INTRODUCES: Final = re.compile(
    r"\b(?:wrote|writes|said|schrieb|schreibt|a \u00e9crit|escribi\u00f3|escreveu|ha scritto"
    r"|schreef|skrev|napisa\u0142|kirjoitti|\u043f\u0438\u0448\u0435\u0442"
    r"|\u043d\u0430\u043f\u0438\u0441\u0430\u043b)\b",
    re.I,
)
"""The line before a quote: "On Monday, someone wrote:"."""
_MAX_INTRODUCTION_CHARS: Final = 300
_ORIGINAL: Final = re.compile(
    r"\s{0,3}(?:-{3,}\s?(?:Original Message|Urspr\u00fcngliche Nachricht|Message d'origine"
    r"|Mensaje original|Forwarded message)\s?-{3,}|_{30,})\s*\Z",
    re.I,
)
"""What follows is another's mail, or the footer of a mailing list."""
_SIGNATURE: Final = "-- "
_MAX_SIGNATURE_LINES: Final = 12
"""A bare "--", which lost its space, ends a mail only this close to the end."""

_FAILURES: Final = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    MessageError,
)
"""How the parser fails on what is no mail."""

Part = Message


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail, parsed."""

    headers: Mapping[str, str]
    """By name in lower case, as they stand; of several the first."""
    text: str
    """As its sender's program shows it, quotes and all."""

    def header(self, name: str) -> str:
        """Return a header as text, cut to a length no sender needs; empty when it is missing."""
        value = self.headers.get(name.lower(), "")[:_MAX_HEADER_CHARS]
        shown = " ".join(_decoded_header(value).split())
        return shown.encode("utf-8", "replace").decode().replace("\0", "")


def parse_mail(data: bytes) -> Mail:
    """Parse a mail and find its text.

    Raises:
        BadValue: It is no mail, or made to take long.
    """
    if data.lower().count(b"boundary=") > _MAX_PARTS:
        raise BadValue("the mail has more parts than any mail")
    try:
        message = email.message_from_bytes(data, policy=policy.compat32)
        if not message.keys():
            raise BadValue("there are no headers of a mail")
        return Mail(_headers(message), _text_of(message))
    except _FAILURES as error:
        if isinstance(error, BadValue):
            raise
        raise BadValue("the mail is not in the form of one") from error
    except RecursionError as error:
        raise BadValue("the mail is nested too deeply") from error


def _headers(message: Part) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in message.raw_items():
        found.setdefault(name.lower(), str(value))
    return found


def _text_of(message: Part) -> str:
    """Return the first part that is plain text, else the first that is HTML."""
    html: Part | None = None
    for part in _parts(message):
        kind = part.get_content_type()
        if kind == "text/plain":
            words = _decoded(part)
            if words.strip():
                is_flowed = str(part.get_param("format") or "").lower() == "flowed"
                return _unwrapped(words) if is_flowed else words
        elif kind == "text/html" and html is None:
            html = part
    return html_to_text(_decoded(html)) if html is not None else ""


def _parts(message: Part) -> Iterator[Part]:
    for part in message.walk():
        is_attached = part.get_content_disposition() == "attachment" or bool(part.get_filename())
        if not part.is_multipart() and not is_attached:
            yield part


def _decoded(part: Part) -> str:
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        return ""
    named = part.get_content_charset()
    return _text(data, str(named) if named else "").replace("\r\n", "\n").replace("\0", "")


def _text(data: bytes, charset: str) -> str:
    """Decode; a charset that is wrong or unknown gives way to UTF-8, then Windows-1252."""
    for name in (charset, "utf-8"):
        try:
            codec = codecs.lookup(name) if name else None
            if codec is None or codec.name in _NOT_CHARSETS:
                continue
            text = data.decode(codec.name)
            text.encode()  # UTF-7 may spell half a surrogate pair
            return text
        except (LookupError, ValueError):
            continue
    return data.decode("cp1252", "replace")


def _decoded_header(text: str) -> str:
    """Decode a header; bytes beyond ASCII, which no header may hold, are mostly UTF-8."""
    if not text.isascii():
        text = _text(text.encode("utf-8", "surrogateescape"), "")
    if "=?" not in text:
        return text
    try:
        pieces = decode_header(text)
    except _FAILURES:
        return text
    return "".join(
        piece if isinstance(piece, str) else _text(piece, charset or "")
        for piece, charset in pieces
    )


def _unwrapped(text: str) -> str:
    """Join the lines of ``format=flowed`` text: one that ends with a space goes on."""
    lines: list[str] = []
    is_open = False
    for line in text.split("\n"):
        is_quoted = line.startswith(">")
        if is_open and not is_quoted and line != _SIGNATURE:
            lines[-1] += line.removeprefix(" ")
        else:
            lines.append(line.removeprefix(" "))
        is_open = line.endswith(" ") and line != _SIGNATURE and not is_quoted
    return "\n".join(lines)


def own_words(text: str) -> str:
    """Leave out what the author did not write for this mail: quotes, signature, footers."""
    kept: list[str] = []
    lines = text.split("\n")
    for number, line in enumerate(lines):
        is_near_end = len(lines) - number <= _MAX_SIGNATURE_LINES
        if line.rstrip("\r") == _SIGNATURE or (is_near_end and line.rstrip() == "--"):
            break
        if _ORIGINAL.match(line[:200]):
            break
        if _QUOTED.match(line):
            _drop_introduction(kept)
            continue
        kept.append(line.rstrip())
    words = "\n".join(kept)
    return re.sub(r"\n{3,}", "\n\n", words).strip("\n").rstrip()


def _drop_introduction(kept: list[str]) -> None:
    """Take away the one to three lines that say whom the next lines quote."""
    while kept and not kept[-1]:
        kept.pop()
    if not kept or not kept[-1].endswith(":"):
        return
    for num_lines in (1, 2, 3):
        introduction = " ".join(line[-_MAX_INTRODUCTION_CHARS:] for line in kept[-num_lines:])
        if _INTRODUCES.search(introduction):
            is_dated = any(char.isdigit() for char in introduction)
            if is_dated or num_lines == 1:
                del kept[-_paragraph_start(kept, num_lines) :]
                return


def _paragraph_start(kept: list[str], num_lines: int) -> int:
    """Count the lines back to where the introduction begins, three at the most."""
    while (
        num_lines < min(3, len(kept)) and kept[-num_lines - 1] and not _is_start(kept[-num_lines])
    ):
        num_lines += 1
    return num_lines


def _is_start(line: str) -> bool:
    return re.match(r"(?:On|Am|Le|El|Em|Il|Op|Den|At|In|W dniu|\d{1,4}[-/.])\s?", line) is not None
