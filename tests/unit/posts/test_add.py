import json

import pytest

from mynah.errors import ConfigError, DataError
from mynah.posts import (
    POSTS_KIND,
    ReadOptions,
    add_posts,
    content_digest,
    forgotten_ids,
    iterate_posts,
    load_posts,
    read_posts,
)
from mynah.posts.snapshots import one_writer
from mynah.workspace import latest_artifact, writing_artifact


@pytest.fixture
def export(tmp_path):
    """Write an export: JSON lines of posts."""

    def write(name, *records):
        path = tmp_path / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    return write


def files_of(store):
    return {
        str(path.relative_to(store)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }


def test_the_same_export_twice_changes_no_file(export, store):
    path = export("a.jsonl", {"id": 1, "text": "one"}, {"id": 2, "text": "two"})
    first = add_posts([path], store)
    before = files_of(store)
    assert add_posts([path], store) == first
    assert files_of(store) == before


def test_an_export_under_another_name_is_the_same_export(export, store):
    first = add_posts([export("a.jsonl", {"id": 1, "text": "one"})], store)
    again = add_posts([export("b.jsonl", {"id": 1, "text": "one"})], store)
    assert content_digest(again) == content_digest(first)
    assert len(again.inputs["sources"]) == 1


def test_one_by_one_in_any_order_is_the_same_as_all_at_once(export, tmp_path):
    one = export("a.jsonl", {"id": 1, "text": "one"}, {"id": 2, "text": "two"})
    two = export("b.jsonl", {"id": 2, "text": "two", "likes": 5}, {"id": 3, "text": "three"})
    whole = read_posts([one, two], tmp_path / "s1")
    add_posts([one], tmp_path / "s2")
    forward = add_posts([two], tmp_path / "s2")
    add_posts([two], tmp_path / "s3")
    backward = add_posts([one], tmp_path / "s3")
    assert whole.inputs == forward.inputs == backward.inputs
    assert whole.files == forward.files == backward.files
    assert forward.counts == backward.counts == {**whole.counts, "is_added_to": True}


def test_the_counts_of_all_adds_are_in_the_newest_snapshot(export, store):
    add_posts([export("a.jsonl", {"id": 1, "text": "one"}, {"id": 2, "text": ""})], store)
    path = export("b.jsonl", {"id": 1, "text": "one"}, {"id": 3, "text": "", "visibility": "x"})
    artifact = add_posts([path], store)
    assert artifact.counts["num_posts"] == 1
    assert artifact.counts["num_duplicates"] == 1
    assert artifact.counts["num_rejected"] == 2
    assert sum(artifact.counts["rejected_reasons"].values()) == 2
    assert [source["name"] for source in artifact.counts["sources"]] == ["a.jsonl", "b.jsonl"]
    listed = (artifact.folder / "rejected.jsonl").read_text().splitlines()
    assert [json.loads(line)["source"] for line in listed] == ["a.jsonl", "b.jsonl"]


def test_private_in_one_export_is_private_whatever_the_next_one_says(export, tmp_path):
    public = export("a.jsonl", {"id": 1, "text": "one"}, {"id": 2, "text": "two"})
    private = export(
        "b.jsonl", {"id": 1, "text": "one", "visibility": "direct"}, {"id": 3, "text": "three"}
    )
    for name, order in (("s1", (public, private)), ("s2", (private, public))):
        for path in order:
            artifact = add_posts([path], tmp_path / name)
        assert load_posts(artifact)["text"].to_list() == ["two", "three"]
        assert artifact.counts["num_private"] == 1


def test_an_export_without_a_readable_post_leaves_the_store_as_it_was(export, store):
    first = add_posts([export("a.jsonl", {"id": 1, "text": "one"})], store)
    with pytest.raises(DataError):
        add_posts([export("b.jsonl", {"id": 2, "text": ""})], store)
    assert latest_artifact(store, kind=POSTS_KIND) == first
    assert not list(store.glob(".*.writing"))


def test_another_network_given_for_the_same_bytes_is_another_source(export, store):
    path = export("a.jsonl", {"id": 1, "text": "one"})
    add_posts([path], store, options=ReadOptions(network="north"))
    artifact = add_posts([path], store, options=ReadOptions(network="south"))
    assert [post.id for post in iterate_posts(artifact)] == ["north:1", "south:1"]


def test_a_second_writer_is_told_so(export, store):
    path = export("a.jsonl", {"id": 1, "text": "one"})
    with one_writer(store), pytest.raises(ConfigError, match="another process is changing"):
        add_posts([path], store)
    assert add_posts([path], store).counts["num_posts"] == 1


def test_a_reader_is_not_blocked_by_a_writer(export, store):
    path = export("a.jsonl", {"id": 1, "text": "one"})
    first = add_posts([path], store)
    with one_writer(store):
        assert read_posts([path], store) == first
        assert load_posts(latest_artifact(store, kind=POSTS_KIND)).height == 1


def test_a_store_of_an_older_version_is_not_added_to(export, store):
    path = export("a.jsonl", {"id": 1, "text": "one"})
    with writing_artifact(store, kind="mynah.posts/1", inputs={}) as writer:
        (writer.folder / "part-00000.parquet").write_bytes(b"")
    with pytest.raises(DataError, match="another version of mynah") as refused:
        add_posts([path], store)
    assert "mynah up" in refused.value.hint
    assert read_posts([path], store).counts["num_posts"] == 1
    assert add_posts([path], store).counts["num_posts"] == 1


def test_nothing_is_forgotten_in_a_new_store(store):
    assert forgotten_ids(store) == frozenset()
