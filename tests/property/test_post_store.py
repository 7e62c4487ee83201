"""A store is a function of what was read, not of the order or the pieces in which it came."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mynah.posts import Post, content_digest, forget_posts, iterate_posts, shard_paths
from mynah.posts import shards as shards_module
from mynah.posts.deletions import Deletions
from mynah.posts.gathering import Gathered
from mynah.posts.post import POSTS_KIND
from mynah.posts.reader import Deleted, SourceReport
from mynah.posts.snapshots import one_writer, write_snapshot
from mynah.workspace import latest_artifact

quick = settings(max_examples=12, deadline=None)

times = st.none() | st.integers(1, 4).map(lambda day: datetime(2024, 1, day, tzinfo=UTC))
ids = st.sampled_from([f"x:{n}" for n in (1, 2, 3, 10, 100, 101, 2000)])
posts = st.builds(
    Post,
    id=ids,
    author=st.sampled_from(["", "ada", "bob", "eve"]),
    text=st.sampled_from(["first", "second", "third"]),
    likes=st.integers(0, 2),
    created_at=times,
    edited_at=times,
    seen_at=times,
    may_train=st.booleans(),
)
deleted = st.builds(Deleted, ids, times)
found = st.lists(st.tuples(posts, st.integers(0, 2)), min_size=1, max_size=25)
gone = st.lists(st.tuples(deleted, st.integers(0, 2)), max_size=2)
private = st.lists(st.tuples(ids, st.integers(0, 2)), max_size=1)


@pytest.fixture(autouse=True, scope="module")
def small_shards():
    """Every fourth id ends a shard, so that a few posts make several."""
    patch = pytest.MonkeyPatch()
    patch.setattr(shards_module, "_BORDER", 2**32 // 4)
    yield
    patch.undo()


def add(store, found, gone=(), private=(), name="a"):
    """What ``add_posts`` does once the readers are done."""
    with one_writer(store) as folder:
        gathered = Gathered.empty(folder)
        for post in found:
            gathered.spool.add(post)
        gathered.private_ids.update(private)
        gathered.facts.append({"name": name, "sha256": name, "reader_version": 1})
        gathered.reports.append(SourceReport(name=name, format="test"))
        latest = latest_artifact(store, kind=POSTS_KIND)
        deletions = Deletions.load(store).with_deleted(gone)
        deletions.save(store)
        return write_snapshot(store, base=latest, gathered=gathered, deletions=deletions)


def in_pieces(folder, name, order, *parts, label="piece"):
    """Add what each piece has of every part, in an order; return the last snapshot."""
    store = Path(folder) / name
    for number in order:
        pieces = ([thing for thing, piece in part if piece == number] for part in parts)
        artifact = add(store, *pieces, name=f"{label}{number}")
    return artifact


def seen(artifact):
    """Everything that decides: rows, layout, bytes."""
    assert [path.name for path in shard_paths(artifact)] == sorted(
        path.name for path in artifact.folder.glob("part-*")
    )
    artifact.verify()
    return list(iterate_posts(artifact)), content_digest(artifact)


@quick
@given(found, gone, private)
def test_the_order_of_adds_does_not_matter(found, gone, private):
    with tempfile.TemporaryDirectory() as folder:
        one = in_pieces(folder, "forward", (0, 1, 2), found, gone, private)
        two = in_pieces(folder, "backward", (2, 0, 1), found, gone, private)
        # Once more what is there already: the list of deletions is known from the start now.
        again = in_pieces(folder, "forward", (1,), found, gone, private, label="once more ")
        assert seen(one) == seen(two) == seen(again)
        assert one.snapshot == two.snapshot


@quick
@given(found, gone, private)
def test_all_at_once_is_the_same_as_one_by_one(found, gone, private):
    with tempfile.TemporaryDirectory() as folder:
        pieces = in_pieces(folder, "pieces", (0, 1, 2), found, gone, private)
        together = [[(thing, 0) for thing, _ in part] for part in (found, gone, private)]
        whole = in_pieces(folder, "whole", (0,), *together)
        again = in_pieces(folder, "whole", (0,), *together, label="once more ")
        assert seen(pieces) == seen(whole) == seen(again)


@quick
@given(found)
def test_ids_are_unique_and_the_newest_version_of_each_author_stays(found):
    rows = [post for post, _ in found]
    with tempfile.TemporaryDirectory() as folder:
        stored = list(iterate_posts(add(Path(folder) / "s", rows)))
    names = [post.id for post in stored]
    assert names == sorted(set(names))
    kept = {(post.id.partition("~")[0], post.author) for post in stored}
    assert kept == {
        (post.id, post.author)
        for post in rows
        if post.author or not any(other.author for other in rows if other.id == post.id)
    }
    oldest = datetime(1, 1, 1, tzinfo=UTC)
    for post in stored:
        versions = [
            other
            for other in rows
            if other.id == post.id.partition("~")[0] and other.author == post.author
        ]
        as_of = max(max(v.seen_at or oldest, v.edited_at or oldest) for v in versions)
        newest = [v for v in versions if max(v.seen_at or oldest, v.edited_at or oldest) == as_of]
        assert max(post.seen_at or oldest, post.edited_at or oldest) == as_of
        assert post.may_train == all(version.may_train for version in newest)
        assert post.text in {version.text for version in newest}


@quick
@given(found, st.sets(ids, min_size=1, max_size=2), st.sampled_from([(), ("ada",)]))
def test_what_is_forgotten_never_comes_back(found, forgotten, authors):
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "s"
        first = in_pieces(folder, "s", (0, 1, 2), found)
        before = {post.id: post for post in iterate_posts(first)}
        receipt = forget_posts(store, ids=sorted(forgotten), authors=authors)
        latest = latest_artifact(store, kind=POSTS_KIND)
        expected = {
            (post.author, post.text)
            for post in before.values()
            if post.id not in forgotten and post.author not in authors
        }
        assert {(p.author, p.text) for p in iterate_posts(latest)} == expected
        assert set(receipt.found) & forgotten == forgotten & before.keys()
        again = in_pieces(folder, "s", (1, 2, 0), found, label="once more ")
        assert seen(again) == seen(latest)
