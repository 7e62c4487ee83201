"""HTML as networks send it, turned into the text a reader sees. Reads and writes no files.

Mastodon, Hacker News, Zulip and mail hold posts as HTML: broken, unclosed, sometimes hostile.
The standard library's parser is quadratic on some of that, so the tags are found here, by
patterns that never go back: time and memory are linear in the input, depth is a counter.
"""

import html
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

__all__ = ["html_to_text"]

_TAG: Final = re.compile(
    r"""<(/?)([a-zA-Z][^\s/>]*+)((?:[^>"'=]++|=\s*+(?:"[^"]*+"|'[^']*+')?+|["'])*+)>"""
)
_PLAIN_TAG: Final = re.compile(r"<(/?)([a-zA-Z][^\s/>]*+)([^>]*+)>")
"""For text whose quotes do not pair up; without it such a text would be searched per tag."""
_ATTRIBUTE: Final = re.compile(
    r"""([^\s"'<>/=]++)\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'=<>`]++))"""
)
_SPACE: Final = re.compile(r"[ \t\n\r\f]+")
_HUGE_NUMBER: Final = re.compile(r"&#[0-9]{9,}+;?")
"""No character has such a number, and Python refuses to read one of 4,300 digits."""
_EMOJI: Final = re.compile(r"(?:^|\s)emoji-([0-9a-f]{2,6}(?:-[0-9a-f]{2,6}){0,9})(?:\s|$)")
_SCHEME: Final = re.compile(r"\A(?:https?://)?(?:www\.)?", re.I)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PARAGRAPHS: Final = _names("p h1 h2 h3 h4 h5 h6 blockquote pre ul ol dl table hr")
_LINES: Final = _names(
    "div li tr dt dd section article header footer details summary figure figcaption address "
    "body html form fieldset main nav aside center"
)
_RAW: Final = {
    name: re.compile(f"</{name}", re.I) for name in ("script", "style", "title", "iframe")
}
"""What holds no markup and no words of the post."""
_SKIPPED: Final = frozenset({"svg", "template"})
_SKIPPED_CLASSES: Final = _names(
    # The second and third copy of a formula; previews that the network made of linked pages.
    "katex-html message_embed message_inline_image message_inline_ref inline-preview-twitter "
    "twitter-tweet"
)
_CUT: Final = ("...", "\N{HORIZONTAL ELLIPSIS}")
_MAX_INDENT: Final = 8
"""Deeper quotes and lists are written at this depth."""


def html_to_text(html: str) -> str:
    """Return what a reader sees: lines and paragraphs, code as it stands, links as text.

    A link whose text was cut short becomes its URL; a formula its TeX source between dollars;
    an emoji image its character or name; quoted lines begin with ``>``. Never raises.
    """
    if "<" not in html and "&" not in html:
        return _SPACE.sub(" ", html).strip()
    reading = _Reading()
    _feed(html, reading)
    return reading.finish()


def _feed(source: str, reading: "_Reading") -> None:
    """Cut ``source`` into tags and what is between them."""
    tag = _TAG
    at = 0
    while (start := source.find("<", at)) >= 0:
        reading.text(source[at:start])
        match = tag.match(source, start)
        follows = source[start + 1 : start + 2]
        if match is None and follows and follows in "!?/":
            at = _after_comment(source, start)
            continue
        if match is None and follows.isascii() and follows.isalpha():
            tag = _PLAIN_TAG  # the other read to the end in vain: never do that again
            match = tag.match(source, start)
            if match is None:  # no tag ends from here on
                at = start
                break
        if match is None:
            reading.text("<")
            at = start + 1
            continue
        at = _take_tag(source, match, reading)
    reading.text(source[at:])


def _take_tag(source: str, match: re.Match[str], reading: "_Reading") -> int:
    """Hand a tag on; return where to read on, past what is neither markup nor words."""
    name = match.group(2).lower()
    if match.group(1):
        reading.close(name)
        return match.end()
    reading.open(name, match.group(3))
    if name not in _RAW:
        return match.end()
    end = _RAW[name].search(source, match.end())
    return end.start() if end else len(source)


def _after_comment(source: str, start: int) -> int:
    """Find the end of a comment, doctype or broken end tag; an endless one ends the text."""
    mark = "-->" if source.startswith("<!--", start) else ">"
    end = source.find(mark, start + 2)
    return end + len(mark) if end >= 0 else len(source)


def _unescape(text: str) -> str:
    if "&" not in text:
        return text
    return html.unescape(_HUGE_NUMBER.sub("\N{REPLACEMENT CHARACTER}", text))


