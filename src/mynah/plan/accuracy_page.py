"""The accuracy of the planner as a page: tables in Markdown and two drawings in SVG.

Reads what ``accuracy`` found; ``write_accuracy`` writes a Markdown file and its drawings beside it.
Drawings hold a point a run and no name of one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mynah.errors import machine_errors
from mynah.plan.accuracy import WITH_FAILURES, Accuracy, Score
from mynah.plan.setups import Floats
from mynah.workspace import replace_file

__all__ = [
    "accuracy_json",
    "accuracy_lines",
    "accuracy_page",
    "error_plot",
    "scatter_plot",
    "write_accuracy",
]

INK, QUIET, PAPER, LINE = "#16181a", "#5c6166", "#faf9f6", "#e6e3dc"
COLOURS = (
    *("#e0a100", "#2c7a4b", "#b3261e", "#3b6ea5", "#7a4fa3", "#c2703d"),
    *("#16181a", "#5c9ead", "#8a8f2a", "#a34f7a", "#4f7aa3", "#9aa0a6"),
)
"""One a source: the accent first, then hues that stay apart when printed."""
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 920, 480, 72, 24, 280, 56
MARGIN = 1.15
"""Of an axis beyond its points, as a factor."""
MANY_POWERS = 5
"""Powers of ten on an axis from which on labels between them would touch."""


@dataclass(frozen=True, slots=True)
class _Axis:
    """A logarithmic axis."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        digits = (1,) if len(powers) > MANY_POWERS else (1, 2, 5)
        all_ticks = [10.0**power * digit for power in powers for digit in digits]
        return [tick for tick in all_ticks if self.low <= tick <= self.high]


def accuracy_json(found: Accuracy) -> dict[str, object]:
    """Everything but the runs themselves, for machines."""
    return {
        "scores": [asdict(one) for one in found.scores],
        "sweeps": [asdict(one) for one in found.sweeps],
        "memory": [
            {**asdict(one), "precision": _number(one.precision), "recall": _number(one.recall)}
            | {"ratio": _number(one.ratio)}
            for one in found.fits
        ],
        "scale": [asdict(one) for one in found.scales],
        "constants": asdict(found.constants),
        "spread_dense": found.spread_dense,
        "spread_sparse": found.spread_sparse,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def accuracy_lines(found: Accuracy) -> list[str]:
    """The table of errors, in Markdown."""
    head = (
        "| source | runs | median error | one in ten is off by more than | bias | inside the range "
        "| one constant MFU: median | one in ten |"
    )
    return [head, "|---|---:|---:|---:|---:|---:|---:|---:|", *map(_score_line, found.scores)]


def _score_line(one: Score) -> str:
    cells = [one.median, one.tenth, one.bias, one.inside, one.constant_median, one.constant_tenth]
    texts = [_percent(cell) for cell in cells]
    texts[2] = f"{100 * one.bias:+.1f}%"
    name = f"**{one.name}**" if one.name in ("dense", "experts", "all") else one.name
    return f"| {name} | {one.num_runs} | {' | '.join(texts)} |"


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.1f}%"


def write_accuracy(found: Accuracy, path: Path) -> list[Path]:
    """Write the page and its drawings; return their paths, the page first.

    Raises:
        MachineError: The disk is full or may not be written.
    """
    plots = {
        "Predicted against measured speed": scatter_plot(found),
        "Error by number of accelerators": error_plot(found),
    }
    names = [f"{path.stem}-{kind}.svg" for kind in ("speed", "scale")]
    texts = {
        path: accuracy_page(found, plots=dict(zip(plots, names, strict=True))),
        **{path.with_name(name): plot for name, plot in zip(names, plots.values(), strict=True)},
    }
    for place, text in texts.items():
        with machine_errors(place):
            replace_file(place, text.encode())
    return list(texts)


