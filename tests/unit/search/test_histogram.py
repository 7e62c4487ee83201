"""Posts over time, in bars that fit the page."""

from datetime import UTC, datetime, timedelta

import pytest

from mynah.search.histogram import make_histogram

START = datetime(2015, 12, 30, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("span", "unit"),
    [
        (timedelta(0), "hour"),
        (timedelta(hours=40), "hour"),
        (timedelta(days=40), "day"),
        (timedelta(days=300), "week"),
        (timedelta(days=1_000), "month"),
        (timedelta(days=5_000), "year"),
        (timedelta(days=100_000), "year"),
    ],
)
def test_the_unit_fits_the_span(span: timedelta, unit: str) -> None:
    histogram = make_histogram({START: 2, START + span: 3}, max_bars=60, num_undated=1)
    assert histogram.unit == unit
    assert sum(bar.num_posts for bar in histogram.bars) == (5 if span else 3)
    assert len(histogram.bars) <= 60 or unit == "year"
    assert histogram.num_undated == 1


def test_bars_follow_the_calendar() -> None:
    hours = {START: 1, START + timedelta(days=900): 1}
    bars = make_histogram(hours, max_bars=60, num_undated=0).bars
    assert [bar.start.day for bar in bars] == [1] * len(bars)
    assert bars[0].start == datetime(2015, 12, 1, tzinfo=UTC)
    weeks = make_histogram({START: 1, START + timedelta(days=200): 1}, max_bars=60, num_undated=0)
    assert {bar.start.weekday() for bar in weeks.bars} == {0}


def test_the_end_of_time_is_no_overflow() -> None:
    last = datetime(9999, 12, 31, 23, tzinfo=UTC)
    for earlier in (timedelta(0), timedelta(days=10), timedelta(days=1_000_000)):
        bars = make_histogram({last: 1, last - earlier: 1}, max_bars=60, num_undated=0).bars
        assert bars[-1].num_posts >= 1
