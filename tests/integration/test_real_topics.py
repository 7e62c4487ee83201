"""Questions made from real posts have real answers."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from tests.fakes.stored_posts import store_posts

from mynah.posts import Post, ReadOptions, load_posts, read_posts
from mynah.search import SearchIndex, analyse, build_index, parse_query, suggest_questions


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


def test_real_posts_answer_their_questions(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "posts-tweets" / "us_senate_tweets_2015.csv.gz"
    rows = pl.read_csv(source, infer_schema=False).head(4_000).fill_null("")
    written = [
        Post(id=f"x:{n}", author=author, text=text)
        for n, (author, text) in enumerate(rows.select("screen_name", "text").iter_rows())
    ]
    posts = store_posts(written, tmp_path / "posts")
    table = load_posts(posts)
    questions = suggest_questions(table)
    assert len(questions) == 4
    assert_answered(questions, SearchIndex(build_index(posts, tmp_path / "search")))


def test_the_sample_answers_its_questions(sample_tab: Path, tmp_path: Path) -> None:
    posts = read_posts([sample_tab], tmp_path / "posts", options=ReadOptions())
    index = SearchIndex(build_index(posts, tmp_path / "search"))
    assert index.num_posts == posts.counts["num_posts"]
    assert_answered(suggest_questions(load_posts(posts)), index)
