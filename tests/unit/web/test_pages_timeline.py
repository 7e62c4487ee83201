from datetime import UTC, date, datetime

from mynah.search import Bar, Histogram, Query
from mynah.web.pages.timeline import address_of, bar_label, span_of


def histogram(unit: str, *days: str) -> Histogram:
    starts = [datetime.fromisoformat(day).replace(tzinfo=UTC) for day in days]
    bars = tuple(Bar(start, 1) for start in starts)
    return Histogram(unit=unit, bars=bars, num_undated=0)  # type: ignore[arg-type]


def test_a_span_has_whole_units() -> None:
    months = histogram("month", "2016-01-01", "2016-02-01", "2016-03-01")
    assert span_of(months, 0, 1) == (date(2016, 1, 1), date(2016, 2, 29))
    years = histogram("year", "2015-01-01", "2016-01-01")
    assert span_of(years, 1, 1) == (date(2016, 1, 1), date(2016, 12, 31))
    weeks = histogram("week", "2016-02-29", "2016-03-07")
    assert span_of(weeks, 0, 0) == (date(2016, 2, 29), date(2016, 3, 6))
    days = histogram("day", "2016-02-29", "2016-03-01")
    assert span_of(days, 0, 1) == (date(2016, 2, 29), date(2016, 3, 1))


def test_a_drag_may_run_backwards_and_past_the_edge() -> None:
    days = histogram("day", "2016-02-27", "2016-02-28", "2016-02-29")
    assert span_of(days, 5, -1) == (date(2016, 2, 27), date(2016, 2, 29))


def test_labels_have_the_grain_of_their_unit() -> None:
    bar = Bar(datetime(2016, 2, 5, 9, tzinfo=UTC), 1)
    assert bar_label(bar, "month") == "Feb 2016"
    assert bar_label(bar, "day") == "5 Feb"


def test_the_address_holds_the_whole_search() -> None:
    assert address_of("") == "/search"
    assert address_of(Query(text='"late ferry"', author="ada")) == (
        "/search?q=%22late+ferry%22+from%3Aada"
    )
