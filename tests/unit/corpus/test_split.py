import polars as pl

from mynah.corpus.split import hold_out, is_held_out, thread_root, thread_roots


def roots(replies, ids=None):
    ids = sorted({*replies, *(ids or ())})
    posts = pl.DataFrame(
        {"id": ids, "reply_to": [replies.get(post_id) for post_id in ids]},
        schema={"id": pl.String, "reply_to": pl.String},
    )
    return dict(zip(ids, thread_roots(posts), strict=True))


def test_columns_have_the_roots_that_posts_have_one_by_one():
    replies = {"c": "b", "b": "a", "x": "missing", "y": "missing", "p": "q", "q": "p", "r": "q"}
    replies |= {"self": "self", "to-self": "self", "u": "v", "v": "w", "w": "u", "to-u": "u"}
    found = roots(replies, ["a", "alone"])
    assert found == {post_id: thread_root(post_id, replies) for post_id in found}
    assert found["c"] == "a"
    assert found["x"] == found["y"] == "missing"
    assert found["p"] == found["r"] == "p"
    assert found["self"] == found["to-self"] == "self"
    assert found["to-u"] == "u"


def test_a_long_chain_has_one_root():
    replies = {f"{n:05}": f"{n - 1:05}" for n in range(1, 20_000)}
    assert set(roots(replies, ["00000"]).values()) == {"00000"}


def test_a_circle_of_any_length_is_one_thread():
    for length in range(1, 18):
        replies = {f"{n:02}": f"{(n + 1) % length:02}" for n in range(length)}
        replies["tail"] = f"{length // 2:02}"
        assert set(roots(replies).values()) == {"00"}


def test_no_posts_have_no_roots():
    assert roots({}) == {}
    assert hold_out(pl.Series("root", [], dtype=pl.String), fraction=0.5).to_list() == []


def test_what_is_held_out_is_what_it_was():
    # Written down with the first release: a change would mix what was held out with training.
    ids = [f"x:{n}" for n in range(200)]
    held = [ids[n] for n, is_held in enumerate(is_held_out(ids, fraction=0.02)) if is_held]
    assert held == ["x:175", "x:190"]


def test_posts_of_a_root_are_on_one_side():
    ids = pl.Series("root", [f"x:{n % 50}" for n in range(500)])
    held = pl.DataFrame({"root": ids, "held": hold_out(ids, fraction=0.2)})
    assert (held.group_by("root").agg(pl.col("held").n_unique())["held"] == 1).all()
    assert 0 < held["held"].sum() < 500
