"""Examples of what was left out, opened from a step of the funnel.

Reads ``rejected.jsonl`` of the post store and ``excluded.parquet`` of the corpus.
"""

import json
from itertools import islice

import polars as pl
from nicegui import ui

from mynah.posts import Post
from mynah.web.cards import post_card
from mynah.web.funnel import FunnelStep
from mynah.web.house import House
from mynah.web.markup import box, icon, text
from mynah.web.wording import exact_number, plural

__all__ = ["show_exclusions"]

_NUM_EXAMPLES = 5


def show_exclusions(house: House, step: FunnelStep) -> None:
    """Open a sheet with the first few that a step left out."""
    with ui.dialog() as dialog, box("div", "sheet"):
        with box("div", "sheet-head"):
            text("h2", step.name)
            with box("button", "tool", type="button", aria_label="Close", title="Close").on(
                "click", dialog.close
            ):
                icon("close")
        text("p", f"{plural(step.count, 'post')} left out. The first "
             f"{exact_number(min(step.count, _NUM_EXAMPLES))}:", "note")  # fmt: skip
        if step.reason == "rejected":
            _rejected_rows(house)
        else:
            for post in _excluded_posts(house, step.reason):
                post_card(post)
    dialog.props["aria-label"] = step.name
    dialog.on("hide", dialog.delete)
    dialog.open()


def _rejected_rows(house: House) -> None:
    if house.posts is None:
        return
    with (house.posts.folder / "rejected.jsonl").open(encoding="utf-8") as lines:
        for line in islice(lines, _NUM_EXAMPLES):
            row = json.loads(line)
            with box("p", "rejected-row"):
                text("code", f"{row['source']}:{row['position']}")
                text("span", f" {row['reason']}")


def _excluded_posts(house: House, reason: str) -> list[Post]:
    if house.corpus is None or house.index is None:
        return []
    excluded = pl.scan_parquet(house.corpus.folder / "excluded.parquet", glob=False)
    ids = excluded.filter(pl.col("reason") == reason).head(_NUM_EXAMPLES).collect()["id"]
    return [post for post_id in ids if (post := house.index.get(post_id)) is not None]
