"""The Ads page: campaigns with what they spent and brought, and a form for a new one.

Reads and writes campaigns through the ad store; spends nothing itself.
"""

import asyncio

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from mynah.ads import Campaign, format_money
from mynah.errors import RequestError
from mynah.web.house import House
from mynah.web.markup import box, error_note, number, text
from mynah.web.pages.new_campaign import NewCampaign
from mynah.web.shell import shell
from mynah.web.wording import absolute_time, exact_number, short_number

__all__ = ["register_ads"]

_LEAD = (
    "Show a card beside a search or after an answer that uses your words. You pay when it is "
    "clicked, never more than your bid."
)


def register_ads(house: House) -> None:
    """Put the page at ``/ads``."""

    @ui.page("/ads")
    async def ads_page() -> None:
        with shell(house, "Ads", lead=_LEAD):
            campaigns = CampaignTable(house)
            await campaigns.build()
            NewCampaign(house, on_saved=campaigns.refresh).build()


class CampaignTable:
    """The campaigns, kept up to date while the page is open."""

    def __init__(self, house: House) -> None:
        self.store = house.ad_store
        self.shown: list[Campaign] | None = None
        self.opened: set[int] = set()

    async def build(self) -> None:
        """Lay out the table and keep it fresh."""
        with box("section", "campaigns", aria_label="Campaigns"):
            self.wrong = box("div")
            self.place = box("div")
        await self.refresh()
        ui.timer(2.0, self.refresh, immediate=False)

    async def refresh(self) -> None:
        """Read the campaigns and draw what changed."""
        campaigns = await asyncio.to_thread(self.store.campaigns)
        if campaigns != self.shown:
            self.shown = campaigns
            self._draw(campaigns)

    def _draw(self, campaigns: list[Campaign]) -> None:
        self.place.clear()
        with self.place:
            if not campaigns:
                with box("div", "empty"):
                    text("h2", "No campaign yet")
                    text("p", "Fill in the three steps below. Your card runs as soon as you start "
                         "it.", "quiet")  # fmt: skip
                return
            with box("div", "table-wrap"), box("table", "data stack"):
                with box("thead"), box("tr"):
                    for name, side in (("Campaign", ""), ("Spent", ""), ("Shown", "right"),
                                       ("Clicked", "right"), ("State", ""), ("", "")):  # fmt: skip
                        text("th", name, side)
                with box("tbody"):
                    for campaign in campaigns:
                        self._row(campaign)

    def _row(self, campaign: Campaign) -> None:
        with box("tr"):
            with ui.element("td").classes("campaign-name"):
                text("p", campaign.title, "campaign-title")
                text("p", ", ".join(campaign.keywords), "note", title="Keywords")
            with ui.element("td") as spent:
                spent.props["data-label"] = "Spent"
                _spent(campaign)
            _count_cell("Shown", campaign.num_impressions, "impressions")
            _count_cell("Clicked", campaign.num_clicks, "clicks")
            with ui.element("td") as state:
                state.props["data-label"] = "State"
                _state(campaign)
            with ui.element("td"), box("div", "actions"):
                self._actions(campaign)
        if campaign.id in self.opened:
            self._report(campaign.id)

    def _actions(self, campaign: Campaign) -> None:
        is_open = campaign.id in self.opened
        report = text("button", "Close" if is_open else "Report", "button small", type="button")
        report.props["aria-expanded"] = "true" if is_open else "false"
        report.on("click", lambda: self._toggle_report(campaign.id))
        word = "Resume" if campaign.is_paused else "Pause"
        pause = text("button", word, "button small", type="button",
                     aria_label=f"{word} {campaign.title}")  # fmt: skip
        pause.on("click", lambda: self._set_paused(campaign))

    def _toggle_report(self, campaign_id: int) -> None:
        self.opened ^= {campaign_id}
        self._draw(self.shown or [])

    async def _set_paused(self, campaign: Campaign) -> None:
        self.wrong.clear()
        try:
            await asyncio.to_thread(self.store.set_paused, campaign.id, not campaign.is_paused)
        except RequestError as error:
            with self.wrong:
                error_note(error)
        await self.refresh()

    def _report(self, campaign_id: int) -> None:
        report = self.store.report(campaign_id)
        clicks = report.num_clicks
        per_click = format_money(report.spent_micros // clicks) if clicks else "no click yet"
        facts = (
            ("Clicks per 100 shown", f"{100 * report.ctr:.1f}"),
            ("Paid per click", per_click),
            ("Bid", format_money(report.campaign.bid_micros)),
            ("Left to spend", format_money(report.remaining_micros)),
        )
        with box("tr", "report"), ui.element("td") as cell:
            cell.props["colspan"] = "6"
            with box("dl", "stats"):
                for name, value in facts:
                    with box("div", "stat"):
                        text("dt", name)
                        text("dd", value)
            text("p", f"Leads to {report.campaign.link}. Started "
                 f"{absolute_time(report.campaign.created_at)}.", "note")  # fmt: skip


def _spent(campaign: Campaign) -> None:
    spent, budget = format_money(campaign.spent_micros), format_money(campaign.budget_micros)
    with box("div", "spent", title=f"{format_money(campaign.remaining_micros)} left"):
        text("p", f"{spent} of {budget}")
        with box("div", "meter", aria_hidden="true"):
            share = campaign.spent_micros / campaign.budget_micros
            box("span").style(f"width: {100 * share:.1f}%")


def _count_cell(label: str, count: int, noun: str) -> None:
    with ui.element("td").classes("right") as cell:
        cell.props["data-label"] = label
        number(short_number(count), f"{exact_number(count)} {noun}")


def _state(campaign: Campaign) -> TextElement:
    with box("span", "state"):
        if campaign.remaining_micros < campaign.bid_micros and not campaign.is_paused:
            box("span", "dot is-warn", aria_hidden="true")
            return text("span", "budget spent" if not campaign.remaining_micros else "nearly spent")
        box("span", "dot" if campaign.is_paused else "dot is-good", aria_hidden="true")
        return text("span", "paused" if campaign.is_paused else "running")
