"""The Posts page: what came in, what was left out and why, in which languages and when.

Reads the manifests of the post store and the corpus, the store's language column, the index.
"""

import asyncio
from collections import Counter

from nicegui import ui

from mynah.posts import load_posts
from mynah.search import Query
from mynah.web.funnel import FunnelStep, funnel_steps
from mynah.web.house import House
from mynah.web.markup import box, number, text
from mynah.web.pages.exclusions import show_exclusions
from mynah.web.pages.timeline import show_timeline
from mynah.web.shell import shell
from mynah.web.status import stage_line
from mynah.web.wording import exact_number, short_number
from mynah.workspace import Artifact

__all__ = ["register_posts"]

_LEAD = "See what came in, what your model learns from, and what was left out, with the reason."
_MAX_LANGUAGES = 8


def register_posts(house: House) -> None:
    """Put the page at ``/posts``."""
    languages: dict[str, Counter[str]] = {}
    """Posts by language, by snapshot: a snapshot never changes."""

    @ui.page("/posts")
    async def posts_page() -> None:
        with shell(house, "Posts", lead=_LEAD):
            if house.posts is None:
                _not_yet(house)
                return
            _funnel(house)
            with box("section", "section"):
                text("h2", "Over time")
                if house.index is not None:
                    show_timeline(await asyncio.to_thread(house.index.histogram, Query()), Query())
            with box("div", "two section"):
                tagged = box("section")
                _sources(house.posts)
            _add_your_own(house)
        # All posts are looked at, once: the page is there before that is done.
        await ui.context.client.connected()
        snapshot = house.posts.snapshot
        if snapshot not in languages:
            languages[snapshot] = await asyncio.to_thread(_count_languages, house.posts)
        with tagged:
            _languages(languages[snapshot])


def _count_languages(posts: Artifact) -> Counter[str]:
    return Counter(lang or "not tagged" for lang in load_posts(posts)["lang"])


def _not_yet(house: House) -> None:
    with box("section", "empty"):
        text("h2", "Your posts are being read")
        line = text("p", "This takes a few seconds.", "quiet")

        def refresh() -> None:
            if house.posts is not None:
                ui.navigate.reload()
            elif (now := house.current_stage) is not None:
                line.text = f"{now.title}: {stage_line(now)}"

        ui.timer(1.0, refresh)


def _funnel(house: House) -> None:
    assert house.posts is not None, "the page waits for the posts"
    place = box("section", "card funnel", aria_label="From read to learned")
    shown: list[FunnelStep] = []

    def refresh() -> None:
        nonlocal shown
        assert house.posts is not None, "a house does not lose its posts"
        steps = funnel_steps(house.posts.counts, house.corpus.counts if house.corpus else None)
        if steps == shown:
            return
        shown = steps
        place.clear()
        with place:
            for step in steps:
                _step(house, step, widest=max(steps[0].count, 1))
            if house.corpus is None:
                text("p", "What your model learns from is being prepared.", "note")

    refresh()
    ui.timer(1.0, refresh)


def _step(house: House, step: FunnelStep, *, widest: int) -> None:
    with box("div", "funnel-step lost" if step.is_loss else "funnel-step", title=step.meaning):
        if step.reason:
            opener = text("button", step.name, "funnel-name linklike", type="button")
            opener.on("click", lambda: show_exclusions(house, step))
        else:
            text("span", step.name, "funnel-name")
        with box("div", "bar", aria_hidden="true"):
            box("span").style(f"width: {100 * step.count / widest:.2f}%")
        sign = "\u2212" if step.is_loss else ""
        number(sign + short_number(step.count), exact_number(step.count), "right")


def _languages(counts: Counter[str]) -> None:
    most = counts.most_common(_MAX_LANGUAGES)
    rest = sum(counts.values()) - sum(count for _, count in most)
    rows = [*most, ("others", rest)] if rest else most
    text("h2", "Languages")
    text("p", "As the network tagged them.", "note")
    for name, count in rows:
        with box("div", "language"):
            text("span", name)
            with box("div", "bar", aria_hidden="true"):
                box("span").style(f"width: {100 * count / max(most[0][1], 1):.2f}%")
            number(short_number(count), exact_number(count), "right")


def _sources(posts: Artifact) -> None:
    with box("section"):
        text("h2", "What you gave")
        text("p", "The files that were read, and what was in them.", "note")
        with box("div", "table-wrap"), box("table", "data"), box("tbody"):
            for source in posts.counts["sources"]:
                with box("tr"):
                    with ui.element("td"):
                        text("code", str(source["name"]))
                    text("td", short_number(source["num_posts"]), "right",
                         title=f"{exact_number(source['num_posts'])} posts")  # fmt: skip


def _add_your_own(house: House) -> None:
    command = f"mynah up {house.workspace.root.name} --posts PATH"
    with box("section", "section"):
        text("h2", "Teach it your own network")
        text("p", "PATH is an X archive (zip, folder or tweets.js) or any CSV, TSV, JSONL or "
             "Parquet file with a text column. What is already done is kept.", "note")  # fmt: skip
        with box("div", "command-line"):
            text("code", command)
            text("button", "Copy", "button small", type="button", data_copy=command)
