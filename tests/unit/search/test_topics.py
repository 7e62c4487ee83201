"""What a network talks about, and whether its posts answer the questions made from that."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from mynah.posts import Post, load_posts
from mynah.search import (
    SearchIndex,
    analyse,
    build_index,
    parse_query,
    suggest_questions,
    topics,
)
from mynah.workspace import Artifact

from .conftest import at

TALK = (
    "the supreme court decides on water rights",
    "our supreme court took the water case #rivers",
    "why is the supreme court so slow, and what of water rights",
    "walking along the river today with all of my friends #rivers",
    "a map of every river and lake that we know of #Rivers",
    "they bake bread in the old mill on saturday #Rivers",
    "water rights are what they argue about in the old mill",
    "the old mill is open and it smells of bread again",
    "the rain came late, nobody minds, lamps are lit",
    "a quiet evening, rain on slate, tea and no news",
)


@pytest.fixture
def posts(make_posts: Callable[[Sequence[Post]], Artifact]) -> Artifact:
    authors = ("ada", "ben", "chitra")
    return make_posts(
        [
            Post(id=f"t:{n}", author=authors[n % 3], text=text, created_at=at("2016-09-01", hour=n))
            for n, text in enumerate(TALK * 2)
        ]
    )


def test_topics_are_expressions_and_hashtags(posts: Artifact) -> None:
    found = topics(load_posts(posts))
    assert {"supreme court", "water rights", "#Rivers", "old mill"} <= set(found)
    assert topics(load_posts(posts), limit=2) == found[:2]
    assert len(found) == len(set(found))
    assert topics(load_posts(posts).sample(fraction=1.0, shuffle=True, seed=1)) == found


def test_private_posts_make_no_topic(posts: Artifact) -> None:
    table = load_posts(posts).with_columns(visibility=pl.lit("direct"))
    assert topics(table) == ()
    assert suggest_questions(table) == ()


def test_questions_differ_and_have_answers(posts: Artifact, tmp_path: Path) -> None:
    table = load_posts(posts)
    questions = suggest_questions(table)
    assert len(set(questions)) == 4
    assert questions == suggest_questions(table)
    assert_answered(questions, SearchIndex(build_index(posts, tmp_path / "search")))


def assert_answered(questions: Sequence[str], index: SearchIndex) -> None:
    """The best three posts of a question hold its topic; one that names an author is theirs."""
    for question in questions:
        topic = question.removesuffix("?").removesuffix(" about").split(" about ")[-1]
        topic = topic.removeprefix("What is ")
        best = index.search(parse_query(question, match="any"), limit=3).candidates
        assert len(best) == 3
        for candidate in best:
            assert set(analyse(topic)) <= set(analyse(candidate.post.text)), question
        if " @" in question:
            assert best[0].post.author == question.split("@")[1].split()[0]


def test_a_network_of_single_words_still_has_topics(
    make_posts: Callable[[Sequence[Post]], Artifact],
) -> None:
    posts = make_posts([Post(id=f"t:{n}", text="Kayaks!") for n in range(5)])
    assert topics(load_posts(posts)) == ("Kayaks",)
    assert suggest_questions(load_posts(posts)) == ("What do people say about Kayaks?",)


def test_an_empty_network_has_no_questions(
    make_posts: Callable[[Sequence[Post]], Artifact],
) -> None:
    posts = make_posts([])
    assert suggest_questions(load_posts(posts)) == ()


def test_words_keep_their_marks(make_posts: Callable[[Sequence[Post]], Artifact]) -> None:
    pair = "\u0928\u0947\u092a\u093e\u0932\u0940 \u0915\u093e\u0902\u0917\u094d\u0930\u0947\u0938"
    filler = [
        "\u0928\u0947\u092a\u093e\u0932",
        "\u0938\u0930\u0915\u093e\u0930",
        "\u0928\u092f\u093e\u0901",
    ]
    base = Post(id="", text="")
    posts = [replace(base, id=f"t:{n}", text=f"{pair}, {filler[n % 3]}") for n in range(6)]
    assert topics(load_posts(make_posts(posts)))[0] == pair
