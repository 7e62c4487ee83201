"""IRC logs: of irssi, WeeChat, HexChat, ZNC, energymech and the like, and JSON lines of logs.

A log's own lines say what was said; its day lines, opening lines and file name say on which day.
Joins, leaves and notices are no posts. Times without zone are taken for UTC.

A log is a channel's if its name or folder has a ``#``, if people join and leave in it, or if more
than two speak; else it is a conversation between two, and direct.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Final

from mynah.posts.export_file import ExportFile
from mynah.posts.format import Format, Head
from mynah.posts.post import Post
from mynah.posts.reader import Found, ReadOptions, Rejected, SourceReport
from mynah.posts.readers.chat_files import folder_name
from mynah.posts.readers.irc_lines import Day, Notice, Said, parse_line
from mynah.posts.readers.json_records import line_records
from mynah.posts.values import BadValue, parse_text

__all__ = ["FORMATS"]

_NETWORK: Final = "irc"
_LINES_LOOKED_AT: Final = 50
_LINES_COUNTED: Final = 2_000
"""Lines that tell a channel from a conversation between two."""
_ISO_DATE: Final = re.compile(r"(?<!\d)((?:19|20)\d\d)([-_/.]?)(\d\d)\2(\d\d)(?!\d)", re.A)
_CHANNEL_NAME: Final = re.compile(r"(?:\A|[\s._/-])#")
_HALF_DAY: Final = timedelta(hours=12)


def _sniff_log(head: Head) -> bool:
    if head.shape not in ("text", "binary") or not head.text:
        return False
    lines = [line for line in head.text.splitlines()[:_LINES_LOOKED_AT] if line.strip()]
    parsed = [parse_line(line) for line in lines[: len(lines) - 1 or 1]]
    if not parsed or parsed[0] is None:  # a table of times, nicks and texts has a head
        return False
    # A line without a time may be of any text.
    timed = [line for line in parsed if isinstance(line, Said | Notice) and line.clock]
    num_said = sum(isinstance(line, Said) for line in timed)
    num_known = sum(line is not None for line in parsed)
    is_named = head.extension in (".log", ".weechatlog") or "#" in head.file.file_name
    return num_known * 2 > len(parsed) and (num_said > 0 or (is_named and bool(timed)))


def _sniff_lines(head: Head) -> bool:
    record = head.record
    return (
        head.shape == "lines"
        and {"file", "line", "raw"} <= head.keys
        and isinstance(record.get("raw"), str)
        and isinstance(record.get("file"), str)
    )


def _read_log(file: ExportFile, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    report.network = options.network or _NETWORK
    folder = folder_name(file)
    with file.open_text() as text:
        is_named = _CHANNEL_NAME.search(f"{folder}/{file.file_name}") is not None
        is_channel = is_named or _is_channel(text.lines())
    log = _Log(report, _log_name(file), is_public=is_channel, day=_date_in(file.name))
    with file.open_text() as text:
        for number, line in enumerate(text.lines(), start=1):
            yield from log.found(line, number, position=number)
        report.num_recoded_lines += text.num_recoded_lines


def _read_lines(file: ExportFile, options: ReadOptions, report: SourceReport) -> Iterator[Found]:
    report.network = options.network or _NETWORK
    log: _Log | None = None
    name = ""
    with file.open_text() as text:
        for item in line_records(text.lines(), source=report.name):
            if isinstance(item, Rejected):
                yield item
                continue
            position, record = item
            of_file, number, raw = record.get("file"), record.get("line"), record.get("raw")
            if not (isinstance(of_file, str) and isinstance(number, int) and isinstance(raw, str)):
                yield Rejected(report.name, position, "the record is no line of a log")
                continue
            if log is None or of_file != name:
                name = of_file
                log = _Log(report, of_file, is_public=True, day=_date_in(of_file))
            yield from log.found(raw, number, position=position)
        report.num_recoded_lines += text.num_recoded_lines


def _log_name(file: ExportFile) -> str:
    """Name a log so that two of one export differ: by channel, and by day."""
    name = re.sub(r"(?:\.(?:log|txt|gz|zst|weechatlog))+\Z", "", file.file_name, flags=re.I)
    folder = folder_name(file)
    if "#" in folder and "#" not in name:
        name = f"{folder}/{name}"
    day = _date_in(file.name)
    return f"{name}/{day}" if day and not _date_in(name) else name


def _date_in(name: str) -> date | None:
    """Find the day in a name such as ``2020-01-31.log`` or ``2020/01/31/#channel.txt``."""
    for match in _ISO_DATE.finditer(name):
        try:
            return date(int(match.group(1)), int(match.group(3)), int(match.group(4)))
        except ValueError:
            continue
    return None


def _is_channel(lines: Iterable[str]) -> bool:
    speakers: set[str] = set()
    for line in islice(lines, _LINES_COUNTED):
        parsed = parse_line(line)
        if isinstance(parsed, Said):
            speakers.add(parsed.nick)
            if len(speakers) > 2:
                return True
        elif isinstance(parsed, Notice) and parsed.is_of_channel:
            return True
    return False


@dataclass(slots=True)
class _Log:
    """Turns the lines of one log into posts; keeps the day they are on."""

    report: SourceReport
    name: str
    is_public: bool = field(kw_only=True)
    day: date | None = field(kw_only=True)
    _last: datetime | None = None

    def found(self, line: str, number: int, *, position: int) -> Iterator[Found]:
        """Give the post of a line, if it says one."""
        parsed = parse_line(line)
        if isinstance(parsed, Day):
            self.day, self._last = parsed.date, None
        if parsed is None and line.strip():
            yield Rejected(self.report.name, position, "the line is in no form of a log")
        if not isinstance(parsed, Said):
            if isinstance(parsed, Notice):
                self._time(parsed)
                self.report.num_not_posts += 1
            return
        created_at = self._time(parsed)
        text = parsed.text.strip()
        if not text:
            self.report.num_not_posts += 1
            return
        try:
            yield Post(
                id=parse_text(f"{self.report.network}:{self.name}/{number}"),
                author=parse_text(parsed.nick),
                created_at=created_at,
                text=parse_text(text),
                visibility="public" if self.is_public else "direct",
            )
        except BadValue as error:
            yield Rejected(self.report.name, position, str(error))

    def _time(self, line: Said | Notice) -> datetime | None:
        """Put day and clock together; a clock that jumps back half a day begins the next."""
        if line.at is not None:
            return line.at
        if self.day is None or line.clock is None:
            return None
        at = datetime.combine(self.day, line.clock, tzinfo=UTC)
        if self._last is not None and self._last - at > _HALF_DAY:
            try:
                self.day += timedelta(days=1)
            except OverflowError:
                return None
            at = datetime.combine(self.day, line.clock, tzinfo=UTC)
        self._last = at
        return at


FORMATS: tuple[Format, ...] = (
    Format(
        name="irc-lines",
        title="IRC logs as JSON lines with file, line and raw",
        read=_read_lines,
        sniff=_sniff_lines,
        is_chat=True,
    ),
    Format(
        name="irc",
        title="IRC log of irssi, WeeChat, HexChat, ZNC or energymech",
        read=_read_log,
        sniff=_sniff_log,
        is_chat=True,
    ),
)
