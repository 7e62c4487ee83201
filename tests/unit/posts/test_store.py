"""Versions, shared ids, deletions and shards, on posts that are made here."""

import itertools
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pytest

from mynah.posts import (
    POST_SCHEMA,
    POSTS_KIND,
    Deleted,
    Post,
    content_digest,
    iterate_posts,
    load_columns,
    shard_paths,
)
from mynah.posts import shards as shards_module
from mynah.posts.deletions import Deletions
from mynah.posts.gathering import Gathered
from mynah.posts.reader import SourceReport
from mynah.posts.snapshots import one_writer, write_snapshot
from mynah.posts.spool import PostSpool
from mynah.posts.store import shards_of
from mynah.workspace import latest_artifact

names = itertools.count()


def day(number):
    return datetime(2024, 1, number, tzinfo=UTC)


def add(store, *found, deleted=(), batches=()):
    """What ``add_posts`` does once the readers are done."""
    with one_writer(store) as folder:
        gathered = Gathered.empty(folder)
        for post in found:
            gathered.spool.add(post)
        for batch in batches:
            gathered.spool.add_batch(batch)
        name = f"made {next(names)}"
        gathered.facts.append({"name": name, "sha256": name, "reader_version": 1})
        gathered.reports.append(SourceReport(name=name, format="test"))
        latest = latest_artifact(store, kind=POSTS_KIND)
        deletions = Deletions.load(store).with_deleted(deleted)
        deletions.save(store)
        return write_snapshot(store, base=latest, gathered=gathered, deletions=deletions)


def post(number=1, text="first", author="ada", **fields):
    return Post(id=f"x:{number}", text=text, author=author, **fields)


def test_a_newer_export_gives_text_counts_and_opt_out(store):
    add(store, post(likes=9, seen_at=day(1), may_train=False))
    newer = post(text="edited", likes=3, seen_at=day(2))
    assert list(iterate_posts(add(store, newer))) == [newer]


def test_an_older_export_changes_nothing(store):
    newer = post(text="edited", seen_at=day(2))
    add(store, newer)
    assert list(iterate_posts(add(store, post(likes=9, seen_at=day(1))))) == [newer]


def test_of_one_export_the_later_edit_counts(store):
    edited = post(text="edited", edited_at=day(1), seen_at=day(3))
    artifact = add(store, edited, post(likes=5, seen_at=day(3)))
    assert list(iterate_posts(artifact)) == [edited]


def test_an_edit_says_when_a_version_without_another_time_is_from(store):
    edited = post(text="edited", edited_at=day(2))
    artifact = add(store, edited, post(seen_at=day(1)))
    assert list(iterate_posts(artifact)) == [edited]


def test_one_copy_that_opts_out_is_enough(store):
    artifact = add(store, post(seen_at=day(1)), post(seen_at=day(1), may_train=False))
    assert [found.may_train for found in iterate_posts(artifact)] == [False]
    assert artifact.counts["num_opted_out"] == 1


def test_a_copy_without_an_author_adds_nothing(store):
    artifact = add(store, post(), post(author="", likes=4), post(2, author=""))
    assert [(found.id, found.author) for found in iterate_posts(artifact)] == [
        ("x:1", "ada"),
        ("x:2", ""),
    ]


def test_an_edit_keeps_the_name_of_a_shared_id(store):
    first = add(store, post(seen_at=day(1)), post(author="bob", text="other", seen_at=day(1)))
    second = add(store, post(author="bob", text="edited", seen_at=day(2)))
    assert load_columns(first, ["id"]).equals(load_columns(second, ["id"]))
    assert load_columns(second, ["text"])["text"].to_list() == ["first", "edited"]


def test_what_was_read_back_from_a_store_is_the_same_again(store, tmp_path):
    whole = add(store, post(), post(text="second"), post(author="bob"), post(5))
    again = add(tmp_path / "other", *iterate_posts(whole))
    assert content_digest(again) == content_digest(whole)


@pytest.mark.parametrize(
    ("at", "seen_at", "stays"),
    [(None, 3, False), (2, 1, False), (2, 2, False), (2, 3, True), (2, None, False)],
)
def test_a_deletion_takes_what_was_seen_until_then(store, tmp_path, at, seen_at, stays):
    version = post(seen_at=seen_at and day(seen_at))
    deleted = [Deleted("x:1", at and day(at))]
    other = post(2)
    expected = ["x:1", "x:2"] if stays else ["x:2"]
    for first, second in (
        ({"deleted": deleted}, {}),
        ({}, {"deleted": deleted}),
    ):
        place = tmp_path / f"store{len(first)}"
        add(place, version, other, **first)
        artifact = add(place, version, other, **second)
        assert load_columns(artifact, ["id"])["id"].to_list() == expected


