"""Pauses: the banner of those in force, and how each party keeps each.

Reads nothing but the facts it is given. What an order says is data: it is shown as text.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from mynah.web.markup import box, link, text
from mynah.web.record_facts import Keepers, PartyFacts, PauseFacts, RunFacts
from mynah.web.wording import (
    absolute_time,
    flop_exact,
    flop_words,
    plural,
    relative_time,
    sentence,
)

__all__ = ["pause_line", "show_banner", "show_parties", "show_pauses"]

_VERDICTS = {
    "kept": "is-good",
    "lifted": "is-good",
    "broken": "is-bad",
    "forked": "is-bad",
    "not signed": "is-idle",
    "not begun": "is-idle",
}
"""Dots; whatever keeps us from knowing is a warning."""
_LONG = re.compile(r"\b\d{7,40}\b")
"""Amounts of FLOP as a log has them; a person compares powers of ten."""
MAX_NAMED = 4
"""Runs named in a sentence."""


def pause_line(pause: PauseFacts) -> str:
    """The order in one line."""
    order = pause.signed.order
    verb = {"in force": "Pause in force", "not begun": "Pause ordered", "lifted": "Pause lifted"}
    what = f"nothing above {flop_words(order.above)} FLOP until {day(order.until)}"
    return f"{verb[pause.state]}: {what}"


def day(when: str) -> str:
    """A time of the record as a day, with the hour where it is not midnight."""
    moment = datetime.fromisoformat(when)
    words = f"{moment:%d %b %Y}" if (moment.hour, moment.minute) == (0, 0) else (
        f"{moment:%d %b %Y, %H:%M} UTC"
    )  # fmt: skip
    return words.lstrip("0")


def show_banner(pause: PauseFacts) -> None:
    """What binds now, whom, and until when: the first thing on the page."""
    with box("section", "pause-banner", aria_label="Pause in force"):
        text("h2", pause_line(pause), title=flop_exact(pause.signed.order.above))
        _terms(pause)
        text("p", runs_line(pause.covered), "pause-runs")


def runs_line(covered: Sequence[RunFacts]) -> str:
    """Which runs of this record an order covers, in a sentence."""
    if not covered:
        return "It covers no run that is under way here."
    paused = [run.name for run in covered if run.state == "paused"]
    others = [run.name for run in covered if run.state != "paused"]
    parts: list[str] = []
    if paused:
        parts.append(f"paused: {_named(paused)}")
    if others:
        parts.append(f"stops at its next step: {_named(others)}")
    return f"It covers {plural(len(covered), 'run')} here; {'; '.join(parts)}."


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MAX_NAMED])
    return f"{shown} and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else shown


def _terms(pause: PauseFacts) -> None:
    signed, order = pause.signed, pause.signed.order
    if order.reason:
        with box("p", "pause-reason"):
            text("span", "Reason given: ")
            text("q", order.reason)
    with box("p", "note pause-terms"):
        names = [key.name for key in signed.signers]
        text("span", f"Ordered by {names[0]}, signed by {', '.join(names)}.")
        if signed.missing:
            text("span", f"Not signed yet by {', '.join(key.name for key in signed.missing)}.")
        begun = datetime.fromisoformat(order.begins)
        text("span", f"Begins {day(order.begins)}." if pause.state == "not begun"
             else f"Since {day(order.begins)}.", title=absolute_time(begun))  # fmt: skip
        if order.timekeepers:
            keepers = ", ".join(key.name for key in order.timekeeper_keys)
            text("span", f"Its end counts once {order.quorum} of {keepers} have signed the time.")
        link(f"Leaf {pause.leaf}", f"/log/leaf/{pause.leaf}")
        link("Proof", f"/log/proof/{pause.leaf}", download="",
             title="That the order stands in this log")  # fmt: skip
        if pause.lifted is not None:
            link(f"Lifted by leaf {pause.lifted}", f"/log/leaf/{pause.lifted}")


def show_pauses(pauses: Sequence[PauseFacts], kept: Sequence[Keepers]) -> None:
    """Each order with a row a party: ours first, then those that bind others only."""
    by_order = {one.id: one for one in kept}
    others = [one for one in kept if one.id not in {pause.signed.id for pause in pauses}]
    if pauses:
        with box("section", "section", aria_label="Pauses"):
            text("h2", "Who keeps which pause")
            for pause in pauses:
                with box("article", "pause"):
                    text("h3", pause_line(pause))
                    if pause.state != "in force":  # else the banner says it
                        _terms(pause)
                    if found := by_order.get(pause.signed.id):
                        show_parties(found.parties)
    if others:
        with box("section", "section", aria_label="Pauses of others"):
            text("h2", "Pauses of others, which do not bind this organisation")
            for one in others:
                with box("article", "pause"):
                    author = one.order.party_keys[0].name
                    text("h3", f"{author}: nothing above {flop_words(one.order.above)} FLOP "
                         f"until {day(one.order.until)}")  # fmt: skip
                    show_parties(one.parties)


def show_parties(parties: Sequence[PartyFacts]) -> None:
    """Who is asked to keep it, and whether they do, as far as their own logs show."""
    with box("div", "table-wrap"), box("table", "data stack"):
        with box("thead"), box("tr"):
            for name in ("Party", "Verdict", "Why", "Sign of life"):
                text("th", name)
        with box("tbody"):
            for party in parties:
                with box("tr"):
                    with box("td", "run-name party-name"):
                        text("span", party.name)
                        text("p", "this log" if party.is_own else party.log, "note")
                    with box("td", data_label="Verdict"), box("span", "state"):
                        dot = _VERDICTS.get(party.verdict, "is-warn")
                        box("span", f"dot {dot}", aria_hidden="true")
                        text("span", party.verdict)
                    _why(party)
                    text("td", _seen(party.seen), "party-seen", data_label="Sign of life",
                         title=absolute_time(party.seen) if party.seen else
                         "No leaf and no cosignature of it is known here")  # fmt: skip


def _why(party: PartyFacts) -> None:
    with box("td", "party-why", data_label="Why"):
        text("span", sentence(_LONG.sub(lambda digits: flop_words(int(digits[0])), party.words)),
             title=party.words)  # fmt: skip
        if party.evidence is not None and party.is_own:
            link(f"Leaf {party.evidence}", f"/log/leaf/{party.evidence}")
        elif party.evidence is not None:
            text("span", f"Leaf {party.evidence} of its log.")


def _seen(when: datetime | None) -> str:
    return "never" if when is None else relative_time(when, now=datetime.now(UTC))
