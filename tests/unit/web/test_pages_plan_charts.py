"""Charts of a plan: what is drawn where, and the same in words."""

import math
from typing import Any

import pytest
from tests.fakes.small_plan import small_plan

from mynah.plan.frontier import Point, Weather, frontier
from mynah.plan.ranges import Range
from mynah.web.pages.plan_charts import (
    frontier_options,
    frontier_words,
    goodput_options,
    goodput_words,
)


def ranged(middle: float) -> Range:
    return Range(low=0.9 * middle, middle=middle, high=1.1 * middle)


def points(*places: tuple[int, float, float]) -> list[Point]:
    best = small_plan().best
    return [
        Point(gpus=gpus, best=best, days=ranged(days), usd=ranged(usd))
        for gpus, days, usd in places
    ]


def drawn(options: dict[str, Any]) -> list[dict[str, Any]]:
    return options["series"][-1]["data"]


KNEE = points((1000, 400, 9e6), (2000, 200, 9.1e6), (4000, 100, 9.5e6), (8000, 60, 20e6),
              (16000, 40, 40e6))  # fmt: skip


def test_the_frontier_goes_by_doublings_of_days() -> None:
    found = drawn(frontier_options(KNEE, chosen=4000))
    assert [point["label"]["formatter"] for point in found] == [
        "1,000", "2,000", "4,000", "8,000", "16,000",
    ]  # fmt: skip
    assert found[2]["value"] == [pytest.approx(math.log2(100)), 9.5]
    assert found[2]["name"] == (
        "4,000 GPUs: 100 days (90 days to 110 days), $9.5 M ($8.55 M to $10.4 M)"
    )


def test_only_the_chosen_point_has_the_beaks_colour() -> None:
    found = drawn(frontier_options(KNEE, chosen=4000))
    yellow = [point["itemStyle"]["color"] == "var(--beak)" for point in found]
    assert yellow == [False, False, True, False, False]


def test_no_label_stands_on_a_steep_line() -> None:
    sides = [point["label"]["position"] for point in drawn(frontier_options(KNEE, chosen=4000))]
    assert sides == ["top", "top", "bottom", "right", "right"]


@pytest.mark.parametrize(
    ("usd", "unit"),
    [(3e9, "billion USD"), (3e7, "million USD"), (3e4, "thousand USD"), (3e3, "USD")],
)
def test_money_has_a_unit_that_fits(usd: float, unit: str) -> None:
    options = frontier_options(points((8, 10, usd), (16, 5, 1.01 * usd)), chosen=8)
    axis = options["yAxis"]
    assert axis["name"] == unit
    values = [point["value"][1] for point in drawn(options)]
    assert all(axis["min"] < value < axis["max"] for value in values)
    assert (axis["max"] - axis["min"]) / max(values) > 0.1
    assert 3 <= (axis["max"] - axis["min"]) / axis["interval"] <= 8


def test_a_frontier_of_one_point_can_be_drawn() -> None:
    options = frontier_options(points((8, 10, 1e4)), chosen=8)
    assert len(drawn(options)) == 1
    assert options["xAxis"]["min"] < math.log2(10) < options["xAxis"]["max"]


def test_a_real_frontier_can_be_drawn_and_said() -> None:
    found = [*frontier(small_plan(), factors=(0.5, 2.0))]
    assert len(drawn(frontier_options(found, chosen=16))) == len(found)
    words = frontier_words(found, chosen=16)
    assert "16 GPUs: 24.0 h" in words
    assert words.count(", chosen") == 1


WEATHER = [
    Weather(failures_per_accelerator_hour=rate, goodput=ranged(share))
    for rate, share in ((1e-6, 0.9), (1e-5, 0.85), (1e-4, 0.6), (1e-3, 0.2))
]


def test_the_plans_own_rate_is_marked_on_the_curve() -> None:
    rate = Range(low=1.4e-5, middle=1.8e-5, high=5.4e-5)
    options = goodput_options(WEATHER, rate=rate, goodput=ranged(0.8))
    curve = drawn(options)
    assert [round(10 ** point["value"][0], 7) for point in curve] == [
        1e-6, 1e-5, 1.8e-5, 1e-4, 1e-3,
    ]  # fmt: skip
    assert [point["itemStyle"]["color"] for point in curve].count("var(--beak)") == 1
    assert curve[2]["name"].startswith("1.8e-05 failures per GPU and hour: 80 %")
    area = options["series"][0]["markArea"]["data"][0]
    assert [10 ** edge["xAxis"] for edge in area] == [pytest.approx(1.4e-5), pytest.approx(5.4e-5)]
    assert "This plan: 1.8e-05" in goodput_words(WEATHER, rate=rate, goodput=ranged(0.8))


def test_a_known_rate_stands_for_the_point_beside_it_and_has_no_band() -> None:
    options = goodput_options(WEATHER, rate=Range.exactly(1e-4), goodput=ranged(0.61))
    assert [point["value"][1] for point in drawn(options)] == [0.9, 0.85, 0.61, 0.2]
    assert "markArea" not in options["series"][0]


def test_a_cluster_that_never_breaks_is_at_the_left_end() -> None:
    options = goodput_options(WEATHER, rate=Range.exactly(0.0), goodput=Range.exactly(0.99))
    assert drawn(options)[0]["value"] == [options["xAxis"]["min"], 0.99]


def test_the_axis_of_goodput_holds_the_whole_band() -> None:
    for share in (0.995, 0.93, 0.6, 0.1):
        calm = [Weather(failures_per_accelerator_hour=1e-6, goodput=ranged(share))]
        axis = goodput_options(calm, rate=Range.exactly(1e-5), goodput=ranged(share))["yAxis"]
        assert axis["min"] <= 0.9 * share
        assert axis["max"] == 1
