"""What happens in a stream of Bluesky's events, and which posts come out of it.

Reads changes of records and the status of accounts, in the order they happened; writes nothing.
A stream is read twice: what an account says of itself, and that it was deleted, holds for its
posts earlier in the file too.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, cast

from mynah.errors import DataError
from mynah.posts.reader import Deleted, Found, ReadOptions, Rejected, SourceReport
from mynah.posts.readers.bluesky_post import (
    ACCOUNT_COLLECTIONS,
    NETWORK,
    POSTS,
    PROFILE,
    Account,
    build_post,
    checked_place,
    forbids_training,
    has_hiding_label,
    is_did,
    is_post,
)
from mynah.posts.readers.native import pick
from mynah.posts.values import BadValue, parse_text

__all__ = ["ACCOUNT_MARKS", "Change", "Event", "NumberedEvents", "Status", "posts_from_events"]

MAX_ACCOUNTS: Final = 1_000_000
"""Accounts of one file that are not as accounts mostly are."""
ACCOUNT_MARKS: Final = ("account", "tombstone", *ACCOUNT_COLLECTIONS)
"""An event without any of these words says nothing about an account as a whole."""
_GONE: Final = frozenset({"deleted", "takendown"})

Json = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One record that an account wrote or deleted."""

    did: Json
    action: Json
    collection: Json
    rkey: Json
    record: Json
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Whether an account is there, and if not, why."""

    did: Json
    is_active: bool
    status: Json
    at: datetime | None


Event = Change | Status | None
"""``None`` is an event about nothing that is read here, such as a new handle."""
NumberedEvents = tuple[int, Iterable[Event]] | Rejected


@dataclass(slots=True)
class _Accounts:
    """Accounts of which a stream says something that holds for all of their posts."""

    name: str
    gone_at: dict[str, datetime | None] = field(default_factory=lambda: {})
    hidden: set[str] = field(default_factory=lambda: set[str]())
    paused: set[str] = field(default_factory=lambda: set[str]())
    not_for_training: set[tuple[str, str]] = field(default_factory=lambda: set[tuple[str, str]]())

    def learn(self, event: Event) -> None:
        """Take in an event, in the order of the stream: the last word counts."""
        if event is None or not is_did(event.did):
            return
        if isinstance(event, Status):
            self._learn_status(event, event.did)
        elif event.collection == PROFILE:
            labels = pick(event.record, "labels")
            _keep(self.hidden, event.did, is_in=has_hiding_label(labels))
        elif isinstance(event.collection, str) and event.collection in ACCOUNT_COLLECTIONS:
            key = (event.did, f"{event.collection}/{parse_text(event.rkey)[:512]}")
            forbids = forbids_training(event.collection, event.record)
            _keep(self.not_for_training, key, is_in=forbids)
        known = (self.gone_at, self.hidden, self.paused, self.not_for_training)
        if sum(map(len, known)) > MAX_ACCOUNTS:
            raise DataError(
                f"{self.name} deletes or hides more than {MAX_ACCOUNTS:,} accounts",
                hint="give the stream in several files, a day each",
            )

    def _learn_status(self, event: Status, did: str) -> None:
        self.gone_at.pop(did, None)
        self.paused.discard(did)
        if event.is_active:
            return
        if isinstance(event.status, str) and event.status in _GONE:
            self.gone_at[did] = event.at
        else:  # suspended or deactivated: its posts may come back
            self.paused.add(did)

    def opted_out(self) -> frozenset[str]:
        """Return the accounts that do not want their posts to be trained on."""
        return frozenset(did for did, _ in self.not_for_training)


def _keep(members: set[Any], member: object, *, is_in: bool) -> None:
    (members.add if is_in else members.discard)(member)


def posts_from_events(
    events: Callable[[bool], Iterator[NumberedEvents]], options: ReadOptions, report: SourceReport
) -> Iterator[Found]:
    """Read the events twice: first those about accounts, then all.

    Args:
        events: Opens the stream; told whether only accounts matter.
        options: Prefix of ids.
        report: Counts what is no post.
    """
    report.network = options.network or NETWORK
    accounts = _Accounts(report.name)
    for item in events(True):
        if isinstance(item, Rejected):
            continue  # told the second time
        try:
            for event in item[1]:
                accounts.learn(event)
        except (BadValue, RecursionError):
            continue
    opted_out = accounts.opted_out()
    for item in events(False):
        if isinstance(item, Rejected):
            yield item
            continue
        number, changes = item
        try:
            for event in changes:
                yield from _read_event(event, number, accounts, opted_out, report)
        except BadValue as error:  # of the event as a whole, such as a frame
            yield Rejected(report.name, number, str(error))


def _read_event(
    event: Event,
    number: int,
    accounts: _Accounts,
    opted_out: frozenset[str],
    report: SourceReport,
) -> Iterator[Found]:
    try:
        yield from _posts_of(event, accounts, opted_out, report)
    except BadValue as error:
        yield Rejected(report.name, number, str(error))


def _posts_of(
    event: Event, accounts: _Accounts, opted_out: frozenset[str], report: SourceReport
) -> Iterator[Found]:
    if not isinstance(event, Change) or event.collection != POSTS:
        report.num_not_posts += 1
        return
    place = checked_place(event.did, event.collection, event.rkey)
    did = place.authority
    if event.action == "delete":
        yield Deleted(place.post_id(report.network), event.at)
        return
    if not isinstance(event.record, dict):
        raise BadValue("the event does not carry its record")
    if not is_post(event.record):
        report.num_not_posts += 1
        return
    if did in accounts.gone_at:
        yield Deleted(place.post_id(report.network), accounts.gone_at[did])
        return
    account = Account(
        did=did,
        is_hidden=did in accounts.hidden or did in accounts.paused,
        may_train=did not in opted_out,
    )
    post = build_post(
        cast("dict[str, Json]", event.record),
        place=place,
        account=account,
        seen_at=event.at,
        network=report.network,
    )
    yield replace(post, edited_at=event.at) if event.action == "update" else post
