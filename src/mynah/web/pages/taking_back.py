"""Taking one post back from where a person looks at it: asked once, done, the receipt in short.

Over a network the pages open to admin keys alone (``login``), so whoever sees a card may do it.
Calls ``house.take_back``; reads the store's manifest anew after it.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from nicegui import ui
from nicegui.element import Element

from mynah.errors import MynahError
from mynah.posts import POSTS_KIND, Post
from mynah.web.cards import author_name, post_card
from mynah.web.house import House
from mynah.web.markup import box, error_note, text
from mynah.web.wording import exact_number, plural, short_number
from mynah.workspace import latest_artifact

__all__ = ["receipt_lines", "removable_card", "take_back_button"]

_SHORT = 120
_TITLE = "Take this post back?"
_WHAT_HAPPENS = (
    "It leaves search and the corpus and every file of the store, with reposts of its words, and "
    "no later export brings it in again.",
    "A model that learned from it already cannot forget it: the receipt names such runs.",
    "This cannot be undone.",
)


def removable_card(house: House, post: Post) -> Element:
    """A post in full that can be taken back, and is gone from the page then."""
    card = post_card(
        post, more=lambda: take_back_button(house, post, on_gone=lambda: card.delete())
    )
    return card


def take_back_button(house: House, post: Post, *, on_gone: Callable[[], None]) -> None:
    """The way to take ``post`` back, where this house can; ``on_gone`` clears it from the page."""
    if house.take_back is None:
        return
    button = text("button", "Take back", "linklike push", type="button",
                  aria_label=f"Take back this post by {author_name(post)}")  # fmt: skip
    button.on("click", lambda: _Asking(house, post, on_gone).open())


def receipt_lines(receipt: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A takedown's receipt in short: each line's name and what it says."""
    store = receipt["store"]
    reposts = len(store["reposts"])
    num_found = len(store["found"]) - reposts
    found = plural(num_found, "post") if num_found else "nothing: it was gone already"
    with_reposts = f" and {plural(reposts, 'repost')} of it" if reposts else ""
    taken = [*receipt["corpora"], *receipt["dialogues"]]
    runs = sorted({str(exposure["run"]) for exposure in receipt["exposures"]})
    return [
        ("Taken out", found + with_reposts),
        ("Written anew", f"{short_number(store['bytes_rewritten'])} bytes of the store"),
        ("Overwritten", plural(sum(int(one["num_tokens"]) for one in taken), "token")),
        ("Learned from it", ", ".join(runs) or "no run"),
        ("Models with it", ", ".join(receipt["models"]) or "none"),
        ("Took", f"{exact_number(float(receipt['seconds']))} s"),
        ("Receipt", str(receipt["path"])),
    ]


class _Asking:
    """The sheet that asks, works and reports. It outlives the card it was opened from."""

    def __init__(self, house: House, post: Post, on_gone: Callable[[], None]) -> None:
        self.house = house
        self.post = post
        self.on_gone = on_gone

    def open(self) -> None:
        """Ask."""
        with ui.context.client.content, ui.dialog() as self.dialog, box("div", "sheet"):
            self.title = text("h2", _TITLE)
            with box("div", "asking") as self.place:
                text("p", f"{author_name(self.post)}: {_beginning(self.post.text)}", "note quoted")
                for words in _WHAT_HAPPENS:
                    text("p", words)
            with box("div", "actions"):
                self.no = text("button", "Keep it", "button", type="button", autofocus="")
                self.yes = text("button", "Take it back", "button bad", type="button")
        self.no.on("click", self.dialog.close)
        self.yes.on("click", self._take_back)
        self.dialog.props["aria-label"] = _TITLE
        self.dialog.on("hide", self.dialog.delete)
        self.dialog.open()

    async def _take_back(self) -> None:
        assert self.house.take_back is not None, "a house does not lose what it can do"
        for button in (self.no, self.yes):
            button.props["disabled"] = ""
        self.dialog.props["persistent"] = ""
        self.yes.text = "Taking it back"
        try:
            receipt = await asyncio.to_thread(self.house.take_back, self.post.id)
            # The manifest changed on disk: what pages count from now on is without the post.
            store = self.house.workspace.posts
            self.house.posts = await asyncio.to_thread(latest_artifact, store, kind=POSTS_KIND)
        except MynahError as error:
            with self.place:
                error_note(error)
            self._end("Close")
            return
        self.on_gone()
        self.title.text = "The post is taken back"
        self.place.clear()
        with self.place, box("dl", "receipt"):
            for name, meaning in receipt_lines(receipt):
                text("dt", name)
                text("dd", meaning)
        self._end("Done")

    def _end(self, word: str) -> None:
        self.yes.delete()
        self.no.text = word
        del self.no.props["disabled"]
        del self.dialog.props["persistent"]


def _beginning(words: str) -> str:
    """Enough of a post to know it by."""
    short = " ".join(words.split())
    return short if len(short) <= _SHORT else f"{short[: _SHORT - 1].rstrip()}\u2026"
