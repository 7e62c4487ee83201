"""Charts of a plan: money against days, goodput against failures.

Pure. Each has the same in words, for who cannot see it.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from mynah.plan.frontier import Point, Weather
from mynah.plan.ranges import Range
from mynah.web.pages.plan_wording import days_words, money_words, percent, span_words
from mynah.web.theme import CHART_LABEL, chart_axis, chart_tooltip
from mynah.web.wording import exact_number

__all__ = [
    "frontier_options",
    "frontier_words",
    "goodput_options",
    "goodput_words",
    "rate_words",
]

_INK_POINT = {"color": "var(--card)", "borderColor": "var(--ink)", "borderWidth": 2, "opacity": 1}
_BEAK_POINT = {"color": "var(--beak)", "borderColor": "var(--ink)", "borderWidth": 1, "opacity": 1}


def frontier_options(points: Sequence[Point], *, chosen: int) -> dict[str, Any]:
    """ECharts options: one point a number of GPUs, the chosen one in the beak's colour.

    Args:
        points: In any order.
        chosen: GPUs of the plan.
    """
    ordered = sorted(points, key=lambda point: point.gpus)
    doublings = [math.log2(point.days.middle) for point in ordered]
    scale, unit = _money_unit(ordered)
    least, most, step = _ticks([point.usd.middle / scale for point in ordered])
    sides = _sides(ordered, (most - least) * scale)
    return {
        "animation": False,
        "textStyle": {"fontFamily": "inherit"},
        "grid": {"left": 8, "right": 32, "top": 40, "bottom": 32, "containLabel": True},
        "tooltip": chart_tooltip(trigger="item", formatter="{b}", axisPointer={"type": "none"}),
        # Doublings: a logarithmic axis of ECharts marks powers of ten alone.
        "xAxis": chart_axis(type="value", min=math.floor(min(doublings) - 0.7),
                            max=math.ceil(max(doublings) + 0.3), interval=1, name="days",
                            **_MIDDLE, splitLine={"show": False},
                            axisLabel={**CHART_LABEL, ":formatter": _DOUBLING_JS, "margin": 12}),
        "yAxis": chart_axis(type="value", name=unit, min=least, max=most, interval=step,
                            axisLine=_LEFT,
                            axisLabel={**CHART_LABEL, ":formatter": _SHORT_JS}),
        "series": [
            {
                "type": "line",
                "data": [
                    _point(point, side, scale, is_chosen=point.gpus == chosen)
                    for point, side in zip(ordered, sides, strict=True)
                ],
                "labelLayout": {"hideOverlap": True},
                "symbol": "circle",
                "showAllSymbol": True,
                "lineStyle": {"color": "var(--edge)", "width": 2},
                "emphasis": {"disabled": True},
            },
        ],
    }  # fmt: skip


_DOUBLING_JS = "v => v >= 0 ? 2 ** v : +(2 ** v).toPrecision(2)"
_SHORT_JS = "v => (+v.toPrecision(4)).toLocaleString('en')"
_LEFT = {"onZero": False, "lineStyle": {"color": "var(--line)"}}
_MIDDLE = {
    "nameLocation": "middle",
    "nameGap": 32,
    "nameTextStyle": {"color": "var(--quiet)", "fontSize": 14, "align": "center"},
}
LEAST_RATE = 1e-7
"""Failures per GPU and hour that are as good as none."""
TOO_NEAR = 0.15
"""Powers of ten between a point of the curve and the plan's own, which stands for both."""
STEEP = 0.7
"""Of a line, as a share of the chart's height over one of its width."""
_POWER_JS = "v => Number.isInteger(v) ? '1e' + v : ''"
_PERCENT_JS = "v => Math.round(v * 100) + ' %'"


def _point(point: Point, side: str, scale: float, *, is_chosen: bool) -> dict[str, Any]:
    return {
        "value": [math.log2(point.days.middle), point.usd.middle / scale],
        "name": _point_words(point),
        "symbolSize": 16 if is_chosen else 10,
        "itemStyle": _BEAK_POINT if is_chosen else _INK_POINT,
        "label": {
            "show": True,
            "position": side,
            "distance": 8,
            "formatter": exact_number(point.gpus),
            "color": "var(--ink)" if is_chosen else "var(--quiet)",
            "fontWeight": 650 if is_chosen else 400,
            "fontSize": 14,
        },
    }


def _money_unit(points: Sequence[Point]) -> tuple[float, str]:
    """Dollars in the axis' unit, and its name."""
    most = max(point.usd.middle for point in points)
    units = ((1e9, 1e9, "billion USD"), (1e6, 1e6, "million USD"), (1e4, 1e3, "thousand USD"))
    return next(((unit, name) for limit, unit, name in units if most >= limit), (1.0, "USD"))


def _ticks(values: Sequence[float]) -> tuple[float, float, float]:
    """Ends and step of an axis around values, with room for labels; a tenth of them at least."""
    least, most = min(values), max(values)
    room = max(0.15 * (most - least), 0.06 * most)
    wanted = (most - least + 2 * room) / 5
    power = 10.0 ** math.floor(math.log10(wanted))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= wanted)
    first, last = math.floor((least - room) / step), math.ceil((most + room) / step)
    return max(0.0, first * step), last * step, step


