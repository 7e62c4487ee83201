import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mynah.plan.ranges import Range

figures = st.lists(st.floats(0, 1e9), min_size=3, max_size=3).map(
    lambda values: Range(low=min(values), middle=sorted(values)[1], high=max(values))
)


def is_ordered(figure: Range) -> bool:
    return figure.low <= figure.middle <= figure.high


def test_what_is_known_has_no_range():
    assert Range.exactly(3.0) == Range(low=3.0, middle=3.0, high=3.0)


@settings(deadline=None)
@given(figures)
def test_what_falls_turns_the_ends_round(figure: Range):
    risen, fallen = figure.through(lambda value: 2 * value), figure.through(lambda value: -value)
    assert (risen.low, risen.high) == (2 * figure.low, 2 * figure.high)
    assert (fallen.low, fallen.high) == (-figure.high, -figure.low)
    assert fallen.middle == -figure.middle


@settings(deadline=None)
@given(figures, figures)
def test_sums_and_products_hold_the_worst_and_the_best(one: Range, other: Range):
    for found in (one.plus(other), one.times(other)):
        assert is_ordered(found)
    assert one.plus(other) == other.plus(one)
    assert one.times(other) == other.times(one)
    assert one.times(Range.exactly(1.0)) == one
    assert one.plus(Range.exactly(0.0)) == one


def test_machines_get_three_numbers():
    assert Range(low=1, middle=2, high=4).to_json() == {"low": 1, "middle": 2, "high": 4}


def test_a_figure_cannot_be_changed():
    with pytest.raises(AttributeError):
        Range.exactly(1.0).low = 2.0  # pyright: ignore[reportAttributeAccessIssue]