def _attributes(inside: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, double, single, bare in _ATTRIBUTE.findall(inside):
        found.setdefault(name.lower(), _unescape(double or single or bare))
    return found


def _whole_link(text: str, href: str, *, is_cut: bool) -> str:
    """Return the text of a link, or its URL when the text shows only the URL's beginning."""
    mark = next((mark for mark in _CUT if text.endswith(mark)), "")
    if not (mark or is_cut) or not href.lower().startswith(("http://", "https://")):
        return text
    shown = unquote(_SCHEME.sub("", text.removesuffix(mark), count=1))
    whole = unquote(_SCHEME.sub("", href, count=1))
    return href if shown and whole.startswith(shown) else text


class _Reading:
    """The text so far, and where in the document the reading stands."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._num_breaks = 0
        self._has_space = False
        self._quote_depth = 0
        self._last_quote_depth = 0
        self._pre_depth = 0
        self._is_pre_start = False
        self._lists: list[int] = []
        """Number of the next entry of each open list; 0 in one with bullets."""
        self._skipped = ("", 0)
        """Element that is left out, and how many of its name are open."""
        self._link: tuple[str, list[str]] | None = None
        self._is_link_cut = False
        self._formula: list[str] | None = None
        self._tex: list[str] | None = None
        self._is_in_tex = False
        self._is_display = False
        self._emoji = ""
        """Character that stands for the ``:name:`` that follows."""

    def finish(self) -> str:
        """Return the text."""
        self._end_formula()
        self._end_link()
        return "".join(self._parts).strip("\n").rstrip()

    def text(self, source: str) -> None:
        """Take what stands between two tags."""
        if source and not self._skipped[0]:
            self._take(_unescape(source))

    def _take(self, words: str) -> None:
        if self._formula is not None:
            into = self._tex if self._is_in_tex and self._tex is not None else self._formula
            into.append(words)
        elif self._emoji:
            return
        elif self._link is not None:
            self._link[1].append(words)
        elif self._pre_depth:
            self._write_verbatim(words)
        else:
            self._write(words)

    def open(self, name: str, inside: str) -> None:
        """Take a start tag."""
        if self._skipped[0]:
            if name == self._skipped[0]:
                self._skipped = (name, self._skipped[1] + 1)
            return
        if name in _SKIPPED:
            self._skipped = (name, 0 if inside.endswith("/") else 1)
            self._leave_skipped()
        elif name in ("span", "div"):
            self._open_container(name, _attributes(inside) if "=" in inside else {})
        elif name in ("math", "annotation"):
            self._open_formula(name, inside)
        elif name == "br":
            self._break_line()
        elif name == "a":
            self._end_link()
            self._link = (_attributes(inside).get("href", "").strip(), [])
            self._is_link_cut = False
        elif name == "img":
            self._open_image(_attributes(inside))
        elif name in ("td", "th"):
            self._take(" ")
        elif name in _PARAGRAPHS or name in _LINES:
            self._open_block(name, inside)

    def close(self, name: str) -> None:
        """Take an end tag."""
        if self._skipped[0]:
            if name == self._skipped[0]:
                self._skipped = (name, self._skipped[1] - 1)
                self._leave_skipped()
        elif name == "span":
            self._emoji = ""
        elif name == "a":
            self._end_link()
        elif name == "math":
            self._end_formula()
        elif name == "annotation":
            self._is_in_tex = False
        elif name in _PARAGRAPHS or name in _LINES:
            self._close_block(name)

    def _leave_skipped(self) -> None:
        if self._skipped[1] <= 0:
            self._skipped = ("", 0)

    def _open_container(self, name: str, attributes: Mapping[str, str]) -> None:
        classes = attributes.get("class", "")
        if classes and not _SKIPPED_CLASSES.isdisjoint(classes.split()):
            self._skipped = (name, 1)
        elif name == "div":
            self._open_block(name, "")
        elif "ellipsis" in classes.split():
            self._is_link_cut = True
        elif match := _EMOJI.search(classes):
            numbers = [int(number, 16) for number in match.group(1).split("-")]
            if all(0x20 < n < 0xD800 or 0xDFFF < n <= 0x10FFFF for n in numbers):
                self._take("".join(map(chr, numbers)))
                self._emoji = match.group(1)

    def _open_formula(self, name: str, inside: str) -> None:
        attributes = _attributes(inside)
        if name == "math":
            self._end_formula()
            self._formula, self._tex = [], None
            self._is_display = attributes.get("display") == "block"
        elif self._formula is not None and attributes.get("encoding") == "application/x-tex":
            self._tex = []
            self._is_in_tex = True

    def _open_image(self, attributes: Mapping[str, str]) -> None:
        if "emoji" in attributes.get("class", "") or "smiley" in attributes.get("class", ""):
            self._take(attributes.get("alt") or attributes.get("title", ""))

    def _open_block(self, name: str, inside: str) -> None:
        if name not in ("p", "div"):  # these may begin on the line of a list's entry
            self._num_breaks = max(0, self._num_breaks)
        self._break(self._distance(name))
        if name == "blockquote":
            self._quote_depth += 1
        elif name == "pre":
            self._pre_depth += 1
            self._is_pre_start = True
        elif name in ("ul", "ol"):
            start = _attributes(inside).get("start", "1") if name == "ol" else "0"
            self._lists.append(int(start) if re.fullmatch("[0-9]{1,6}", start) else 1)
        elif name == "li":
            self._open_entry()

    def _distance(self, name: str) -> int:
        """Count the line ends around a block: a list inside a list stands close."""
        is_inner_list = name in ("ul", "ol") and bool(self._lists)
        return 2 if name in _PARAGRAPHS and not is_inner_list else 1

    def _open_entry(self) -> None:
        number = self._lists[-1] if self._lists else 0
        if number:
            self._lists[-1] += 1
        indent = "  " * (min(len(self._lists), _MAX_INDENT) - 1)
        self._put(f"{indent}{number}." if number else f"{indent}-")
        self._has_space = True
        self._num_breaks = -1  # a paragraph inside the entry begins on its line

    def _close_block(self, name: str) -> None:
        if name == "li":
            self._num_breaks = max(0, self._num_breaks)
        if name in ("ul", "ol") and self._lists:
            self._lists.pop()
        self._break(self._distance(name))
        if name == "blockquote":
            self._quote_depth = max(0, self._quote_depth - 1)
        elif name == "pre":
            self._pre_depth = max(0, self._pre_depth - 1)

    def _end_link(self) -> None:
        if self._link is None:
            return
        href, parts = self._link
        self._link = None
        text = "".join(parts)
        shown = text.strip()
        self._write_link(text, shown, _whole_link(shown, href, is_cut=self._is_link_cut))

    def _write_link(self, text: str, shown: str, whole: str) -> None:
        if self._pre_depth:
            self._write_verbatim(text.replace(shown, whole, 1) if shown else text)
        elif text:
            self._write(text if shown == whole else text.replace(shown, whole, 1))

    def _end_formula(self) -> None:
        if self._formula is None:
            return
        source = "".join(self._formula if self._tex is None else self._tex).strip()
        mark = "" if self._tex is None else "$$" if self._is_display else "$"
        self._formula, self._tex, self._is_in_tex = None, None, False
        if source:
            self._take(f"{mark}{source}{mark}")

    def _break_line(self) -> None:
        if self._formula is not None:
            return
        self._end_link()
        if self._pre_depth:
            self._write_verbatim("\n")
        else:
            self._num_breaks = min(2, max(0, self._num_breaks) + 1)
            self._has_space = False

    def _break(self, num_lines: int) -> None:
        self._end_formula()
        self._end_link()
        self._emoji = ""
        if self._num_breaks >= 0:
            self._num_breaks = max(min(self._num_breaks, 2), num_lines)
            self._has_space = False

    def _write(self, words: str) -> None:
        text = _SPACE.sub(" ", words)
        bare = text.strip(" ")
        if text[:1] == " ":
            self._has_space = True
        if bare:
            self._put(bare)
            self._has_space = text[-1] == " "

    def _write_verbatim(self, words: str) -> None:
        lines = words.replace("\r\n", "\n").split("\n")
        if self._is_pre_start and not lines[0]:
            lines[:1] = []  # HTML ignores a line end right after the tag
        self._is_pre_start = False
        for number, line in enumerate(lines):
            if number:
                self._num_breaks = max(0, self._num_breaks) + 1
            if line:
                self._put(line)

    def _put(self, piece: str) -> None:
        """Write ``piece`` after the lines or the space that are due before it."""
        depth = min(self._quote_depth, _MAX_INDENT)
        if self._num_breaks > 0 or not self._parts:
            between = ">" if depth and self._last_quote_depth else ""
            if self._parts:
                self._parts.append("\n" + f"{between}\n" * (self._num_breaks - 1))
            self._parts.append("> " * depth)
        elif self._has_space:
            self._parts.append(" ")
        self._num_breaks = 0
        self._has_space = False
        self._last_quote_depth = depth
        self._parts.append(piece)
