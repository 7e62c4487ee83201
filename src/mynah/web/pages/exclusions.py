"""Examples of what was left out, opened from a step of the funnel.

Reads ``rejected.jsonl`` of the post store, ``excluded.parquet`` of the corpus, and the index,
which holds no private post and none that was taken back.
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import polars as pl
from nicegui import ui

from mynah.posts import Post
from mynah.search import SearchIndex
from mynah.web.funnel import REJECTED, FunnelStep
from mynah.web.house import House
from mynah.web.markup import box, icon, number, text
from mynah.web.pages.taking_back import removable_card
from mynah.web.wording import exact_number, plural, short_number
from mynah.workspace import Artifact

__all__ = ["Example", "RejectedRows", "excluded_examples", "rejected_examples", "show_exclusions"]

_NUM_EXAMPLES = 5
_NUM_REASONS = 8
_NUM_PLACES = 3
_MAX_LINES = 100_000
"""Rejected rows that are looked through for places."""


@dataclass(frozen=True, slots=True)
class Example:
    """A post that was left out."""

    post: Post
    survivor_id: str = ""
    """Of a repeat: the post that stands for it."""
    survivor: Post | None = None
    """That post; ``None`` once it was taken back."""
    num_alike: int = 1
    """Posts that the survivor stands for."""


@dataclass(frozen=True, slots=True)
class RejectedRows:
    """Rows that one reason kept from being posts."""

    reason: str
    count: int
    places: tuple[str, ...]
    """Source and position of the first few."""


def excluded_examples(corpus: Artifact, index: SearchIndex, reason: str) -> list[Example]:
    """Find a few posts of a reason, at even distances among all; repeats of different posts."""
    excluded = pl.scan_parquet(corpus.folder / "excluded.parquet", glob=False)
    alike = pl.when(pl.col("survivor_id").is_null()).then("id").otherwise("survivor_id")
    rows = (
        excluded.filter(pl.col("reason") == reason)
        .with_columns(pl.len().over(alike).alias("num_alike"))
        .filter(pl.col("id") == pl.col("id").first().over(alike))
        .collect()
    )
    # More than are shown: some may have been taken back since.
    chosen = rows.gather_every(max(1, rows.height // (4 * _NUM_EXAMPLES)))
    return list(islice(_found(chosen, index), _NUM_EXAMPLES))


def _found(rows: pl.DataFrame, index: SearchIndex) -> Iterator[Example]:
    columns = rows.select("id", "survivor_id", "num_alike")
    for post_id, survivor_id, num_alike in columns.iter_rows():
        if (post := index.get(post_id)) is None:
            continue
        if survivor_id is None:
            yield Example(post)
        else:
            yield Example(post, survivor_id, index.get(survivor_id), num_alike)


def rejected_examples(posts: Artifact) -> list[RejectedRows]:
    """Find where the rows of the commonest reasons stand in their files."""
    places: dict[str, list[str]] = {}
    with (posts.folder / "rejected.jsonl").open(encoding="utf-8") as lines:
        for line in islice(lines, _MAX_LINES):
            row = json.loads(line)
            some = places.setdefault(row["reason"], [])
            if len(some) < _NUM_PLACES:
                some.append(f"{row['source']}:{row['position']}")
    reasons: dict[str, int] = posts.counts["rejected_reasons"]
    commonest = sorted(reasons.items(), key=lambda entry: -entry[1])[:_NUM_REASONS]
    return [
        RejectedRows(reason, count, tuple(places.get(reason, ()))) for reason, count in commonest
    ]


async def show_exclusions(house: House, step: FunnelStep) -> None:
    """Open a sheet with a few of those that a step left out."""
    # Not where the step is drawn: the sheet stays open when the funnel is drawn anew.
    with ui.context.client.content, ui.dialog() as dialog, box("div", "sheet wide"):
        with box("div", "sheet-head"):
            text("h2", step.name)
            with box("button", "tool", type="button", aria_label="Close", title="Close").on(
                "click", dialog.close
            ):
                icon("close")
        if step.meaning:
            text("p", f"{step.meaning}.", "note")
        with box("div", "examples") as place:
            box("div", "skeleton example-soon")
    dialog.props["aria-label"] = step.name
    dialog.on("hide", dialog.delete)
    dialog.open()
    if step.reason == REJECTED:
        await _show_rejected(house, place)
    else:
        await _show_excluded(house, step, place)


async def _show_rejected(house: House, place: ui.element) -> None:
    assert house.posts is not None, "a house does not lose its posts"
    found = await asyncio.to_thread(rejected_examples, house.posts)
    place.clear()
    with place:
        for rows in found:
            with box("div", "rejected-rows"):
                text("p", rows.reason)
                number(short_number(rows.count), f"{exact_number(rows.count)} rows", "right")
                with box("p", "note"):
                    for where in rows.places:
                        text("code", where)
                    if rows.count > len(rows.places):
                        text("span", f"and {plural(rows.count - len(rows.places), 'more', 'more')}")


async def _show_excluded(house: House, step: FunnelStep, place: ui.element) -> None:
    corpus, index = house.corpus, house.index
    examples: list[Example] = []
    if corpus is not None and index is not None:
        examples = await asyncio.to_thread(excluded_examples, corpus, index, step.reason)
    place.clear()
    with place:
        if not examples:
            text("p", "None of them can be shown any more.", "note")
            return
        of_all = f"{len(examples)} of {plural(step.count, 'post')}, from all over:"
        text("p", of_all if len(examples) < step.count else f"{plural(step.count, 'post')}:",
             "note")  # fmt: skip
        for example in examples:
            _example(house, example)


def _example(house: House, example: Example) -> None:
    if not example.survivor_id:
        removable_card(house, example.post)
        return
    with box("div", "pair"):
        text("h3", "Left out")
        removable_card(house, example.post)
        others = f" and {plural(example.num_alike - 1, 'other', 'others')}"
        text("h3", "Stands for it" + (others if example.num_alike > 1 else ""))
        if example.survivor is None:
            text("p", f"{example.survivor_id} was taken back since.", "note")
        else:
            removable_card(house, example.survivor)
