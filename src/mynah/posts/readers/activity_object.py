"""ActivityPub objects and actors: their words, author, audience and wishes. Reads no files."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, cast
from urllib.parse import urlsplit

from mynah.posts.markup import html_to_text
from mynah.posts.post import Post
from mynah.posts.readers.native import pick, post_kind
from mynah.posts.values import parse_count, parse_lang, parse_text, parse_time

__all__ = [
    "ACTIVITYPUB_NETWORK",
    "Actor",
    "Event",
    "actor_of",
    "author_of",
    "id_of",
    "post_of",
    "type_of",
    "visibility_of",
    "words_of",
]

ACTIVITYPUB_NETWORK = "activitypub"

_PUBLIC = frozenset(["https://www.w3.org/ns/activitystreams#Public", "as:Public", "Public"])
_ADDRESSES = ("to", "cc", "audience", "bto", "bcc")
_STRICTEST_LAST = ("public", "unlisted", "followers", "direct")
_ACTOR_PATH = re.compile(
    r"(?:/ap)?/(?:@|~|(?:users?|u|c|m|profile|author|accounts?|channel|video-channels)/)"
    r"([^/?#]{1,100})/?",
    re.A,
)
_OPT_OUT = re.compile(r"#(?:no(?:bots?|ai|index|search|archive)|notrain(?:ing)?)\b", re.I)
"""What people write into their profile where the software has no switch for it."""
_QUOTES = ("quote", "quoteUrl", "quoteUri", "_misskey_quote")
_QUOTE_LINK = re.compile(r"activity\+json|ld\+json")

Object = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who wrote or did something."""

    id: str = ""
    handle: str = ""
    """``user@host``, or as near to it as the actor's address comes."""
    followers: str = ""
    """Address of its followers, where that is known."""
    may_train: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The activity that a post came in."""

    network: str = ACTIVITYPUB_NETWORK
    owner: Actor = Actor()
    """Whose outbox it is."""
    activity: Object = None
    """The activity, or ``None`` of a bare object."""

    @property
    def published(self) -> datetime | None:
        """When it happened."""
        return parse_time(pick(self.activity, "published"))


def type_of(value: Object) -> str:
    """Return the first type of an object or activity; empty when it has none."""
    name = pick(value, "type")
    name = pick(name, 0) if isinstance(name, list) else name
    return name if isinstance(name, str) else ""


def id_of(value: Object) -> str:
    """Return what something is called: its id, or else its address; of several, of the first."""
    value = pick(value, 0) if isinstance(value, list) else value
    if isinstance(value, dict):
        value = pick(value, "id") or _url(pick(value, "url")) or pick(value, "href")
    return parse_text(value).strip() if isinstance(value, str) else ""


def actor_of(value: Object) -> Actor:
    """Read an actor, given whole or by its address."""
    candidates = cast("list[Object]", value) if isinstance(value, list) else [value]
    persons = [one for one in candidates if type_of(one) in ("Person", "Service", "Application")]
    value = next(iter(persons or candidates), None)
    address = id_of(value)
    if not isinstance(value, dict):
        return Actor(id=address, handle=_handle(address))
    name = parse_text(_text(pick(value, "preferredUsername"))).strip()
    host = _host(address) or _host(_url(pick(value, "url")))
    return Actor(
        id=address,
        handle=f"{name}@{host}" if name and host else _handle(address),
        followers=id_of(pick(value, "followers")),
        may_train=_may_train(value) and not _OPT_OUT.search(_plain(pick(value, "summary"))),
    )


def visibility_of(event: Event, holder: Object, author: Actor) -> str:
    """Say who may see it, as Mastodon means it; the stricter of post and activity.

    What says nothing of its audience is for nobody.
    """
    followers = {actor.followers for actor in (author, event.owner) if actor.followers}
    found = [
        _audience(one, followers)
        for one in (holder, event.activity)
        if any(pick(one, name) is not None for name in _ADDRESSES)
    ]
    return max(found, key=_STRICTEST_LAST.index, default="direct")


def _audience(holder: Object, followers: set[str]) -> str:
    to, *others = (_ids(pick(holder, name)) for name in _ADDRESSES)
    if to & _PUBLIC:
        return "public"
    everyone = to.union(*others)
    if everyone & _PUBLIC:
        return "unlisted"
    is_followers = any(one in followers or one.endswith("/followers") for one in everyone)
    return "followers" if is_followers else "direct"


def _ids(value: Object) -> set[str]:
    values = cast("list[Object]", value) if isinstance(value, list) else [value]
    return {id_of(one) for one in values} - {""}


def words_of(holder: Object) -> str:
    """Return what a reader sees: title, content warning, text, the choices of a poll."""
    title = _plain(pick(holder, "name"))
    warning = _plain(pick(holder, "summary"))
    content = _content(holder)
    if pick(holder, "mediaType") not in ("text/plain", "text/markdown"):
        content = html_to_text(content)
    choices = [f"- {name}" for name in _choices(holder)]
    body = "\n".join(part for part in (warning, content, *choices) if part.strip())
    return "\n\n".join(part for part in (title, body) if part)


def _plain(value: Object) -> str:
    text = parse_text(_text(value)).strip()
    return html_to_text(text) if "<" in text or "&" in text else text


def _content(holder: Object) -> str:
    content = pick(holder, "content")
    if not isinstance(content, str):
        content = next(iter(_languages(holder).values()), "")
    return parse_text(_text(content))


def _choices(holder: Object) -> Iterator[str]:
    for name in ("oneOf", "anyOf"):
        options = pick(holder, name)
        for option in cast("list[Object]", options) if isinstance(options, list) else ():
            if text := _plain(pick(option, "name")):
                yield text


def _languages(holder: Object) -> dict[str, Object]:
    found = pick(holder, "contentMap")
    return cast("dict[str, Object]", found) if isinstance(found, dict) else {}


def post_of(holder: Object, event: Event, *, text: str) -> Post:
    """Build the post that an object is.

    Raises:
        BadValue: One of its fields is not of its kind.
    """
    author = author_of(holder, event)
    published = parse_time(pick(holder, "published")) or event.published
    updated = parse_time(pick(holder, "updated"))
    is_edited = updated is not None and (published is None or updated > published)
    native = id_of(holder) or _named_by_content(author.handle, published, text)
    reply_to = _reference(pick(holder, "inReplyTo"), event)
    quote_of = next(filter(None, (_reference(pick(holder, n), event) for n in _QUOTES)), None)
    quote_of = quote_of or _reference(_quote_link(pick(holder, "tag")), event)
    return Post(
        id=f"{event.network}:{native}",
        author=author.handle,
        created_at=published,
        text=text,
        lang=_lang(holder),
        reply_to=reply_to,
        quote_of=quote_of,
        likes=_total(holder, "likes"),
        reposts=_total(holder, "shares"),
        replies=_total(holder, "replies"),
        url=_url(pick(holder, "url")) or (native if native.startswith("http") else None),
        visibility=visibility_of(event, holder, author),
        may_train=author.may_train and _may_train(holder),
        kind=post_kind(reply_to=reply_to, repost_of=None, quote_of=quote_of),
        edited_at=updated if is_edited else None,
        seen_at=max(filter(None, (updated, event.published)), default=None),
    )


def author_of(holder: Object, event: Event) -> Actor:
    """Return who wrote an object, with all that is known of the outbox's owner."""
    author = actor_of(pick(holder, "attributedTo") or pick(event.activity, "actor"))
    if author.id and author.id == event.owner.id:
        return event.owner
    doer = actor_of(pick(event.activity, "actor"))
    return doer if author.id == doer.id else author


