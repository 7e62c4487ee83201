"""What the Posts page shows of a corpus, over real artifacts of a small town."""

import csv
from pathlib import Path

import pytest

from mynah.corpus import CorpusConfig, build_corpus
from mynah.posts import ReadOptions, forget_posts, forgotten_ids, read_posts
from mynah.search import SearchIndex, build_index
from mynah.web.language_names import language_name
from mynah.web.pages.corpus_facts import Language, compare_languages
from mynah.web.pages.exclusions import excluded_examples, rejected_examples
from mynah.web.pages.sources import gathered_sources
from mynah.workspace import Artifact

COLUMNS = ["id", "author", "created_at", "text", "lang", "visibility"]
DAY = "2025-01-06T08:00:00Z"
FERRY = "The harbour ferry leaves at {n} past seven, bring a warm coat for the ferry deck"
BREAD = "Fresh bread at the market square, the corner bakery sold {n} loaves before nine"
OTHERS = (
    "Our library opens new reading rooms this spring, the library garden is open too",
    "Nobody repairs the clock by the old bridge, it has shown noon since the storm",
    "The swimming pool is heated again, and the children are there every afternoon",
)
GERMAN = "Heute gab es auf dem Markt so viele Erdbeeren, dass alle nach Hause getragen haben"
SECRET = "The spare key lies under the third flower pot by the back door"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Artifact, Artifact]:
    folder = tmp_path_factory.mktemp("town")
    rows = [[str(n), f"writer{n}", DAY, FERRY.format(n=n), "en", ""] for n in range(4)]
    rows += [[str(10 + n), f"writer{n}", DAY, BREAD.format(n=n), "en", ""] for n in range(3)]
    rows += [[str(20 + n), f"writer{n}", DAY, text, "en", ""] for n, text in enumerate(OTHERS)]
    rows.append(["30", "uwe", DAY, GERMAN, "en", ""])
    rows.append(["40", "mal", DAY, SECRET, "en", "direct"])
    rows += [[str(50 + n), "mal", "some day", "Undated", "en", ""] for n in range(5)]
    rows.append(["60", "mal", DAY, "ok", "en", ""])
    with (folder / "posts.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    store = folder / "posts"
    posts = read_posts([folder / "posts.csv"], store, options=ReadOptions(network="town"))
    corpus = build_corpus(posts, folder / "corpus", config=CorpusConfig(), tokenizer=300)
    return folder, posts, corpus


def open_index(town: tuple[Path, Artifact, Artifact]) -> SearchIndex:
    folder, posts, _ = town
    return SearchIndex(
        build_index(posts, folder / "search"), forgotten=lambda: forgotten_ids(folder / "posts")
    )


def test_rejected_rows_are_shown_by_reason_and_place(
    town: tuple[Path, Artifact, Artifact],
) -> None:
    (rows,) = rejected_examples(town[1])
    assert rows.count == 5
    assert "time" in rows.reason
    assert rows.places == ("posts.csv:14", "posts.csv:15", "posts.csv:16")


def test_a_language_is_told_from_words_and_set_beside_its_tag(
    town: tuple[Path, Artifact, Artifact],
) -> None:
    assert compare_languages(town[1], town[2]) == [
        Language(code="en", num_detected=5, num_tagged=6),
        Language(code="de", num_detected=1, num_tagged=0),
    ]


def test_a_few_tags_that_differ_are_no_matter() -> None:
    assert not Language(code="en", num_detected=100, num_tagged=95).differs
    assert not Language(code="en", num_detected=1, num_tagged=0).differs
    assert Language(code="en", num_detected=100, num_tagged=80).differs


def test_a_near_duplicate_comes_with_the_post_that_stands_for_it(
    town: tuple[Path, Artifact, Artifact],
) -> None:
    examples = excluded_examples(town[2], open_index(town), "near_duplicate")
    assert [example.num_alike for example in examples] == [3, 2]
    ferry, bread = examples
    assert (ferry.survivor_id, bread.survivor_id) == ("town:0", "town:10")
    assert ferry.survivor is not None
    assert ferry.survivor.text == FERRY.format(n=0)
    assert ferry.post.id != ferry.survivor_id


def test_no_reason_shows_a_private_post(town: tuple[Path, Artifact, Artifact]) -> None:
    index = open_index(town)
    texts = [
        example.post.text
        for reason in town[2].counts["excluded"]
        for example in excluded_examples(town[2], index, reason)
    ]
    assert "ok" in texts
    assert SECRET not in texts


def test_what_was_taken_back_is_no_example(town: tuple[Path, Artifact, Artifact]) -> None:
    index = open_index(town)  # last of this file: it takes posts of the town away
    forget_posts(town[0] / "posts", ids=["town:0", "town:11", "town:12"])
    (ferry,) = excluded_examples(town[2], index, "near_duplicate")
    assert ferry.survivor is None
    assert ferry.survivor_id == "town:0"


def test_files_of_one_archive_are_one_line() -> None:
    counts = dict.fromkeys(("num_rejected", "num_private", "num_deleted", "num_not_posts"), 1)
    sources = [
        {"name": "chat.zip:birds/1.json", "format": "slack", "num_posts": 2, **counts},
        {"name": "posts.csv", "format": "delimited", "num_posts": 9, **counts},
        {"name": "chat.zip:birds/2.json", "format": "slack", "num_posts": 3, **counts},
    ]
    rows = [(row["name"], row["num_files"], row["num_posts"]) for row in gathered_sources(sources)]
    assert rows == [("posts.csv", 1, 9), ("chat.zip", 2, 5)]


def test_languages_have_names() -> None:
    assert language_name("de") == "German"
    assert language_name("arq") == "Algerian Arabic"
    assert language_name("qqq") == "qqq"
    assert language_name("") == language_name(None) == "unknown"
