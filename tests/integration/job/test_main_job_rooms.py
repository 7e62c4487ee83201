"""The stages of the main job that need no pages, run twice, and over damage."""

import pytest

from mynah.errors import DataError
from mynah.posts import add_posts


def build(job):
    posts = job.read()
    job.index(posts)
    return job.corpus(posts, job.base(posts))


def states(job):
    return {s.name: s.state for s in job.house.stages if s.state != "waiting"}


def files(job):
    return {
        path.relative_to(job.workspace.root): path.read_bytes()
        for room in ("posts", "corpus", "dialogues")
        for path in (job.workspace.root / room).rglob("*")
        if path.is_file()
    }


def damage(path, how):
    content = path.read_bytes()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "gone":
        path.unlink()
    else:
        path.write_bytes(bytes(byte ^ 0x5A for byte in content))


def test_a_second_run_keeps_every_room(open_job):
    first = build(open_job())
    job = open_job()
    assert build(job) == first
    assert set(states(job).values()) == {"skipped"}


@pytest.mark.parametrize("how", ["cut", "gone"])
@pytest.mark.parametrize(
    ("room", "name"),
    [
        ("posts", "part-00000.parquet"),
        ("posts", "manifest.json"),
        ("search", "*.idx"),
        ("search", "meta.json"),
        ("corpus", "train.bin"),
        ("corpus", "heldout.idx"),
        ("corpus", "documents.parquet"),
        ("dialogues", "replies.npy"),
    ],
)
def test_what_was_cut_short_is_made_anew(open_job, room, name, how):
    job = open_job()
    training = build(job)
    before = files(job)
    (path,) = (job.workspace.root / room).glob(f"*/{name}")
    damage(path, how)
    again = open_job()
    assert build(again) == training
    assert files(again) == before
    assert again.house.index is not None
    assert again.house.index.num_posts == 80


@pytest.mark.parametrize(("room", "name"), [("posts", "*.parquet"), ("search", "*.idx")])
def test_what_was_changed_is_named(open_job, room, name):
    job = open_job()
    build(job)
    (path,) = (job.workspace.root / room).glob(f"*/{name}")
    damage(path, "changed")
    with pytest.raises(DataError, match="is damaged") as refused:
        build(open_job())
    assert f"delete {path.parent}" in refused.value.hint


def test_other_posts_make_other_rooms(open_job, tmp_path):
    first = build(open_job())
    other = tmp_path / "other.csv"
    other.write_text("id,text\n" + "".join(f"{n},Song {n * 7919} of the day\n" for n in range(40)))
    job = open_job(posts=[other])
    assert build(job).run != first.run
    assert "skipped" not in states(job).values()


def test_unreadable_rows_are_counted_where_a_person_sees_it(open_job, tmp_path):
    rows = tmp_path / "rows.jsonl"
    good = [f'{{"id": {n}, "text": "song {n * 7919} of the day"}}' for n in range(20)]
    rows.write_text("\n".join([*good, '{"id": 99, "te']) + "\n")
    job = open_job(posts=[rows])
    posts = job.read()
    (note,) = [stage.note for stage in job.house.stages if stage.name == "read"]
    assert note == f"20 posts, 1 unreadable, listed in {posts.folder / 'rejected.jsonl'}"


def test_what_was_added_since_stays_and_needs_no_export_again(open_job, tmp_path):
    job = open_job()
    first = job.read()
    more = tmp_path / "more.csv"
    more.write_text("id,author,text\n90000,ada,a later post about the weather in the hills\n")
    add_posts([more], job.workspace.posts)
    more.unlink()
    again = open_job().read()
    assert again.counts["num_posts"] == first.counts["num_posts"] + 1