def accuracy_page(found: Accuracy, *, plots: Mapping[str, str]) -> str:
    """The whole page in Markdown.

    Args:
        found: The errors.
        plots: Names of the files of the drawings by their title.
    """
    constants = asdict(found.constants)
    parts = [
        "# How accurate the planner is",
        "Written by `mynah plan validate`; do not edit. Speed is tokens a second and accelerator; "
        "each source is predicted with constants, and a range, that were found without it.",
        "## Against the targets",
        "\n".join(_target_lines(found)),
        "## Speed, by source",
        "\n".join(accuracy_lines(found)),
        "An error is predicted over measured, less one. The last two columns: the rule of thumb, "
        "the median MFU of the same accelerator and precision in the other sources.",
        *(f"![{title}]({name})" for title, name in plots.items()),
        "## Layouts of one sweep",
        "\n".join(_sweep_lines(found)),
        "*First* is what the layout that is predicted to be the best reached of the best measured.",
        "## Memory",
        "\n".join(_fit_lines(found)),
        "*Refused* is predicted not to fit. *Ratio* is predicted over measured memory, the median.",
        "## Scale",
        "\n".join(_scale_lines(found)),
        "## What was found on all sources together",
        "\n".join(
            ["| constant | value |", "|---|---:|"]
            + [f"| `{name}` | {value:.4g} |" for name, value in constants.items()]
        ),
        f"Range of dense models: {found.spread_dense[0]:.2f} to {found.spread_dense[1]:.2f} times "
        f"the prediction; of models with experts {found.spread_sparse[0]:.2f} to "
        f"{found.spread_sparse[1]:.2f}. What they mean stands in `mynah.plan.constants`.",
    ]
    return "\n\n".join(parts) + "\n"


def _target_lines(found: Accuracy) -> list[str]:
    """What was aimed at beside what was reached."""
    whole, dense, failed = found.score("all"), found.score("dense"), _failed(found)
    ranks = [one.spearman for one in found.sweeps]
    firsts = [one.first for one in found.sweeps]
    good, first = sum(rank >= 0.9 for rank in ranks), sum(one >= 0.95 for one in firsts)
    rows = [
        ("median error, all", "8%", _percent(whole.median)),
        ("one in ten, all", "22%", _percent(whole.tenth)),
        ("median error, dense models", "8%", _percent(dense.median)),
        ("one in ten, dense models", "22%", _percent(dense.tenth)),
        ("runs inside the range", "80%", _percent(whole.inside)),
        ("rank correlation of each sweep", "0.9", f"in {good} of {len(ranks)} sweeps"),
        ("first layout within 5% of the best", "each", f"in {first} of {len(firsts)} sweeps"),
        ("refused that failed (precision)", "92%", _percent(failed[0])),
        ("failed that are refused (recall)", "92%", _percent(failed[1])),
    ]
    rows += [
        (
            f"speed left from {one.few:,} to {one.many:,}, {one.source}",
            "within 5%",
            f"{100 * (one.predicted / one.measured - 1):+.1f}%",
        )
        for one in found.scales
    ]
    lines = [f"| {what} | {target} | {reached} |" for what, target, reached in rows]
    return ["| what | target | reached |", "|---|---:|---:|", *lines]


def _failed(found: Accuracy) -> tuple[float, float]:
    """Precision and recall over the sources that name failures; NaN where none does."""
    named = [one for one in found.fits if one.name == WITH_FAILURES]
    return (named[0].precision, named[0].recall) if named else (math.nan, math.nan)


def _sweep_lines(found: Accuracy) -> list[str]:
    head = "| source | accelerators | tokens a row | layouts | rank correlation | first |"
    lines = [head, "|---|---:|---:|---:|---:|---:|"]
    return lines + [
        f"| {one.source} | {one.num_accelerators:,} | {one.row_tokens:,} | {one.num_layouts} "
        f"| {one.spearman:.2f} | {_percent(one.first)} |"
        for one in found.sweeps
    ]


def _fit_lines(found: Accuracy) -> list[str]:
    head = "| source | runs | out of memory | refused | both | precision | recall | ratio |"
    return [head, "|---|---:|---:|---:|---:|---:|---:|---:|"] + [
        f"| {one.name} | {one.num_runs} | {one.num_failed} | {one.num_refused} | {one.num_both} "
        f"| {_percent(one.precision) if one.num_failed else ''} | {_percent(one.recall)} "
        f"| {'' if math.isnan(one.ratio) else f'{one.ratio:.2f}'} |"
        for one in found.fits
    ]


def _scale_lines(found: Accuracy) -> list[str]:
    head = "| source | from | to | speed left, measured | predicted |"
    return [head, "|---|---:|---:|---:|---:|"] + [
        f"| {one.source} | {one.few:,} | {one.many:,} | {_percent(one.measured)} "
        f"| {_percent(one.predicted)} |"
        for one in found.scales
    ]


