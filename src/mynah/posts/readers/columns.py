"""Which column of an export is which field of a post: guessed from the names, overridable."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mynah.errors import DataError
from mynah.posts.post import POST_SCHEMA

__all__ = ["ColumnMap", "Path", "map_columns"]

Path = tuple[str, ...]
"""Keys from the outside in: a table's column has one, a nested JSON value several."""

_NAMES: Mapping[str, str] = {
    "text": "extended_tweet.full_text full_text text content body selftext tweet tweet_text "
    "message post_text toot comment post",
    "title": "title headline subject",
    "author": "screen_name username user_name author handle user.screen_name user.username "
    "author.username author_name sender_full_name account.acct user account sender from "
    "by nick nickname name",
    "created_at": "created_at created_utc createdat timestamp timestamp_ms time date datetime "
    "date_time published published_at posted_at created date_created",
    "likes": "favorite_count favourite_count favorites favourites favorites_count "
    "favourites_count likes like_count likes_count num_likes score num_points points upvotes "
    "ups public_metrics.like_count",
    "reposts": "retweet_count retweets retweets_count reposts repost_count num_reposts "
    "reblogs_count reblogs shares share_count boosts public_metrics.retweet_count",
    "replies": "reply_count replies replies_count num_replies num_comments comment_count "
    "comments descendants public_metrics.reply_count",
    "lang": "lang language langs",
    "id": "id_str tweet_id post_id status_id message_id id uri",
    "reply_to": "in_reply_to_status_id_str in_reply_to_status_id in_reply_to_tweet_id reply_to "
    "in_reply_to in_reply_to_id parent_id parent",
    "repost_of": "retweeted_status.id_str retweeted_status_id reblog.id repost_of",
    "repost_author": "original_author retweeted_status.user.screen_name retweet_of",
    "quote_of": "quoted_status_id_str quoted_status_id quote_of",
    "is_repost": "is_retweet is_repost is_reblog",
    "url": "url permalink tweet_url post_url link",
    "visibility": "visibility privacy audience",
    "is_protected": "user.protected protected is_protected is_private private",
    "may_train": "may_train consent_to_train allow_training",
    "opt_out": "opt_out opted_out no_train noai is_opted_out",
    "kind": "kind",
    "edited_at": "edited_at edited last_edited_at",
    "seen_at": "seen_at retrieved_at collected_at scraped_at",
}
"""Field to the names it goes by, the surest first."""

_NETWORKS = (
    ("x", "tweet retweet favorite_count in_reply_to_status screen_name"),
    ("reddit", "subreddit selftext"),
    ("hackernews", "num_points"),
    ("mastodon", "reblogs_count"),
)


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Where each field is looked for; the first place that is not empty wins."""

    places: Mapping[str, tuple[Path, ...]]
    network: str
    """What the names say about where the posts come from; empty when they say nothing."""

    def described(self) -> dict[str, str]:
        """Return the field to the column's name, for the manifest."""
        return {
            field: " | ".join(".".join(path) for path in paths)
            for field, paths in sorted(self.places.items())
        }


def map_columns(paths: Iterable[Path], *, overrides: Mapping[str, str], source: str) -> ColumnMap:
    """Guess the map from the columns of ``source``, then apply ``overrides``.

    Raises:
        DataError: No column holds the text, or an override names what is not there.
    """
    seen = list(dict.fromkeys(paths))
    by_name: dict[str, list[Path]] = {}
    for path in seen:
        by_name.setdefault(_normal(".".join(path)), []).append(path)
    places: dict[str, tuple[Path, ...]] = {}
    for field, names in _NAMES.items():
        found = tuple(path for name in names.split() for path in by_name.get(name, ()))
        if found:
            places[field] = found
    _apply_overrides(places, seen, overrides, source)
    if not places.get("text") and places.get("title"):
        places["text"] = places.pop("title")
    if not places.get("text"):
        raise _no_text(source, seen)
    return ColumnMap(places, _guess_network(by_name))


def _apply_overrides(
    places: dict[str, tuple[Path, ...]],
    seen: Sequence[Path],
    overrides: Mapping[str, str],
    source: str,
) -> None:
    for field, column in overrides.items():
        if field not in _NAMES:
            raise DataError(
                f"a post has no field {field!r} that a column could be mapped to",
                hint=f"fields are: {', '.join(sorted(_NAMES))}",
            )
        if not column:
            places.pop(field, None)
            continue
        chosen = next((path for path in seen if ".".join(path) == column), None)
        if chosen is None:
            raise DataError(
                f"{source} has no column {column!r} for {field!r}",
                hint=f"name one that it has with --column {field}=NAME: {_listed(seen)}",
            )
        places[field] = (chosen,)
    if "text" in overrides and "title" not in overrides:
        places.pop("title", None)


def _normal(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "_", name.strip().lower()).strip("_")


def _guess_network(names: Iterable[str]) -> str:
    known = " ".join(names)
    for network, marks in _NETWORKS:
        if any(mark in known for mark in marks.split()):
            return network
    return ""


def _listed(seen: Sequence[Path]) -> str:
    names = [".".join(path)[:60] for path in seen]
    more = f" and {len(names) - 30} more" if len(names) > 30 else ""
    return (", ".join(names[:30]) or "no column at all") + more


def _no_text(source: str, seen: Sequence[Path]) -> DataError:
    # The columns are in the hint only: where a file has no header they are a person's words,
    # which may be shown to whoever gave the file, but neither logged nor kept.
    return DataError(
        f"{source} has no column that holds the text of a post",
        hint=f"say which one it is with --column text=NAME; it has: {_listed(seen)} "
        "(--column author=NAME, created_at=NAME and so on work the same way)",
    )


assert set(_NAMES) >= {field.name for field in POST_SCHEMA}, "every field of a post has a name"
