"""What stands around every page: the rail, the top line, the banner, the list of keys.

Reads the house's name, model and stages; everything it loads comes from this server.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from pathlib import Path

from nicegui import ui

from mynah.web.house import House, Stage
from mynah.web.markup import box, commands_in, icon, link, text
from mynah.web.status import failed_stage, model_status
from mynah.web.theme import theme_css
from mynah.web.wording import sentence

__all__ = ["ROOMS", "STATIC", "Room", "head_html", "shell"]

STATIC = Path(__file__).parent / "static"
"""Folder of our own style, script and icons, served under ``/static``."""


@dataclass(frozen=True, slots=True)
class Room:
    """A place in the rail."""

    name: str
    path: str
    key: str
    """Letter after ``g`` that goes there; also the icon's name in lower case."""


ROOMS = (
    Room("Ask", "/", "a"),
    Room("Search", "/search", "s"),
    Room("Posts", "/posts", "p"),
    Room("Train", "/train", "t"),
    Room("Plan", "/plan", "l"),
    Room("Ads", "/ads", "d"),
    Room("Record", "/record", "r"),
)
"""Rooms that exist, in the order of the rail."""
NUM_AT_HAND = 4
"""Rooms in a phone's bottom bar; the rest stand under More."""

_KEYS = (
    ("/", "go to the box"),
    *((f"g {room.key}", f"open {room.name}") for room in ROOMS),
    ("j k", "next or previous result"),
    ("Enter", "open the result you are on"),
    ("Esc", "close what is open"),
    ("?", "this list"),
)


def head_html() -> str:
    """Style and script of every page, with their hash in the address so that caches let go."""
    style, script = (_versioned(name) for name in ("mynah.css", "mynah.js"))
    return (
        f"<style>{theme_css()}</style>"
        f'<link rel="stylesheet" href="{escape(style)}">'
        # Not deferred: it sets the chosen theme before the first paint.
        f'<script src="{escape(script)}"></script>'
    )


def _versioned(name: str) -> str:
    return f"/static/{name}?v={sha256((STATIC / name).read_bytes()).hexdigest()[:8]}"


@contextmanager
def shell(house: House, room: str, *, title: str = "", lead: str = "") -> Generator[None]:
    """Build the frame of a page; the block fills its middle.

    Args:
        house: Named at the top, with the model in use.
        room: The name of the page's place in the rail.
        title: The page's heading; the room's name unless given.
        lead: One sentence on what the page is for; empty on a page that says so itself.
    """
    network = house.network or house.workspace.root.name
    ui.page_title(f"{title or room} \u00b7 {network}")
    link("Skip to the page", "#page", "skip")
    _rail(room)
    _top_line(house, network)
    with box("div", f"page page-{room.lower()}", id="page", tabindex="-1"):
        _banner(house)
        if lead:
            with box("header", "page-head"):
                text("h1", title or room)
                text("p", lead, "lead")
        yield
    _key_list()


def _rail(current: str) -> None:
    with box("nav", "rail", aria_label="Rooms"):
        with box("span", "rail-bird", title="mynah"):
            icon("mynah")
        for room in ROOMS[:NUM_AT_HAND]:
            _rail_link(room, is_current=room.name == current)
        others = ROOMS[NUM_AT_HAND:]
        with box("div", "rail-rest", id="more-rooms", data_rest=""):
            for room in others:
                _rail_link(room, is_current=room.name == current)
        here = " is-current" if current in {room.name for room in others} else ""
        with box("button", f"rail-link rail-more{here}", data_more="", type="button",
                 aria_expanded="false", aria_controls="more-rooms"):  # fmt: skip
            icon("more")
            text("span", "More")


def _rail_link(room: Room, *, is_current: bool) -> None:
    with ui.element("a").classes("rail-link") as anchor:
        anchor.props["href"] = room.path
        anchor.props["data-key"] = room.key
        anchor.props["title"] = f"{room.name} (g {room.key})"
        if is_current:
            anchor.props["aria-current"] = "page"
        icon(room.name.lower())
        text("span", room.name)


def _top_line(house: House, network: str) -> None:
    with box("header", "top"):
        text("span", network, "network", title=str(house.workspace.root))
        with box("span", "model", role="status") as model:
            box("span", "dot", aria_hidden="true")
            words = text("span", "", "model-words")
        with box("span", "top-tools"):
            with box("button", "tool", data_theme_toggle="", aria_label="Light or dark",
                     title="Light or dark", type="button"):  # fmt: skip
                icon("theme")
            with box("button", "tool tool-keys", data_keys="", aria_label="Keys",
                     title="Keys (?)", type="button"):  # fmt: skip
                text("span", "?")
            if not house.is_local:
                link("Sign out", "/logout", "tool-word")

    def refresh() -> None:
        status = model_status(house)
        words.text = status.line
        if model.props.get("title") != status.exact:
            model.props["title"] = status.exact
            model.update()
        model.classes(add="is-live" if status.is_live else "", remove="is-live"
                      if not status.is_live else "")  # fmt: skip

    refresh()
    ui.timer(1.0, refresh)


def _banner(house: House) -> None:
    place = box("div", "banner-place")
    shown = ""

    def refresh() -> None:
        nonlocal shown
        stage = failed_stage(house)
        note = f"{stage.title}\n{stage.note}" if stage else ""
        if note == shown:
            return
        shown = note
        place.clear()
        if stage is None:
            return
        with place:
            _failure(stage)

    refresh()
    ui.timer(1.0, refresh)


def _failure(stage: Stage) -> None:
    """What stopped the job; a stage's note holds an ``error:`` line and a ``hint:`` line."""
    what, _, hint = stage.note.partition("\n")
    what = sentence(what.removeprefix("error: "))
    hint = sentence(hint.removeprefix("hint: ")) or "Run the same command again to continue."
    with box("div", "banner", role="alert"):
        text("p", f"The job stopped at \u201c{stage.title}\u201d. {what}", "error-what")
        with box("p", "error-hint"):
            commands_in(hint)


def _key_list() -> None:
    with box("div", "keys", data_key_list="", hidden="", role="dialog", aria_label="Keys"):
        text("h2", "Keys")
        with box("dl"):
            for keys, meaning in _KEYS:
                with box("div"):
                    with ui.element("dt"):
                        for key in keys.split():
                            text("kbd", key)
                    text("dd", meaning)
