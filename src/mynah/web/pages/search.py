"""The Search page: posts found by words, over time, with the reason for each place.

Its address holds the whole search, so back, reload and a link to a colleague all work. Reads the
search index and the ad server.
"""

import asyncio

from nicegui import ui

from mynah.ads import Impression
from mynah.errors import RequestError
from mynah.search import Query, SearchIndex, parse_query
from mynah.web.house import House
from mynah.web.markup import box, error_note, icon, link, text
from mynah.web.pages.results import Results
from mynah.web.pages.timeline import address_of, show_timeline
from mynah.web.shell import shell
from mynah.web.status import stage_line

__all__ = ["register_search"]

_LEAD = (
    "Find posts by their words. Operators narrow the search, and every result says why it is there."
)


def register_search(house: House) -> None:
    """Put the page at ``/search``."""

    @ui.page("/search", response_timeout=30)
    async def search_page(q: str = "") -> None:
        with shell(house, "Search", lead=_LEAD):
            _search_form(q)
            index = house.index
            if index is None:
                _not_yet(house)
                return
            try:
                query = parse_query(q)
            except RequestError as error:
                error_note(error)
                _teach(index)
                return
            await _found(house, index, query)


async def _found(house: House, index: SearchIndex, query: Query) -> None:
    _chips(query)
    show_timeline(await asyncio.to_thread(index.histogram, query), query)
    if not str(query):
        _teach(index)
        return
    ad: Impression | None = None
    if query.text:
        ad = await asyncio.to_thread(house.ad_server.select, str(query), placement="search")
    results = Results(house, index, query)
    if results.num_matches:
        results.build(ad)
    else:
        _nothing(query)


def _search_form(typed: str) -> None:
    with box("form", "search-form", action="/search", method="get", role="search"):
        field = ui.element("input")
        for name, value in (
            ("name", "q"), ("value", typed), ("type", "search"), ("data-box", ""),
            ("placeholder", "Search the posts"), ("aria-label", "Search the posts"),
            ("autocomplete", "off"), ("spellcheck", "false"),
        ):  # fmt: skip
            field.props[name] = value
        with box("button", "send", type="submit", aria_label="Search"):
            icon("search")


def _chips(query: Query) -> None:
    chips = query.chips()
    if not chips:
        return
    with box("div", "chips", aria_label="What narrows this search"):
        for chip in chips:
            with ui.element("a").classes("chip") as anchor:
                anchor.props["href"] = address_of(chip.without)
                anchor.props["title"] = f"Search without {chip.label}"
                text("span", chip.label)
                icon("close", "small")


def _not_yet(house: House) -> None:
    with box("section", "empty section"):
        text("h2", "Your posts are being read")
        stage = house.current_stage
        line = text("p", stage_line(stage) if stage else "Search opens in a moment.", "quiet")

        def refresh() -> None:
            if house.index is not None:
                ui.navigate.reload()
            elif (now := house.current_stage) is not None:
                line.text = f"{now.title}: {stage_line(now)}"

        ui.timer(1.0, refresh)


def _nothing(query: Query) -> None:
    with box("section", "empty section"):
        text("h2", "No post matches all of this")
        with box("p", "quiet"):
            chips = query.chips()
            if chips:
                text("span", "Take away a part above, or ")
                link(
                    "look for the words alone", address_of(query.text) if query.text else "/search"
                )
                text("span", ".")
            elif len(query.text_terms) > 1:
                text("span", "Try fewer words, or ")
                either = " OR ".join(query.text.split())
                link("any of them", address_of(either))
                text("span", ".")
            else:
                text("span", "Try another word for it, or its beginning in another form.")


def _teach(index: SearchIndex) -> None:
    """What the operators do, each a link that shows it on these very posts."""
    newest = index.search(Query(), limit=1).candidates
    author = next((c.post.author for c in newest if c.post.author), "someone")
    day = next((f"{c.post.created_at:%Y-%m-%d}" for c in newest if c.post.created_at), "2026-01-31")
    lang = next((c.post.lang for c in newest if c.post.lang), None) or "en"
    examples = (
        (f"from:{author}", "the posts of one author"),
        ('"thank you"', "these words, side by side and in this order"),
        ("thanks OR thank", "either word will do"),
        ("thank -you", "the first word without the second"),
        (f"lang:{lang}", "one language, as the network tagged it"),
        (f"since:{day}", "that day and all after it"),
        (f"until:{day}", "that day and all before it"),
    )
    with box("section", "section"):
        text("h2", "Words find posts that hold all of them. These narrow it down.")
        with box("dl", "operators"):
            for typed, meaning in examples:
                with ui.element("dt"):
                    link(typed, address_of(typed))
                text("dd", meaning)
