from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from mynah.corpus.bots import BotConfig, author_habits, find_bots

START = datetime(2020, 1, 1, tzinfo=UTC)
SCHEMA = {
    "author": pl.String,
    "created_at": pl.Datetime("us", "UTC"),
    "has_link": pl.Boolean,
    "survivor": pl.Int64,
}


def posts(author, pauses_s, *, has_link=False, repeats=0):
    at, rows = START, []
    for number, pause in enumerate(pauses_s):
        at += timedelta(seconds=pause)
        rows.append((author, at, has_link, 7 if number < repeats else -1))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def human_pauses(num):
    """From a minute to some hours, no two alike."""
    return [60 + (number * 7919) % 20_000 for number in range(num)]


def found(*frames, **settings):
    bots = find_bots(pl.concat(frames), config=BotConfig(**settings))
    return dict(bots.iter_rows())


def test_a_prolific_person_is_no_machine():
    tireless = posts("tireless", human_pauses(5_000), has_link=True)
    live = posts("live", [5 + (n * 31) % 90 for n in range(900)])  # 300 posts an evening, by hand
    assert found(tireless, live) == {}


def test_an_account_that_only_repeats():
    assert found(posts("echo", human_pauses(100), repeats=70)) == {"echo": "repeats"}
    assert found(posts("quotes", human_pauses(100), repeats=50)) == {}


def test_a_feed_of_links_by_the_clock():
    assert found(posts("feed", [1800] * 100, has_link=True)) == {"feed": "clock"}
    assert found(posts("diary", [86_400] * 100)) == {}


def test_a_pace_that_nobody_keeps_up():
    assert found(posts("burst", [0, 1] * 500)) == {"burst": "pace"}


def test_few_posts_show_no_habit():
    assert found(posts("new", [1800] * 49, has_link=True, repeats=49)) == {}


def test_posts_without_an_author_are_nobodys():
    assert found(posts("", [1800] * 100, has_link=True, repeats=100)) == {}


def test_posts_without_a_time_are_judged_by_what_is_known():
    undated = posts("echo", human_pauses(100), repeats=90).with_columns(
        created_at=pl.lit(None, pl.Datetime("us", "UTC"))
    )
    assert found(undated) == {"echo": "repeats"}
    assert author_habits(undated)["posts_per_day"].to_list() == [0.0]


def test_order_of_rows_does_not_matter():
    frame = pl.concat([posts("feed", [1800] * 60, has_link=True), posts("b", human_pauses(60))])
    shuffled = frame.sample(fraction=1, shuffle=True, seed=5)
    assert author_habits(frame).equals(author_habits(shuffled))


def test_it_can_be_turned_off():
    assert found(posts("echo", human_pauses(100), repeats=90), leave_out=False) == {}


def test_habits_are_shares():
    habits = author_habits(posts("echo", [10] * 4, has_link=True, repeats=1)).row(0, named=True)
    assert habits == {
        "author": "echo", "num_posts": 4, "repeat_share": 0.25, "link_share": 1.0,
        "posts_per_day": 4.0, "burst_share": 0.0, "clock_share": pytest.approx(1.0),
    }  # fmt: skip
