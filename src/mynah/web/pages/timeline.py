"""The histogram above the results: posts over time, and a stretch of it to search in.

Drag over bars, or click one, to search between their days.
"""

from dataclasses import replace
from datetime import date, datetime, timedelta
from urllib.parse import quote_plus

from nicegui import ui
from nicegui.events import EChartPointClickEventArguments, GenericEventArguments

from mynah.search import Bar, Histogram, Query
from mynah.web.markup import box, text
from mynah.web.theme import bar_chart
from mynah.web.wording import plural

__all__ = ["address_of", "bar_label", "show_timeline", "span_of"]

_FORMATS = {
    "hour": "%d %b %H:00",
    "day": "%d %b",
    "week": "%d %b",
    "month": "%b %Y",
    "year": "%Y",
}


_ARM_JS = """() => {
  const { chart, $el } = getElement(ID);
  if ("armed" in $el.dataset) return;
  $el.dataset.armed = "";
  const brushOption = { brushType: "lineX", brushMode: "single" };
  chart.dispatchAction({ type: "takeGlobalCursor", key: "brush", brushOption });
}"""


def address_of(query: Query | str) -> str:
    """Where a search is; an empty one is the page itself."""
    typed = str(query)
    return f"/search?q={quote_plus(typed)}" if typed else "/search"


def bar_label(bar: Bar, unit: str) -> str:
    """A bar's time at the grain of its unit."""
    return bar.start.strftime(_FORMATS[unit]).lstrip("0")


def span_of(histogram: Histogram, first: int, last: int) -> tuple[date, date]:
    """First and last day of the bars ``first`` to ``last``, whichever way they were drawn."""
    top = len(histogram.bars) - 1
    low, high = sorted((min(max(first, 0), top), min(max(last, 0), top)))
    start = histogram.bars[low].start
    return start.date(), _last_day(histogram.bars[high].start, histogram.unit)


def _last_day(start: datetime, unit: str) -> date:
    day = start.date()
    if unit == "week":
        return day + timedelta(days=6)
    if unit == "month":
        return (day.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)
    return day.replace(month=12, day=31) if unit == "year" else day


def show_timeline(histogram: Histogram, query: Query) -> None:
    """Draw it; nothing when no post that matches has a date, or all are of one day."""
    if len(histogram.bars) < 2:
        return
    labels = [bar_label(bar, histogram.unit) for bar in histogram.bars]
    options = bar_chart(labels, [bar.num_posts for bar in histogram.bars], name="posts")
    options["brush"] = {
        "xAxisIndex": 0,
        "brushStyle": {"color": "var(--line)", "borderColor": "var(--ink)", "borderWidth": 1},
        "outOfBrush": {"colorAlpha": 1},
    }
    options["toolbox"] = {"show": False}

    def search_between(first: int, last: int) -> None:
        since, until = span_of(histogram, first, last)
        narrowed = replace(query, since=since, until=until)
        ui.navigate.to(address_of(narrowed))

    def brushed(event: GenericEventArguments) -> None:
        areas = event.args.get("areas") or []
        if areas:
            first, last = areas[0]["coordRange"]
            search_between(int(first), int(last))

    def clicked(event: EChartPointClickEventArguments) -> None:
        search_between(event.data_index, event.data_index)

    with box("figure", "histogram"):
        chart = ui.echart(options, on_point_click=clicked, renderer="svg").classes("chart low")
        chart.props["role"] = "img"
        chart.props["aria-label"] = "Posts over time"
        chart.on("chart:brushEnd", brushed, args=["areas"])
        # Once drawn, a drag may start anywhere on the chart, without choosing a tool first.
        chart.on("chart:finished", js_handler=_ARM_JS.replace("ID", str(chart.id)))
        undated = (
            f"; {plural(histogram.num_undated, 'post')} without a date"
            if histogram.num_undated
            else ""
        )
        first, last = span_of(histogram, 0, len(histogram.bars) - 1)
        text("figcaption", f"Posts by {histogram.unit}, {first:%b %Y} to {last:%b %Y}{undated}. "
             "Drag over bars to search in that time.", "note")  # fmt: skip
