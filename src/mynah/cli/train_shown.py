"""What `mynah train show` prints of a run: a few lines and a curve, without colour.

Reads what ``summarise_run`` has gathered; writes nothing.
"""

from collections.abc import Sequence
from typing import Any

__all__ = ["as_lines"]

BARS = "_.:-=+*#%@"
"""Low to high, in plain characters."""
CURVE_WIDTH = 60


def as_lines(summary: dict[str, Any]) -> list[str]:
    """A run as lines of text."""
    recipe, last = summary["recipe"], summary["last"]
    lines = [
        f"run         {summary['run']}",
        f"state       {_state(summary)}",
        f"objective   {recipe.get('objective', 'pretrain')}, base {recipe['base']}",
        f"layout      {_layout(recipe.get('layout', {}))}",
    ]
    if last:
        lines += _progress(summary)
    for row in summary["held_out"][-1:]:
        first = summary["held_out"][0]
        for name in [key for key in row if key != "step"]:
            lines.append(f"{name:<24} {first.get(name, row[name]):.4f} to {row[name]:.4f}")
    if summary["checkpoints"]:
        lines.append(f"checkpoints {', '.join(summary['checkpoints'])}")
    lines += [_beat(beat) for beat in summary["heartbeats"]] if not summary["is_done"] else []
    if not last:
        lines.append("no step is done yet")
    return lines


def _state(summary: dict[str, Any]) -> str:
    if summary["is_done"]:
        return "done"
    return "under way, or stopped" if summary["last"] else "begun"


def _layout(layout: dict[str, Any]) -> str:
    degrees = [
        f"{name} {layout[name]}"
        for name in ("pipeline", "replicate", "shard", "expert", "context", "tensor")
        if layout.get(name, 1) > 1
    ]
    return " x ".join(degrees) or "one process"


def _progress(summary: dict[str, Any]) -> list[str]:
    last = summary["last"]
    losses = [(step, loss) for step, loss in summary["losses"] if loss is not None]
    lines = [
        f"step        {last['step']:,}, {last['elapsed_s'] / 60:.1f} min done, "
        f"{last['remaining_s'] / 60:.1f} min left",
        f"speed       {last['tokens_per_s']:,.0f} tokens/s, {100 * last['mfu']:.0f}% of the "
        f"measured peak, {last['step_time_s']:.2f} s a step",
    ]
    if losses:
        curve = _curve([loss for _, loss in losses])
        lines.append(f"loss        {losses[0][1]:.3f} {curve} {losses[-1][1]:.3f}")
    if summary["num_skipped"]:
        lines.append(f"skipped     {summary['num_skipped']} steps: a spike, or not finite")
    if compared := summary["compared"]:
        ratio = compared["rank_step_time_max_s"] / max(compared["rank_step_time_median_s"], 1e-9)
        lines.append(f"slowest     rank {compared['slowest_rank']}, {ratio:.2f} times the median")
    return lines


def _curve(values: Sequence[float]) -> str:
    """Values as a row of characters, low ones low."""
    width = min(CURVE_WIDTH, len(values))
    means = [
        sum(part) / len(part)
        for n in range(width)
        if (part := values[n * len(values) // width : (n + 1) * len(values) // width])
    ]
    least, most = min(means), max(means)
    scale = (len(BARS) - 1) / max(most - least, 1e-12)
    return "".join(BARS[round((value - least) * scale)] for value in means)


def _beat(beat: dict[str, Any]) -> str:
    return f"rank {beat['rank']:<6} step {beat['step']:,}, {beat['phase']}"
