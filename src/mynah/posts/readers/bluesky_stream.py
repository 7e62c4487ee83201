"""Bluesky as it happens: Jetstream, and the frames of a relay.

Reads Jetstream's JSON lines; the relay's own events, as raw frames (each after its length, four
bytes, little-endian) or as JSON.
"""

import base64
import binascii
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import IO, Any, Final, cast

import libipld

from mynah.posts.export_file import ExportFile
from mynah.posts.format import Format, Head, look_at
from mynah.posts.reader import Found, ReadOptions, Rejected, SourceReport
from mynah.posts.readers.bluesky_events import (
    ACCOUNT_MARKS,
    Change,
    Event,
    NumberedEvents,
    Status,
    posts_from_events,
)
from mynah.posts.readers.bluesky_post import ACCOUNT_COLLECTIONS, POSTS
from mynah.posts.readers.car_blocks import blocks_by_cid, decoded
from mynah.posts.readers.json_records import line_records
from mynah.posts.readers.native import json_objects, pick
from mynah.posts.values import BadValue, parse_text, parse_time

__all__ = ["FORMATS", "read_bluesky_firehose", "read_bluesky_jetstream"]

MAX_FRAME_BYTES: Final = 16 << 20
"""The relay's own limit is 5 MB."""
_KINDS: Final = {"com": "commit", "acc": "account", "id": "identity"}
_ACTIONS: Final = {"c": "create", "u": "update", "d": "delete"}
"""As the first version of Jetstream called them."""
_BYTE_MARKS: Final = tuple(mark.encode() for mark in ACCOUNT_MARKS)

Json = Any


def _time(value: Json) -> datetime | None:
    try:
        return parse_time(value)
    except BadValue:
        return None


def read_bluesky_jetstream(
    file: ExportFile, options: ReadOptions, report: SourceReport
) -> Iterator[Found]:
    """Read the posts, updates and deletions of a Jetstream, one event a line."""

    def events(is_about_accounts: bool) -> Iterator[NumberedEvents]:
        with file.open_text() as text:
            lines = text.lines()
            if is_about_accounts:
                lines = (line if any(m in line for m in ACCOUNT_MARKS) else "" for line in lines)
            for item in line_records(lines, source=report.name):
                yield item if isinstance(item, Rejected) else (item[0], (_jet_event(item[1]),))
            if not is_about_accounts:
                report.num_recoded_lines += text.num_recoded_lines

    yield from posts_from_events(events, options, report)


def _jet_event(record: Json) -> Event:
    did, at = pick(record, "did"), _time(pick(record, "time_us"))
    short = pick(record, "type")
    kind = pick(record, "kind") or (_KINDS.get(short) if isinstance(short, str) else None)
    if kind == "commit":
        commit = pick(record, "commit")
        action = pick(commit, "operation") or pick(commit, "type")
        return Change(
            did=did,
            action=_ACTIONS.get(action, action) if isinstance(action, str) else None,
            collection=pick(commit, "collection"),
            rkey=pick(commit, "rkey"),
            record=pick(commit, "record"),
            at=at,
        )
    account = pick(record, "account")
    if kind != "account" or not isinstance(account, dict):
        return None
    is_active = pick(account, "active") is not False
    return Status(did=did, is_active=is_active, status=pick(account, "status"), at=at)


def read_bluesky_firehose(
    file: ExportFile, options: ReadOptions, report: SourceReport
) -> Iterator[Found]:
    """Read the events of a relay: raw frames, or commits as JSON."""
    is_json = look_at(file).shape != "binary"

    def frames(is_about_accounts: bool) -> Iterator[NumberedEvents]:
        with file.open_bytes() as stream:
            for number, frame in _frames(stream):
                if isinstance(frame, str):
                    yield Rejected(report.name, number, frame)
                elif not is_about_accounts or any(mark in frame for mark in _BYTE_MARKS):
                    yield number, _frame_events(frame)

    def documents(is_about_accounts: bool) -> Iterator[NumberedEvents]:
        for item in json_objects(file, report, is_counted=not is_about_accounts):
            yield item if isinstance(item, Rejected) else (item[0], _json_events(item[1]))

    yield from posts_from_events(documents if is_json else frames, options, report)


def _frames(stream: IO[bytes]) -> Iterator[tuple[int, bytes | str]]:
    """Yield numbered frames; at the end, if that is needed, why there are no more."""
    number = 0
    while prefix := stream.read(4):
        number += 1
        length = int.from_bytes(prefix, "little")
        if len(prefix) == 4 and not 0 < length <= MAX_FRAME_BYTES:
            yield number, "the frame's length cannot be right; nothing after it can be read"
            return
        frame = stream.read(length) if len(prefix) == 4 else b""
        if not frame or len(frame) < length:
            yield number, "the file ends inside a frame"
            return
        yield number, frame


