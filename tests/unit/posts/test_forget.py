import json
import shutil
from dataclasses import asdict

import polars as pl
import pytest

from mynah.posts import (
    POSTS_KIND,
    add_posts,
    forget_posts,
    forgotten_ids,
    iterate_posts,
    load_columns,
    load_posts,
    read_posts,
)
from mynah.posts import shards as shards_module
from mynah.posts.store import shards_of
from mynah.workspace import latest_artifact, read_artifact, writing_artifact

MARK = "zugzwangmarker"


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards_module, "_BORDER", 2**32 // 40)


@pytest.fixture
def export(tmp_path):
    def write(name, *records):
        path = tmp_path / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    return write


def many(num_posts, mark=7):
    return [
        {
            "id": number,
            "author": f"author{number % 9}",
            "text": f"{MARK} {number}" if number == mark else f"number {number * 7919}",
        }
        for number in range(num_posts)
    ]


def latest(store):
    artifact = latest_artifact(store, kind=POSTS_KIND)
    assert artifact is not None
    return artifact


def holding(store, mark=MARK):
    """Files under a store that hold a word, packed or not."""
    found = []
    for path in store.rglob("*"):
        if path.is_file() and path.suffix == ".parquet":
            table = pl.read_parquet(path, glob=False)
            words = "".join(str(cell) for row in table.iter_rows() for cell in row)
            found += [path] * (mark in words)
        elif path.is_file():
            found += [path] * (mark.encode() in path.read_bytes())
    return found


def verified(store):
    """Snapshots of a store, each checked against its hashes."""
    artifacts = [
        read_artifact(path.parent, kind=POSTS_KIND) for path in store.glob("*/manifest.json")
    ]
    for artifact in artifacts:
        assert artifact is not None
        artifact.verify()
    return artifacts


def test_a_post_leaves_every_snapshot_and_one_shard_of_each_is_rewritten(export, store):
    first = add_posts([export("a.jsonl", *many(300))], store)
    second = add_posts([export("b.jsonl", *many(320))], store)
    assert len(holding(store)) >= 1
    receipt = forget_posts(store, ids=["posts:7"])
    assert holding(store) == []
    assert receipt.found == ("posts:7",)
    assert receipt.not_found == receipt.reposts == ()
    assert (receipt.snapshot_before, receipt.snapshot_after) == (
        second.snapshot,
        latest(store).snapshot,
    )
    assert {row.snapshot for row in receipt.rewritten} == {
        first.snapshot,
        second.snapshot,
        latest(store).snapshot,
    }
    assert len(receipt.rewritten) == 3
    assert receipt.bytes_rewritten > 0
    assert json.loads(json.dumps(receipt.facts()))["found"] == ["posts:7"]
    assert MARK not in json.dumps(receipt.facts())
    assert sorted(a.counts["num_posts"] for a in verified(store)) == [299, 319, 319]
    assert forgotten_ids(store) == {"posts:7"}


def test_the_receipt_names_the_hashes_that_are_there(export, store):
    add_posts([export("a.jsonl", *many(300))], store)
    receipt = forget_posts(store, ids=["posts:7"])
    hashes = {
        (artifact.snapshot, shard.name): shard.sha256
        for artifact in verified(store)
        for shard in shards_of(artifact)
    }
    for row in receipt.rewritten:
        assert hashes[row.snapshot, row.shard] == row.new_sha256 != row.old_sha256


def test_the_new_snapshot_is_as_if_the_post_had_never_been(export, store, tmp_path):
    without = [record for record in many(300) if record["id"] != 7]
    for ended in shards_of(add_posts([export("a.jsonl", *many(300))], store)):
        forget_posts(store, ids=["posts:7", ended.last_id])  # its border goes: two shards are one
        without = [r for r in without if f"posts:{r['id']}" != ended.last_id]
        plain = read_posts([export("b.jsonl", *without)], tmp_path / f"plain{ended.name}")
        assert [s.sha256 for s in shards_of(latest(store))] == [s.sha256 for s in shards_of(plain)]
    verified(store)


def test_a_forgotten_post_never_comes_back(export, store):
    path = export("a.jsonl", *many(30))
    add_posts([path], store)
    forget_posts(store, ids=["posts:7", "posts:99"])
    newer = export("b.jsonl", *(dict(r, seen_at="2030-01-01") for r in many(100, mark=99)))
    add_posts([newer], store)
    read_posts([path], store)
    shutil.copyfile(path, path.with_name("c.jsonl"))
    read_posts([path.with_name("c.jsonl")], store)
    assert holding(store) == []
    verified(store)


def test_forgetting_twice_changes_nothing(export, store):
    add_posts([export("a.jsonl", *many(30))], store)
    first = forget_posts(store, ids=["posts:7"])
    again = forget_posts(store, ids=["posts:7"])
    assert again.snapshot_before == again.snapshot_after == first.snapshot_after
    assert again.not_found == ("posts:7",)
    assert again.rewritten == ()


def test_an_id_that_is_not_there_is_listed_all_the_same(export, store):
    receipt = forget_posts(store, ids=["posts:7"])
    assert (receipt.snapshot_before, receipt.snapshot_after) == (None, None)
    artifact = add_posts([export("a.jsonl", *many(30))], store)
    assert holding(store) == []
    assert artifact.counts["num_posts"] == 29


