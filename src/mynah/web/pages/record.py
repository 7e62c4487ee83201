"""The Record page: what was trained, paused, shared and taken back, with a proof of each.

Reads the record of the house beside the event loop; what is read is kept until the log grows.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from nicegui import ui
from nicegui.element import Element

from mynah.errors import MynahError
from mynah.record.record import Record
from mynah.web.house import House
from mynah.web.markup import box, error_note, text
from mynah.web.pages.record_checking import show_checks, show_downloads, show_limits, show_log
from mynah.web.pages.record_pauses import show_banner, show_pauses
from mynah.web.pages.record_register import show_pools, show_register, show_runs
from mynah.web.pages.record_timeline import show_filters, show_leaves
from mynah.web.record_facts import Keepers, PauseFacts, RecordFacts
from mynah.web.record_leaves import Group, group_named
from mynah.web.record_reading import RecordReading
from mynah.web.shell import shell
from mynah.web.wording import exact_number, flop_exact, flop_words, plural, short_number

__all__ = ["register_record"]

_LEAD = "See what was trained, paused, shared and taken back, and hand anyone the proof."
PATIENCE_S = 0.3
"""How long a page waits before it shows skeletons."""
LOOK_EVERY_S = 2.0


def register_record(house: House) -> None:
    """Put the page at ``/record``."""
    readings: dict[str, RecordReading] = {}
    """By the log's name: kept for all visitors."""

    def reading_of(record: Record) -> RecordReading:
        return readings.setdefault(record.origin, RecordReading(record, house.thresholds))

    @ui.page("/record")
    async def record_page(show: str = "", before: str = "") -> None:
        with shell(house, "Record", lead=_LEAD):
            if house.record is None or house.record.log.head().size == 0:
                _not_yet(house)
                return
            page = RecordPage(reading_of(house.record), group_named(show), _index(before))
            await page.build()


def _index(typed: str) -> int | None:
    """The index in an address; none where somebody typed something else."""
    return int(typed) if typed.isascii() and typed.isdecimal() and len(typed) < 19 else None


def _not_yet(house: House) -> None:
    command = f"mynah up {house.workspace.root.name}"
    with box("section", "empty"):
        text("h2", "Nothing is recorded yet")
        text("p", "The first run that you train writes the first leaf. Every run, pause, share and "
             "post taken back follows, signed, in an order that nobody can change unseen.",
             "quiet")  # fmt: skip
        with box("div", "command-line"):
            text("code", command)
            text("button", "Copy", "button small", type="button", data_copy=command)

        async def refresh() -> None:
            record = house.record
            if record is not None and (await asyncio.to_thread(record.log.head)).size:
                ui.navigate.reload()

        ui.timer(LOOK_EVERY_S, refresh)
    with box("section", "section"):
        show_limits()


class RecordPage:
    """One open Record page; it follows the log while it grows."""

    def __init__(self, reading: RecordReading, group: Group, before: int | None) -> None:
        self.reading = reading
        self.group = group
        self.before = before
        self.url = f"{str(ui.context.client.request.base_url).rstrip('/')}/log"
        self.shown: object = None
        self.kept: tuple[tuple[Keepers, ...], tuple[PauseFacts, ...]] | None = None

    async def build(self) -> None:
        """Lay out the page; what takes longer than a blink comes once the visitor is there."""
        self.top = box("div", "record-top")
        with self.top:
            box("div", "skeleton record-soon")
        self.pauses = box("div", "pauses")
        with box("section", "section timeline", id="timeline", aria_label="Timeline"):
            text("h2", "Timeline")
            show_filters(self.group)
            self.leaves = box("div", "leaf-place")
        with self.leaves:
            box("div", "skeleton leaves-soon")
        self.bottom = box("div")
        drawing = asyncio.ensure_future(self.refresh())
        await asyncio.wait((drawing,), timeout=PATIENCE_S)
        if not drawing.done():
            await ui.context.client.connected()
            await drawing
        ui.timer(LOOK_EVERY_S, self.refresh)

    async def refresh(self) -> None:
        """Draw again if anything changed since the last time."""
        reading = self.reading
        try:
            state = await asyncio.to_thread(reading.state)
            if state == self.shown:
                await self._judge(await asyncio.to_thread(reading.facts))
                return
            facts = await asyncio.to_thread(reading.facts)
            page = await asyncio.to_thread(reading.page, self.group, self.before)
        except MynahError as error:
            _drawn(self.top, partial(error_note, error))
            return
        self.shown = reading.state()
        _drawn(self.top, lambda: self._top(facts))
        _drawn(self.leaves, lambda: show_leaves(page, self.group, before=self.before))
        _drawn(self.bottom, lambda: self._bottom(facts))
        await self._judge(facts)

    async def _judge(self, facts: RecordFacts) -> None:
        """Verdicts come last: they read every log that is followed."""
        if self.kept is None and facts.pauses:
            _drawn(self.pauses, lambda: box("div", "skeleton pauses-soon"))
        try:
            kept = await asyncio.to_thread(self.reading.keepers)
        except MynahError as error:
            _drawn(self.pauses, partial(error_note, error))
            return
        if (kept, facts.pauses) != self.kept:
            self.kept = kept, facts.pauses
            _drawn(self.pauses, lambda: show_pauses(facts.pauses, kept))

    def _top(self, facts: RecordFacts) -> None:
        for pause in facts.in_force:
            show_banner(pause)
        with box("div", "record-first"):
            with box("section", "card", aria_label="Compute register"):
                show_register(facts)
            show_limits()
        _figures(facts)
        with box("section", "section", aria_label="Runs"):
            text("h2", "Runs")
            if facts.runs:
                show_runs(facts.runs)
            else:
                text("p", "No run is declared yet.", "quiet")

    def _bottom(self, facts: RecordFacts) -> None:
        with box("section", "section", aria_label="Check it yourself"):
            text("h2", "Check it yourself")
            show_checks(self.url, facts.head)
        with box("div", "two section"):
            with box("section", aria_label="The log"):
                text("h2", "The log")
                show_log(facts.head)
            with box("section", aria_label="Downloads"):
                text("h2", "Downloads")
                show_downloads(facts.models, has_policy=facts.has_policy)
        if facts.pools:
            with box("section", "section", aria_label="Pools"):
                text("h2", "Pools")
                text("p", "Machines under one name, and all that ran on them.", "note")
                show_pools(facts.pools)


def _drawn(place: Element, draw: Callable[[], object]) -> None:
    place.clear()
    with place:
        draw()


def _figures(facts: RecordFacts) -> None:
    total = sum(run.counted for run in facts.runs)
    size = facts.head.size
    with box("dl", "stats section"):
        for name, value, meaning in (
            ("Leaves", short_number(size), f"{plural(size, 'leaf', 'leaves')} in the log"),
            ("Runs", exact_number(len(facts.runs)), "Declared before their first step"),
            ("FLOP counted", flop_words(total), flop_exact(total)),
            ("Pauses in force", exact_number(len(facts.in_force)), "Orders that bind now"),
            (
                "Witnesses",
                exact_number(len(facts.head.witnesses)),
                "Organisations that cosigned the head of the log",
            ),
        ):
            with box("div", "stat", title=meaning):
                text("dt", name)
                text("dd", value)
