"""The look, set once: colours as CSS custom properties, and charts that draw with the same ones.

Writes no files; ``theme_css`` goes into the head of every page, before ``static/mynah.css``.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["CHART_LABEL", "DARK", "LIGHT", "bar_chart", "chart_axis", "chart_tooltip", "theme_css"]

LIGHT: Mapping[str, str] = {
    "paper": "#faf9f6",
    "card": "#ffffff",
    "ink": "#16181a",
    "quiet": "#5c6166",
    "line": "#e6e3dc",
    "edge": "#8a8f94",  # borders of things that take input: 3:1 against paper
    "beak": "#e0a100",
    "on-beak": "#16181a",
    "good": "#2c7a4b",
    "warn": "#9a5b00",
    "bad": "#b3261e",
    "shadow": "0 1px 2px rgb(22 24 26 / 6%), 0 4px 16px rgb(22 24 26 / 5%)",
}
"""By day. ``warn`` is a shade under the #b26a00 of the look, 4.0:1 on paper; text needs 4.5:1."""

DARK: Mapping[str, str] = {
    "paper": "#101214",
    "card": "#181b1e",
    "ink": "#f1efe9",
    "quiet": "#9aa0a6",
    "line": "#2a2e32",
    "edge": "#6a7076",
    "beak": "#f5b700",
    "on-beak": "#16181a",
    "good": "#67b587",
    "warn": "#dd9a3c",
    "bad": "#f2827a",
    "shadow": "0 1px 2px rgb(0 0 0 / 40%), 0 4px 16px rgb(0 0 0 / 30%)",
}
"""By night."""


def theme_css() -> str:
    """Custom properties for day, night and print; a choice on the page beats the system's."""
    day, night = _properties(LIGHT, "light"), _properties(DARK, "dark")
    return (
        f":root{{{day}}}"
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{night}}}}}"
        f":root[data-theme=dark]{{{night}}}"
        f"@media print{{:root,:root[data-theme=dark],:root:not([data-theme=light]){{{day}}}}}"
    )


def _properties(tokens: Mapping[str, str], scheme: str) -> str:
    return f"color-scheme:{scheme};" + "".join(f"--{k}:{v};" for k, v in tokens.items())


# Charts are drawn as SVG, whose colours may name custom properties: a chart follows the theme,
# the toggle and print like any text, and no colour is written twice.


CHART_LABEL: Mapping[str, Any] = {"color": "var(--quiet)", "fontSize": 14, "hideOverlap": True}
"""Words on an axis."""


def chart_axis(**settings: Any) -> dict[str, Any]:
    """One axis in the page's ink, with quiet labels and hairline splits."""
    return {
        "axisLine": {"lineStyle": {"color": "var(--line)"}},
        "axisTick": {"show": False},
        "axisLabel": CHART_LABEL,
        "splitLine": {"lineStyle": {"color": "var(--line)"}},
        "nameTextStyle": {"color": "var(--quiet)", "fontSize": 14, "align": "left"},
        **settings,
    }


def chart_tooltip(**settings: Any) -> dict[str, Any]:
    """A tooltip that looks like a card."""
    return {
        "trigger": "axis",
        "confine": True,
        "backgroundColor": "var(--card)",
        "borderColor": "var(--line)",
        "textStyle": {"color": "var(--ink)", "fontSize": 14},
        "axisPointer": {
            "lineStyle": {"color": "var(--edge)"},
            "shadowStyle": {"color": "var(--line)", "opacity": 0.5},
        },
        **settings,
    }


def bar_chart(labels: list[str], counts: list[int], *, name: str) -> dict[str, Any]:
    """Counts over a row of labels, as a quiet histogram without a legend."""
    return {
        "animation": False,
        "textStyle": {"fontFamily": "inherit"},
        "grid": {"left": 24, "right": 24, "top": 8, "bottom": 24},
        "tooltip": chart_tooltip(axisPointer={"type": "none"}),
        "xAxis": chart_axis(type="category", data=labels, splitLine={"show": False}),
        "yAxis": {"type": "value", "show": False},
        "series": [
            {
                "type": "bar",
                "name": name,
                "data": counts,
                "barCategoryGap": "12%",
                "itemStyle": {"color": "var(--quiet)"},
                "emphasis": {"itemStyle": {"color": "var(--ink)"}},
            }
        ],
    }