def test_all_posts_of_an_author_go_and_none_comes_back(export, store):
    add_posts([export("a.jsonl", *many(90))], store)
    receipt = forget_posts(store, authors=["author7"])
    assert receipt.found == tuple(sorted(f"posts:{n}" for n in range(7, 90, 9)))
    assert forgotten_ids(store) == set(receipt.found)
    assert holding(store) == []
    more = add_posts([export("b.jsonl", *many(180, mark=97))], store)
    assert "author7" not in load_columns(more, ["author"])["author"].to_list()
    assert b"author7" not in (store / "forgotten_authors.json").read_bytes()


def test_reposts_of_a_forgotten_post_go_too(export, store):
    words = f"{MARK} seven"
    records = [
        {"id": 7, "author": "ada", "text": words},
        {"id": 8, "author": "bob", "text": words, "kind": "repost", "repost_of": "posts:7"},
        {"id": 9, "author": "eve", "text": "of my own", "kind": "quote", "quote_of": "posts:7"},
        {"id": 10, "author": "bob", "text": "another", "kind": "post"},
    ]
    stored = list(iterate_posts(add_posts([export("a.jsonl", *records)], store)))
    assert [post.kind for post in stored if post.repost_of] == ["repost"]
    receipt = forget_posts(store, ids=["posts:7"])
    assert receipt.reposts == ("posts:8",)
    assert set(receipt.found) == {"posts:7", "posts:8"} == forgotten_ids(store)
    late = {"id": 11, "author": "joe", "text": words, "kind": "repost", "repost_of": "posts:7"}
    add_posts([export("b.jsonl", late, *records)], store)
    assert holding(store) == []
    assert load_posts(latest(store))["id"].to_list() == ["posts:10", "posts:9"]


def test_of_posts_that_share_an_id_only_the_one_goes(export, store):
    records = [
        {"id": 600, "author": "ada", "text": f"{MARK} of ada"},
        {"id": 600, "author": "bob", "text": "of bob"},
        {"id": 600, "author": "eve", "text": "of eve"},
    ]
    path = export("a.jsonl", *records)
    add_posts([path], store)
    forget_posts(store, ids=["posts:600"])
    assert holding(store) == []
    others = load_columns(latest(store), ["id", "author"])
    assert others["author"].sort().to_list() == ["bob", "eve"]
    assert "posts:600" not in others["id"].to_list()
    add_posts([export("b.jsonl", {"id": 601, "author": "ada", "text": "more"}, *records)], store)
    assert holding(store) == []
    bob = others.filter(pl.col("author") == "bob")["id"].item()
    receipt = forget_posts(store, ids=[bob])
    assert receipt.found == (bob,)
    assert read_posts([path], store).counts["num_posts"] == 1
    verified(store)


def test_a_store_of_an_older_version_is_purged_too(export, store):
    add_posts([export("a.jsonl", *many(30))], store)
    with writing_artifact(store, kind="mynah.posts/1", inputs={}) as writer:
        old = load_posts(latest(store)).drop("seen_at", "edited_at")
        old.write_parquet(writer.folder / "part-00000.parquet")
    assert len(holding(store)) == 2
    forget_posts(store, ids=["posts:7"])
    assert holding(store) == []


def test_what_killed_writers_left_is_purged(export, store):
    add_posts([export("a.jsonl", *many(30))], store)
    left = store / ".spool.1.writing"
    left.mkdir()
    (left / "run-00000.arrow").write_text(MARK)
    (store / ".latest.1.writing").write_text(MARK)
    forget_posts(store, ids=["posts:7"])
    assert holding(store) == []


class _Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize(
    "where",
    [
        "mynah.posts.forgetting.write_snapshot",
        "mynah.posts.forgetting.purge_file",
        "mynah.posts.purging._replace",
        "mynah.posts.purging.link_file",
    ],
)
def test_the_same_command_finishes_what_a_kill_left(export, store, monkeypatch, where):
    add_posts([export("a.jsonl", *many(300))], store)
    add_posts([export("b.jsonl", *many(320))], store)

    def killed(*_args, **_kwargs):
        raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(where, killed)
        with pytest.raises(_Killed):
            forget_posts(store, ids=["posts:7"])
    assert forgotten_ids(store) == {"posts:7"}
    receipt = forget_posts(store, ids=["posts:7"])
    assert receipt.found == ("posts:7",)
    assert holding(store) == []
    assert sorted(a.counts["num_posts"] for a in verified(store)) == [299, 319, 319]


def test_the_list_is_read_again_when_it_changes(export, store):
    add_posts([export("a.jsonl", *many(30))], store)
    assert forgotten_ids(store) == frozenset()
    forget_posts(store, ids=["posts:7"])
    assert forgotten_ids(store) == {"posts:7"}
    assert forgotten_ids(store) is forgotten_ids(store)
    forget_posts(store, ids=["posts:8"])
    assert forgotten_ids(store) == {"posts:7", "posts:8"}


def test_a_receipt_is_plain(export, store):
    add_posts([export("a.jsonl", *many(30))], store)
    receipt = forget_posts(store, ids=["posts:7"])
    assert receipt.facts() == asdict(receipt)