def _sides(ordered: Sequence[Point], high: float) -> list[str]:
    """Where the line is not, for the label of each point of a chart that is so many USD high."""
    places = sorted((math.log2(point.days.middle), point.usd.middle) for point in ordered)
    wide = max(places[-1][0] - places[0][0], 1e-9)
    slopes = [
        (later[1] - one[1]) / high / max((later[0] - one[0]) / wide, 1e-9)
        for one, later in pairwise(places)
    ] or [0.0]
    by_days: dict[float, str] = {}
    for (days, _), before, after in zip(
        places, [slopes[0], *slopes], [*slopes, slopes[-1]], strict=False
    ):
        if before < -STEEP and after < -STEEP:
            by_days[days] = "right"
        elif before > STEEP and after > STEEP:
            by_days[days] = "left"
        else:
            by_days[days] = "bottom" if before < -STEEP or after > STEEP else "top"
    return [by_days[math.log2(point.days.middle)] for point in ordered]


def _point_words(point: Point) -> str:
    """``4,096 GPUs: 208 days (190 to 240), $88 M (52 to 150)``."""
    days = _with_span(point.days, days_words)
    usd = _with_span(point.usd, money_words)
    return f"{exact_number(point.gpus)} GPUs: {days}, {usd}"


def _with_span(value: Range, words: Any) -> str:
    span = span_words(value, words)
    return f"{words(value.middle)} ({span})" if span else words(value.middle)


def frontier_words(points: Sequence[Point], *, chosen: int) -> str:
    """What that chart says."""
    ordered = sorted(points, key=lambda point: point.gpus)
    parts = [f"{_point_words(one)}{', chosen' if one.gpus == chosen else ''}" for one in ordered]
    return f"Days and money of this run by number of GPUs. {'; '.join(parts)}."


def goodput_options(weather: Sequence[Weather], *, rate: Range, goodput: Range) -> dict[str, Any]:
    """ECharts options: the curve with its band, and the plan's own rate on it.

    Args:
        weather: From the least rate to the greatest.
        rate: Of the plan; what it may be is a shade behind the curve.
        goodput: Of the plan.
    """
    known = [
        (one.failures_per_accelerator_hour, one.goodput)
        for one in weather
        if abs(_power(one.failures_per_accelerator_hour) - _power(rate.middle)) > TOO_NEAR
    ]
    points = sorted([*known, (rate.middle, goodput)], key=lambda point: point[0])
    powers = [_power(at) for at, _ in points]
    lowest = min(value.low for _, value in points)
    step = next((one for one in (0.01, 0.02, 0.05, 0.1) if 1 - lowest <= 5 * one), 0.2)
    return {
        "animation": False,
        "textStyle": {"fontFamily": "inherit"},
        "grid": {"left": 8, "right": 32, "top": 40, "bottom": 32, "containLabel": True},
        "tooltip": chart_tooltip(trigger="item", formatter="{b}", axisPointer={"type": "none"}),
        "xAxis": chart_axis(type="value", min=math.floor(min(powers)),
                            max=math.ceil(max(powers)), interval=1,
                            name="failures per GPU and hour", **_MIDDLE,
                            splitLine={"show": False},
                            axisLabel={**CHART_LABEL, ":formatter": _POWER_JS, "margin": 12}),
        "yAxis": chart_axis(type="value", name="goodput", min=math.floor(lowest / step) * step,
                            max=1, interval=step, axisLine=_LEFT,
                            axisLabel={**CHART_LABEL, ":formatter": _PERCENT_JS}),
        "series": [*_band(known, rate), _curve(points, rate.middle)],
    }  # fmt: skip


def _power(rate: float) -> float:
    """A rate on the axis, where one of zero stands at its left end."""
    return math.log10(max(rate, LEAST_RATE))


def _band(points: Sequence[tuple[float, Range]], rate: Range) -> list[dict[str, Any]]:
    """Low to high, stacked on a line that is not seen; behind it, what the rate may be."""
    shared: dict[str, Any] = {
        "type": "line",
        "stack": "range",
        "symbol": "none",
        "silent": True,
        "lineStyle": {"opacity": 0},
        "emphasis": {"disabled": True},
        "z": 1,
    }
    low = {**shared, "data": [[_power(at), value.low] for at, value in points]}
    width = {
        **shared,
        "data": [[_power(at), value.high - value.low] for at, value in points],
        "areaStyle": {"color": "var(--edge)", "opacity": 0.25},
    }
    if rate.high > rate.low:
        low["markArea"] = {
            "silent": True,
            "itemStyle": {"color": "var(--beak)", "opacity": 0.12},
            "data": [[{"xAxis": _power(rate.low)}, {"xAxis": _power(rate.high)}]],
        }
    return [low, width]


def _curve(points: Sequence[tuple[float, Range]], chosen: float) -> dict[str, Any]:
    return {
        "type": "line",
        "data": [
            {
                "value": [_power(rate), value.middle],
                "name": rate_words(rate, value),
                "symbolSize": 16 if rate == chosen else 8,
                "itemStyle": _BEAK_POINT if rate == chosen else _INK_POINT,
                "label": {"show": rate == chosen, "position": "top", "distance": 8,
                          "formatter": percent(value.middle), "color": "var(--ink)",
                          "fontWeight": 650, "fontSize": 14},
            }
            for rate, value in points
        ],
        "symbol": "circle",
        "showAllSymbol": True,
        "lineStyle": {"color": "var(--ink)", "width": 3},
        "emphasis": {"disabled": True},
        "z": 3,
    }  # fmt: skip


def rate_words(rate: float, goodput: Range) -> str:
    """One point of the curve."""
    return f"{rate:.2g} failures per GPU and hour: {_with_span(goodput, percent)}"


def goodput_words(weather: Sequence[Weather], *, rate: Range, goodput: Range) -> str:
    """What that chart says."""
    others = [rate_words(one.failures_per_accelerator_hour, one.goodput) for one in weather]
    own = rate_words(rate.middle, goodput)
    return f"Goodput by failure rate. This plan: {own}. {'; '.join(others)}."
