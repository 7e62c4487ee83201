"""Small invented exports of every format, from which fuzzing starts; see ``any_reading``."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq
from tests.fakes.chat_exports import (
    DISCORD_MESSAGE,
    TELEGRAM_MESSAGE,
    ZULIP_MESSAGE,
    ZULIP_REALM,
)
from tests.fakes.tiny_repository import DID, commit_car, event, post_record, repository

__all__ = ["SEEDS", "Seed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A file that is read whole, and what lies beside it."""

    name: str
    content: bytes
    beside: Mapping[str, bytes] = field(default_factory=dict)


def _json(value: object, *, indent: int | None = None) -> bytes:
    return json.dumps(value, indent=indent).encode()


def _lines(*records: object) -> bytes:
    return b"".join(_json(record) + b"\n" for record in records)


WORDS = "the herons came back to the river"
TIME = "2025-01-06T01:00:00Z"
TWEET = {
    "id_str": "1578516295611748353",
    "id": 1578516295611748353,
    "created_at": "Fri Oct 07 22:43:06 +0000 2022",
    "full_text": f"{WORDS} &amp; stayed",
    "user": {"id_str": "7", "screen_name": "writer0", "protected": False},
    "entities": {"urls": [{"url": "https://t.co/a", "expanded_url": "https://x.com/b/status/3"}]},
    "favorite_count": "3",
    "retweet_count": 1,
    "lang": "en",
    "in_reply_to_status_id_str": "5",
}
QUOTING = {**TWEET, "id_str": "9", "quoted_status": TWEET, "quoted_status_id_str": "1578"}
DELETE = {"delete": {"status": {"id_str": "8", "id": 8}, "timestamp_ms": "1665182586000"}}
PAGE_POST = {
    "id": "1578516295611748353",
    "text": WORDS,
    "author_id": "7",
    "created_at": "2022-10-07T22:43:06.000Z",
    "edit_history_tweet_ids": ["5", "1578516295611748353"],
    "referenced_tweets": [{"type": "quoted", "id": "3"}],
    "public_metrics": {"like_count": 1, "retweet_count": 2, "reply_count": 3},
    "note_tweet": {"text": f"{WORDS} and more"},
}
V2_PAGE = {
    "data": [PAGE_POST, {**PAGE_POST, "id": "6"}],
    "includes": {"users": [{"id": "7", "username": "writer0"}], "tweets": [PAGE_POST]},
    "errors": [{"resource_type": "tweet", "type": "/resource-not-found", "resource_id": "4"}],
    "meta": {"result_count": 2},
}
ME = "https://social.example/users/writer0"
PUBLIC = "https://www.w3.org/ns/activitystreams#Public"
NOTE = {
    "id": f"{ME}/statuses/1",
    "type": "Note",
    "summary": "birds",
    "content": f"<p>{WORDS} <b>and</b> stayed</p>",
    "contentMap": {"en": f"<p>{WORDS}</p>"},
    "published": TIME,
    "updated": TIME,
    "attributedTo": ME,
    "to": [PUBLIC],
    "inReplyTo": "https://other.example/1",
    "likes": {"totalItems": 3},
}
CREATE = {"type": "Create", "actor": ME, "to": PUBLIC, "object": NOTE}
OUTBOX = {
    "@context": "https://www.w3.org/ns/activitystreams",
    "type": "OrderedCollection",
    "orderedItems": [
        CREATE,
        {"type": "Announce", "actor": ME, "to": PUBLIC, "object": NOTE["id"], "id": f"{ME}/2"},
        {"type": "Delete", "actor": ME, "object": {"type": "Tombstone", "id": f"{ME}/3"}},
    ],
}
ACTOR = {"id": ME, "type": "Person", "preferredUsername": "writer0", "indexable": True}
POSTS = [f"app.bsky.feed.post/3lqcnvhqk622{c}" for c in "abcdef"]
RECORD = post_record(WORDS, langs=["en"], reply={"parent": {"uri": f"at://{DID}/{POSTS[1]}"}})
VIEW = {
    "uri": f"at://{DID}/{POSTS[0]}",
    "author": {"did": DID, "handle": "writer0.example"},
    "record": RECORD,
    "likeCount": 2,
}
JET_COMMIT = {
    "did": DID,
    "time_us": 1_750_000_000_000_000,
    "kind": "commit",
    "commit": {
        "operation": "create",
        "collection": "app.bsky.feed.post",
        "rkey": "3lqcnvhqk622a",
        "record": RECORD,
    },
}
JET_ACCOUNT = {
    "did": "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb",
    "time_us": 1_750_000_000_000_001,
    "kind": "account",
    "account": {"active": False, "status": "deleted"},
}
COMMENT = {
    "id": "c1",
    "name": "t1_c1",
    "author": "writer0",
    "body": f"{WORDS} &gt; more",
    "created_utc": 1_600_000_000,
    "edited": 1_600_000_001,
    "link_id": "t3_s1",
    "parent_id": "t1_c0",
    "score": 1,
    "subreddit": "birds",
    "replies": {"kind": "Listing", "data": {"children": [{"kind": "more", "data": {"count": 1}}]}},
}
SUBMISSION = {
    "id": "s1",
    "title": "herons",
    "selftext": WORDS,
    "created_utc": "1600000000",
    "num_comments": 1,
    "score": 1,
    "subreddit": "birds",
}
ITEM = {
    "by": "writer0",
    "id": 2,
    "parent": 1,
    "kids": [3],
    "text": f"<p>{WORDS}",
    "time": 1_600_000_000,
    "type": "comment",
}
HITS = {
    "hits": [
        {
            "objectID": "4",
            "title": "herons",
            "author": "writer0",
            "created_at": "2020-01-01T00:00:00Z",
            "story_id": 4,
            "points": 3,
        }
    ]
}
SLACK = {
    "type": "message",
    "user": "U1",
    "text": f"<@U1> {WORDS} &amp; <https://ex.org|b>",
    "ts": "1704189600.000100",
    "thread_ts": "1704189500.000100",
    "edited": {"ts": "1704189700.000100"},
    "reactions": [{"count": 1}],
}
SLACK_BLOCKS = {
    **SLACK,
    "ts": "1704189800.000100",
    "text": "",
    "blocks": [
        {
            "type": "rich_text",
            "elements": [
                {"type": "rich_text_section", "elements": [{"type": "text", "text": WORDS}]}
            ],
        }
    ],
}
DISCORD = {
    "guild": {"id": "7", "name": "birds"},
    "channel": {"id": "8", "type": "GuildTextChat", "name": "owls"},
    "messages": [
        {
            **DISCORD_MESSAGE,
            "content": f"<@!5> {WORDS} <:mug:123>",
            "mentions": [{"id": "5", "name": "writer1"}],
            "reactions": [{"count": 2}],
            "reference": {"messageId": "899", "channelId": "8"},
        }
    ],
}
TELEGRAM_POST = {
    **TELEGRAM_MESSAGE,
    "text": [f"{WORDS} ", {"type": "link", "text": "https://ex.org"}],
    "reply_to_message_id": 4,
    "reactions": [{"count": 2}],
}
TELEGRAM = {"name": "birds", "type": "public_channel", "id": 55, "messages": [TELEGRAM_POST] * 2}
MESSENGER = {
    "participants": [{"name": "writer0"}],
    "messages": [
        {"sender_name": "writ\u00c3\u00a4r", "timestamp_ms": 1704189600123, "content": WORDS}
    ],
}
ZULIP_API = {
    "id": 5,
    "type": "stream",
    "display_recipient": "tea",
    "stream_id": 10,
    "subject": "cups",
    "sender_full_name": "writer0",
    "timestamp": 1704189600,
    "content": f'<p>{WORDS} <span class="emoji emoji-1f604">:b:</span></p>',
    "reactions": [{}],
}
ZULIP_LINE = {**ZULIP_API, "stream": "tea", "topic": "cups"}
WHATSAPP = (
    f"[31.12.20, 23:59:59] writer0: {WORDS}\nmore\n"
    "\u200e[01.01.21, 01:02:03\u202fPM] writer1: \u200eomitted\n"
    "[01.01.21, 01:03:00] writer1: yes\n"
)
WHATSAPP_ANDROID = f"12/31/20, 11:59 PM - writer0: {WORDS}\n1/1/21, 1:02 AM - writer1: yes\n"
IRC = (
    f"--- Log opened Tue Jan 02 09:59:00 2024\n10:00 <@writer0> {WORDS}\n"
    "10:01 -!- writer1 has joined\n10:02  * writer0 waves\n10:03 <writer1> yes\n"
)
WEECHAT = f"2024-01-02 10:00:00\twriter0\t{WORDS}\n2024-01-02 10:00:01\t--\tnotice\n"
MAIL = (
    "From: =?utf-8?q?writ=C3=A4r?= <writer0@example.org>\n"
    "Date: Tue, 2 Jan 2024 11:00:00 +0100\nMessage-ID: <1@example.org>\n"
    "In-Reply-To: <0@example.org>\nSubject: herons\nList-Id: <birds>\n"
    'Content-Type: multipart/mixed; boundary="x"\n\n--x\n'
    "Content-Type: text/plain; charset=utf-8; format=flowed\n"
    "Content-Transfer-Encoding: base64\n\ndGhlIGhlcm9ucyBjYW1lIGJhY2s=\n--x\n"
    f"Content-Type: text/html\n\n<p>{WORDS}\n--x--\n"
)
PLAIN_MAIL = (
    "From writer0 at example.org  Mon Jan  6 01:00:00 2025\n"
    "From: writer0 at example.org (writer0)\nDate: Mon, 6 Jan 2025 01:00:00 +0000\n"
    f"Message-ID: <1@example.org>\nSubject: owls\n\n{WORDS}\n\n"
)
ROWS = [
    {"id": 1, "author": "writer0", "text": WORDS, "created_at": TIME, "likes": 3},
    {"id": 2, "author": "writer1", "text": 'yes, "all" of them', "created_at": TIME, "likes": 0},
]
CSV = (
    'id,author,text,created_at,likes\n1,writer0,"the herons, ""came""\nback",2025-01-06,3\n'
    "2,writer1,yes,,\n"
)
TSV = f"id\tauthor\ttext\n1\twriter0\t{WORDS}\n2\twriter1\tyes\n"
YTD = b"window.YTD.%s.part0 = %s"


