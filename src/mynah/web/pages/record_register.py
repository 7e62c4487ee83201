"""The compute register: how much each model took, on a log axis, against the thresholds.

Reads nothing but the facts it is given; a table says the same in numbers.
"""

import math
from collections.abc import Sequence
from typing import Any

from nicegui import ui

from mynah.web.markup import box, link, number, text
from mynah.web.record_facts import Limit, PoolFacts, RecordFacts, RunFacts
from mynah.web.theme import CHART_LABEL, chart_axis, chart_tooltip
from mynah.web.wording import duration, exact_number, flop_exact, flop_words, plural

__all__ = ["register_options", "show_pools", "show_register", "show_runs"]

MAX_DRAWN = 8
"""Runs in the chart: those with the most compute behind them."""
MAX_ROWS = 50
"""Runs in the table."""
LABEL_GAP = 0.1
"""Powers of ten between two points before each has room for its number."""
_STATES = {
    "declared": ("is-idle", "declared"),
    "running": ("is-live", "running"),
    "paused": ("is-warn", "paused"),
    "ended": ("is-good", "ended"),
}


def show_register(facts: RecordFacts) -> None:
    """Draw the chart, with a legend of its two kinds of points."""
    drawn = drawn_runs(facts.runs)
    with box("div", "curve-head"):
        text("h2", "Compute, lineage included")
        with box("p", "legend", aria_hidden="true"):
            for classes, name in (("point", "counted"), ("point hollow", "planned at most")):
                with box("span", classes):
                    box("i")
                    text("span", name)
    chart = ui.echart(register_options(drawn, facts.limits), renderer="svg").classes("chart")
    chart.style(f"height: {32 * (len(facts.limits) + max(len(drawn), 1) + 1) + 48}px")
    chart.props["role"] = "img"
    chart.props["aria-label"] = register_words(drawn, facts.limits)
    if (num_more := len(facts.runs) - len(drawn)) > 0:
        text("p", f"Drawn: the {len(drawn)} largest. {plural(num_more, 'more run')} in the table.",
             "note")  # fmt: skip


def drawn_runs(runs: Sequence[RunFacts]) -> list[RunFacts]:
    """The runs with most compute behind them, the largest first; unknown lineages above all."""
    return sorted(runs, key=lambda run: (run.lineage is not None, -run.most))[:MAX_DRAWN]


def register_words(runs: Sequence[RunFacts], limits: Sequence[Limit]) -> str:
    """What the chart says, for who cannot see it."""
    parts = [f"{run.name}: {flop_words(run.most)} FLOP" for run in runs]
    below = next((limit for limit in limits if all(run.most < limit.flop for run in runs)), None)
    words = "; ".join(parts) or "no run yet"
    return f"{words}. All below {below.name}." if runs and below else words


def register_options(runs: Sequence[RunFacts], limits: Sequence[Limit]) -> dict[str, Any]:
    """ECharts options: a row a run, a dashed line a threshold, the axis in powers of ten."""
    # The highest on top: no name is crossed by another's line, since names end at their own.
    limits = sorted(limits, key=lambda limit: -limit.flop)
    rows = [*("" for _ in limits), *(run.name for run in runs), ""]
    lowest = min((_power(run.least) for run in runs), default=15.0)
    low = min(3 * math.floor(lowest / 3), 18)
    high = max(27, *(3 * math.ceil(_power(run.most) / 3) for run in runs), 0)
    at = len(limits)
    return {
        "animation": False,
        "textStyle": {"fontFamily": "inherit"},
        "grid": {"left": 8, "right": 24, "top": 8, "bottom": 8, "containLabel": True},
        "tooltip": chart_tooltip(trigger="item", formatter="{b}", axisPointer={"type": "none"}),
        "xAxis": chart_axis(type="value", min=low, max=high, interval=3,
                            axisLabel={**CHART_LABEL, ":formatter": "v => '1e' + v"}),
        "yAxis": chart_axis(type="category", data=rows, inverse=True, splitLine={"show": False},
                            axisLine={"show": False},
                            axisLabel={**CHART_LABEL, "color": "var(--ink)", "interval": 0,
                                       "hideOverlap": False, "width": 104,
                                       "overflow": "truncate"}),
        "series": [
            *(_threshold(limit, row, len(rows) - 1) for row, limit in enumerate(limits)),
            *(series for row, run in enumerate(runs) for series in _run(run, at + row)),
        ],
    }  # fmt: skip


def _power(flop: int) -> float:
    return math.log10(max(flop, 1))


def _threshold(limit: Limit, row: int, bottom: int) -> dict[str, Any]:
    """A line down from its name, each name on a row of its own so that none covers another."""
    x = _power(limit.flop)
    colour = "var(--warn)" if limit.is_pause else "var(--quiet)"
    name = f"{limit.name}: {flop_words(limit.flop)} FLOP. {limit.source}"
    return {
        "type": "line",
        "data": [
            {"value": [x, row], "name": name, "symbolSize": 8,
             "label": {"show": True, "position": "left", "formatter": limit.name,
                       "color": colour, "fontSize": 14}},
            {"value": [x, bottom], "name": name, "symbolSize": 0},
        ],
        "symbol": "diamond",
        "itemStyle": {"color": colour},
        "lineStyle": {"color": colour, "type": "solid" if limit.is_pause else "dashed",
                      "width": 2 if limit.is_pause else 1},
        "emphasis": {"disabled": True},
        "z": 1,
    }  # fmt: skip