def scatter_plot(found: Accuracy) -> str:
    """Predicted over measured speed, a point a run, as SVG."""
    every = np.concatenate([*found.measured.values(), *found.predicted.values()])
    low, high = float(every.min()) / MARGIN, float(every.max()) * MARGIN
    across, up = _Axis(low, high, LEFT, WIDTH - RIGHT), _Axis(low, high, HEIGHT - BOTTOM, TOP)
    line = (low, low, high, high)
    parts = [_line(across, up, line, INK)]
    for factor in (1 / 1.25, 1.25):
        ends = (max(low, low / factor), max(low, low * factor))
        tops = (min(high, high / factor), min(high, high * factor))
        parts.append(_line(across, up, (ends[0], ends[1], tops[0], tops[1]), LINE))
    for number, name in enumerate(found.measured):
        points = zip(found.measured[name], found.predicted[name], strict=True)
        parts += [_point(across.at(x), up.at(y), number) for x, y in points]
    title = "Measured, tokens a second and accelerator"
    return _drawing(across, up, parts, found.measured, (title, "Predicted"))


def error_plot(found: Accuracy) -> str:
    """Predicted over measured speed by number of accelerators, a point a run, as SVG."""
    ratios = {name: found.predicted[name] / found.measured[name] for name in found.measured}
    sizes = np.concatenate(list(found.num_accelerators.values()))
    every = np.concatenate(list(ratios.values()))
    low, high = float(sizes.min()) / MARGIN, float(sizes.max()) * MARGIN
    across = _Axis(low, high, LEFT, WIDTH - RIGHT)
    bounds = (min(0.5, float(every.min())) / MARGIN, max(2.0, float(every.max())) * MARGIN)
    up = _Axis(*bounds, HEIGHT - BOTTOM, TOP)
    parts = [_line(across, up, (low, 1.0, high, 1.0), INK)]
    parts += [_line(across, up, (low, some, high, some), LINE) for some in (1 / 1.25, 1.25)]
    for number, name in enumerate(ratios):
        points = zip(found.num_accelerators[name], ratios[name], strict=True)
        parts += [_point(across.at(x), up.at(y), number) for x, y in points]
    titles = ("Accelerators", "Predicted over measured")
    return _drawing(across, up, parts, found.measured, titles)


def _point(x: float, y: float, number: int) -> str:
    colour = COLOURS[number % len(COLOURS)]
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}" fill-opacity="0.55"/>'


def _line(across: _Axis, up: _Axis, ends: tuple[float, float, float, float], colour: str) -> str:
    x1, y1, x2, y2 = ends
    return (
        f'<line x1="{across.at(x1):.1f}" y1="{up.at(y1):.1f}" x2="{across.at(x2):.1f}" '
        f'y2="{up.at(y2):.1f}" stroke="{colour}"/>'
    )


def _drawing(
    across: _Axis,
    up: _Axis,
    parts: Sequence[str],
    names: Mapping[str, Floats],
    titles: tuple[str, str],
) -> str:
    """Axes, points and a legend, with a title for those who cannot see them."""
    base, middle = HEIGHT - BOTTOM, (LEFT + WIDTH - RIGHT) / 2
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'font-family="system-ui, sans-serif" font-size="14">',
        f"<title>{titles[1]} against {titles[0].lower()}, a point a run</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{PAPER}"/>',
    ]
    for tick in across.ticks():
        x = across.at(tick)
        lines.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{base}" stroke="{LINE}"/>')
        lines.append(_text(x, base + 20, f"{tick:,.10g}", "middle"))
    for tick in up.ticks():
        y = up.at(tick)
        end = WIDTH - RIGHT
        lines.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{end}" y2="{y:.1f}" stroke="{LINE}"/>')
        lines.append(_text(LEFT - 8, y + 5, f"{tick:,.10g}", "end"))
    lines += parts
    lines.append(_text(middle, base + 44, titles[0], "middle"))
    lines.append(_text(LEFT, TOP - 8, titles[1], "start"))
    for number, (name, values) in enumerate(names.items()):
        y = TOP + 12 + 24 * number
        lines.append(_point(WIDTH - RIGHT + 24, y - 5, number))
        lines.append(_text(WIDTH - RIGHT + 36, y, f"{name} ({len(values)})", "start"))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{QUIET}">{text}</text>'
