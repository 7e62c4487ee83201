"""Bluesky's records as posts: what repositories, event streams and saved API pages share.

Reads decoded records of the AT Protocol; writes nothing. A post's id is ``bluesky:`` and its AT
URI, which is the same in a repository, on the relay and in the API, so that they merge.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final, TypeGuard, cast

from mynah.posts.post import Post
from mynah.posts.readers.native import pick, post_kind
from mynah.posts.values import BadValue, parse_lang, parse_text, parse_time

__all__ = [
    "ACCOUNT_COLLECTIONS",
    "NETWORK",
    "POSTS",
    "PROFILE",
    "Account",
    "Place",
    "build_post",
    "checked_place",
    "forbids_training",
    "has_hiding_label",
    "is_did",
    "is_post",
    "place_of",
    "tid_time",
]

NETWORK: Final = "bluesky"
POSTS: Final = "app.bsky.feed.post"
PROFILE: Final = "app.bsky.actor.profile"
_AI_PREFERENCES: Final = "community.lexicon.preference.ai"
_USER_INTENTS: Final = frozenset(
    {"org.user-intents.declaration", "org.user-intents.demo.declaration"}
)
ACCOUNT_COLLECTIONS: Final = frozenset({PROFILE, _AI_PREFERENCES, *_USER_INTENTS})
"""Collections whose records say how all posts of their account may be used."""

_HIDING_LABELS: Final = frozenset({"!no-unauthenticated", "!hide", "!takedown", "!suspend"})
"""The first asks apps to show the account to people who are logged in only."""
_TID: Final = re.compile("[2-7a-j][2-7a-z]{12}")
_TID_DIGITS: Final = str.maketrans(
    "234567abcdefghijklmnopqrstuvwxyz", "0123456789abcdefghijklmnopqrstuv"
)
"""The digits of record keys, as Python writes base 32."""
_URI: Final = re.compile(r"at://([\w.:%-]{1,2048})/([\w.-]{1,317})/([\w.~:-]{1,512})", re.A)
_DID: Final = re.compile(r"did:[a-z]{1,32}:[\w.:%-]{1,2000}", re.A)
_EARLIEST: Final = datetime(1990, 1, 1, tzinfo=UTC)
"""Imported posts are older than Bluesky; none is older than the web."""
_CLOCK_ERROR: Final = timedelta(days=1)

Json = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whose posts they are, and what it says about all of them."""

    did: str
    handle: str = ""
    is_hidden: bool = False
    """To be shown to people who are logged in only, or not at all."""
    may_train: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a record lies: an AT URI in its parts."""

    authority: str
    """A DID; in references sometimes a handle."""
    collection: str
    rkey: str

    @property
    def uri(self) -> str:
        """The AT URI."""
        return f"at://{self.authority}/{self.collection}/{self.rkey}"

    def post_id(self, network: str) -> str:
        """Return the id of the post that lies here."""
        return f"{network}:{self.uri}"


def place_of(uri: Json) -> Place | None:
    """Take an AT URI of a record apart; ``None`` when it is none."""
    match = _URI.fullmatch(uri) if isinstance(uri, str) else None
    if match is None:
        return None
    return Place(authority=match.group(1), collection=match.group(2), rkey=match.group(3))


def checked_place(did: Json, collection: Json, rkey: Json) -> Place:
    """Return the place that an event or a repository names."""
    place = place_of(f"at://{did}/{collection}/{rkey}")
    if place is None or not is_did(place.authority):
        raise BadValue("the record's place is no AT URI")
    return place


def is_did(value: Json) -> TypeGuard[str]:
    """Whether it names an account of the AT Protocol."""
    return isinstance(value, str) and _DID.fullmatch(value) is not None


def tid_time(tid: Json) -> datetime | None:
    """Return the time in a record key or revision; ``None`` when it holds none."""
    if not isinstance(tid, str) or not _TID.fullmatch(tid):
        return None
    number = int(tid.translate(_TID_DIGITS), 32)
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=number >> 10)
    # Some keys only look like times: those of test accounts begin in 1970.
    return time if _EARLIEST < time < datetime(2200, 1, 1, tzinfo=UTC) else None


def has_hiding_label(labels: Json) -> bool:
    """Whether labels, an account's own or a moderator's, keep posts from the open web."""
    values = pick(labels, "values") if isinstance(labels, dict) else labels
    if not isinstance(values, list):
        return False
    return any(
        pick(label, "val") in _HIDING_LABELS and pick(label, "neg") is not True
        for label in cast("list[Json]", values)
        if isinstance(pick(label, "val"), str)
    )


def forbids_training(collection: str, record: Json) -> bool:
    """Whether a record of ``ACCOUNT_COLLECTIONS`` opts its account's posts out of training.

    A preference for a single recipient is not looked at: we may be the one it means, or not.
    """
    if collection in _USER_INTENTS:
        # The proposal's text and its demo spell the key differently.
        keys = ("syntheticContentGeneration", "org.user-intents.syntheticContentGeneration")
        return any(pick(record, key, "allow") is False for key in keys)
    if (
        collection != _AI_PREFERENCES
        or pick(record, "preferences", "training", "allow") is not False
    ):
        return False
    scope = pick(record, "scope")
    named = pick(scope, "collection") or pick(scope, "nsid")
    return pick(scope, "entity") is None and named in (None, POSTS)


def is_post(record: Json) -> bool:
    """Whether a record of the collection of posts has words, as a post is to have here.

    Pictures alone have none, and other software keeps kinds of its own in the collection.
    """
    text = pick(record, "text")
    is_silent = text is None or (isinstance(text, str) and not text.strip())
    return pick(record, "$type") in (POSTS, None) and not is_silent


def build_post(
    record: Mapping[str, Json],
    *,
    place: Place | None,
    account: Account,
    seen_at: datetime | None = None,
    network: str = NETWORK,
) -> Post:
    """Turn a record of the collection of posts into a post.

    Args:
        record: As it stands in the repository.
        place: Where it lies; ``None`` when that is not known, and the id is made of its content.
        account: Whose it is.
        seen_at: When the export or event was made.
        network: Prefix of ids.

    Raises:
        BadValue: It has no text, or something else where its text should be.
    """
    text = parse_text(record.get("text"))
    if not text.strip():
        raise BadValue("there is no text")
    created_at = _created_at(record, place, seen_at)
    reply_to = _reference(pick(record, "reply", "parent", "uri"), network)
    quote_of = _quoted(record.get("embed"), network)
    is_hidden = account.is_hidden or has_hiding_label(record.get("labels"))
    return Post(
        id=place.post_id(network) if place else _derived_id(network, account, created_at, text),
        author=account.handle or account.did,
        created_at=created_at,
        text=text,
        lang=parse_lang(record.get("langs")),
        reply_to=reply_to,
        quote_of=quote_of,
        url=f"https://bsky.app/profile/{place.authority}/post/{place.rkey}" if place else None,
        visibility="followers" if is_hidden else "public",
        may_train=account.may_train,
        kind=post_kind(reply_to=reply_to, repost_of=None, quote_of=quote_of),
        seen_at=seen_at,
    )


def _created_at(
    record: Mapping[str, Json], place: Place | None, seen_at: datetime | None
) -> datetime | None:
    """Return ``createdAt`` where it can be true, else the time in the record's key.

    Clients write what they like there: nothing, the year 1, or a day still to come. The key is
    a time too, set when the record was written.
    """
    keyed = tid_time(place.rkey) if place else None
    latest = seen_at or keyed
    try:
        created_at = parse_time(record.get("createdAt"))
    except BadValue:
        created_at = None
    for time in (created_at, keyed):
        if time and time >= _EARLIEST and (latest is None or time - _CLOCK_ERROR <= latest):
            return time
    return None


def _quoted(embed: Json, network: str) -> str | None:
    kind = pick(embed, "$type")
    if kind == "app.bsky.embed.record":
        return _reference(pick(embed, "record", "uri"), network)
    if kind == "app.bsky.embed.recordWithMedia":
        return _reference(pick(embed, "record", "record", "uri"), network)
    return None


def _reference(uri: Json, network: str) -> str | None:
    """Return the id of the post at ``uri``: feeds and lists are embedded the same way."""
    place = place_of(uri)
    return place.post_id(network) if place and place.collection == POSTS else None


def _derived_id(network: str, account: Account, created_at: datetime | None, text: str) -> str:
    seed = "\0".join((account.did, str(created_at), text))
    return f"{network}:h{sha256(seed.encode()).hexdigest()[:20]}"
