"""What `mynah plan run` prints of a plan: what can be trained, figures with ranges, bars, a table.

Pure. Plain characters, at most a hundred columns wide.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from mynah.cli.amounts import duration, short, spread

if TYPE_CHECKING:
    from mynah.plan.costs import Passed
    from mynah.plan.planning import Plan
    from mynah.plan.ranges import Range
    from mynah.plan.search import Judged, Search

__all__ = ["plan_lines", "verdict_lines"]

WIDTH = 100
LABEL, LIKELY, BETWEEN = 24, 11, 24
BAR = 40
GIB = 2.0**30
SHORT_HEADS = {
    "replicate": "repl",
    "shard": "shard",
    "expert": "exp",
    "context": "ctx",
    "tensor": "tens",
    "pipeline": "pipe",
    "stages_per_rank": "stages",
}
"""Degrees of a layout, as the table of layouts heads their columns."""
LOSSES = {
    "detection": "until a failure is noticed",
    "waiting": "waiting for a node",
    "restart": "restarting",
    "planned": "planned stops",
    "saving": "saving checkpoints",
    "lost_work": "computing again what was not saved",
    "group_stall": "groups that wait for another",
}
"""What ``Goodput.lost_h`` calls what takes time."""

Row = tuple[str, "Range", Callable[[float], str], str]
"""Label, figure, how its numbers are written, and a remark."""


def plan_lines(plan: "Plan") -> list[str]:
    """A plan as lines of text."""
    parts = (
        _head(plan),
        _figures("What is trained", _model_rows(plan)),
        _figures("How fast, once it runs", _speed_rows(plan)),
        _figures("What it takes", _cost_rows(plan)),
        [*_figures("What breaks", _failure_rows(plan)), *_losses(plan)],
        _memory(plan.best),
        _layouts(plan.search),
        _thresholds(plan.outline.passed),
        _notes(plan.notes),
    )
    return [line for part in parts if part for line in ("", *part)][1:]


def verdict_lines(text: str) -> list[str]:
    """Why a layout is out or behind, wrapped; what begins with a dash stays a list."""
    return [
        wrapped
        for line in text.splitlines()
        for wrapped in _paragraph("  - " if line.startswith("- ") else "", line.removeprefix("- "))
    ]


def _head(plan: "Plan") -> list[str]:
    found, config = plan.outline, plan.config
    costs, kind = found.costs, plan.cluster.accelerator.name
    size = f"{short(found.all_weights)} weights"
    if found.active_weights < 0.9 * found.all_weights:
        size += f" ({short(found.active_weights)} active)"
    text = (
        f"{config.gpus:,} {kind} train {size} on {short(found.tokens.middle)} tokens in "
        f"{duration(costs.days.middle * 86_400)}, for about {short(costs.usd.middle)} USD"
    )
    return textwrap.wrap(text, WIDTH)


def _figures(title: str, rows: Sequence[Row]) -> list[str]:
    lines = [f"{title:<{LABEL + 2}}{'likely':>{LIKELY}}   {'80% lie between'}"]
    for label, figure, show, remark in rows:
        likely, between = show(figure.middle), spread(figure, show)
        line = f"  {label:<{LABEL}}{likely:>{LIKELY}}   {between:<{BETWEEN}} "
        lines.append(f"{line}{remark}".rstrip())
    return lines


def _model_rows(plan: "Plan") -> list[Row]:
    found, shape = plan.outline, plan.outline.shape
    rows: list[Row] = [
        ("weights", _known(found.all_weights), short, _shape(plan)),
        ("  best for the compute", found.best_weights, short, "by published laws"),
        ("tokens", found.tokens, short, ""),
        ("  over the best number", found.overtraining, short, "above 1 is cheap to serve"),
        ("tokens of a step", _known(plan.best.batch_tokens), short, ""),
        ("  most that still helps", found.batch_tokens, short, ""),
        ("loss", found.loss, lambda nats: f"{nats:.2f}", "nats a token, to compare plans"),
        ("compute", found.flop, _flop, "FLOP"),
    ]
    if found.active_weights < 0.9 * found.all_weights:
        remark = f"{shape.num_experts_per_token} of {shape.num_experts} experts"
        rows.insert(1, ("  active", _known(found.active_weights), short, remark))
    return rows


def _shape(plan: "Plan") -> str:
    shape = plan.outline.shape
    return f"{shape.num_hidden_layers} layers of width {shape.hidden_size:,}"


def _speed_rows(plan: "Plan") -> list[Row]:
    best = plan.best
    return [
        ("tokens/s", plan.tokens_per_s, short, f"{plan.cluster.num_accelerators:,} accelerators"),
        ("  of each", best.tokens_per_s, short, ""),
        ("MFU", best.mfu, _percent, "of the datasheet's 16-bit peak"),
        ("a step", best.step_s, lambda seconds: f"{short(seconds)} s", ""),
        ("steps", plan.num_steps, short, ""),
    ]


def _cost_rows(plan: "Plan") -> list[Row]:
    costs = plan.outline.costs
    rows: list[Row] = [
        ("days", costs.days, short, "failures included"),
        ("  of them training", plan.training_days, short, ""),
        ("GPU-hours", costs.gpu_hours, short, "spare nodes included"),
        ("USD", costs.usd, short, "storage and people included"),
        ("  for accelerators", costs.gpu_usd, short, ""),
        ("energy", costs.energy_mwh, _energy, "at the building's meter"),
        ("power", costs.power_mw, lambda some: f"{short(some)} MW", ""),
    ]
    if plan.co2_tonnes is not None:
        rows.append(("CO2", plan.co2_tonnes, lambda some: f"{short(some)} t", ""))
    return rows


def _failure_rows(plan: "Plan") -> list[Row]:
    played, cost = plan.goodput, plan.checkpoint
    per_node = plan.cluster.accelerators_per_node
    spares = f"{plan.num_spare_nodes * per_node:,} accelerators"
    size = _known(cost.size_bytes)
    return [
        ("interruptions", played.num_failures, short, ""),
        ("  one every", plan.mtti_h, lambda hours: duration(hours * 3600), ""),
        ("time with progress", played.goodput, lambda share: f"{100 * share:.1f}%", "goodput"),
        ("spare nodes", _known(plan.num_spare_nodes), short, spares),
        ("checkpoint", size, lambda some: f"{short(some / 1e12)} TB", ""),
        ("  one every", _known(plan.checkpoint_interval_s), duration, "of training"),
        ("  stops training for", cost.stall_s, duration, ""),
        ("  is safe after", cost.write_s, duration, ""),
    ]


def _losses(plan: "Plan") -> list[str]:
    """What the hours that made no progress went to, the most first."""
    hours = plan.goodput.lost_h
    ranked = sorted(hours, key=lambda name: -hours[name].middle)
    told = [
        f"{LOSSES.get(name, name)} {duration(hours[name].middle * 3600)}"
        for name in ranked
        if hours[name].middle > 0
    ]
    return _paragraph("  lost to: ", "; ".join(told)) if told else []


def _memory(best: "Judged") -> list[str]:
    capacity = best.capacity_bytes
    free = max(0.0, capacity - best.needed_bytes)
    kinds: Mapping[str, float] = {**best.memory_bytes, "free": free}
    needed = f"{_gib(best.needed_bytes)} of {_gib(capacity)} GiB"
    lines = [f"Memory of the fullest accelerator: {needed}"]
    for name, size in kinds.items():
        mark = "." if name == "free" else "#"
        bar = mark * round(BAR * size / capacity)
        lines.append(
            f"  {name.replace('_', ' '):<{LABEL}}{_gib(size):>{LIKELY}} GiB  {bar}".rstrip()
        )
    return lines


def _layouts(found: "Search") -> list[str]:
    ranked = found.ranked
    shown = [
        name
        for name in SHORT_HEADS
        if any(getattr(one.candidate.layout, name) > 1 for one in ranked)
    ]
    head = [
        "#",
        "tok/s each",
        "MFU",
        "step",
        "GiB",
        *(SHORT_HEADS[name] for name in shown),
        "micro",
    ]
    rows = [[*head, "how"]]
    for place, one in enumerate(ranked, start=1):
        layout = one.candidate.layout
        degrees = [str(getattr(layout, name)) for name in shown]
        figures = [short(one.tokens_per_s.middle), _percent(one.mfu.middle)]
        figures += [f"{short(one.step_s.middle)} s", _gib(one.needed_bytes)]
        rows.append([str(place), *figures, *degrees, str(one.candidate.micro_rows), _manner(one)])
    widths = [max(len(row[n]) for row in rows) for n in range(len(head))]
    lines = [
        "  ".join([*(cell.rjust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    ]
    best = ranked[0].candidate.name
    return [
        f"Best layouts of {found.num_tried:,} looked at; {found.num_fitting:,} run and fit",
        *(f"  {line}".rstrip() for line in lines),
        *_paragraph("  out: ", _rejections(found)),
        *_paragraph("  the first: ", best),
        '  why not another: the same command with --why "LAYOUT"',
    ]


def _manner(one: "Judged") -> str:
    layout, words = one.candidate.layout, list[str]()
    if layout.pipeline > 1:
        words.append(layout.schedule)
    if layout.recompute != "nothing":
        words.append("recompute")
    if one.candidate.precision != "bfloat16":
        words.append(one.candidate.precision)
    return " ".join([*words, *(["compiled"] if one.candidate.is_compiled else [])])


def _rejections(found: "Search") -> str:
    ranked = sorted(found.rejected.items(), key=lambda one: -one[1])
    return "; ".join(f"{count:,} {reason}" for reason, count in ranked if count) or "none"


def _thresholds(passed: "Sequence[Passed]") -> list[str]:
    if not passed:
        return ["Thresholds of compute: none is passed"]
    lines = ["Thresholds of compute"]
    for one in passed:
        state = "passed" if one.is_certain else "perhaps passed"
        lines.append(f"  {one.threshold.flop:>7}  {state:<15} {one.threshold.name}")
    return lines


def _notes(notes: Sequence[str]) -> list[str]:
    return ["Notes", *(line for note in notes for line in _paragraph("  - ", note))]


def _paragraph(beginning: str, text: str) -> list[str]:
    following = " " * len(beginning)
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=beginning,
        subsequent_indent=following,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _known(value: float) -> "Range":
    from mynah.plan.ranges import Range

    return Range.exactly(float(value))


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def _flop(value: float) -> str:
    return f"{value:.2g}".replace("e+", "e")


def _energy(mwh: float) -> str:
    return f"{short(mwh / 1000)} GWh" if mwh >= 1000 else f"{short(mwh)} MWh"


def _gib(size: float) -> str:
    return f"{size / GIB:.1f}"
