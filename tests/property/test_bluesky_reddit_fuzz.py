"""No bytes crash the readers of Bluesky, Reddit and Hacker News, and nothing unreadable leaves."""

import json
import tempfile
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes.tiny_repository import (
    DID,
    block,
    car,
    commit_car,
    event,
    post_record,
    repository,
    varint,
)

from mynah.errors import DataError
from mynah.posts.export_file import ExportFile
from mynah.posts.post import Post
from mynah.posts.reader import Deleted, ReadOptions, Rejected, SourceReport
from mynah.posts.readers import (
    bluesky_car,
    bluesky_records,
    bluesky_stream,
    hacker_news,
    reddit_api,
    reddit_pushshift,
)

quick = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
READERS = {
    format_.name: format_
    for module in (
        bluesky_car,
        bluesky_records,
        bluesky_stream,
        hacker_news,
        reddit_api,
        reddit_pushshift,
    )
    for format_ in module.FORMATS
}
POSTS = [f"app.bsky.feed.post/3lqcnvhqk622{c}" for c in "abcdefghijklmnop"]


def read(format_name, content):
    """Read bytes as a format; check all that comes out; ``None`` when the file is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.bin"
        path.write_bytes(content)
        report = SourceReport("a.bin", format_name)
        file = ExportFile(path=path, name="a.bin")
        try:
            found = list(READERS[format_name].read(file, ReadOptions(), report))
        except DataError:
            return None
    for item in found:
        assert isinstance(item, Post | Deleted | Rejected)
        if isinstance(item, Post):
            fields = (item.id, item.author, item.text, item.url, item.reply_to, item.quote_of)
            assert all(field is None or field.encode() is not None for field in fields)
            assert item.text.strip()
            assert item.visibility in ("public", "unlisted", "followers")
            assert all(-(2**62) < n < 2**62 for n in (item.likes, item.reposts, item.replies))
            times = (item.created_at, item.edited_at, item.seen_at)
            assert all(time is None or time.utcoffset().total_seconds() == 0 for time in times)
    return found


REPOSITORY = repository(
    {
        **{path: post_record(f"words {path[-1]}", langs=["en"]) for path in POSTS},
        "app.bsky.actor.profile/self": {
            "$type": "app.bsky.actor.profile",
            "labels": {"values": []},
        },
        "app.bsky.feed.like/3lqcnvhqk6223": {"$type": "app.bsky.feed.like"},
    }
)


def stream():
    blocks, cids = commit_car({path: post_record() for path in POSTS[:3]})
    ops = [{"action": "create", "path": path, "cid": cid} for path, cid in cids.items()]
    commit = {"repo": DID, "time": "2025-06-01T00:00:00Z", "ops": ops, "blocks": blocks}
    account = {"did": DID, "active": True, "time": "2025-06-01T00:00:00Z"}
    return event("#commit", commit) + event("#account", account) + event("#commit", commit)


STREAM = stream()

AUTHOR = {"did": DID, "handle": "ada.example", "labels": [{"val": "x"}]}
VIEW = {"uri": f"at://{DID}/{POSTS[0]}", "author": AUTHOR, "likeCount": 2, "labels": []}
REPLY = {"parent": {"uri": f"at://{DID}/{POSTS[1]}"}}
EMBED = {"$type": "app.bsky.embed.record", "record": {"uri": f"at://{DID}/{POSTS[2]}"}}
RECORD = post_record(langs=["en"], reply=REPLY, embed=EMBED, labels={"values": [{"val": "x"}]})
COMMIT = {"operation": "create", "collection": "app.bsky.feed.post", "rkey": POSTS[0][-13:]}
COMMENT = {
    "id": "c1",
    "name": "t1_c1",
    "author": "ada",
    "body": "words &gt; more",
    "created_utc": 1_600_000_000,
    "edited": 1_600_000_001,
    "link_id": "t3_s1",
    "parent_id": "t1_c0",
    "permalink": "/r/birds/comments/s1/_/c1/",
    "score": 1,
    "subreddit": "birds",
    "subreddit_type": "public",
    "retrieved_on": 1_600_000_002,
    "replies": {"kind": "Listing", "data": {"children": [{"kind": "more", "data": {"count": 1}}]}},
}
SUBMISSION = {
    "id": "s1",
    "title": "words",
    "selftext": "more",
    "created_utc": "1600000000",
    "num_comments": 1,
    "crosspost_parent": "t3_s0",
    "removed_by_category": "moderator",
    "score": 1,
}
ITEM = {
    "by": "ada",
    "id": 2,
    "parent": 1,
    "kids": [3],
    "text": "<p>words",
    "time": 1_600_000_000,
    "score": 1,
    "type": "comment",
    "children": [{"id": 3, "author": "bob", "text": "a", "created_at_i": 1, "points": None}],
}
DOCUMENTS = {
    "bluesky-jetstream": [
        {
            "did": DID,
            "time_us": 1_750_000_000_000_000,
            "kind": "commit",
            "commit": {**COMMIT, "record": RECORD},
        },
        {
            "did": DID,
            "time_us": 1_750_000_000_000_001,
            "kind": "account",
            "account": {"active": False, "status": "x"},
        },
    ],
    "bluesky-firehose": [
        {
            "repo": DID,
            "time": "2025-06-01",
            "ops": [{"path": POSTS[0], "action": "delete", "cid": {"$link": "ba"}}],
            "blocks": {"$bytes": "aaaa"},
        },
    ],
    "bluesky-records": [
        {"feed": [{"post": {**VIEW, "record": RECORD}}]},
        {"uri": VIEW["uri"], "value": RECORD},
    ],
    "reddit-api": [
        {
            "kind": "Listing",
            "data": {
                "children": [{"kind": "t1", "data": COMMENT}, {"kind": "t3", "data": SUBMISSION}]
            },
        },
        {"json": {"data": {"things": [{"kind": "t1", "data": COMMENT}]}}},
    ],
    "reddit-pushshift": [
        COMMENT,
        {**SUBMISSION, "_meta": {"retrieved_2nd_on": 5}},
        {"data": [COMMENT]},
    ],
    "hacker-news": [
        ITEM,
        {
            "hits": [
                {"objectID": "4", "title": "words", "author": "ada", "created_at": "2020-01-01"}
            ]
        },
    ],
}

changes = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4)


def changed(whole, at_and_bytes, end):
    data = bytearray(whole)
    for at, byte in at_and_bytes:
        data[int(at * (len(data) - 1))] = byte
    return bytes(data[: int(end * len(data))])


@quick
@given(changes, st.floats(0.3, 1) | st.just(1.0))
def test_changed_repositories(at_and_bytes, end):
    assert len([p for p in read("bluesky-car", REPOSITORY) if isinstance(p, Post)]) == len(POSTS)
    found = read("bluesky-car", changed(REPOSITORY, at_and_bytes, end)) or []
    # A block whose bytes are not those of its hash is never read, so no words are made up.
    assert all(item.text.startswith("words ") for item in found if isinstance(item, Post))


@quick
@given(changes, st.floats(0.3, 1) | st.just(1.0))
def test_changed_frames(at_and_bytes, end):
    read("bluesky-firehose", changed(STREAM, at_and_bytes, end))


cids = st.sampled_from([block(n)[0] for n in range(3)]) | st.none() | st.binary(max_size=40)
nodes = st.fixed_dictionaries(
    {
        "l": cids,
        "e": st.lists(
            st.fixed_dictionaries(
                {
                    "p": st.integers(-2, 30) | st.none(),
                    "k": st.sampled_from([b"app.bsky.feed.post/a", b"b", b"", b"\xff"]) | st.none(),
                    "v": cids,
                    "t": cids,
                }
            ),
            max_size=4,
        )
        | st.none(),
    }
)


@quick
@given(st.lists(nodes, min_size=1, max_size=6), st.binary(max_size=4))
def test_trees_that_nobody_would_build(levels, rest):
    """Every node points at those before it, over and over: more paths than blocks."""
    blocks = []
    for node in levels:
        if blocks and node["e"]:
            for entry in node["e"]:
                entry["t"] = blocks[-1][0]
        node["l"] = node["l"] if not blocks else blocks[-1][0]
        blocks.append(block(node))
    commit = block({"did": DID, "rev": 7, "data": blocks[-1][0], "version": 3})
    read("bluesky-car", car(commit[0], [commit, *blocks]) + rest)


@quick
@given(st.binary(max_size=60), st.integers(0, 2**70), st.sampled_from([b"", b"\x01", STREAM[:100]]))
def test_lengths_that_cannot_be(content, length, start):
    for name in ("bluesky-car", "bluesky-firehose"):
        read(name, start + varint(length) + content)
        header = REPOSITORY[: 1 + REPOSITORY[0]]
        read(name, header + varint(length) + content)


odd = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, -1, 2**63, 2**70, 1e308, float("nan"), float("inf"), -0.5])
    | st.sampled_from(
        ["", "\0", "\ud800", "[deleted]", "[removed]", "x" * 3000, "at://a/b/c", "t1_"]
    )
    | st.sampled_from([[], {}, [[]], [None], {"$type": 1}, {"a": {"b": []}}, [{"kind": "t1"}]])
    | st.text(max_size=5)
    | st.integers()
)


def places(value, path=()):
    """Return every path into a document."""
    found = [path] if path else []
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            found += places(value[key], (*path, key))
    return found


ODD = [None, True, 7, -(2**70), 1e308, "", "\ud800", "[deleted]", [], {}, [[]], [{}], {"a": 1}]


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_every_odd_value_at_every_key(name):
    """All in one file, a document a line: none of them may take another one with it."""
    lines = []
    for path in places(DOCUMENTS[name]):
        for value in ODD:
            documents = deepcopy(DOCUMENTS[name])
            *way, last = path
            holder = documents
            for key in way:
                holder = holder[key]
            holder[last] = value
            lines += map(json.dumps, documents)
    assert read(name, "\n".join(lines).encode()) is not None


@settings(parent=quick, max_examples=100)
@given(st.data())
def test_odd_values_at_any_key(data):
    name = data.draw(st.sampled_from(sorted(DOCUMENTS)))
    documents = deepcopy(DOCUMENTS[name])
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(places(documents)))
        holder = documents
        for key in way:
            holder = holder[key] if isinstance(holder, dict | list) and _has(holder, key) else None
        if isinstance(holder, dict | list) and _has(holder, last):
            holder[last] = deepcopy(data.draw(odd))
    layout = data.draw(st.sampled_from(["array", "lines", "object"]))
    if layout == "array":
        content = json.dumps(documents, indent=data.draw(st.sampled_from([None, 1])))
    elif layout == "lines":
        content = "\n".join(map(json.dumps, documents))
    else:
        content = json.dumps(documents[0], indent=1)
    read(name, content.encode("utf-8", "surrogatepass"))


def _has(holder, key):
    return key in holder if isinstance(holder, dict) else isinstance(key, int) and key < len(holder)


@settings(parent=quick, max_examples=50)
@given(st.sampled_from(sorted(DOCUMENTS)), changes, st.floats(0.1, 1) | st.just(1.0), st.booleans())
def test_changed_json(name, at_and_bytes, end, is_lines):
    documents = DOCUMENTS[name]
    whole = "\n".join(map(json.dumps, documents)) if is_lines else json.dumps(documents)
    read(name, changed(whole.encode(), at_and_bytes, end))


@settings(parent=quick, max_examples=15)
@given(
    st.sampled_from(sorted(DOCUMENTS)),
    st.sampled_from(["[", '{"a":', '{"replies":[', '{"data":{"children":[']),
)
def test_json_that_never_stops_going_down(name, piece):
    read(name, piece.encode() * 30_000)


@quick
@given(st.sampled_from(sorted(READERS)), st.binary(max_size=300))
def test_no_bytes_crash(name, content):
    read(name, content or b"\n")
