from datetime import UTC, datetime, timedelta

import pytest

from mynah.web.wording import (
    absolute_time,
    duration,
    exact_number,
    plural,
    post_time,
    relative_time,
    sentence,
    short_number,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(seconds=-5), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(minutes=5), "5 min ago"),
        (timedelta(hours=23, minutes=59), "23 h ago"),
        (timedelta(days=1), "1 day ago"),
        (timedelta(days=13), "13 days ago"),
        (timedelta(days=15), "2 weeks ago"),
        (timedelta(days=90), "2 months ago"),
        (timedelta(days=800), "2 years ago"),
    ],
)
def test_age_is_said_in_one_unit(age: timedelta, words: str) -> None:
    assert relative_time(NOW - age, now=NOW) == words


def test_old_posts_also_say_their_month() -> None:
    assert post_time(NOW - timedelta(days=30), now=NOW) == "4 weeks ago"
    old = datetime(2016, 9, 28, tzinfo=UTC)
    assert post_time(old, now=NOW) == "Sep 2016, 9 years ago"


def test_a_post_without_a_date_says_so() -> None:
    assert relative_time(None) == "no date"
    assert "no date" in absolute_time(None)


def test_absolute_time_is_utc_and_says_it() -> None:
    there = datetime.fromisoformat("2016-09-05T23:30:00-05:00")
    assert absolute_time(there) == "6 Sep 2016, 04:30 UTC"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (150, "2 min"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
    ],
)
def test_durations_have_at_most_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0"), (9_999, "9,999"), (12_345, "12.3 k"), (491_520, "492 k"), (1_234_567, "1.2 M"),
     (187.18, "187"), (1.5, "1.50")],
)  # fmt: skip
def test_big_numbers_are_short(count: float, words: str) -> None:
    assert short_number(count) == words


def test_exact_numbers_keep_every_digit() -> None:
    assert exact_number(1_234_567) == "1,234,567"


def test_one_is_singular() -> None:
    assert (plural(1, "post"), plural(0, "post"), plural(2, "reply", "replies")) == (
        "1 post",
        "0 posts",
        "2 replies",
    )


def test_words_of_the_command_line_become_a_sentence() -> None:
    assert sentence("the bid is 0.00") == "The bid is 0.00."
    assert sentence('put it in quotation marks: "a:b"') == 'Put it in quotation marks: "a:b"'
    assert sentence("") == ""
