"""What is found, in which order, and what never is."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.stored_posts import store_posts

from mynah.errors import DataError, RequestError
from mynah.posts import POSTS_KIND, Post
from mynah.search import (
    MAX_OFFSET,
    SEARCH_KIND,
    SearchIndex,
    SearchResult,
    build_index,
    parse_query,
)
from mynah.workspace import Artifact, latest_artifact

from .conftest import NETWORK

MakeIndex = Callable[[Sequence[Post]], SearchIndex]


@pytest.fixture
def index(make_index: MakeIndex) -> SearchIndex:
    return make_index(NETWORK)


def ids(result: SearchResult) -> list[str]:
    return [candidate.post.id for candidate in result.candidates]


def find(index: SearchIndex, text: str) -> set[str]:
    return set(ids(index.search(parse_query(text))))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jobs", {"t:1", "t:2", "t:3", "t:9"}),
        ("JOB", {"t:1", "t:2", "t:3", "t:9"}),
        ("#jobs", {"t:1", "t:2", "t:3", "t:9"}),
        ("cafe", {"t:6"}),
        ("caf\u00e9", {"t:6"}),
        ("cafe\u0301", {"t:6"}),
        ("@ada", {"t:6"}),
        ('"middle class"', {"t:3"}),
        ("middle class", {"t:3", "t:4"}),
        ("jobs -taxes", {"t:1", "t:2", "t:9"}),
        ('class -"middle class"', {"t:4"}),
        ("-jobs", {"t:4", "t:5", "t:6"}),
        ("market OR town", {"t:1", "t:2"}),
        ("jobs market OR town", {"t:1", "t:2"}),
        ("market OR -jobs", {"t:2", "t:4", "t:5", "t:6"}),
        ("from:ada jobs", {"t:1", "t:3"}),
        ("from:@ADA", {"t:1", "t:3"}),
        ("lang:ne", {"t:5"}),
        ("\u0938\u0930\u0915\u093e\u0930", {"t:5"}),
        ("since:2016-09-03 until:2016-09-04", {"t:3", "t:4"}),
        ("until:2016-09-01", {"t:1"}),
        ("since:2016-09-09", set()),
        ("nowhere", set()),
        ("!!!", set()),
        ("\ud800 jobs from:ada\udfff", set()),
        ("!!! from:ben", {"t:2", "t:4", "t:9"}),
        ("", {"t:1", "t:2", "t:3", "t:4", "t:5", "t:6", "t:9"}),
    ],
)
def test_a_query_finds_its_posts(index: SearchIndex, text: str, expected: set[str]) -> None:
    assert find(index, text) == expected


def test_private_posts_are_nowhere(index: SearchIndex) -> None:
    assert index.num_posts == 7
    assert index.artifact.counts == {"num_posts": 7, "num_not_public": 2}
    assert index.get("t:7") is None
    assert find(index, "secret OR quiet") == set()
    everything = b"".join(p.read_bytes() for p in index.artifact.folder.iterdir())
    assert b"secret" not in everything


def test_authors_are_those_of_public_posts(make_index: MakeIndex) -> None:
    shouting = Post(id="t:10", author="ADA", text="x")
    hidden = Post(id="t:11", author="eve", text="x", visibility="followers")
    index = make_index([*NETWORK, shouting, hidden, Post(id="t:12", text="nobody's")])
    assert dict(index.authors) == {"ada": "Ada", "ben": "ben", "chitra": "chitra", "dora": "dora"}


def test_a_question_about_an_author_alone_finds_the_newest(index: SearchIndex) -> None:
    found = index.search(parse_query("What does @Ada say?", match="any"))
    assert ids(found) == ["t:3", "t:1", "t:6"]


def test_get_returns_the_post_as_it_was(index: SearchIndex) -> None:
    for post in NETWORK:
        if post.is_public:
            assert index.get(post.id) == post
    assert index.get("t:none") is None
    assert index.get("\ud800") is None


def test_no_words_means_newest_first(index: SearchIndex) -> None:
    found = ids(index.search(parse_query("")))
    assert found == ["t:9", "t:5", "t:4", "t:3", "t:2", "t:1", "t:6"]


def test_equal_scores_are_newest_first_then_by_id_over_pages(make_index: MakeIndex) -> None:
    moment = NETWORK[0].created_at
    posts = [Post(id=f"t:{n:03d}", text="same words", created_at=moment) for n in range(90)]
    newer = replace(posts[50], created_at=NETWORK[1].created_at)
    undated = replace(posts[0], created_at=None)
    index = make_index([undated, *posts[1:50], newer, *posts[51:]])
    expected = ["t:050", *(f"t:{n:03d}" for n in range(1, 90) if n != 50), "t:000"]
    pages = [index.search(parse_query("words"), limit=7, offset=n) for n in range(0, 90, 7)]
    assert [post_id for page in pages for post_id in ids(page)] == expected
    assert [c.position for page in pages for c in page.candidates] == list(range(1, 91))
    assert {page.num_matches for page in pages} == {90}


def test_rare_words_and_short_posts_come_first(index: SearchIndex) -> None:
    found = index.search(parse_query("jobs market", match="any"))
    assert ids(found)[0] == "t:2"
    assert [c.score for c in found.candidates] == sorted(
        (c.score for c in found.candidates), reverse=True
    )


def test_limit_zero_counts_and_deep_pages_are_empty(index: SearchIndex) -> None:
    counted = index.search(parse_query("jobs"), limit=0)
    assert (counted.candidates, counted.num_matches) == ((), 4)
    for text in ("jobs", "from:ben"):
        assert index.search(parse_query(text), offset=500).candidates == ()


@pytest.mark.parametrize(("limit", "offset"), [(-1, 0), (10, -1), (10, MAX_OFFSET + 1)])
def test_pages_out_of_range_are_refused(index: SearchIndex, limit: int, offset: int) -> None:
    with pytest.raises(RequestError) as caught:
        index.search(parse_query("jobs"), limit=limit, offset=offset)
    assert caught.value.status == 400


def test_a_question_finds_what_it_is_about(index: SearchIndex) -> None:
    question = parse_query("What do people say about the job market?", match="any")
    assert question.text_terms == ("job", "market")
    found = index.search(question)
    assert ids(found)[0] == "t:2"
    assert "t:5" not in ids(found)


def test_a_question_about_an_author_prefers_that_author(index: SearchIndex) -> None:
    found = index.search(parse_query("What did @ben say about taxes?", match="any"))
    assert ids(found)[0] == "t:4"


@pytest.mark.parametrize("text", ["", "?!", "   "])
def test_a_question_without_words_finds_nothing(index: SearchIndex, text: str) -> None:
    assert index.search(parse_query(text, match="any")).num_matches == 0


def test_matched_terms_are_those_in_the_post(index: SearchIndex) -> None:
    found = index.search(parse_query("taxes market jobs", match="any"))
    matched = {candidate.post.id: candidate.matched for candidate in found.candidates}
    assert matched["t:2"] == ("market", "job")
    assert matched["t:3"] == ("tax", "job")
    assert matched["t:4"] == ("tax",)


def test_idf_falls_with_use(index: SearchIndex) -> None:
    assert index.analyse("Jobs, sarkar") == ["job", "sarkar"]
    assert index.idf("nowhere") > index.idf("market") > index.idf("job") > 0


def test_histogram_covers_the_matches(index: SearchIndex) -> None:
    histogram = index.histogram(parse_query("jobs"), max_bars=20)
    assert histogram.unit == "day"
    assert [bar.num_posts for bar in histogram.bars] == [1, 1, 1, 0, 0, 0, 0, 1]
    assert histogram.bars[0].start.isoformat() == "2016-09-01T00:00:00+00:00"
    assert index.histogram(parse_query("cafe")).num_undated == 1
    assert index.histogram(parse_query("nowhere")).bars == ()


def test_the_same_posts_are_not_indexed_twice(
    tmp_path: Path, make_posts: Callable[[Sequence[Post]], Artifact]
) -> None:
    posts = make_posts(NETWORK)
    told: list[float] = []
    first = build_index(
        posts, tmp_path / "search", progress=lambda done, *_, **__: told.append(done)
    )
    written = (first.folder / "manifest.json").stat().st_mtime_ns
    again = build_index(posts, tmp_path / "search")
    assert again.folder == first.folder
    assert (again.folder / "manifest.json").stat().st_mtime_ns == written
    assert told == [9]


def test_opening_and_searching_change_no_file(index: SearchIndex) -> None:
    before = index.artifact.digest
    SearchIndex(index.artifact).search(parse_query("jobs"))
    index.artifact.verify()
    found = latest_artifact(index.artifact.folder.parent, kind=SEARCH_KIND)
    assert found is not None
    assert found.digest == before
    assert not any("lock" in name for name in found.files)


def test_an_empty_store_makes_an_empty_index(make_index: MakeIndex) -> None:
    index = make_index([])
    assert index.num_posts == 0
    assert index.search(parse_query("jobs")).num_matches == 0
    assert index.histogram(parse_query("")).bars == ()


def test_odd_texts_are_indexed(make_index: MakeIndex) -> None:
    texts = [
        "",
        " ",
        "\U0001f600" * 300,
        "a" * 100_000,
        "word " * 20_000,
        "nul\x00 byte",
        "\u202eflip",
    ]
    index = make_index([Post(id=f"t:{n}", text=text) for n, text in enumerate(texts)])
    assert index.num_posts == len(texts)
    assert find(index, "word") == {"t:4"}
    assert find(index, "\U0001f600") == {"t:2"}


@pytest.mark.parametrize("damage", ["cut", "flip", "remove", "meta"])
def test_a_broken_index_is_refused_with_a_hint(index: SearchIndex, damage: str) -> None:
    folder = index.artifact.folder
    path = folder / "meta.json" if damage == "meta" else next(folder.glob("*.term"))
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    elif damage == "cut":
        os.truncate(path, len(content) // 2)
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    with pytest.raises(DataError, match=folder.name) as caught:
        SearchIndex(index.artifact)
    assert "run the same command again" in caught.value.hint


def test_files_that_agree_with_a_false_manifest_are_refused_too(index: SearchIndex) -> None:
    path = index.artifact.folder / "meta.json"
    path.write_text("{}")
    without_meta = replace(
        index.artifact, files={k: v for k, v in index.artifact.files.items() if k != "meta.json"}
    )
    with pytest.raises(DataError, match="cannot be opened"):
        SearchIndex(without_meta)


def test_another_kind_of_artifact_is_refused(
    make_posts: Callable[[Sequence[Post]], Artifact],
) -> None:
    with pytest.raises(DataError, match=POSTS_KIND):
        SearchIndex(make_posts(NETWORK))


def test_a_killed_build_leaves_no_index_and_the_next_one_works(tmp_path: Path) -> None:
    posts = store_posts(NETWORK * 1, tmp_path / "posts")
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from mynah.workspace import latest_artifact\n"
        "from mynah.search import build_index, building\n"
        "building._REPORT_EVERY = 5\n"
        "posts = latest_artifact(Path(sys.argv[1]), kind=sys.argv[3])\n"
        "build_index(posts, Path(sys.argv[2]),"
        " progress=lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    root = tmp_path / "search"
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "posts"), str(root), POSTS_KIND], check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert latest_artifact(root, kind=SEARCH_KIND) is None
    assert SearchIndex(build_index(posts, root)).num_posts == 7
    assert [path.name for path in root.iterdir() if path.name.endswith(".writing")] == []


def test_two_indexes_open_the_same_files_while_threads_search(index: SearchIndex) -> None:
    other = SearchIndex(index.artifact)
    found: list[list[str]] = []

    def search(which: SearchIndex) -> None:
        for _ in range(30):
            found.append(ids(which.search(parse_query("jobs class", match="any"))))

    threads = [threading.Thread(target=search, args=(which,)) for which in (index, other) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 120
    assert len({json.dumps(order) for order in found}) == 1


def test_a_deleted_folder_does_not_break_an_open_index(index: SearchIndex) -> None:
    shutil.rmtree(index.artifact.folder)
    assert find(index, "market") == {"t:2"}


def test_a_forgotten_post_is_found_no_more_from_the_next_call_on(index: SearchIndex) -> None:
    gone: list[frozenset[str]] = [frozenset()]
    open_index = SearchIndex(index.artifact, forgotten=lambda: gone[0])
    before = open_index.search(parse_query("jobs"))
    scores = {c.post.id: c.score for c in before.candidates}
    gone[0] = frozenset({"t:2", "t:never-there"})
    after = open_index.search(parse_query("jobs"))
    assert "t:2" in scores
    assert {c.post.id: c.score for c in after.candidates} == {
        post_id: score for post_id, score in scores.items() if post_id != "t:2"
    }
    assert after.num_matches == before.num_matches - 1
    assert open_index.get("t:2") is None
    assert open_index.num_posts == index.num_posts - 1
    bars = open_index.histogram(parse_query("jobs"))
    assert sum(bar.num_posts for bar in bars.bars) + bars.num_undated == after.num_matches


def test_a_post_comes_back_with_all_its_times(make_index: MakeIndex) -> None:
    moment = NETWORK[0].created_at
    post = replace(NETWORK[0], edited_at=moment, seen_at=moment)
    assert make_index([post]).get(post.id) == post
