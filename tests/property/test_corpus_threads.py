"""Whole columns agree with posts one by one; every post is in one chain; blanks stay put."""

import tempfile
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from mynah.corpus.blanking import blank_posts
from mynah.corpus.preferences import PreferenceConfig, preference_pairs
from mynah.corpus.shards import ShardWriter, TokenShard
from mynah.corpus.split import hold_out, thread_root, thread_roots
from mynah.corpus.threads import find_chains

START = datetime(2020, 1, 1, tzinfo=UTC)
IDS = [f"x:{n}" for n in range(24)]

graphs = st.dictionaries(
    st.sampled_from(IDS), st.none() | st.sampled_from([*IDS, "x:gone", "x:gone2"]), max_size=24
)
"""Replies with circles, self-answers and parents that are not there."""


def table(graph):
    ids = sorted(graph)
    return pl.DataFrame(
        {
            "id": ids,
            "reply_to": [graph[post_id] for post_id in ids],
            "created_at": [START + timedelta(minutes=n * 7 % 5) for n in range(len(ids))],
        },
        schema_overrides={"id": pl.String, "reply_to": pl.String},
    )


@settings(max_examples=200, deadline=None)
@given(graphs)
def test_roots_are_those_of_the_posts_one_by_one(graph):
    replies = {post_id: parent for post_id, parent in graph.items() if parent is not None}
    posts = table(graph)
    expected = [thread_root(post_id, replies) for post_id in posts["id"]]
    assert thread_roots(posts).to_list() == expected


@settings(max_examples=200, deadline=None)
@given(graphs, st.floats(0.01, 0.99))
def test_every_post_is_in_one_chain_of_one_side(graph, fraction):
    posts = table(graph)
    roots = thread_roots(posts)
    held = hold_out(roots, fraction=fraction)
    chains = find_chains(posts)
    documents = [
        chains.rows[begin:end].tolist() for begin, end in pairwise(chains.offsets.tolist())
    ]
    assert sorted(row for rows in documents for row in rows) == list(range(len(posts)))
    ids, parents = posts["id"].to_list(), posts["reply_to"].to_list()
    for rows in documents:
        assert len({held[row] for row in rows}) == 1
        assert len({roots[row] for row in rows}) == 1
        for before, after in pairwise(rows):
            assert parents[after] == ids[before]


@settings(max_examples=100, deadline=None)
@given(graphs)
def test_no_chain_could_be_longer_than_the_first_of_its_tree(graph):
    posts = table({key: up for key, up in graph.items() if up is None or up < key})
    chains = find_chains(posts)
    row_of = {post_id: row for row, post_id in enumerate(posts["id"])}
    parents = [row_of.get(parent) for parent in posts["reply_to"]]
    depth = {}
    for row in range(len(posts)):
        steps, at = 1, row
        while parents[at] is not None:
            steps, at = steps + 1, parents[at]
        depth[row] = steps, at
    deepest = {}
    for steps, root in depth.values():
        deepest[root] = max(steps, deepest.get(root, 0))
    for n in range(len(chains)):
        first = chains.rows[chains.offsets[n]]
        if parents[first] is None:
            assert chains.offsets[n + 1] - chains.offsets[n] == deepest[first]


replies = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(-3, 60)), min_size=2, max_size=30
)


@settings(max_examples=100, deadline=None)
@given(replies, st.integers(1, 6))
def test_a_chosen_reply_is_later_and_clearly_liked_more(drawn, max_pairs):
    rows = [
        ("q", "asker", 0, 0),
        *((f"r{n:02}", f"a{a}", t, k) for n, (a, t, k) in enumerate(drawn)),
    ]
    posts = pl.DataFrame(
        {
            "id": [row[0] for row in rows],
            "author": [row[1] for row in rows],
            "created_at": [START + timedelta(minutes=row[2]) for row in rows],
            "text": [f"some words that are long enough {row[0]}" for row in rows],
            "reply_to": [None if row[0] == "q" else "q" for row in rows],
            "likes": [row[3] for row in rows],
        }
    )
    facts = {row[0]: row for row in rows}
    config = PreferenceConfig(max_pairs_per_parent=max_pairs)
    pairs = preference_pairs(posts, config)
    good = sum(
        a[1] != b[1] and a[2] >= b[2] and a[3] - b[3] >= 5 and a[3] >= 2 * max(b[3], 1)
        for a in rows[1:]
        for b in rows[1:]
    )
    assert pairs.height == min(good, max_pairs)
    for pair in pairs.iter_rows(named=True):
        chosen, rejected = facts[pair["chosen_id"]], facts[pair["rejected_id"]]
        assert chosen[1] != rejected[1]
        assert chosen[2] >= rejected[2]
        assert chosen[3] - rejected[3] >= 5
        assert pair["ratio"] >= 2


documents = st.lists(st.lists(st.integers(0, 4), max_size=4), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(documents, st.data())
def test_blanking_changes_the_tokens_of_those_posts_alone(counts, data):
    numbers = iter(range(100))
    names = [[f"x:{next(numbers)}" for _ in of_posts] for of_posts in counts]
    lengths = np.array([sum(of_posts) + 1 for of_posts in counts])
    tokens = np.arange(1, lengths.sum() + 1)
    every = [name for of_document in names for name in of_document]
    gone = data.draw(st.sets(st.sampled_from(every)) if every else st.just(set[str]()))
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "train"
        with ShardWriter(prefix, vocab_size=1_000) as writer:
            writer.append(tokens, lengths, post_ids=names, post_tokens=counts)
        found = blank_posts(prefix, gone, filler=0)
        expected, at = tokens.copy(), 0
        for of_document, of_posts in zip(names, counts, strict=True):
            for name, count in zip(of_document, of_posts, strict=True):
                expected[at : at + count] *= name not in gone
                at += count
            at += 1
        assert TokenShard(prefix).read(0, len(tokens)).tolist() == expected.tolist()
        assert {post["post_id"] for post in found} == gone
