"""The list of results: one card a candidate, an ad marked as such, more on demand."""

from nicegui import ui
from nicegui.element import Element

from mynah.ads import Impression
from mynah.search import MAX_OFFSET, Candidate, Query, SearchIndex
from mynah.web.cards import ad_card, post_card
from mynah.web.house import House
from mynah.web.markup import box, text
from mynah.web.pages.taking_back import take_back_button
from mynah.web.wording import exact_number, plural, relative_time, short_number

__all__ = ["Results", "why_here"]

PAGE_SIZE = 20
AD_AFTER = 3
"""Results above the ad; with fewer it comes last."""


class Results:
    """What a query found. Made with its first page; ``build`` draws it."""

    def __init__(self, house: House, index: SearchIndex, query: Query) -> None:
        self.house = house
        self.index = index
        self.query = query
        self.first = index.search(query, limit=PAGE_SIZE)
        self.num_matches = self.first.num_matches
        self.num_shown = 0

    def build(self, ad: Impression | None) -> None:
        """Draw the first page, with the ad after the third result."""
        with box("section", "results", aria_label="Results"):
            with box("p", "results-line"):
                self.counted = text("span", plural(self.num_matches, "post"), "num-matches")
                text("span", f"{self.first.time_ms:.1f} ms", title="Time in the search index")
                order = "best match first" if self.query.text_terms else "newest first"
                text("span", order)
            with box("div", "result-list") as self.list:
                self._add(self.first.candidates[:AD_AFTER])
                if ad is not None:
                    ad_card(ad)
                self._add(self.first.candidates[AD_AFTER:])
            self.more = text("button", "", "button more", type="button")
            self.more.on("click", self._show_more)
            self._word_more()

    def _add(self, candidates: tuple[Candidate, ...]) -> None:
        for candidate in candidates:
            self._card(candidate)
        self.num_shown += len(candidates)

    def _card(self, candidate: Candidate) -> None:
        def more() -> None:
            why_here(candidate)
            take_back_button(self.house, candidate.post, on_gone=lambda: self._remove(card))

        card = post_card(candidate.post, highlights=candidate.highlights, more=more)
        card.props["tabindex"] = "-1"
        card.props["data-result"] = ""

    def _remove(self, card: Element) -> None:
        """A post is gone: the next page begins one earlier."""
        card.delete()
        self.num_shown -= 1
        self.num_matches -= 1
        self.counted.text = plural(self.num_matches, "post")
        self._word_more()

    def _show_more(self) -> None:
        page = self.index.search(self.query, limit=PAGE_SIZE, offset=self.num_shown)
        with self.list:
            self._add(page.candidates)
        self._word_more()

    def _word_more(self) -> None:
        left = self.num_matches - self.num_shown
        last = f"Show the last {left}" if left > 1 else "Show the last one"
        next_page = f"Show {PAGE_SIZE} more of {short_number(left)}"
        self.more.text = next_page if left > PAGE_SIZE else last
        self.more.set_visibility(left > 0 and self.num_shown <= MAX_OFFSET)


def why_here(candidate: Candidate) -> None:
    """What put a result in its place, on demand."""
    post = candidate.post
    with box("details", "why"):
        summary = text("summary", "Why here")
        summary.props["data-open"] = ""
        with ui.element("dl"):
            if candidate.matched:
                _reason("Words", f"{', '.join(candidate.matched)} (as the index knows them)")
                _reason("Score", f"{candidate.score:.2f} by BM25: rare words count more, and so do "
                        "words in a short post")  # fmt: skip
            else:
                _reason("Words", "none asked for; your operators let it through")
            _reason("Place", f"number {exact_number(candidate.position)}; of two that score "
                    "alike, the newer comes first")  # fmt: skip
            _reason("Age", f"posted {relative_time(post.created_at)}")
            _reason("Likes", f"{exact_number(post.likes)}, shown but not counted in the order")


def _reason(name: str, meaning: str) -> None:
    text("dt", name)
    text("dd", meaning)
