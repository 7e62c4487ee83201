import json
import os

import pytest

from mynah.errors import DataError
from mynah.posts import (
    POST_SCHEMA,
    POSTS_KIND,
    Post,
    ReadOptions,
    iterate_posts,
    load_posts,
    read_posts,
)
from mynah.workspace import latest_artifact


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,author,text,likes\n2,bob,second,1\n1,ada,first,2\n")
    return path


def test_unchanged_inputs_find_the_same_snapshot_without_reading(table, store):
    first = read_posts([table], store)
    os.utime(first.folder / "part-00000.parquet", (1, 1))
    again = read_posts([table], store)
    assert again.folder == first.folder
    assert (again.folder / "part-00000.parquet").stat().st_mtime == 1


def test_other_bytes_or_options_make_another_snapshot(table, store):
    snapshots = {read_posts([table], store).snapshot}
    snapshots.add(read_posts([table], store, options=ReadOptions(network="y")).snapshot)
    table.write_text(table.read_text() + "3,eve,third,0\n")
    snapshots.add(read_posts([table], store).snapshot)
    assert len(snapshots) == 3


def test_finding_a_snapshot_again_makes_it_the_one_in_use(table, store):
    first = read_posts([table], store)
    read_posts([table], store, options=ReadOptions(network="y"))
    read_posts([table], store)
    latest = latest_artifact(store, kind=POSTS_KIND)
    assert latest is not None
    assert latest.snapshot == first.snapshot


def test_the_same_inputs_give_the_same_bytes_wherever_they_lie(table, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "a.csv"
    copy.write_bytes(table.read_bytes())
    one = read_posts([table], tmp_path / "s1")
    two = read_posts([copy], tmp_path / "s2")
    assert one.digest == two.digest
    assert one.files == two.files


def test_the_order_of_paths_does_not_matter(table, tmp_path):
    other = tmp_path / "b.csv"
    other.write_text("id,author,text,likes\n1,ada,first,9\n3,eve,third,0\n")
    one = read_posts([table, other], tmp_path / "s1")
    two = read_posts([other, table, other], tmp_path / "s2")
    assert one.digest == two.digest


def test_the_store_has_the_schema_and_is_sorted(table, store):
    posts = load_posts(read_posts([table], store))
    assert posts.columns == POST_SCHEMA.names
    assert posts["id"].to_list() == ["posts:1", "posts:2"]
    assert str(posts.schema["created_at"]) == "Datetime(time_unit='us', time_zone='UTC')"


def test_posts_come_back_as_they_are(table, store):
    posts = list(iterate_posts(read_posts([table], store)))
    assert posts[0] == Post(id="posts:1", author="ada", text="first", likes=2)


def test_of_copies_the_one_with_the_highest_counts_stays(tmp_path, store):
    (tmp_path / "a.csv").write_text("id,author,text,likes\n1,ada,first,2\n")
    (tmp_path / "b.csv").write_text("id,author,text,likes,opt_out\n1,ada,first,9,true\n")
    (tmp_path / "c.csv").write_text("id,author,text,likes\n1,ada,first,12\n")
    artifact = read_posts(sorted(tmp_path.glob("*.csv")), store)
    (post,) = iterate_posts(artifact)
    assert post.likes == 12
    assert not post.may_train
    assert artifact.counts["num_duplicates"] == 2


def test_different_posts_under_one_rounded_id_all_stay(read, texts):
    content = "id,author,text\n600,ada,first\n600,bob,first\n600,ada,second\n600,ada,first\n"
    artifact = read("a.csv", content)
    assert sorted(texts(artifact).values()) == ["first", "first", "second"]
    assert artifact.counts["num_id_conflicts"] == 2
    assert artifact.counts["num_duplicates"] == 1
    ids = load_posts(artifact)["id"].to_list()
    assert ids == sorted(set(ids))
    assert ids[0] == "posts:600"
    assert all(post_id.startswith("posts:600~") for post_id in ids[1:])


def test_the_counts_say_what_happened_in_each_source(tmp_path, store):
    (tmp_path / "a.csv").write_text("id,text,date\n1,one,2020-01-01\n2,two\n")
    (tmp_path / "b.tsv").write_text("id\tbody\tdate\n3\tthree\t2021-01-01\n")
    counts = read_posts([tmp_path], store).counts
    assert counts["num_posts"] == 2
    assert counts["rejected_reasons"] == {"the row has 2 columns, the header 3": 1}
    assert counts["first_created_at"].startswith("2020-01-01")
    by_name = {source["name"]: source for source in counts["sources"]}
    assert by_name["a.csv"]["num_rejected"] == 1
    assert by_name["b.tsv"]["columns"]["text"] == "body"


def test_a_folder_is_searched_and_foreign_files_are_left(tmp_path, store):
    folder = tmp_path / "export"
    (folder / "deep" / ".hidden").mkdir(parents=True)
    (folder / "deep" / "a.csv").write_text("id,text\n1,one\n")
    (folder / "deep" / ".hidden" / "b.csv").write_text("id,text\n2,hidden\n")
    (folder / "picture.png").write_bytes(b"\x89PNG\0\0")
    (folder / "numbers.csv").write_text("x,y\n1,2\n")
    artifact = read_posts([folder], store)
    assert artifact.counts["num_posts"] == 1
    rows = map(json.loads, (artifact.folder / "rejected.jsonl").read_text().splitlines())
    assert [(row["source"], row["position"]) for row in rows] == [("numbers.csv", 0)]


def test_a_missing_path(tmp_path, store):
    with pytest.raises(DataError, match="no file or folder"):
        read_posts([tmp_path / "nothing"], store)


def test_an_empty_folder(tmp_path, store):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is empty"):
        read_posts([tmp_path / "empty"], store)


def test_a_folder_without_exports_says_what_it_has(tmp_path, store):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"holds no posts: it has notes\.txt"):
        read_posts([tmp_path / "f"], store)


@pytest.mark.parametrize("content", [b"", b" \n\n", b"\x89PNG\r\n\x1a\n\0\0\0"])
def test_a_file_that_holds_nothing_readable(tmp_path, store, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError):
        read_posts([tmp_path / "a.csv"], store)


@pytest.mark.parametrize(
    "content", ["id,text\n", "id,text\n1,\n2, \n", "id,text,date\n1,a,never\n"]
)
def test_no_readable_post_leaves_no_artifact(read, store, content):
    with pytest.raises(DataError):
        read("a.csv", content)
    assert latest_artifact(store, kind=POSTS_KIND) is None
    assert not [path for path in store.iterdir() if not path.name.startswith(".")]


class _Killed(BaseException):
    """Stands for the end of the process."""


def test_killed_halfway_leaves_no_artifact_and_the_next_run_works(tmp_path, store):
    path = tmp_path / "a.csv"
    path.write_text("id,text\n" + "".join(f"{n},post {n}\n" for n in range(5000)))

    def killing(done, total=None, *, note=""):
        raise _Killed

    with pytest.raises(_Killed):
        read_posts([path], store, progress=killing)
    assert latest_artifact(store, kind=POSTS_KIND) is None
    artifact = read_posts([path], store)
    artifact.verify()
    assert artifact.counts["num_posts"] == 5000
    left = {path.name for path in store.iterdir()} - {".lock"}
    assert left == {artifact.snapshot, "latest"}


def test_rejections_never_hold_the_words_of_a_post(read):
    artifact = read("a.csv", "id,text,date\n1,fine,2020-01-01\n2,secret words\n3,secret,secret\n")
    assert b"secret" not in (artifact.folder / "rejected.jsonl").read_bytes()
