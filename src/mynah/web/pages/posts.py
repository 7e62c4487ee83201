"""The Posts page: what came in, what was left out and why, what became of it, languages, time.

Reads the manifests of the post store and the corpus, their language columns, the index, and the
list of what was taken back.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from nicegui import ui

from mynah.posts import forgotten_ids
from mynah.search import Query, SearchIndex
from mynah.web.funnel import FunnelStep, funnel_headline, funnel_steps, since_built
from mynah.web.house import House
from mynah.web.markup import box, number, text
from mynah.web.pages.corpus_facts import (
    Language,
    compare_languages,
    show_fertility,
    show_languages,
    show_outcome,
    show_redactions,
)
from mynah.web.pages.exclusions import show_exclusions
from mynah.web.pages.sources import show_sources
from mynah.web.pages.timeline import show_timeline
from mynah.web.shell import shell
from mynah.web.status import stage_line
from mynah.web.wording import exact_number, short_number
from mynah.workspace import Artifact

__all__ = ["register_posts"]

_LEAD = "See what came in, what your model learns from, and what was left out, with the reason."
Facts = Mapping[str, Any]


def register_posts(house: House) -> None:
    """Put the page at ``/posts``."""
    languages: dict[str, list[Language]] = {}
    """By snapshot of the corpus, which never changes."""

    async def languages_of(posts: Artifact, corpus: Artifact) -> list[Language]:
        if corpus.snapshot not in languages:
            counted = await asyncio.to_thread(compare_languages, posts, corpus)
            languages[corpus.snapshot] = counted
        return languages[corpus.snapshot]

    @ui.page("/posts")
    async def posts_page() -> None:
        with shell(house, "Posts", lead=_LEAD):
            if house.posts is None:
                _not_yet(house)
                return
            _redrawn(lambda: _funnel_state(house), lambda: _funnel(house))
            learned = box("div")
            if house.index is not None:
                await _over_time(house.index)
            _redrawn(lambda: _sources_state(house), lambda: _sources(house))
            _add_your_own(house)
        # All posts are looked at, once: the page is there before that is done.
        await ui.context.client.connected()
        while house.corpus is None:
            await asyncio.sleep(1.0)
            if ui.context.client.is_deleted:
                return
        assert house.posts is not None, "a house does not lose its posts"
        counted = await languages_of(house.posts, house.corpus)
        with learned:
            _learned(house.corpus.counts, counted)


def _redrawn(state: Callable[[], object], draw: Callable[[], None]) -> None:
    """A part of the page that is drawn again when what it shows has changed."""
    place = box("div")
    shown: object = None

    def refresh() -> None:
        nonlocal shown
        if (now := state()) == shown:
            return
        shown = now
        place.clear()
        with place:
            draw()

    refresh()
    ui.timer(1.0, refresh)


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


def _funnel_state(house: House) -> tuple[Facts | None, Facts | None]:
    posts, corpus = house.posts, house.corpus
    return posts.counts if posts else None, corpus.counts if corpus else None


def _funnel(house: House) -> None:
    posts, corpus = _funnel_state(house)
    steps = funnel_steps(posts, corpus)
    with box("section", "card", aria_label="From what came in to what is learned"):
        text("h2", funnel_headline(steps), "funnel-headline")
        with box("div", "funnel"):
            left = widest = max(steps[0].count, 1)
            for step in steps:
                left = max(0, left - step.count) if step.is_loss else step.count
                _step(house, step, start=left / widest if step.is_loss else 0.0, widest=widest)
        if posts is None or corpus is None:
            text("p", "What your model learns from is being prepared.", "note")
        elif outdated := since_built(posts, corpus):
            text("p", outdated, "note funnel-note")


def _step(house: House, step: FunnelStep, *, start: float, widest: int) -> None:
    with box("div", "funnel-step lost" if step.is_loss else "funnel-step", title=step.meaning):
        if step.reason:
            opener = text("button", step.name, "funnel-name linklike", type="button")
            opener.on("click", lambda: show_exclusions(house, step))
        else:
            text("span", step.name, "funnel-name")
        with box("div", "bar", aria_hidden="true"):
            width = 100 * step.count / widest
            box("span").style(f"margin-left: {100 * start:.2f}%; width: {width:.2f}%")
        sign = "\u2212" if step.is_loss else ""
        number(sign + short_number(step.count), exact_number(step.count), "right")


def _learned(counts: Facts, languages: list[Language]) -> None:
    with box("section", "section"):
        show_outcome(counts)
    with box("div", "two section"):
        with box("section"):
            show_languages(languages)
            show_fertility(counts["fertility"])
        with box("section"):
            show_redactions(counts["redacted"])


async def _over_time(index: SearchIndex) -> None:
    with box("section", "section"):
        text("h2", "Over time")
        show_timeline(await asyncio.to_thread(index.histogram, Query()), Query())


def _sources_state(house: House) -> tuple[Facts | None, int]:
    return _funnel_state(house)[0], len(forgotten_ids(house.workspace.posts))


def _sources(house: House) -> None:
    counts, num_forgotten = _sources_state(house)
    assert counts is not None, "a house does not lose its posts"
    with box("section", "section"):
        show_sources(counts, num_forgotten=num_forgotten)


def _add_your_own(house: House) -> None:
    command = f"mynah up {house.workspace.root.name} --posts PATH"
    with box("section", "section"):
        text("h2", "Teach it your own network")
        text("p", "PATH is an export of X, Mastodon, Bluesky, Reddit, Hacker News, Slack, "
             "Discord, Telegram, Zulip, IRC or mail as it comes, or any CSV, JSON or Parquet with "
             "a text column. What is already done is kept.", "note")  # fmt: skip
        with box("div", "command-line"):
            text("code", command)
            text("button", "Copy", "button small", type="button", data_copy=command)