def _run(run: RunFacts, row: int) -> list[dict[str, Any]]:
    """From the counted to the planned total; the counted one is the beak's while it runs."""
    most = run.least if run.state == "ended" else run.most
    counted, planned = _power(run.least), _power(most)
    ink = {"running": "var(--beak)", "paused": "var(--warn)"}.get(run.state, "var(--ink)")
    line = {
        "type": "line",
        "data": [[counted, row], [planned, row]],
        "symbol": "none",
        "silent": True,
        "lineStyle": {"color": "var(--edge)", "width": 2},
        "z": 2,
    }
    hollow = {
        "value": [planned, row],
        "name": f"{run.name}: planned {flop_words(most)} FLOP",
        "itemStyle": {
            "color": "var(--card)",
            "borderColor": "var(--edge)",
            "borderWidth": 2,
            "opacity": 1,
        },
        "label": _point_label(most, "right", is_shown=planned - counted > LABEL_GAP),
    }
    filled = {
        "value": [counted, row],
        "name": f"{run.name}: counted {flop_words(run.least)} FLOP",
        "itemStyle": {"color": ink, "opacity": 1},
        "label": _point_label(run.least, "left", is_shown=True),
    }
    points = {
        "type": "scatter",
        "data": [filled] if run.state == "ended" else [hollow, filled],
        "symbolSize": 12,
        "emphasis": {"disabled": True},
        "z": 3,
    }
    return [line, points]


def _point_label(flop: int, position: str, *, is_shown: bool) -> dict[str, Any]:
    return {
        "show": is_shown,
        "position": position,
        "formatter": flop_words(flop),
        "color": "var(--ink)",
        "fontSize": 14,
        "backgroundColor": "var(--card)",  # a threshold's line does not strike it through
        "padding": [0, 2],
    }


def show_runs(runs: Sequence[RunFacts]) -> None:
    """Every run in numbers, the newest first."""
    with box("div", "table-wrap"), box("table", "data stack"):
        with box("thead"), box("tr"):
            for name in ("Run", "State", "Counted", "Planned", "Lineage", "Device-hours", "Pool"):
                is_number = name not in ("Run", "State", "Pool")
                text("th", name, "right" if is_number else "", title=_MEANINGS.get(name, ""))
        with box("tbody"):
            for run in runs[:MAX_ROWS]:
                _run_row(run)
    if len(runs) > MAX_ROWS:
        text("p", f"The newest {MAX_ROWS} of {plural(len(runs), 'run')}. "
             "mynah record compute lists all.", "note")  # fmt: skip


_MEANINGS = {
    "Counted": "FLOP of this run alone so far, as the architecture's arithmetic",
    "Planned": "FLOP of this run alone, at most",
    "Lineage": "FLOP counted in this run and in every model that it descends from",
    "Device-hours": "Devices times hours",
    "Pool": "The machines it runs on",
}


def hours(device_s: float) -> str:
    """Device-hours: whole ones, tenths while there are few, two digits below one."""
    count = device_s / 3600
    if 0 < count < 1:
        return f"{count:.2g}"
    return f"{count:,.1f}" if count < 100 else f"{count:,.0f}"


def _run_row(run: RunFacts) -> None:
    with box("tr"):
        with box("td", "run-name"):
            link(run.name, f"/log/leaf/{run.leaf}", "code", title="What was declared, as a leaf")
            text("p", f"makes {run.model}", "note")
        with box("td", data_label="State"), box("span", "state"):
            classes, word = _STATES[run.state]
            box("span", f"dot {classes}", aria_hidden="true")
            text("span", word)
        _flop_cell("Counted", run.counted)
        _flop_cell("Planned", run.planned)
        _flop_cell("Lineage", run.lineage)
        text("td", hours(run.device_s), "right", data_label="Device-hours",
             title=f"{exact_number(round(run.device_s))} device-seconds")  # fmt: skip
        text("td", run.pool, "pool-name", data_label="Pool",
             title=f"{run.num_devices} \u00d7 {run.device}")  # fmt: skip


def _flop_cell(name: str, flop: int | None) -> None:
    with box("td", "right", data_label=name):
        if flop is None:
            number("unknown", "A model it descends from was declared without its FLOP: pauses "
                   "treat it as above every limit", "quiet")  # fmt: skip
        else:
            number(flop_words(flop), flop_exact(flop))


def show_pools(pools: Sequence[PoolFacts]) -> None:
    """The machines, each with all that ran on them."""
    with box("div", "table-wrap"), box("table", "data stack narrow"):
        with box("thead"), box("tr"):
            for name in ("Pool", "Devices", "Runs", "FLOP", "Device-hours"):
                text("th", name, "" if name in ("Pool", "Devices") else "right")
        with box("tbody"):
            for pool in pools:
                with box("tr"):
                    text("td", pool.name, "pool-name run-name")
                    text("td", pool.devices, data_label="Devices")
                    text("td", exact_number(pool.num_runs), "right", data_label="Runs")
                    _flop_cell("FLOP", pool.flop)
                    text("td", hours(pool.device_s), "right",
                         data_label="Device-hours", title=duration(pool.device_s))  # fmt: skip
