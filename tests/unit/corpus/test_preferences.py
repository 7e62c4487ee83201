from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from mynah.corpus.preferences import PreferenceConfig, preference_pairs

START = datetime(2020, 1, 1, tzinfo=UTC)
QUESTION = "which of the two harbours has the better ferries?"


def thread(*replies):
    """A question and replies to it: (id, author, minute, likes), all with words of their own."""
    rows = [("q", "asker", 0, 3), *replies]
    return pl.DataFrame(
        {
            "id": [row[0] for row in rows],
            "author": [row[1] for row in rows],
            "created_at": [START + timedelta(minutes=row[2]) for row in rows],
            "text": [QUESTION, *(f"an answer of some length by {row[0]}" for row in rows[1:])],
            "reply_to": [None, *("q" for _ in rows[1:])],
            "likes": [row[3] for row in rows],
        },
        schema_overrides={"reply_to": pl.String},
    )


def pairs(table, **settings):
    found = preference_pairs(table, PreferenceConfig(**settings))
    return [(row["chosen_id"], row["rejected_id"]) for row in found.iter_rows(named=True)]


def test_the_reply_that_came_later_and_is_liked_more_is_chosen():
    table = thread(("early", "x", 1, 4), ("late", "y", 2, 40))
    (row,) = preference_pairs(table, PreferenceConfig()).iter_rows(named=True)
    assert row == {
        "parent_id": "q",
        "chosen_id": "late",
        "rejected_id": "early",
        "prompt": QUESTION,
        "chosen": "an answer of some length by late",
        "rejected": "an answer of some length by early",
        "chosen_likes": 40,
        "rejected_likes": 4,
        "ratio": 10.0,
    }


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("early", "x", 1, 40), ("late", "y", 2, 4)),  # had more time to be liked
        (("early", "x", 1, 30), ("late", "y", 2, 40)),  # liked not twice as much
        (("early", "x", 1, 1), ("late", "y", 2, 4)),  # too few likes to tell
        (("early", "x", 1, 4), ("late", "x", 2, 40)),  # one person
        (("early", "asker", 1, 4), ("late", "y", 2, 40)),  # one answers themselves
        (("early", "", 1, 4), ("late", "", 2, 40)),  # nobody knows who
    ],
)
def test_what_says_nothing_makes_no_pair(first, second):
    assert pairs(thread(first, second)) == []


def test_replies_at_one_time_can_be_compared():
    assert pairs(thread(("a", "x", 1, 4), ("b", "y", 1, 40))) == [("b", "a")]


def test_disliked_replies_count_as_one_like_in_the_ratio():
    table = thread(("a", "x", 1, -8), ("b", "y", 2, 6))
    assert preference_pairs(table, PreferenceConfig())["ratio"].to_list() == [6.0]


def test_length_bounds_hold_for_the_prompt_and_both_replies():
    table = thread(("a", "x", 1, 4), ("b", "y", 2, 40))
    for post_id in ("q", "a", "b"):
        short = pl.when(pl.col("id") == post_id).then(pl.lit("ok")).otherwise("text")
        assert pairs(table.with_columns(text=short)) == []
    assert pairs(table, max_characters=30) == []


def test_two_replies_with_the_same_words_say_nothing():
    table = thread(("a", "x", 1, 4), ("b", "y", 2, 40))
    assert pairs(table.with_columns(text=pl.lit(QUESTION))) == []


def test_every_chosen_reply_brings_its_clearest_pair_first():
    table = thread(("a", "w", 1, 1), ("b", "x", 2, 10), ("c", "y", 3, 100), ("d", "z", 4, 1000))
    assert pairs(table, max_pairs_per_parent=3) == [("b", "a"), ("c", "a"), ("d", "a")]
    assert len(pairs(table)) == 5
    assert len(pairs(table, max_pairs_per_parent=100)) == 6


def test_many_replies_are_compared_in_bounded_space():
    replies = [(f"r{n:04}", f"author{n}", n, n * n) for n in range(3_000)]
    found = pairs(thread(*replies), max_pairs_per_parent=4)
    assert found == sorted(found)
    assert len(found) == 4


def test_a_parent_that_is_not_there_prompts_nothing():
    table = thread(("a", "x", 1, 4), ("b", "y", 2, 40))
    assert pairs(table.filter(pl.col("id") != "q")) == []
    assert preference_pairs(table.clear(), PreferenceConfig()).columns[0] == "parent_id"


def test_the_order_of_the_rows_does_not_matter():
    replies = [(f"r{n:02}", f"author{n % 7}", n % 5, n * 13 % 97) for n in range(60)]
    table = thread(*replies)
    expected = preference_pairs(table, PreferenceConfig())
    assert expected.height == 5
    for seed in range(3):
        shuffled = table.sample(fraction=1.0, shuffle=True, seed=seed)
        assert preference_pairs(shuffled, PreferenceConfig()).equals(expected)
