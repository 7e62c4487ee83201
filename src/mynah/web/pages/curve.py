"""The curve of a run: held-out bits per byte bold, training loss thin, the base model dashed."""

from typing import Any

from nicegui.element import Element

from mynah.web.markup import box, text
from mynah.web.runs import Curve, thinned
from mynah.web.theme import CHART_LABEL, chart_axis, chart_tooltip

__all__ = ["curve_options", "show_legend"]


def show_legend() -> Element:
    """Name the three lines of the chart."""
    legend = box("p", "legend", aria_hidden="true")
    with legend:
        for classes, name in (
            ("", "held-out bits per byte"),
            ("dashed", "base model"),
            ("thin", "training loss"),
        ):
            with box("span", classes):
                box("i")
                text("span", name)
    return legend


def curve_options(curve: Curve, *, is_live: bool) -> dict[str, Any]:
    """ECharts options for ``curve``; a live one wears the beak's colour on its last point."""
    heldout: list[dict[str, Any]] = [{"value": list(point)} for point in curve.heldout]
    if heldout and is_live:
        heldout[-1] |= {"symbolSize": 12, "itemStyle": {"color": "var(--beak)"}}
    return {
        "animation": False,
        "textStyle": {"fontFamily": "inherit"},
        "grid": {"left": 48, "right": 48, "top": 32, "bottom": 48},
        "tooltip": chart_tooltip(),
        "xAxis": chart_axis(type="value", min=0, max="dataMax", splitLine={"show": False},
                            minInterval=1, name="steps", nameLocation="middle", nameGap=28),
        "yAxis": [
            chart_axis(type="value", name="bits per byte", scale=True, splitNumber=4),
            chart_axis(type="value", name="loss", scale=True, splitNumber=4,
                       splitLine={"show": False}, axisLabel={**CHART_LABEL, "showMinLabel": False},
                       nameTextStyle={"color": "var(--quiet)", "fontSize": 14, "align": "right"}),
        ],
        "series": [_loss_line(curve), _heldout_line(heldout, curve.base)],
    }  # fmt: skip


def _loss_line(curve: Curve) -> dict[str, Any]:
    return {
        "name": "training loss",
        "type": "line",
        "yAxisIndex": 1,
        "data": [[step, round(value, 3)] for step, value in thinned(curve.loss, limit=300)],
        "showSymbol": False,
        "lineStyle": {"color": "var(--edge)", "width": 1},
        "itemStyle": {"color": "var(--edge)"},
        "emphasis": {"disabled": True},
    }


def _heldout_line(points: list[dict[str, Any]], base: float | None) -> dict[str, Any]:
    line: dict[str, Any] = {
        "name": "held-out bits per byte",
        "type": "line",
        "data": points,
        "symbol": "circle",
        "symbolSize": 8,
        "showAllSymbol": True,
        "lineStyle": {"color": "var(--ink)", "width": 3},
        "itemStyle": {"color": "var(--ink)"},
        "emphasis": {"disabled": True},
        "z": 3,
    }
    if base is not None:
        line["markLine"] = {
            "silent": True,
            "symbol": "none",
            "lineStyle": {"color": "var(--quiet)", "type": "dashed", "width": 2},
            "label": {"formatter": f"base {base:.2f}", "position": "insideEndTop",
                      "distance": [8, 4], "color": "var(--quiet)", "fontSize": 14},
            "data": [{"yAxis": base}],
        }  # fmt: skip
    return line
