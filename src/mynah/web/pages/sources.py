"""What was given: the files that were read, their formats, and what was in them.

Reads the counts of the post store's manifest.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from nicegui import ui

from mynah.posts import FORMATS
from mynah.web.markup import box, text
from mynah.web.wording import exact_number, plural, short_number

__all__ = ["gathered_sources", "show_sources"]

_MAX_SOURCES = 6
_COLUMNS = (
    ("Posts", "num_posts", "posts that could be read"),
    ("Not readable", "num_rejected", "rows that are no post as the format has it"),
    ("Private", "num_private", "private or direct posts, never kept"),
    ("Deleted", "num_deleted", "posts that their authors deleted"),
    ("Other records", "num_not_posts", "records that are no posts: likes, joins, reposts alone"),
)
"""Of a source: name, count and meaning."""

Facts = Mapping[str, Any]


def show_sources(counts: Facts, *, num_forgotten: int) -> None:
    """Lay out the files with their counts, and what is gone from them."""
    given = gathered_sources(counts["sources"])
    text("h2", "What you gave")
    _source_table(given[:_MAX_SOURCES])
    if rest := given[_MAX_SOURCES:]:
        with box("details"):
            text("summary", f"{exact_number(len(rest))} more")
            _source_table(rest)
    if counts["num_deleted"]:
        text("p", f"Your files name {plural(counts['num_deleted'], 'post')} that their authors "
             "deleted. Older versions of these stay out.", "note")  # fmt: skip
    if num_forgotten:
        text("p", f"{plural(num_forgotten, 'post')} will never be read again: taken back for good.",
             "note")  # fmt: skip


def gathered_sources(sources: Iterable[Facts]) -> list[dict[str, Any]]:
    """Add up the files of one archive and format, the most posts first."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for source in sources:
        archive, inside, _ = str(source["name"]).partition(".zip:")
        name = archive + inside.rstrip(":")
        row = rows.setdefault(
            (name, source["format"]), {"name": name, "format": source["format"], "num_files": 0}
        )
        row["num_files"] += 1
        for _, key, _ in _COLUMNS:
            row[key] = row.get(key, 0) + int(source[key])
    return sorted(rows.values(), key=lambda row: -row["num_posts"])


def _source_table(rows: list[dict[str, Any]]) -> None:
    titles = {format_.name: format_.title.partition(":")[0] for format_ in FORMATS}
    columns = [c for c in _COLUMNS if c[1] == "num_posts" or any(row[c[1]] for row in rows)]
    with box("div", "table-wrap"), box("table", "data stack"):
        with box("thead"), box("tr"):
            for name in ("File", "Format"):
                text("th", name)
            for name, _, meaning in columns:
                text("th", name, "right", title=meaning)
        with box("tbody"):
            for row in rows:
                with box("tr"):
                    with ui.element("td").classes("source-name"):
                        text("code", row["name"])
                        if row["num_files"] > 1:
                            text("span", f" {plural(row['num_files'], 'file')}", "note")
                    text("td", str(titles.get(row["format"], row["format"])), data_label="Format")
                    for name, key, meaning in columns:
                        side = "right" if row[key] or key == "num_posts" else "right none"
                        text("td", short_number(row[key]), side, data_label=name,
                             title=f"{exact_number(row[key])} {meaning}")  # fmt: skip
