"""ActivityPub: Mastodon's ``outbox.json`` and what other software of the fediverse exports.

Reads collections (streamed, however long), single activities and objects, arrays of them, and
one a line. ``actor.json`` beside says whose they are and whether they may be learned from.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, cast

from mynah.errors import DataError
from mynah.posts.export_file import ExportFile
from mynah.posts.format import Format, Head
from mynah.posts.post import Post
from mynah.posts.reader import Deleted, Found, ReadOptions, Rejected, SourceReport
from mynah.posts.readers.activity_object import (
    ACTIVITYPUB_NETWORK,
    Actor,
    Event,
    actor_of,
    author_of,
    id_of,
    post_of,
    type_of,
    visibility_of,
    words_of,
)
from mynah.posts.readers.native import built, json_objects, pick, time_or_none
from mynah.posts.readers.records import Numbered, Record
from mynah.posts.values import BadValue

__all__ = ["FORMATS", "read_activitypub"]

_LISTS = ("orderedItems", "items")
_COLLECTIONS = frozenset(
    ["Collection", "OrderedCollection", "CollectionPage", "OrderedCollectionPage"]
)
_OBJECTS = frozenset(
    ["Note", "Article", "Page", "Question", "Video", "Audio", "Image", "Document", "Event"]
) | frozenset(["ChatMessage", "Comment", "Review", "Quotation"])
"""What has words of its own; the last four are of Pleroma and BookWyrm."""
_CARRIERS = frozenset(["Create", "Update"])
_ABOUT_OTHERS = frozenset(
    ["Like", "Dislike", "EmojiReact", "Follow", "Accept", "Reject", "Block", "Flag", "Invite"]
)
_ACTIVITIES = (
    _CARRIERS
    | _ABOUT_OTHERS
    | frozenset(["Announce", "Delete", "Undo", "Add", "Remove", "Move", "Join", "Leave", "View"])
)
_ACTOR_FILE = "actor.json"
_COMPANIONS = frozenset([_ACTOR_FILE, "likes.json", "bookmarks.json"])
_FIRST_ITEM = re.compile(r'"(?:orderedItems|items)"\s*:\s*\[\s*(?=[\{\]])')
_MAX_NESTED = 4
"""An announced activity that announces an activity, and so on."""

Object = Any


def read_activitypub(
    file: ExportFile, options: ReadOptions, report: SourceReport
) -> Iterator[Found]:
    """Read an outbox or any part of one."""
    report.network = options.network or ACTIVITYPUB_NETWORK
    outbox = Event(network=report.network, owner=_owner(file))

    def build(record: Record) -> Iterator[Found]:
        return _found_in(record, outbox, report)

    records = json_objects(file, report, lists=_LISTS)
    yield from built(_flattened(records, report), build, report)


def _owner(file: ExportFile) -> Actor:
    """Read ``actor.json``; what it wishes is not guessed where it cannot be read.

    Raises:
        DataError: It is there and broken.
    """
    data = file.beside(_ACTOR_FILE)
    if data is None:
        return Actor()
    try:
        return actor_of(json.loads(data.decode("utf-8-sig")))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{_ACTOR_FILE} beside {file.name} cannot be read",
            hint="it says whether the posts may be learned from: download the archive again",
        ) from error


def _flattened(records: Iterable[Numbered], report: SourceReport) -> Iterator[Numbered]:
    """Take pages of collections apart."""
    for item in records:
        if isinstance(item, Rejected):
            yield item
            continue
        number, record = item
        waiting: list[Object] = [record]
        while waiting:
            value = waiting.pop()
            if type_of(value) in _COLLECTIONS:
                waiting.extend(reversed(list(_items(value))))
            elif isinstance(value, dict):
                yield number, cast("Record", value)
            elif isinstance(value, str):
                report.num_not_posts += 1  # the address of a post, without its words
            else:
                yield Rejected(report.name, number, "the record is not a JSON object")


def _items(collection: Object) -> Iterator[Object]:
    for name in _LISTS:
        items = pick(collection, name)
        yield from cast("list[Object]", items) if isinstance(items, list) else ()
    if isinstance(pick(collection, "first"), dict):
        yield pick(collection, "first")


def _found_in(record: Object, outbox: Event, report: SourceReport) -> Iterator[Found]:
    event = outbox
    for _ in range(_MAX_NESTED):
        kind, inner = type_of(record), pick(record, "object")
        if kind in _OBJECTS:
            yield from _posts(record, event, report)
            return
        if kind in ("Delete", "Undo", "Tombstone"):
            yield from _gone(record, event, report)
            return
        is_inner = isinstance(inner, dict) and type_of(inner) in (_OBJECTS | _ACTIVITIES)
        if kind not in (_CARRIERS | {"Announce"}) or not is_inner:
            break  # a like, a follow; a repost that has the other's address and no words
        event = replace(event, activity=record)
        if kind == "Announce" and type_of(inner) in _OBJECTS:
            yield from _repost(record, inner, event, report)
            return
        record = inner
    if not type_of(record):
        raise BadValue("the record is no activity and no object")
    report.num_not_posts += 1


def _posts(holder: Object, event: Event, report: SourceReport) -> Iterator[Post]:
    is_vote = pick(holder, "name") and pick(holder, "inReplyTo") and not pick(holder, "content")
    text = words_of(holder)
    if not text or is_vote:
        report.num_not_posts += 1  # a picture alone, a vote in a poll
        return
    yield post_of(holder, event, text=text)


def _repost(
    activity: Object, original: Object, event: Event, report: SourceReport
) -> Iterator[Found]:
    """Yield what was reposted, for it is there whole, and the repost."""
    text = words_of(original)
    for found in _posts(original, replace(event, activity=None), report):
        yield found
        doer = author_of(None, event)
        as_post = post_of({**activity, "inReplyTo": None, "tag": None}, event, text=text)
        yield replace(
            as_post,
            author=doer.handle,
            visibility=visibility_of(event, activity, doer),
            may_train=doer.may_train and as_post.may_train,
            repost_of=found.id,
            quote_of=None,
            kind="repost",
        )


def _gone(record: Object, event: Event, report: SourceReport) -> Iterator[Found]:
    is_tombstone = type_of(record) == "Tombstone"
    target = record if is_tombstone else pick(record, "object")
    is_actor = not is_tombstone and id_of(target) == id_of(pick(record, "actor"))
    is_other = type_of(record) == "Undo" and type_of(target) not in ("Announce", "")
    if is_actor or is_other or not id_of(target):
        report.num_not_posts += 1  # an account that was closed, a like that was taken back
        return
    at = time_or_none(pick(target, "deleted")) or time_or_none(pick(record, "published"))
    yield Deleted(f"{event.network}:{id_of(target)}", at)


def _is_activitypub(head: Head) -> bool:
    if head.keys & frozenset(_LISTS) and head.keys & {"type", "@context"}:
        # A list of addresses is somebody's likes or bookmarks.
        return _FIRST_ITEM.search(head.text) is not None
    kind = type_of(head.record)
    if kind in _OBJECTS | _ACTIVITIES | _COLLECTIONS | {"Tombstone"}:
        marks = {"@context", "actor", "attributedTo", "to", "cc"}
        return bool(head.record.keys() & marks) or id_of(head.record).startswith("http")
    return False


FORMATS = (
    Format(
        name="activitypub",
        title="Mastodon archive: outbox.json; ActivityPub activities and objects",
        read=read_activitypub,
        sniff=_is_activitypub,
        companions=_COMPANIONS,
    ),
)