def _frame_events(frame: bytes) -> Iterator[Event]:
    try:
        parts = libipld.decode_dag_cbor_multi(frame)
    except (ValueError, RecursionError) as error:
        raise BadValue("the frame is no DAG-CBOR") from error
    if len(parts) != 2:
        raise BadValue("the frame does not consist of a header and a body")
    yield from _relay_events(pick(parts[0], "t"), parts[1], _bytes_of)


def _json_events(record: Json) -> Iterator[Event]:
    kind = pick(record, "t") or ("#commit" if pick(record, "ops") is not None else None)
    yield from _relay_events(kind, pick(record, "body") or record, _json_bytes_of)


def _bytes_of(value: Json) -> bytes | None:
    return value if isinstance(value, bytes) else None


def _json_bytes_of(value: Json) -> bytes | None:
    """Undo how the AT Protocol writes bytes and links in JSON."""
    try:
        if isinstance(coded := pick(value, "$bytes"), str):
            return base64.b64decode(coded + "=" * (-len(coded) % 4))
        if isinstance(link := pick(value, "$link"), str) and link.startswith("b"):
            return base64.b32decode(link[1:].upper() + "=" * (-(len(link) - 1) % 8))
    except (binascii.Error, ValueError) as error:
        raise BadValue("bytes in the event are not coded as they should be") from error
    return None


def _relay_events(
    kind: Json, body: Json, bytes_of: Callable[[Json], bytes | None]
) -> Iterator[Event]:
    at = _time(pick(body, "time"))
    if kind == "#commit":
        yield from _commit_changes(body, at, bytes_of)
    elif kind == "#account":
        is_active = pick(body, "active") is not False
        status = pick(body, "status")
        yield Status(did=pick(body, "did"), is_active=is_active, status=status, at=at)
    elif kind == "#tombstone":  # until 2024, an account's end
        yield Status(did=pick(body, "did"), is_active=False, status="deleted", at=at)
    else:
        yield None


def _commit_changes(
    body: Json, at: datetime | None, bytes_of: Callable[[Json], bytes | None]
) -> Iterator[Event]:
    ops = pick(body, "ops")
    if not isinstance(ops, list):
        raise BadValue("the commit does not say what it changes")
    ops = cast("list[Json]", ops)
    places = [(parse_text(pick(op, "path")) + "/").split("/")[:2] for op in ops]
    is_read = any(collection in (POSTS, *ACCOUNT_COLLECTIONS) for collection, _ in places)
    blocks = _carried(bytes_of(pick(body, "blocks"))) if is_read else {}
    for op, (collection, rkey) in zip(ops, places, strict=True):
        block = blocks.get(bytes_of(pick(op, "cid")) or b"")
        yield Change(
            did=pick(body, "repo"),
            action=pick(op, "action"),
            collection=collection,
            rkey=rkey,
            record=_record(block),
            at=at,
        )


def _carried(car: bytes | None) -> dict[bytes, bytes]:
    """Return the blocks of an event; a deletion beside a damaged one still counts."""
    try:
        return blocks_by_cid(car) if car else {}
    except BadValue:
        return {}


def _record(block: bytes | None) -> Json:
    """Decode a record; ``None`` where there is none, for whoever needs it to say so."""
    try:
        return None if block is None else decoded(block)
    except BadValue:
        return None


def _is_jetstream(head: Head) -> bool:
    kinds = ("commit", "identity", "account", *_KINDS)
    kind = head.record.get("kind") or head.record.get("type")
    return {"did", "time_us"} <= head.keys and kind in kinds


def _is_firehose(head: Head) -> bool:
    if head.shape != "binary":
        return {"ops", "blocks", "repo"} <= head.keys
    length = int.from_bytes(head.data[:4], "little")
    return (
        length <= MAX_FRAME_BYTES
        and head.data[4:5] in (b"\xa1", b"\xa2")
        and b"bop" in head.data[4:40]
    )


FORMATS = (
    Format(
        name="bluesky-jetstream",
        title="Bluesky Jetstream, JSON lines",
        read=read_bluesky_jetstream,
        sniff=_is_jetstream,
        companions=frozenset({"jetstream_manifest.json"}),
    ),
    Format(
        name="bluesky-firehose",
        title="Events of an AT Protocol relay, raw frames or JSON",
        read=read_bluesky_firehose,
        sniff=_is_firehose,
    ),
)
