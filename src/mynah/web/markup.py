"""Small pieces of pages. Every text goes to the browser as text, never as HTML or Markdown."""

import re
from collections.abc import Sequence
from html import unescape
from typing import TypeVar
from urllib.parse import urlsplit

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from mynah.errors import MynahError
from mynah.web.wording import sentence

E = TypeVar("E", bound=Element)

__all__ = [
    "box",
    "commands_in",
    "error_note",
    "highlighted",
    "icon",
    "link",
    "number",
    "safe_url",
    "text",
]


def box(kind: str = "div", classes: str = "", **attributes: str) -> Element:
    """An element that holds others; attributes in snake case, as in ``aria_label``."""
    return _attributed(ui.element(kind), classes, attributes)


def text(kind: str, content: str, classes: str = "", **attributes: str) -> TextElement:
    """An element that holds nothing but ``content``, escaped by the browser itself."""
    return _attributed(TextElement(tag=kind, text=content), classes, attributes)


def link(content: str, href: str, classes: str = "", **attributes: str) -> TextElement:
    """A plain link, so that back, reload, a new tab and the keyboard work as everywhere."""
    return text("a", content, classes, href=href, **attributes)


def icon(name: str, classes: str = "") -> Element:
    """One of our own icons, in the colour of the text around it."""
    return box("span", f"icon icon-{name} {classes}", aria_hidden="true")


def number(content: str, exact: str, classes: str = "") -> TextElement:
    """A short figure that tells its exact value and meaning on hover."""
    return text("span", content, f"number {classes}", title=exact)


def highlighted(content: str, spans: Sequence[tuple[int, int]], classes: str = "") -> Element:
    """A post's text with some ``[start, end)`` spans marked, every piece a text of its own.

    X writes ``&`` as ``&amp;`` in its exports; a reader sees the character, still as plain text.
    """
    paragraph = box("p", f"post-text {classes}")
    with paragraph:
        at = 0
        for start, end in sorted(spans):
            if start < at or end > len(content):
                continue
            if start > at:
                text("span", unescape(content[at:start]))
            text("mark", unescape(content[start:end]))
            at = end
        if at < len(content):
            text("span", unescape(content[at:]))
    return paragraph


def error_note(error: MynahError, classes: str = "") -> Element:
    """What went wrong and what to do, in the words of the command line."""
    note = box("div", f"error-note {classes}", role="alert")
    with note:
        text("p", sentence(error.message), "error-what")
        with box("p", "error-hint"):
            commands_in(sentence(error.hint))
    return note


def commands_in(words: str) -> None:
    """A sentence in which anything that looks like one of our commands is set as code."""
    for piece in re.split(r"(mynah up [^,;]*[^,;.\s])", words):
        if piece:
            text("code" if piece.startswith("mynah ") else "span", piece)


def safe_url(url: str | None) -> str | None:
    """The address if a browser may be sent there; a post could hold ``javascript:``."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in ("http", "https") and parts.netloc else None


def _attributed(element: E, classes: str, attributes: dict[str, str]) -> E:
    for name, value in attributes.items():
        element.props[name.rstrip("_").replace("_", "-")] = value
    return element.classes(classes) if classes else element
