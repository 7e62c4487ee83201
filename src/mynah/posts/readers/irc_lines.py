"""One line of an IRC log, whatever program wrote it: something said, a notice, or a new day."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Final

__all__ = ["Day", "Notice", "Said", "parse_line"]

_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
        start=1,
    )
}
_TIME: Final = re.compile(
    r"\[?(?:(\d{4})-(\d\d)-(\d\d)[T ]|[A-Z][a-z]{2} \d{1,2} )?"
    r"(\d{1,2}):(\d\d)(?::(\d\d)(?:[.,]\d{1,9})?)?"
    r"(?: ?([AaPp])\.?[Mm]\.?)?(Z|[+-]\d\d:?\d\d)?\]?(\s{0,8})",
    re.A,
)
_SAID: Final = re.compile(r"<([^\s<>][^<>\t]{0,80}|\s[^<>\t]{1,80})>(?:[ \t]|\Z)")
"""Nicks have no spaces, but some logs show one where a mode would stand, or hold odd nicks."""
_SAID_TO_END: Final = re.compile(r"<(\S{1,80})>(?:[ \t]|\Z)")
"""A nick may hold angle brackets in logs of bridges."""
_ACTION: Final = re.compile(r" {0,3}\* ?(\S{1,80})(?:[ \t]|\Z)")
_NOTICE: Final = re.compile(
    r"\s{0,3}(?:===|\*\*\*|-!-|-->|<--|--[\t ]|\*\t|<-|->|~~|\u2500\u2500"
    r"|-[^\s<>]{1,200}-(?:[ \t]|\Z))"
)
_SPOKEN_TO: Final = re.compile(r"\(\S{1,80}/#\S{1,80}\) ")
"""How some clients log what was said in a window that was not the current one."""
_OF_CHANNEL: Final = re.compile(r"\b(?:joined|join|joins|left|parted|parts|quit|quits)\b", re.I)
_WEECHAT: Final = re.compile(r"([^\t]{0,80})\t")
_DAY_LINES: Final = (
    # --- Day changed Thu Jan 02 2020; --- Log opened Wed Jan 01 12:00:00 2020
    re.compile(
        r"--- (?:Day changed|Log opened|Log closed) [^\s\d]{2,9} ([^\s\d]{3,9}) (\d{1,2})"
        r"(?: \d\d:\d\d(?::\d\d)?)? (\d{4})",
        re.A,
    ),
    # **** BEGIN LOGGING AT Wed Jan  1 12:00:00 2020; Session Start: Wed Jan 01 12:00:00 2020
    re.compile(
        r"(?:\*{4} (?:BEGIN|ENDING) LOGGING AT|Session (?:Start|Close|Time):) "
        r"[^\s\d]{2,9} ([^\s\d]{3,9}) {1,2}(\d{1,2}) \d\d:\d\d:\d\d (\d{4})",
        re.A,
    ),
)
_DAY_MARK: Final = re.compile(r"(?:--- |\*{4} |Session |\*{4}$)")
_MODES: Final = "@+%&~! "
_FORMATTING: Final = re.compile("\x03(?:\\d{1,2}(?:,\\d{1,2})?)?|[\x02\x0f\x11\x16\x1d\x1e\x1f]")
"""Colours and bold, as control characters."""


@dataclass(frozen=True, slots=True)
class Said:
    """Something that someone said or did."""

    nick: str
    text: str
    at: datetime | None
    """When, if the line has the whole date."""
    clock: time | None


@dataclass(frozen=True, slots=True)
class Notice:
    """A join, a leave, a topic, a change of nick: nobody's words."""

    at: datetime | None
    clock: time | None
    is_of_channel: bool
    """Whether it happens in channels only."""


@dataclass(frozen=True, slots=True)
class Day:
    """A line that says which day the next lines are on."""

    date: date


Line = Said | Notice | Day


