from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow.parquet as pq
import pytest

from mynah.corpus.threads import THREADS_SCHEMA, find_chains, write_threads

START = datetime(2020, 1, 1, tzinfo=UTC)


def posts(replies, **columns):
    """Posts in the order given, a minute apart; ``replies`` is each id to what it answers."""
    ids = list(replies)
    table = {
        "id": ids,
        "reply_to": list(replies.values()),
        "created_at": [START + timedelta(minutes=n) for n in range(len(ids))],
        "author": [f"author{n}" for n in range(len(ids))],
        "text": [f"words of {post_id}" for post_id in ids],
    }
    return pl.DataFrame(table | columns, schema_overrides={"id": pl.String, "reply_to": pl.String})


def chains(table):
    found = find_chains(table)
    ids = table["id"].gather(found.rows).to_list()
    return [ids[found.offsets[n] : found.offsets[n + 1]] for n in range(len(found))]


def test_the_longest_chain_goes_on_and_the_others_begin_anew():
    table = posts({"a": None, "b": "a", "c": "a", "d": "c", "e": "b", "f": "d", "g": None})
    assert chains(table) == [["a", "c", "d", "f"], ["b", "e"], ["g"]]


def test_of_equal_chains_the_earliest_goes_on():
    table = posts({"a": None, "late": "a", "early": "a"})
    swapped = table.with_columns(pl.Series("created_at", [START, START + timedelta(9), START]))
    assert chains(table) == [["a", "late"], ["early"]]
    assert chains(swapped) == [["a", "early"], ["late"]]
    unknown = table.with_columns(pl.Series("created_at", [None, None, START], pl.Datetime("us")))
    assert chains(unknown) == [["a", "early"], ["late"]]


def test_a_reply_to_a_post_that_is_not_there_begins_a_chain():
    assert chains(posts({"b": "gone", "c": "b", "d": "gone"})) == [["b", "c"], ["d"]]


def test_a_circle_begins_at_its_least_id():
    table = posts({"q": "p", "p": "q", "r": "q", "s": "s"})
    assert chains(table) == [["p", "q", "r"], ["s"]]


def test_a_deep_thread_is_one_chain():
    replies = {f"{n:05}": f"{n - 1:05}" if n else None for n in range(5_000)}
    assert chains(posts(replies)) == [list(replies)]


def test_no_posts_make_no_chains():
    assert chains(posts({})) == []


@pytest.fixture
def written(tmp_path):
    def write(table, held=()):
        is_heldout = table["id"].is_in(list(held))
        num = write_threads(table, tmp_path / "threads.parquet", is_heldout=is_heldout)
        found = pq.read_table(tmp_path / "threads.parquet")
        assert found.schema.equals(THREADS_SCHEMA)
        assert found.num_rows == num
        return [
            (row["thread_id"], [(turn["post_id"], turn["role"]) for turn in row["turns"]])
            for row in found.to_pylist()
        ]

    return write


def test_turns_are_the_users_and_the_assistants(written):
    table = posts({"a": None, "b": "a", "c": "b", "d": "a", "alone": None})
    expected = [("a", [("a", "user"), ("b", "assistant"), ("c", "user")])]
    assert written(table) == expected


def test_nobody_answers_themselves_in_a_dialogue(written):
    table = posts({"a": None, "b": "a", "c": "b", "d": "c"}, author=["x", "y", "y", "x"])
    assert written(table) == [
        ("a", [("a", "user"), ("b", "assistant")]),
        ("c", [("c", "user"), ("d", "assistant")]),
    ]


def test_posts_without_an_author_are_nobodys_turn(written):
    table = posts({"a": None, "b": "a", "c": "b", "d": "c"}, author=["x", "", "y", "z"])
    assert written(table) == [("c", [("c", "user"), ("d", "assistant")])]
    assert written(table.with_columns(author=pl.lit(""))) == []


def test_what_is_held_out_makes_no_dialogue(written):
    table = posts({"a": None, "b": "a", "c": None, "d": "c"})
    assert [thread for thread, _ in written(table, held=["a", "b"])] == ["c"]


def test_the_words_stand_in_their_turns(tmp_path):
    path = tmp_path / "threads.parquet"
    table = posts({"a": None, "b": "a"})
    write_threads(table, path, is_heldout=pl.Series([False, False]))
    (row,) = pq.read_table(path).to_pylist()
    assert [turn["text"] for turn in row["turns"]] == ["words of a", "words of b"]