def _may_train(holder: Object) -> bool:
    """Whether nothing about an actor or a post says that machines should leave it alone."""
    searchable = pick(holder, "searchableBy")
    return not (
        pick(holder, "indexable") is False
        or pick(holder, "discoverable") is False
        or pick(holder, "noindex") is True
        or (searchable is not None and not _ids(searchable) & _PUBLIC)
    )


def _lang(holder: Object) -> str | None:
    languages = _languages(holder)
    content = pick(holder, "content")
    fitting = [code for code, text in languages.items() if text == content] or list(languages)
    if len(fitting) == 1:
        return parse_lang(fitting[0])
    return parse_lang(pick(holder, "language", "identifier"))


def _total(holder: Object, name: str) -> int:
    total = pick(holder, name, "totalItems")
    return max(0, parse_count(total)) if isinstance(total, int | float | str) else 0


def _reference(value: Object, event: Event) -> str | None:
    native = id_of(value)
    return f"{event.network}:{native}" if native else None


def _quote_link(tags: Object) -> Object:
    """Return the post that a tag links to as an object (FEP-e232)."""
    for tag in cast("list[Object]", tags) if isinstance(tags, list) else [tags]:
        if type_of(tag) == "Link" and _QUOTE_LINK.search(_text(pick(tag, "mediaType"))):
            return pick(tag, "href")
    return None


def _url(value: Object) -> str | None:
    """Return the address of the page, of all that are given."""
    values = cast("list[Object]", value) if isinstance(value, list) else [value]
    pages = [one for one in values if pick(one, "mediaType") == "text/html"]
    for one in (*pages, *values):
        address = one if isinstance(one, str) else pick(one, "href")
        if isinstance(address, str) and address:
            return parse_text(address)
    return None


def _handle(address: str) -> str:
    host = _host(address)
    if not host:
        return address
    path = urlsplit(address).path
    match = _ACTOR_PATH.fullmatch(path)
    return f"{match.group(1)}@{host}" if match else f"{host}{path}".rstrip("/")


def _host(address: str | None) -> str:
    try:
        parts = urlsplit(address or "")
    except ValueError:
        return ""
    return parts.netloc.lower() if parts.scheme in ("http", "https") else ""


def _text(value: Object) -> str:
    return value if isinstance(value, str) else ""


def _named_by_content(author: str, published: datetime | None, text: str) -> str:
    seed = "\0".join((author, str(published), text))
    return "h" + sha256(seed.encode()).hexdigest()[:20]