def parse_line(line: str) -> Line | None:
    """Read a line; ``None`` when it is in no form of a log, or blank."""
    line = line.rstrip("\r\n")
    if "\x03" in line or "\x02" in line or "\x1f" in line or "\x0f" in line:
        line = _FORMATTING.sub("", line)
    match = _TIME.match(line)
    if match is None:
        return _untimed(line)
    at, clock = _time_of(match)
    rest = line[match.end() :]
    gap = match.group(9)
    if "\t" in gap and (weechat := _weechat(rest, at, clock)):
        return weechat
    # Exactly one space: in "[10:11]  * nick does" the second belongs to the action.
    return _after_time(gap[1:] + rest, at, clock)


def _untimed(line: str) -> Line | None:
    if _DAY_MARK.match(line):
        for form in _DAY_LINES:
            if match := form.match(line):
                day = _date(match.group(3), _MONTHS.get(match.group(1)[:3].lower()), match.group(2))
                return Day(day) if day else Notice(None, None, is_of_channel=False)
        if line.startswith(("--- ", "**** ", "Session ")):
            return Notice(None, None, is_of_channel=False)
    return _after_time(line, None, None) if line[:1] in ("<", "*", "=", "-", " ") else None


def _after_time(rest: str, at: datetime | None, clock: time | None) -> Line | None:
    """Read what follows the time, in the style of most programs."""
    said = _SAID_TO_END.match(rest) or _SAID.match(rest)
    if said and not rest.startswith(("<--", "<-")):
        return Said(_nick(said.group(1)), rest[said.end() :], at, clock)
    if _NOTICE.match(rest):
        return Notice(at, clock, is_of_channel=bool(_OF_CHANNEL.search(rest[:400])))
    action = _ACTION.match(rest)
    if action:
        if not action.group(1).strip("*"):
            return Notice(at, clock, is_of_channel=False)
        # The action is told with its nick: "waves" alone would be nobody's.
        return Said(_nick(action.group(1)), rest.strip()[1:].strip(), at, clock)
    if _SPOKEN_TO.match(rest):
        return Notice(at, clock, is_of_channel=True)
    is_blank = not rest.strip()
    return Notice(at, clock, is_of_channel=False) if clock and is_blank else None


def _weechat(rest: str, at: datetime | None, clock: time | None) -> Line | None:
    """Read ``nick TAB text``, where arrows, dashes and a star stand for notices and actions."""
    match = _WEECHAT.match(rest)
    if match is None:
        return None
    nick, words = match.group(1).strip(), rest[match.end() :]
    if nick == "*":
        actor = words.split(" ", 1)[0]
        return Said(_nick(actor), words, at, clock) if actor else None
    if not nick or nick in ("-->", "<--", "--", "=!=", "---"):
        is_of_channel = nick in ("-->", "<--")
        return Notice(at, clock, is_of_channel=is_of_channel)
    if nick.startswith("<") and nick.endswith(">") and len(nick) > 2:
        nick = nick[1:-1]
    return None if " " in nick else Said(_nick(nick), words, at, clock)


def _nick(shown: str) -> str:
    """Return a nick without the sign of its rights."""
    return shown.lstrip(_MODES).rstrip() or shown.strip()


def _time_of(match: re.Match[str]) -> tuple[datetime | None, time | None]:
    year, month, day, hours, minutes, seconds, half, zone, _ = match.groups()
    hour = int(hours)
    if half and hour <= 12:
        hour = hour % 12 + (12 if half in "pP" else 0)
    try:
        clock = time(hour, int(minutes), min(int(seconds or 0), 59))
    except ValueError:
        return None, None
    if not year:
        return None, clock
    on = _date(year, int(month), day)
    if on is None:
        return None, clock
    at = datetime.combine(on, clock, tzinfo=UTC)
    if zone and zone != "Z":
        try:
            at = datetime.fromisoformat(f"{at:%Y-%m-%dT%H:%M:%S}{zone}").astimezone(UTC)
        except (ValueError, OverflowError):
            return None, clock
    return at, clock


def _date(year: str, month: int | None, day: str) -> date | None:
    try:
        return date(int(year), month or 0, int(day))
    except ValueError:
        return None
