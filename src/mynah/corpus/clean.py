"""Cleaning: a post's text as a language model should read it. Pure functions, nothing on disk.

What comes out is one line: Unicode in NFC, entities resolved, no control characters, no opaque
links, no repost prefix, and nothing that a chat template would take for one of its own marks.
"""

import html
import re
import unicodedata

__all__ = ["SHORTENERS", "clean_text"]

SHORTENERS = frozenset(
    [
        "t.co",
        "bit.ly",
        "j.mp",
        "goo.gl",
        "ow.ly",
        "tinyurl.com",
        "buff.ly",
        "dlvr.it",
        "fb.me",
        "is.gd",
        "youtu.be",
        "lnkd.in",
        "ift.tt",
        "trib.al",
        "wp.me",
        "amzn.to",
        "nyti.ms",
        "wapo.st",
        "cnn.it",
        "1.usa.gov",
        "pic.twitter.com",
        "redd.it",
        "tmblr.co",
        "instagr.am",
    ]
)
"""Hosts whose links say nothing about where they lead."""

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]")
"""Without the two joiners, which Persian, the scripts of India and emoji are written with."""
_LINK = re.compile(r"https?://[^\s<>\"']*", re.I)
_CUT_LINK = re.compile(r"\bhttps?(?::/{0,2})?\u2026", re.I)
_BARE_PICTURE = re.compile(r"\bpic\.twitter\.com/\w+")
_HOST = re.compile(r"(?:www\.)?([^\W_][\w.-]*\.[^\W\d_]{2,})(?::\d+)?", re.I)
_LINK_END = re.compile(r"[.,;:!?)\]}\u2026]*$")
_MARK = re.compile(r"<\|([\w ]{0,40})\|>")
"""A mark of a chat template, as in ``<|im_start|>``: text of a post must never become one."""
_REPOST = re.compile(r"(?:RT @\w+(?:: ?| |$))+")
_MAX_PASSES = 8


def clean_text(text: str) -> str:
    """Return the text on one clean line; cleaning that again changes nothing.

    A link becomes its host (``nytimes.com``): a path is mostly numbers that teach a small model
    nothing. A link of a shortener goes altogether.
    """
    for _ in range(_MAX_PASSES):
        cleaned = _clean_once(text)
        if cleaned == text:
            return cleaned
        text = cleaned
    # Entities inside entities, deeper than anyone writes by accident.
    text = re.sub(r"[&<]", "", text)
    while (cleaned := _clean_once(text)) != text:
        text = cleaned
    return text


def _clean_once(text: str) -> str:
    if "&" in text:
        text = html.unescape(text)
    # Each check is one pass in C over the text; the patterns behind it are ten times slower.
    is_printable = text.isprintable()
    if not text.isascii():
        text = text if is_printable else _INVISIBLE.sub("", text)
        text = unicodedata.normalize("NFC", text)
    if not is_printable:
        text = _CONTROL.sub("", text)
    if "<|" in text:
        text = _MARK.sub(r"\1", text)
    if "http" in text.lower():
        text = _CUT_LINK.sub("\u2026", _LINK.sub(_host_of, text))
    if "pic.twitter.com/" in text:
        text = _BARE_PICTURE.sub("", text)
    text = " ".join(text.split())
    return _REPOST.sub("", text, count=1) if text.startswith("RT @") else text


def _host_of(match: re.Match[str]) -> str:
    link = match.group()
    ending = _LINK_END.search(link)
    end = ending.group() if ending else ""
    place = re.split(r"[/?#]", link.partition("://")[2][: -len(end) or None], maxsplit=1)[0]
    host = _HOST.fullmatch(place.rpartition("@")[2].lower())
    if host is None or host.group(1) in SHORTENERS:
        return "\u2026" if "\u2026" in end else end
    return host.group(1) + end