def many(num_posts, start=0):
    numbers = range(start, start + num_posts)
    columns = {
        "id": [f"x:{number}" for number in numbers],
        "author": [f"author{number % 9}" for number in numbers],
        "text": [f"number {number * 7919} of the ferries" for number in numbers],
        **dict.fromkeys(["likes", "reposts", "replies"], [0] * num_posts),
        "visibility": ["public"] * num_posts,
        "may_train": [True] * num_posts,
        "kind": ["post"] * num_posts,
    }
    arrays = [
        pa.array(columns.get(field.name, [None] * num_posts), field.type) for field in POST_SCHEMA
    ]
    return pa.record_batch(arrays, schema=POST_SCHEMA)


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(shards_module, "_BORDER", 2**32 // 100)


@pytest.mark.usefixtures("small_shards")
def test_batches_and_posts_make_the_same_store(store, tmp_path):
    batch = many(1000)
    of_batch = add(store, batches=[batch])
    of_posts = add(tmp_path / "other", *map(Post.from_row, batch.to_pylist()))
    assert len(shard_paths(of_batch)) > 3
    assert content_digest(of_batch) == content_digest(of_posts)


@pytest.mark.usefixtures("small_shards")
def test_one_more_post_rewrites_one_shard_and_links_the_others(store):
    first = add(store, batches=[many(1000)])
    second = add(store, post(500, seen_at=day(1), author="author5"))
    new = {shard.sha256 for shard in shards_of(second)} - {s.sha256 for s in shards_of(first)}
    assert len(new) == 1
    inodes = {path.stat().st_ino for path in shard_paths(first)}
    shared = [path for path in shard_paths(second) if path.stat().st_ino in inodes]
    assert len(shared) == len(shard_paths(first)) - 1


@pytest.mark.usefixtures("small_shards")
def test_links_are_copies_where_there_are_none(store, monkeypatch):
    first = add(store, batches=[many(1000)])

    def refuse(source, target):
        raise PermissionError(1, "no links here")

    monkeypatch.setattr("os.link", refuse)
    second = add(store, post(5000))
    second.verify()
    assert second.counts["num_posts"] == first.counts["num_posts"] + 1


@pytest.mark.usefixtures("small_shards")
def test_runs_and_stretches_decide_nothing(store, tmp_path, monkeypatch):
    batches = [many(700, start=start) for start in (0, 1400, 300, 700)]
    whole = add(store, batches=batches)
    monkeypatch.setattr("mynah.posts.spool._RUN_ROWS", 500)
    monkeypatch.setattr("mynah.posts.spool._BATCH_ROWS", 64)
    monkeypatch.setattr("mynah.posts.spool._CUT_BYTES", 20_000)
    in_pieces = add(tmp_path / "other", batches=batches)
    assert content_digest(in_pieces) == content_digest(whole)
    assert whole.counts["num_duplicates"] == in_pieces.counts["num_duplicates"] == 700


def test_the_manifest_says_where_an_id_is(store):
    artifact = add(store, batches=[many(50)])
    (shard,) = shards_of(artifact)
    assert (shard.num_posts, shard.first_id, shard.last_id) == (50, "x:0", "x:9")
    assert shard.sha256 == artifact.files[shard.name]["sha256"]


def test_an_empty_spool_has_no_runs(tmp_path):
    spool = PostSpool(tmp_path)
    assert spool.cursors() == []
    assert spool.cuts() == []


def test_deletions_come_back_from_disk(tmp_path):
    listed = Deletions.load(tmp_path).with_deleted([Deleted("x:1", day(1)), Deleted("x:1", day(2))])
    listed.save(tmp_path)
    loaded = Deletions.load(tmp_path)
    assert loaded.digest == listed.digest != Deletions.load(tmp_path / "nowhere").digest == ""
    assert loaded.listed["deleted_at"].to_list() == [day(2)]
    assert loaded.with_deleted([Deleted("x:1")]).listed["deleted_at"].to_list() == [None]
    assert isinstance(loaded.listed, pl.DataFrame)
