"""Bluesky: repositories, streams, and JSON of the API; invented ones, and the shared real ones."""

import base64
import json
from collections import Counter
from datetime import UTC, datetime

import pytest
from tests.fakes.tiny_repository import (
    DID,
    car,
    commit_car,
    event,
    post_record,
    repository,
    varint,
)

from mynah.errors import DataError
from mynah.posts.export_file import ExportFile
from mynah.posts.format import look_at
from mynah.posts.post import Post
from mynah.posts.reader import Deleted, ReadOptions, Rejected, SourceReport
from mynah.posts.readers import bluesky_car, bluesky_records, bluesky_stream
from mynah.posts.readers.bluesky_post import tid_time

FORMATS = (*bluesky_car.FORMATS, *bluesky_stream.FORMATS, *bluesky_records.FORMATS)
POST_1 = f"at://{DID}/app.bsky.feed.post/3lqcnvhqk622a"
POST_2 = f"at://{DID}/app.bsky.feed.post/3lqcnvhqk622b"
PATH_1, PATH_2 = POST_1.partition(f"{DID}/")[2], POST_2.partition(f"{DID}/")[2]


def read_path(path, **options):
    """Read a file as its content says; return the format, all that is found, and the report."""
    file = ExportFile(path=path, name=path.name)
    head = look_at(file)
    fits = [format_ for format_ in FORMATS if format_.sniff(head)]
    assert len(fits) == 1, f"{path.name} fits {[f.name for f in fits]}"
    report = SourceReport(path.name, fits[0].name)
    found = list(fits[0].read(file, ReadOptions(**options), report))
    return fits[0].name, found, report


