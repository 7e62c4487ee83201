"""Slack's markup, blocks and attachments, turned into the text a reader sees."""

import re
from collections.abc import Mapping
from typing import Any, Final

from mynah.posts.readers.chat_files import as_list
from mynah.posts.readers.native import pick

__all__ = ["attachments_text", "blocks_text", "plain_text"]

_MARK: Final = re.compile(r"<([^<>]++)>")
_ENTITY: Final = re.compile("&(amp|lt|gt);")
_ENTITIES: Final = {"amp": "&", "lt": "<", "gt": ">"}
_HEX: Final = re.compile(r"[0-9a-f]{2,6}(?:-[0-9a-f]{2,6}){0,9}")
_MAX_DEPTH: Final = 12
"""Blocks nested deeper are left out; Slack has five levels."""

Json = Any
Handles = Mapping[str, str]


def plain_text(text: str, handles: Handles) -> str:
    """Resolve mentions, channels and links, then the three characters Slack escapes."""
    if "<" in text:
        text = _MARK.sub(lambda match: _shown(match.group(1), handles), text)
    return _ENTITY.sub(lambda match: _ENTITIES[match.group(1)], text) if "&" in text else text


def _shown(mark: str, handles: Handles) -> str:
    """Return what ``<mark>`` looks like in Slack."""
    target, _, label = mark.partition("|")
    kind = target[:1]
    if kind == "@":
        user = target[1:]
        return "@" + (handles.get(user) or label.removeprefix("@") or user)
    if kind == "#":
        return "#" + (label or target[1:]).removeprefix("#")
    if kind == "!":
        return _special(target[1:], label)
    if not label or label == target:
        return target.removeprefix("mailto:")
    # A label that is the address without its scheme says nothing that the address does not.
    is_address = target.partition("://")[2].rstrip("/") == label.rstrip("/")
    return target if is_address else label


def _special(command: str, label: str) -> str:
    if label:
        return label
    name = command.partition("^")[0]
    return f"@{name}" if name in ("here", "channel", "everyone") else ""


def attachments_text(attachments: Json, handles: Handles) -> str:
    """Return the words of a bot's attachments: what is over, in and under each."""
    pieces: list[str] = []
    for attachment in as_list(attachments):
        lines = [pick(attachment, key) for key in ("pretext", "title", "text")]
        for field in as_list(pick(attachment, "fields")):
            lines += [pick(field, "title"), pick(field, "value")]
        found = [line for line in lines if isinstance(line, str) and line.strip()]
        fallback = pick(attachment, "fallback")
        if not found and isinstance(fallback, str):
            found = [fallback]
        words = "\n".join(plain_text(line, handles) for line in found)
        pieces.append(words or blocks_text(pick(attachment, "blocks"), handles))
    return "\n".join(piece for piece in pieces if piece)


def blocks_text(blocks: Json, handles: Handles) -> str:
    """Return the words of blocks, one block a line."""
    lines = [_block(block, handles, 0) for block in as_list(blocks)]
    return "\n".join(line for line in lines if line.strip())


def _block(block: Json, handles: Handles, depth: int) -> str:
    if depth > _MAX_DEPTH:
        return ""
    kind = pick(block, "type")
    elements = as_list(pick(block, "elements"))
    if kind == "rich_text_list":
        return "\n".join("- " + _block(element, handles, depth + 1) for element in elements)
    if kind == "rich_text_quote":
        return "> " + _joined(elements, handles, depth).replace("\n", "\n> ")
    if kind == "rich_text":
        return "\n".join(_block(element, handles, depth + 1).strip("\n") for element in elements)
    if kind in ("rich_text_section", "rich_text_preformatted", "context"):
        return _joined(elements, handles, depth)
    if kind in ("section", "header"):
        fields = [pick(block, "text"), *as_list(pick(block, "fields"))]
        return "\n".join(line for line in (_words(field, handles) for field in fields) if line)
    return ""


def _joined(elements: list[Json], handles: Handles, depth: int) -> str:
    return "".join(_element(element, handles) for element in elements)


def _words(text: Json, handles: Handles) -> str:
    """Return the words of a text object, which is markup or plain."""
    words = pick(text, "text")
    if not isinstance(words, str):
        return ""
    return plain_text(words, handles) if pick(text, "type") != "plain_text" else words


def _element(element: Json, handles: Handles) -> str:
    def field(name: str) -> str:
        value = pick(element, name)
        return value if isinstance(value, str) else ""

    kind = field("type")
    if kind == "text":
        return field("text")
    if kind == "link":
        return field("text") or field("url")
    if kind == "user":
        return "@" + (handles.get(field("user_id")) or field("user_id"))
    if kind == "channel":
        return "#" + field("channel_id")
    if kind == "broadcast":
        return "@" + field("range")
    if kind == "emoji":
        return _emoji(field("unicode")) or f":{field('name')}:"
    if kind == "date":
        return field("fallback")
    return _words(element, handles) if kind in ("mrkdwn", "plain_text") else ""


def _emoji(numbers: str) -> str:
    if not _HEX.fullmatch(numbers):
        return ""
    values = [int(number, 16) for number in numbers.split("-")]
    is_character = all(0x20 < n < 0xD800 or 0xDFFF < n <= 0x10FFFF for n in values)
    return "".join(map(chr, values)) if is_character else ""
