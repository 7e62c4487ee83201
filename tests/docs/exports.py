"""Small exports of every kind that the guides name; every word and every name is made up."""

import csv
import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import zstandard
from tests.fakes.chat_exports import write_chat_exports
from tests.fakes.tiny_house import TEXTS
from tests.fakes.tiny_repository import DID, post_record, repository

__all__ = ["write_exports"]

PUBLIC = "https://www.w3.org/ns/activitystreams#Public"
REDDIT_COMMENT = {
    "author": "writer0",
    "created_utc": 1736125200,
    "edited": False,
    "link_id": "t3_s1",
    "parent_id": "t3_s1",
    "score": 7,
    "subreddit": "birds",
}


def write_exports(folder: Path) -> None:
    """Write into ``folder`` every file that a command of the documents reads."""
    write_archive(folder / "my-archive.zip")
    write_mastodon(folder / "mastodon-archive.zip")
    write_tables(folder)
    write_repository(folder)
    write_reddit(folder)
    items = [
        {"id": number, "type": "story", "by": "writer0", "time": 1736125200, "title": text}
        for number, text in enumerate(TEXTS, start=1)
    ]
    write_lines(folder / "items.jsonl", items)
    write_chat_exports(folder, TEXTS[0])


def write_archive(path: Path) -> None:
    """An archive as X sends it, of one made-up account."""
    account = [{"account": {"username": "writer0", "accountDisplayName": "Writer"}}]
    tweets = [
        {
            "tweet": {
                "id_str": str(number),
                "full_text": text,
                "created_at": f"Mon Jan 06 0{number}:00:00 +0000 2025",
                "lang": "en",
                "favorite_count": str(number),
                "retweet_count": "0",
            }
        }
        for number, text in enumerate(TEXTS, start=1)
    ]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data/account.js", f"window.YTD.account.part0 = {json.dumps(account)}")
        archive.writestr("data/tweets.js", f"window.YTD.tweets.part0 = {json.dumps(tweets)}")


def write_mastodon(path: Path) -> None:
    """An archive as Mastodon sends it."""
    actor = "https://social.example/users/writer0"
    actor_document = {"id": actor, "type": "Person", "preferredUsername": "writer0"}
    activities = [
        {
            "id": f"{actor}/statuses/{number}/activity",
            "type": "Create",
            "actor": actor,
            "published": f"2025-01-06T0{number}:00:00Z",
            "to": [PUBLIC],
            "object": {
                "id": f"{actor}/statuses/{number}",
                "type": "Note",
                "attributedTo": actor,
                "content": f"<p>{text}</p>",
                "published": f"2025-01-06T0{number}:00:00Z",
                "to": [PUBLIC],
            },
        }
        for number, text in enumerate(TEXTS, start=1)
    ]
    outbox = {"id": "outbox.json", "type": "OrderedCollection", "orderedItems": activities}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("actor.json", json.dumps(actor_document))
        archive.writestr("outbox.json", json.dumps(outbox))


def write_tables(folder: Path) -> None:
    """A table whose columns have to be named, and one whose columns name themselves."""
    with (folder / "notes.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["note", "who"], *([text, "writer0"] for text in TEXTS)])
    write_lines(folder / "posts.jsonl", [{"text": text, "author": "writer1"} for text in TEXTS])


def write_repository(folder: Path) -> None:
    """A repository of Bluesky, with the document that has its handle."""
    records = {
        f"app.bsky.feed.post/3lqcnvhqk622{key}": post_record(text)
        for key, text in zip("abcde", TEXTS, strict=True)
    }
    (folder / "ada.car").write_bytes(repository(records))
    document = {"id": DID, "alsoKnownAs": ["at://ada.example"]}
    (folder / "ada.did.json").write_text(json.dumps(document))


def write_reddit(folder: Path) -> None:
    """A listing of the API, and a dump."""
    comments = [
        {**REDDIT_COMMENT, "id": f"c{number}", "name": f"t1_c{number}", "body": text}
        for number, text in enumerate(TEXTS)
    ]
    children = [{"kind": "t1", "data": {**comment, "replies": ""}} for comment in comments]
    listing = {"kind": "Listing", "data": {"children": children, "after": None}}
    (folder / "thread.json").write_text(json.dumps(listing))
    lines = "".join(json.dumps(comment) + "\n" for comment in comments)
    packed = zstandard.ZstdCompressor().compress(lines.encode())
    (folder / "RC_2023-01.packed.zst").write_bytes(packed)


def write_lines(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