@pytest.fixture
def read(tmp_path):
    def read_content(name, content, **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_path(path, **options)[1:]

    return read_content


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


def jet(operation, record=None, *, rkey="3lqcnvhqk622a", did=DID, time_us=1_750_000_000_000_000):
    commit = {"operation": operation, "collection": "app.bsky.feed.post", "rkey": rkey}
    if record is not None:
        commit["record"] = record
    return {"did": did, "time_us": time_us, "kind": "commit", "commit": commit}


def account_event(status=None, *, active=False, did=DID):
    account = {"active": active, "did": did, "status": status}
    return {"did": did, "time_us": 1_750_000_100_000_000, "kind": "account", "account": account}


# Repositories


def test_a_repository_gives_its_live_posts(read):
    records = {
        "app.bsky.actor.profile/self": {"$type": "app.bsky.actor.profile"},
        "app.bsky.feed.like/3lqcnvhqk6223": {"$type": "app.bsky.feed.like"},
        PATH_1: post_record("first", langs=["pt-BR", "en"]),
        PATH_2: post_record("second", reply={"parent": {"uri": POST_1}, "root": {"uri": POST_1}}),
        "app.bsky.feed.repost/3lqcnvhqk622c": {
            "$type": "app.bsky.feed.repost",
            "subject": {"uri": POST_1},
        },
    }
    found, report = read("a.car", repository(records, leftovers=[post_record("taken back")]))
    first, second = found
    assert first.id == f"bluesky:{POST_1}"
    assert (first.author, first.text, first.lang, first.kind) == (DID, "first", "pt", "post")
    assert first.created_at == datetime(2025, 5, 1, 10, tzinfo=UTC)
    assert first.url == f"https://bsky.app/profile/{DID}/post/3lqcnvhqk622a"
    assert first.seen_at == tid_time("3lqcnvhqk6222")
    assert (second.reply_to, second.kind) == (f"bluesky:{POST_1}", "reply")
    # A repost has no words of its own: it is counted, as likes and the profile are.
    assert report.num_not_posts == 3
    assert report.network == "bluesky"


def test_quotes_point_at_posts_only(read):
    other = f"at://{DID}/app.bsky.feed.generator/mine"
    record = {"$type": "app.bsky.embed.record", "record": {"uri": POST_1}}
    both = {"$type": "app.bsky.embed.recordWithMedia", "record": {"record": {"uri": POST_1}}}
    feed = {"$type": "app.bsky.embed.record", "record": {"uri": other}}
    paths = [f"app.bsky.feed.post/3lqcnvhqk622{c}" for c in "abc"]
    embeds = dict(zip(paths, (record, both, feed), strict=True))
    found, _ = read("a.car", repository({p: post_record(embed=e) for p, e in embeds.items()}))
    assert [post.quote_of for post in found] == [f"bluesky:{POST_1}"] * 2 + [None]
    assert [post.kind for post in found] == ["quote", "quote", "post"]


@pytest.mark.parametrize(
    "created_at", ["0001-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "x", 7, None]
)
def test_an_impossible_time_falls_back_to_the_key(read, created_at):
    found, _ = read("a.car", repository({PATH_1: post_record(createdAt=created_at)}))
    assert found[0].created_at == tid_time("3lqcnvhqk622a")


def test_what_the_account_says_holds_for_all_its_posts(read):
    label = {
        "$type": "com.atproto.label.defs#selfLabels",
        "values": [{"val": "!no-unauthenticated"}],
    }
    profile = {"app.bsky.actor.profile/self": {"$type": "app.bsky.actor.profile", "labels": label}}
    found, _ = read("a.car", repository({PATH_1: post_record(), **profile}))
    assert found[0].visibility == "followers"
    found, _ = read("a.car", repository({PATH_1: post_record(labels=label), PATH_2: post_record()}))
    assert [post.visibility for post in found] == ["followers", "public"]


@pytest.mark.parametrize(
    ("path", "record", "may_train"),
    [
        (
            "community.lexicon.preference.ai/self",
            {"preferences": {"training": {"allow": False}}},
            False,
        ),
        (
            "community.lexicon.preference.ai/self",
            {"preferences": {"training": {"allow": True}}},
            True,
        ),
        (
            "community.lexicon.preference.ai/3lqcnvhqk622a",
            {"preferences": {"training": {"allow": False}}, "scope": {"entity": "example.com"}},
            True,
        ),
        (
            "org.user-intents.demo.declaration/self",
            {"syntheticContentGeneration": {"allow": False}},
            False,
        ),
        ("org.user-intents.demo.declaration/self", {"bulkDataset": {"allow": False}}, True),
    ],
)
def test_an_account_may_opt_out_of_training(read, path, record, may_train):
    found, _ = read("a.car", repository({PATH_1: post_record(), path: record}))
    assert found[0].may_train is may_train


def test_the_handle_comes_from_a_did_document_beside(read, tmp_path):
    document = {"id": DID, "alsoKnownAs": ["at://ada.example"]}
    (tmp_path / "did.json").write_text(json.dumps(document))
    found, _ = read("a.car", repository({PATH_1: post_record()}))
    assert found[0].author == "ada.example"
    (tmp_path / "a.did.json").write_text(json.dumps({**document, "id": "did:plc:other"}))
    found, _ = read("a.car", repository({PATH_1: post_record()}))
    assert found[0].author == "ada.example"


def test_pictures_alone_are_counted(read):
    other = {"$type": "example.other", "text": "not a post of Bluesky"}
    paths = [f"app.bsky.feed.post/3lqcnvhqk622{c}" for c in "defg"]
    records = [post_record("  "), {"createdAt": "2025-01-01"}, other, post_record(["no text"])]
    found, report = read("a.car", repository(dict(zip(paths, records, strict=True))))
    assert found == [Rejected("a.car", 4, "the text is not a string")]
    assert report.num_not_posts == 3


def test_a_cut_repository_gives_what_is_whole(read):
    records = {
        f"app.bsky.feed.post/3lqcnvhqk62{n:02}": post_record(f"post {n}") for n in range(22, 62)
    }
    whole = repository(records)
    assert len(read("a.car", whole)[0]) == 40
    # Records come before the tree in this file: the tree is gone, nothing is a post.
    found, _ = read("a.car", whole[: len(whole) * 2 // 3])
    assert all(isinstance(item, Rejected) for item in found)
    assert found[0].reason == "the file ends inside a block"


def test_a_changed_record_is_not_read(read):
    whole = repository({PATH_1: post_record("one two"), PATH_2: post_record("three")})
    found, _ = read("a.car", whole.replace(b"one two", b"one 2wo"))
    assert [type(item) for item in found] == [Rejected, Post]
    assert "hash" in found[0].reason


@pytest.mark.parametrize(
    "content",
    [
        varint(50) + b"\xa2eroots\x80gversion\x02",
        car(None, []),
        car(b"\x01\x71\x12\x20" + b"\0" * 32, []),
        b"\xff" * 40,
        varint(1 << 60) + b"eroots gversion",
    ],
)
def test_what_is_no_repository_is_refused(tmp_path, content):
    path = tmp_path / "a.car"
    path.write_bytes(content)
    reader = bluesky_car.FORMATS[0].read
    with pytest.raises(DataError, match="no repository"):
        list(reader(ExportFile(path=path, name="a.car"), ReadOptions(), SourceReport("a.car", "")))


# Streams


def test_jetstream_creates_updates_and_deletes(read):
    found, report = read(
        "a.jsonl",
        lines(
            jet("create", post_record("first"), time_us=1_750_000_000_000_001),
            jet("update", post_record("second"), time_us=1_750_000_000_000_002),
            jet("delete", rkey="3lqcnvhqk622b"),
            {"did": DID, "time_us": 1, "kind": "identity", "identity": {"did": DID}},
        ),
    )
    first, second, gone = found
    assert first.id == second.id == f"bluesky:{POST_1}"
    assert first.seen_at < second.seen_at == second.edited_at
    assert first.edited_at is None
    assert gone == Deleted(f"bluesky:{POST_2}", datetime(2025, 6, 15, 15, 6, 40, tzinfo=UTC))
    assert report.num_not_posts == 1


@pytest.mark.parametrize("status", ["deleted", "takendown"])
def test_posts_of_a_deleted_account_are_gone(read, status):
    """Also those that stand earlier in the file than the end of their account."""
    found, _ = read("a.jsonl", lines(jet("create", post_record()), account_event(status)))
    assert [type(item) for item in found] == [Deleted]
    assert found[0].id == f"bluesky:{POST_1}"


def test_posts_of_a_paused_account_are_kept_out_until_it_is_back(read):
    stream = [jet("create", post_record()), account_event("deactivated")]
    assert read("a.jsonl", lines(*stream))[0][0].visibility == "followers"
    stream.append(account_event(active=True))
    assert read("a.jsonl", lines(*stream))[0][0].visibility == "public"


def test_an_opt_out_in_a_stream_holds_for_its_account(read):
    wish = jet("create", {"preferences": {"training": {"allow": False}}}, rkey="self")
    wish["commit"]["collection"] = "community.lexicon.preference.ai"
    other = jet("create", post_record(), did="did:plc:bbbb")
    found, _ = read("a.jsonl", lines(jet("create", post_record()), other, wish))
    assert [post.may_train for post in found] == [False, True]


def test_a_broken_event_is_rejected_by_itself(read):
    good = jet("create", post_record())
    found, _ = read(
        "a.jsonl",
        lines(good, jet("create", rkey="3lqcnvhqk622b"), jet("create", post_record(), did="me"))
        + "{nonsense\n"
        + lines(jet("create", post_record("\ud800"))),
    )
    assert [item.position for item in found[1:]] == [2, 3, 4, 5]
    assert all(isinstance(item, Rejected) for item in found[1:])


def test_the_first_jetstream_is_read_too(read):
    old = {"did": DID, "time_us": 1_750_000_000_000_000, "type": "com"}
    commit = {"type": "d", "collection": "app.bsky.feed.post", "rkey": "3lqcnvhqk622a"}
    found, _ = read("a.jsonl", lines({**old, "commit": commit}))
    assert [type(item) for item in found] == [Deleted]


def frame_of(records, *, deleted=()):
    blocks, cids = commit_car(records)
    ops = [{"action": "create", "path": path, "cid": cid} for path, cid in cids.items()]
    ops += [{"action": "delete", "path": path, "cid": None} for path in deleted]
    return {"repo": DID, "time": "2025-06-01T00:00:00Z", "ops": ops, "blocks": blocks}


def test_frames_of_a_relay(read):
    content = (
        event("#commit", frame_of({PATH_1: post_record("first")}, deleted=[PATH_2]))
        + event("#identity", {"did": DID})
        + event("#commit", {**frame_of({PATH_2: post_record()}), "blocks": b"\x05broken"})
        + event("#info", {})
    )
    found, report = read("a.bin", content)
    assert found[0].id == f"bluesky:{POST_1}"
    assert found[0].seen_at == datetime(2025, 6, 1, tzinfo=UTC)
    assert found[1] == Deleted(f"bluesky:{POST_2}", datetime(2025, 6, 1, tzinfo=UTC))
    assert found[2] == Rejected("a.bin", 3, "the event does not carry its record")
    assert report.num_not_posts == 2


def test_an_account_deleted_on_the_relay(read):
    end = event("#account", {"did": DID, "active": False, "status": "deleted"})
    found, _ = read("a.bin", event("#commit", frame_of({PATH_1: post_record()})) + end)
    assert [type(item) for item in found] == [Deleted]


def test_frames_that_cannot_be_followed(read):
    good = event("#commit", frame_of({PATH_1: post_record()}))
    for rest, reason in [
        (b"\xff\xff\xff\xff", "length cannot be right"),
        (b"\x10\0\0\0abc", "ends inside a frame"),
        (b"\x01", "ends inside a frame"),
        (b"\x03\0\0\0\xff\xff\xff", "no DAG-CBOR"),
        (b"\x01\0\0\0\x01", "header and a body"),
    ]:
        found, _ = read("a.bin", good + rest)
        assert isinstance(found[0], Post)
        assert reason in found[1].reason


def test_a_commit_as_json(read):
    body = frame_of({PATH_1: post_record("first")})
    body["blocks"] = {"$bytes": base64.b64encode(body["blocks"]).decode().rstrip("=")}
    for op in body["ops"]:
        op["cid"] = {"$link": "b" + base64.b32encode(op["cid"]).decode().lower().rstrip("=")}
    for content in (json.dumps(body), json.dumps(body, indent=1), lines(body, body)):
        found, _ = read("a.json", content)
        assert {post.id for post in found} == {f"bluesky:{POST_1}"}


# JSON of the API


def view(uri, text, **fields):
    author = {"did": DID, "handle": "ada.example"}
    return {"uri": uri, "cid": "b", "author": author, "record": post_record(text), **fields}


def test_a_feed_with_counts_and_handles(read):
    feed = {"feed": [{"post": view(POST_1, "first", likeCount=3, repostCount=2, replyCount=1)}]}
    (post,), _ = read("a.json", json.dumps(feed))
    assert (post.author, post.likes, post.reposts, post.replies) == ("ada.example", 3, 2, 1)
    assert post.id == f"bluesky:{POST_1}"


def test_a_thread_however_deep(read):
    thread = {"post": view(POST_2, "last"), "replies": []}
    for _ in range(60):
        thread = {"post": view(POST_1, "above"), "replies": [thread]}
    found, _ = read("a.json", json.dumps({"thread": thread}))
    assert [post.text for post in found] == ["above"] * 60 + ["last"]


def test_a_label_of_a_moderator_keeps_a_post_out(read):
    posts = [
        view(POST_1, "one", labels=[{"val": "!hide"}]),
        view(POST_2, "two", labels=[{"val": 4}]),
    ]
    found, _ = read("a.json", json.dumps({"posts": posts}))
    assert [post.visibility for post in found] == ["followers", "public"]


def test_listed_records(read):
    records = [{"uri": POST_1, "cid": "b", "value": post_record("first")}]
    records.append(
        {"uri": f"at://{DID}/app.bsky.feed.like/x", "value": {"$type": "app.bsky.feed.like"}}
    )
    found, report = read("a.json", json.dumps({"records": records, "cursor": "x"}))
    assert [post.id for post in found] == [f"bluesky:{POST_1}"]
    assert report.num_not_posts == 1


def test_records_as_tools_unpack_them(tmp_path):
    """A folder an account, a folder a collection, a file a record."""
    path = tmp_path / DID / f"{PATH_1}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(post_record("first")))
    file = ExportFile(path=path, name=f"out/{DID}/{PATH_1}.json")
    reader = bluesky_records.FORMATS[0].read
    (post,) = reader(file, ReadOptions(), SourceReport(file.name, ""))
    assert (post.id, post.author) == (f"bluesky:{POST_1}", DID)


def test_a_record_that_does_not_say_where_it_lies(read):
    """Its id is made of what it is, so that reading it again finds it again."""
    first, second = (read("a.json", json.dumps(post_record("first")))[0][0] for _ in range(2))
    assert first == second
    assert first.id.startswith("bluesky:h")
    assert (first.author, first.url) == ("", None)


# The shared real data

# What each file gives: posts, deletions, rejections, records that are no posts.
SHARED = {
    "atproto_py_custom_record.json": ("bluesky-records", 0, 0, 0, 1),  # somebody's own kind
    "atproto_py_did_doc.json": ("bluesky-records", 0, 0, 0, 0),
    "atproto_py_extended_like_record.json": ("bluesky-records", 0, 0, 0, 1),
    "atproto_py_feed_record.json": ("bluesky-records", 0, 0, 0, 1),
    "atproto_py_get_follows.json": ("bluesky-records", 0, 0, 0, 0),
    "atproto_py_like_record.json": ("bluesky-records", 0, 0, 0, 1),
    "atproto_py_post_record.json": ("bluesky-records", 1, 0, 0, 0),
    "atproto_py_resolve_handle.json": ("bluesky-records", 0, 0, 0, 0),
    "firehose_commit_4621317030.json": ("bluesky-firehose", 0, 0, 0, 1),  # a repost
    "firehose_commit_4621332152.json": ("bluesky-firehose", 0, 0, 0, 42),  # follows
    "greenground.repo.car": ("bluesky-car", 0, 0, 0, 2),
    # 152 lines: 17 posts made, one of them of a picture alone, and one deleted.
    "jetstream_v1.jsonl": ("bluesky-jetstream", 16, 1, 0, 135),
    "maintainer_repo.car": ("bluesky-car", 6, 0, 0, 17),
    # All 101 posts in the file are live; 14 are pictures alone, and so are counted only.
    "paul_staging.repo.car": ("bluesky-car", 87, 0, 0, 98),
    # The same seconds as the Jetstream: 150 frames, two of them with more than one change.
    "relay_frames.bin.zst": ("bluesky-firehose", 16, 1, 0, 135),
    # A slice: one post, with the path to it; its neighbours are named and not there.
    "repo_slice.car": ("bluesky-car", 1, 0, 4, 1),
}
NOT_READ = {"jetstream_manifest.json", "maintainer_repo.records.tsv"}


def test_every_shared_file_is_accounted_for(shared_data):
    folder = shared_data / "native-formats" / "bluesky"
    assert {path.name for path in folder.iterdir()} == {*SHARED, *NOT_READ}


@pytest.mark.parametrize("name", SHARED)
def test_shared_files_give_their_counts(shared_data, name):
    format_, found, report = read_path(shared_data / "native-formats" / "bluesky" / name)
    kinds = Counter(type(item) for item in found)
    counts = (kinds[Post], kinds[Deleted], kinds[Rejected], report.num_not_posts)
    assert (format_, *counts) == SHARED[name]


def test_the_maintainers_repository_is_what_its_list_says(shared_data):
    folder = shared_data / "native-formats" / "bluesky"
    table = (folder / "maintainer_repo.records.tsv").read_text()
    listed = [line.split("\t")[0] for line in table.splitlines()]
    _, found, report = read_path(folder / "maintainer_repo.car")
    paths = [post.id.partition(f"{post.author}/")[2] for post in found]
    assert paths == [path for path in listed if path.startswith("app.bsky.feed.post/")]
    assert len(paths) + report.num_not_posts == len(listed) == 23


def test_jetstream_and_relay_tell_the_same(shared_data):
    folder = shared_data / "native-formats" / "bluesky"
    told = []
    for name in ("jetstream_v1.jsonl", "relay_frames.bin.zst"):
        _, found, _ = read_path(folder / name)
        posts = [item for item in found if isinstance(item, Post)]
        told.append(
            {post.id: (post.text, post.created_at, post.lang, post.reply_to) for post in posts}
        )
        told[-1] |= {item.id: None for item in found if isinstance(item, Deleted)}
    assert told[0] == told[1]
    assert len(told[0]) == 17


@pytest.mark.parametrize("name", ["maintainer_repo.car", "relay_frames.bin.zst"])
def test_no_cut_of_a_real_file_crashes(shared_data, tmp_path, name):
    with ExportFile(
        path=shared_data / "native-formats" / "bluesky" / name, name=name
    ).open_bytes() as f:
        whole = f.read(30_000)
    path = tmp_path / name.removesuffix(".zst")
    for end in range(60, len(whole), len(whole) // 60):
        path.write_bytes(whole[:end])
        try:
            _, found, _ = read_path(path)
        except DataError:
            continue
        assert any(isinstance(item, Rejected) for item in found)
