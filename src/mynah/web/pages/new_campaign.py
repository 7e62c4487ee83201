"""The form for a new campaign: what it says, where it shows, what it costs; with a live preview.

Writes a campaign through the ad store, and keeps what was typed when it cannot.
"""

import asyncio
from collections.abc import Awaitable, Callable

from nicegui import ui
from nicegui.element import Element

from mynah.ads import format_money
from mynah.errors import RequestError
from mynah.web.campaign_form import FIELDS, CampaignForm
from mynah.web.cards import host_of
from mynah.web.house import House
from mynah.web.markup import box, text
from mynah.web.wording import sentence

__all__ = ["NewCampaign"]

_STEPS = (
    ("1", "What it says", ("title", "text", "link")),
    ("2", "Where it shows", ("keywords",)),
    ("3", "What it costs", ("bid", "budget")),
)
_LABELS = {
    "title": ("Title", "Fresh bread before eight", ""),
    "text": ("Text", "Baked on your street, every day but Monday.", ""),
    "link": ("Link", "https://example.org/bread", "Where a click leads."),
    "keywords": ("Keywords", "bread, breakfast", "Words or phrases, with commas between. It shows "
                 "where one of them is searched or asked for."),
    "bid": ("Bid", "0.50", "The most one click may cost, in your network's currency."),
    "budget": ("Budget", "20.00", "The most all clicks together may cost. It is never exceeded."),
}  # fmt: skip
"""By field: label, example, help."""


class NewCampaign:
    """One form on one page."""

    def __init__(self, house: House, *, on_saved: Callable[[], Awaitable[None]]) -> None:
        self.store = house.ad_store
        self.on_saved = on_saved
        self.form = CampaignForm()
        self.inputs: dict[str, ui.input] = {}
        self.fields: dict[str, Element] = {}
        self.notes: dict[str, Element] = {}
        self.was_sent = False

    def build(self) -> None:
        """Lay out the steps and the preview."""
        with box("section", "section", aria_label="New campaign"):
            text("h2", "New campaign")
            with box("div", "ad-form"):
                with box("div", "ad-steps"):
                    for place, title, names in _STEPS:
                        self._step(place, title, names)
                    with box("div", "actions start"):
                        start = text("button", "Start campaign", "button strong", type="button")
                        start.on("click", self._save)
                    self.saved = box("div", "saved-place", aria_live="polite")
                with box("div", "preview"):
                    text("p", "How it will look", "note")
                    self.preview = box("aside", "ad")
        self._draw_preview()

    def _step(self, place: str, title: str, names: tuple[str, ...]) -> None:
        with box("section", "ad-step"):
            with box("h3"):
                text("span", place, "step-number")
                text("span", title)
            with box("div", "ad-fields"):
                for name in names:
                    self._field(name)

    def _field(self, name: str) -> None:
        label, example, meaning = _LABELS[name]
        with box("div", "field" if name in ("bid", "budget") else "field wide") as whole:
            text("span", label, "field-name", id=f"label-{name}")
            make = ui.textarea if name == "text" else ui.input
            entry = make(placeholder=example, on_change=self._changed)
            entry.props(f"borderless aria-labelledby=label-{name} data-field={name}")
            if name == "text":
                entry.props("autogrow rows=2")
            if name in ("bid", "budget"):
                entry.props("inputmode=decimal")
            if meaning:
                text("span", meaning, "field-help")
            self.notes[name] = box("div", "field-error", role="alert")
        self.inputs[name], self.fields[name] = entry, whole

    def _changed(self) -> None:
        self.form.values = {name: str(entry.value or "") for name, entry in self.inputs.items()}
        self._draw_preview()
        if self.was_sent:
            self._draw_errors(self.form.errors())

    def _draw_errors(self, errors: dict[str, RequestError]) -> None:
        for name in FIELDS:
            error = errors.get(name)
            self.fields[name].classes(add="has-error" if error else "", remove="" if error
                                      else "has-error")  # fmt: skip
            self.notes[name].clear()
            if error is not None:
                with self.notes[name]:
                    text("p", sentence(error.message))
                    text("p", sentence(error.hint), "field-help")

    def _draw_preview(self) -> None:
        typed = self.form.values
        self.preview.clear()
        with self.preview:
            text("span", "Ad", "ad-label")
            text("span", typed["title"] or _LABELS["title"][1], "ad-title")
            text("p", typed["text"] or _LABELS["text"][1], "ad-text")
            with box("div", "ad-foot"):
                text("span", host_of(typed["link"] or _LABELS["link"][1]))

    async def _save(self) -> None:
        self.was_sent = True
        self.saved.clear()
        errors = self.form.errors()
        self._draw_errors(errors)
        if errors:
            first = next(name for name in FIELDS if name in errors)
            self.inputs[first].run_method("focus")
            return
        campaign = await asyncio.to_thread(self.store.add_campaign, self.form.draft())
        self.was_sent = False
        for entry in self.inputs.values():
            entry.value = ""
        with self.saved, box("p", "saved"):
            text("span", f"\u201c{campaign.title}\u201d runs now, up to "
                 f"{format_money(campaign.budget_micros)}.")  # fmt: skip
        await self.on_saved()
