"""An Atom feed of a log: one entry a leaf, newest first (RFC 4287).

Pure. The id of an entry stands for its place in its log and never changes; addresses may.
"""

import hashlib
import re
from collections.abc import Sequence
from xml.etree import ElementTree

from mynah.record.notes import VerifierKey
from mynah.record.site import describe
from mynah.record.statements import Statement

__all__ = ["FEED_LEAVES", "atom_feed"]

FEED_LEAVES = 100
"""Leaves in the feed: a reader that asks once a day misses none of a busy day."""
_ATOM = "http://www.w3.org/2005/Atom"
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML document may hold, however they are written; a leaf may."""
_NO_TIME = "1970-01-01T00:00:00Z"
"""Of a log without leaves; nothing in it has a time."""


def atom_feed(
    leaves: Sequence[tuple[int, Statement]], *, key: VerifierKey, base_url: str = ""
) -> bytes:
    """The last leaves of the log that ``key`` signs, as an Atom document.

    Args:
        leaves: Index and statement, oldest first.
        key: Of the log.
        base_url: Address of the published folder; without it the links are relative.
    """
    ElementTree.register_namespace("", _ATOM)
    base = f"{base_url.rstrip('/')}/" if base_url else ""
    tag = f"tag:mynah.example,2026:record/{hashlib.sha256(str(key).encode()).hexdigest()[:32]}"
    feed = ElementTree.Element(f"{{{_ATOM}}}feed")
    _add(feed, "id", tag)
    _add(feed, "title", f"Record of {key.name}")
    _add(feed, "subtitle", "What is trained, paused, shared and taken back")
    _add(feed, "updated", leaves[-1][1].body.time if leaves else _NO_TIME)
    _add(_add(feed, "author"), "name", key.name)
    _add(feed, "link", rel="self", type="application/atom+xml", href=f"{base}feed.xml")
    _add(feed, "link", rel="alternate", type="text/html", href=f"{base}index.html")
    _add(feed, "generator", "mynah")
    for index, statement in reversed(leaves[-FEED_LEAVES:]):
        body = statement.body
        entry = _add(feed, "entry")
        _add(entry, "id", f"{tag}/{index}")
        _add(entry, "title", f"{index}: {body.kind}")
        _add(entry, "updated", body.time)
        _add(entry, "published", body.time)
        _add(entry, "category", term=body.kind)
        _add(
            entry, "link", rel="alternate", type="text/html", href=f"{base}index.html#leaf-{index}"
        )
        _add(entry, "content", describe(body), type="text")
    document = ElementTree.tostring(feed, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _add(
    parent: ElementTree.Element, name: str, text: str = "", **attributes: str
) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, f"{{{_ATOM}}}{name}", attributes)
    child.text = _NO_XML.sub("\ufffd", text) or None
    return child
