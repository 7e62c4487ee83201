"""Which posts become documents, which do not and why, and what is held out."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from mynah.corpus import CorpusConfig, LocalEngine, choose_documents
from mynah.corpus.signatures import comparison_keys
from mynah.corpus.split import is_held_out, thread_root
from mynah.posts import read_posts


@dataclass
class Documents:
    chosen: pl.DataFrame
    """``post_id``, ``text``, ``is_heldout``, in the order of ids."""
    excluded: pl.DataFrame
    documents: list[list[str]]
    """Native ids of the posts of each document."""


def choose(posts, **settings):
    config = CorpusConfig(**settings)
    with choose_documents(posts, config=config, engine=LocalEngine(1)) as chosen:
        texts = chosen.prepared.texts(chosen.posts["row"].to_numpy())
        ids = chosen.posts["id"].str.split(":").list.last().to_list()
        documents = [
            [ids[row] for row in rows] for rows in np.split(chosen.order, chosen.offsets[1:-1])
        ]
        return Documents(
            chosen.posts.select(
                pl.col("id").alias("post_id"), pl.Series("text", texts), "is_heldout"
            ),
            chosen.judged.excluded(),
            documents,
        )


def excluded(documents):
    return {
        row["id"].partition(":")[2]: (row["reason"], row["survivor_id"])
        for row in documents.excluded.iter_rows(named=True)
    }


LONG = "a long enough post about the history of the harbour and its ships"


def test_every_post_is_a_document_or_has_a_reason(make_posts):
    rows = [
        {"text": LONG},
        {"text": f"RT @ada: {LONG}"},
        {"text": f"{LONG}!!! https://t.co/abc"},
        {"text": f"{LONG} today"},
        {"text": "ok :)"},
        {"text": "https://t.co/abc"},
        {"text": "something else entirely, of another kind", "opt_out": "true"},
        {"text": "the last one that has nothing to do with those before it"},
    ]
    documents = choose(make_posts(rows))
    first = "posts:00000"
    assert excluded(documents) == {
        "00001": ("duplicate", first),
        "00002": ("duplicate", first),
        "00003": ("near_duplicate", first),
        "00004": ("too_short", None),
        "00005": ("too_short", None),
        "00006": ("opted_out", None),
    }
    assert documents.chosen["post_id"].to_list() == [first, "posts:00007"]


def test_the_earliest_of_copies_survives(make_posts):
    rows = [
        {"text": LONG, "created_at": "2020-05-01"},
        {"text": LONG, "created_at": "2020-03-01", "id": "99999"},
        {"text": LONG, "created_at": ""},
        {"text": "another post that is about something else"},
    ]
    documents = choose(make_posts(rows))
    assert "posts:99999" in documents.chosen["post_id"].to_list()


def test_a_repost_of_an_opted_out_post_is_left_out_too(make_posts):
    rows = [
        {"text": LONG, "opt_out": "true", "created_at": "2021-01-01"},
        {"text": f"RT @ada: {LONG}"},
        {"text": f"{LONG} indeed"},
        {"text": f"RT @bob: {LONG} indeed"},
        {"text": "one that may stay, being of other words"},
        {"text": "and a second about the price of bread"},
    ]
    documents = choose(make_posts(rows))
    assert {reason for reason, _ in excluded(documents).values()} == {"opted_out"}
    assert documents.chosen.height == 2
    assert not documents.excluded["survivor_id"].is_not_null().any()


def test_a_copy_of_a_near_duplicate_names_the_document_that_stands_for_it(make_posts):
    rows = [
        {"text": LONG},
        {"text": f"{LONG} today"},
        {"text": f"{LONG} today"},
        {"text": "another post that is about something else"},
    ]
    found = excluded(choose(make_posts(rows)))
    assert found["00002"] == ("duplicate", "posts:00000")


def test_a_thread_is_held_out_whole(make_posts):
    rows = []
    for thread in range(200):
        for reply in range(3):
            parent = f"{thread * 3 + reply - 1:05}" if reply else ""
            words = f"{thread * 7919} and {reply * 104729 + thread} of the {thread * 31} ships"
            rows.append({"text": f"post of words {words}", "reply_to": parent})
    documents = choose(make_posts(rows), heldout_fraction=0.2, min_similarity=1.0)
    held = {}
    for row in documents.chosen.iter_rows(named=True):
        held.setdefault(int(row["post_id"].partition(":")[2]) // 3, set()).add(row["is_heldout"])
    assert all(len(sides) == 1 for sides in held.values())
    share = sum(sides == {True} for sides in held.values()) / len(held)
    assert 0.12 < share < 0.28


def test_what_is_held_out_does_not_change_as_the_network_grows():
    ids = [f"x:{n}" for n in range(3000)]
    few = is_held_out(ids[:1000], fraction=0.02)
    many = is_held_out(ids, fraction=0.02)
    assert few == many[:1000]
    assert 35 < sum(many) < 90


def test_a_tiny_network_still_has_something_to_evaluate_on():
    assert sum(is_held_out(["x:1", "x:2", "x:3"], fraction=0.02)) == 1
    assert is_held_out([], fraction=0.02) == []


def test_the_root_of_a_thread():
    replies = {"c": "b", "b": "a", "x": "missing", "p": "q", "q": "p"}
    assert thread_root("c", replies) == "a"
    assert thread_root("a", replies) == "a"
    assert thread_root("x", replies) == "missing"
    assert thread_root("p", replies) == thread_root("q", replies) == "p"


def test_no_held_out_text_is_nearly_in_training(sample_tab, tmp_path):
    documents = choose(read_posts([sample_tab], tmp_path / "posts"))
    keys = {True: [], False: []}
    texts = comparison_keys(documents.chosen["text"].to_arrow())
    for key, is_heldout in zip(texts, documents.chosen["is_heldout"], strict=True):
        keys[is_heldout].append({key[i : i + 5] for i in range(len(key))})
    assert documents.chosen.height > 6000
    leaks = sum(
        any(len(held & seen) >= 0.7 * len(held | seen) for seen in keys[False])
        for held in keys[True][:12]
    )
    assert leaks == 0


def test_replies_make_one_document_and_every_post_is_in_one(make_posts):
    rows = [
        {"text": "who was at the old harbour when the first ship came in"},
        {"text": "a dozen of us stood there until the evening bell", "reply_to": "00000"},
        {"text": "and the baker brought bread for everyone", "reply_to": "00001"},
        {"text": "never heard of it, which year should that have been", "reply_to": "00000"},
        {"text": "nobody answers this one about the price of candles"},
        {"text": "an answer to a post that is not here", "reply_to": "gone"},
    ]
    documents = choose(make_posts(rows))
    chains = [["00000", "00001", "00002"], ["00003"], ["00004"], ["00005"]]
    assert documents.documents == chains


def test_a_thread_is_one_though_a_post_in_its_middle_is_left_out(make_posts):
    rows = []
    for thread in range(60):
        first = f"{thread * 3:05}"
        middle = f"{thread * 3 + 1:05}"
        rows += [
            {"text": f"{thread * 7919} people asked about the {thread * 31} songs"},
            {"text": "ok", "reply_to": first},
            {"text": f"{thread * 104729} of them came by ship {thread}", "reply_to": middle},
        ]
    chosen = choose(make_posts(rows), heldout_fraction=0.3, min_similarity=1.0).chosen
    sides = {}
    for row in chosen.iter_rows(named=True):
        sides.setdefault(int(row["post_id"][-5:]) // 3, set()).add(row["is_heldout"])
    assert len(sides) == 60
    assert all(len(side) == 1 for side in sides.values())
    assert {True, False} == set().union(*sides.values())