def _parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS * 3), sink)
    return sink.getvalue()


def _frames() -> bytes:
    blocks, cids = commit_car({path: post_record(WORDS) for path in POSTS[:2]})
    ops = [{"action": "create", "path": path, "cid": cid} for path, cid in cids.items()]
    commit = {"repo": DID, "time": TIME, "ops": ops, "blocks": blocks}
    account = {"did": JET_ACCOUNT["did"], "active": False, "status": "deleted", "time": TIME}
    return event("#commit", commit) + event("#account", account)


_REPOSITORY = repository({path: post_record(WORDS, langs=["en"]) for path in POSTS})
_NOTE_TWEET = {"noteTweet": {"createdAt": "2022-10-07T22:43:05.000Z", "core": {"text": WORDS}}}

SEEDS: Mapping[str, tuple[Seed, ...]] = {
    "x-archive": (
        Seed(
            name="tweets.js",
            content=YTD % (b"tweets", _json([{"tweet": TWEET}, {"tweet": QUOTING}], indent=1)),
            beside={
                "account.js": YTD % (b"account", _json([{"account": {"username": "writer0"}}])),
                "note-tweet.js": YTD % (b"note_tweet", _json([_NOTE_TWEET])),
            },
        ),
    ),
    "activitypub": (
        Seed(
            name="outbox.json",
            content=_json(OUTBOX, indent=1),
            beside={"actor.json": _json(ACTOR)},
        ),
        Seed(name="notes.jsonl", content=_lines(CREATE, OUTBOX["orderedItems"][2])),
    ),
    "bluesky-car": (Seed(name="repo.car", content=_REPOSITORY),),
    "bluesky-jetstream": (Seed(name="jet.jsonl", content=_lines(JET_COMMIT, JET_ACCOUNT)),),
    "bluesky-firehose": (
        Seed(name="frames.bin", content=_frames()),
        Seed(
            name="frames.jsonl",
            content=_lines(
                {
                    "repo": DID,
                    "time": TIME,
                    "ops": [{"path": POSTS[0], "action": "delete", "cid": None}],
                    "blocks": {"$bytes": ""},
                }
            ),
        ),
    ),
    "bluesky-records": (
        Seed(name="feed.json", content=_json({"feed": [{"post": VIEW}]}, indent=1)),
        Seed(name="records.jsonl", content=_lines({"uri": VIEW["uri"], "value": RECORD})),
    ),
    "reddit-api": (
        Seed(
            name="listing.json",
            content=_json(
                {
                    "kind": "Listing",
                    "data": {
                        "children": [
                            {"kind": "t1", "data": COMMENT},
                            {"kind": "t3", "data": SUBMISSION},
                        ]
                    },
                }
            ),
        ),
    ),
    "reddit-pushshift": (Seed(name="RC.jsonl", content=_lines(COMMENT, SUBMISSION)),),
    "slack": (
        Seed(
            name="2024-01-02.json",
            content=_json([SLACK, SLACK_BLOCKS], indent=1),
            beside={"users.json": _json([{"id": "U1", "name": "writer0"}])},
        ),
    ),
    "discord": (Seed(name="birds.json", content=_json(DISCORD, indent=1)),),
    "telegram": (
        Seed(name="result.json", content=_json(TELEGRAM, indent=1)),
        Seed(
            name="account.json",
            content=_json({"about": "", "chats": {"list": [TELEGRAM, TELEGRAM]}}, indent=1),
        ),
    ),
    "messenger": (Seed(name="message_1.json", content=_json(MESSENGER, indent=1)),),
    "zulip-export": (
        Seed(
            name="messages-000001.json",
            content=_json(
                {"zerver_message": [{**ZULIP_MESSAGE, "content": WORDS, "rendered_content": None}]}
            ),
            beside={"realm.json": _json(ZULIP_REALM)},
        ),
    ),
    "zulip-api": (
        Seed(
            name="page.json",
            content=_json({"found_newest": True, "messages": [ZULIP_API, ZULIP_API]}, indent=1),
            beside={"streams.json": _json({"streams": [{"stream_id": 10, "name": "tea"}]})},
        ),
    ),
    "zulip-archive": (Seed(name="tea.jsonl", content=_lines(ZULIP_LINE, ZULIP_LINE)),),
    "x-api-v1.1": (
        Seed(name="timeline.json", content=_json([TWEET, QUOTING, DELETE])),
        Seed(name="stream.jsonl", content=_lines(TWEET, QUOTING, DELETE)),
        Seed(name="search.json", content=_json({"statuses": [TWEET, QUOTING]}, indent=1)),
    ),
    "x-api-v2": (
        Seed(name="page.json", content=_json(V2_PAGE, indent=1)),
        Seed(name="pages.jsonl", content=_lines(V2_PAGE, {"data": PAGE_POST})),
    ),
    "hacker-news": (
        Seed(name="items.jsonl", content=_lines(ITEM, {**ITEM, "id": 3, "deleted": True})),
        Seed(name="hits.json", content=_json(HITS, indent=1)),
    ),
    "whatsapp": (
        Seed(name="_chat.txt", content=WHATSAPP.encode()),
        Seed(name="WhatsApp Chat.txt", content=WHATSAPP_ANDROID.encode()),
    ),
    "irc-lines": (
        Seed(
            name="logs.jsonl",
            content=_lines(
                {"file": "2024-01-02", "line": 1, "raw": f"[10:00] <writer0> {WORDS}"},
                {"file": "2024-01-02", "line": 2, "raw": "[10:01] <writer1> yes"},
            ),
        ),
    ),
    "irc": (
        Seed(name="#birds.log", content=IRC.encode()),
        Seed(name="#owls.weechatlog", content=WEECHAT.encode()),
    ),
    "mbox": (
        Seed(name="list.mbox", content=(PLAIN_MAIL + PLAIN_MAIL).encode()),
        Seed(
            name="parts.mbox",
            content=f"From writer0@example.org Tue Jan  2 10:00:00 2024\n{MAIL}\n".encode(),
        ),
    ),
    "eml": (Seed(name="one.eml", content=MAIL.encode()),),
    "parquet": (Seed(name="rows.parquet", content=_parquet()),),
    "json": (Seed(name="rows.json", content=_json(ROWS)),),
    "jsonl": (Seed(name="rows.jsonl", content=_lines(*ROWS)),),
    "delimited": (
        Seed(name="rows.csv", content=CSV.encode()),
        Seed(name="rows.tsv", content=TSV.encode("utf-16")),
    ),
}
"""Name of a format to exports of it, each told by its content and with posts in it."""
