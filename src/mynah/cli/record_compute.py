"""`mynah record compute`: runs, machines and thresholds, with bars on a scale of powers of ten.

Reads the record of a workspace; writes nothing.
"""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mynah.cli.record_arguments import AsJson, open_record, print_json, thresholds_of

if TYPE_CHECKING:
    from mynah.record.register import PoolEntry, Register, RunEntry
    from mynah.record.thresholds import Threshold

__all__ = ["compute", "compute_lines", "compute_values"]

_BAR = 44
"""Columns of a bar."""
_TOP = 27
"""Its right end is 10 to this: a decade above the highest threshold known in 2026."""
_NEAR = 10
"""A run within this factor of a threshold is said to be near it."""


def compute(
    workspace: Annotated[Path, typer.Argument(help="Folder of the network.")],
    as_json: AsJson = False,
) -> None:
    """Print the register of compute: FLOP, lineage and device-hours of each run and pool.

    FLOP are those of the model's architecture, counted by mynah. A lineage is a run and all runs
    that its parents came from; it is unknown when a parent from outside has no declared number.
    """
    register = open_record(workspace).register()
    thresholds = thresholds_of(workspace)
    if as_json:
        print_json(compute_values(register, thresholds))
        return
    for line in compute_lines(register, thresholds):
        typer.echo(line)


def compute_lines(register: "Register", thresholds: Sequence["Threshold"]) -> list[str]:
    """Lay the register out for people."""
    if not register.runs:
        return ["no run is declared in this record"]
    runs = sorted(register.runs.items(), key=lambda item: item[1].index)
    known = [run.covered_total() for _, run in runs if run.covered_total()]
    low = min(12, *(len(str(total)) - 1 for total in known)) if known else 12
    lines = _table([_RUN_COLUMNS, *(_run_row(name, run) for name, run in runs)])
    lines += ["", *_bars(runs, thresholds, low=low), ""]
    lines += _table([_POOL_COLUMNS, *(_pool_row(pool) for pool in register.pools())])
    lines += ["", *_threshold_lines(runs, thresholds)]
    return lines


def compute_values(register: "Register", thresholds: Sequence["Threshold"]) -> dict[str, Any]:
    """The register as JSON: FLOP as decimal strings, ``null`` where a lineage is unknown."""
    return {
        "size": register.size,
        "runs": [
            {
                "run": name,
                "model": run.declared.model,
                "state": _state(run),
                "step": run.step,
                "tokens": run.tokens,
                "flop": str(run.flop),
                "planned_flop": run.declared.planned_flop,
                "lineage_flop": _maybe(run.total_flop),
                "planned_lineage_flop": _maybe(run.planned_total),
                "device_s": str(run.device_s),
                "pool": run.declared.pool,
                "device": run.declared.device,
                "num_devices": run.declared.num_devices,
                "thresholds_crossed": [t.name for t in thresholds if _is_above(run, t.amount)],
            }
            for name, run in register.runs.items()
        ],
        "pools": [
            {
                "pool": pool.pool,
                "device": pool.device,
                "num_devices": pool.num_devices,
                "runs": pool.runs,
                "flop": str(pool.flop),
                "device_s": str(pool.device_s),
            }
            for pool in register.pools()
        ],
        "thresholds": [
            {"name": t.name, "flop": str(t.amount), "source": t.source} for t in thresholds
        ],
    }


_RUN_COLUMNS = ("run", "state", "counted", "planned", "lineage", "device-hours", "pool")
_POOL_COLUMNS = ("pool", "device", "devices", "runs", "counted", "device-hours")


def _run_row(name: str, run: "RunEntry") -> tuple[str, ...]:
    from mynah.record.thresholds import format_flop

    return (
        name,
        _state(run),
        format_flop(run.flop),
        format_flop(int(run.declared.planned_flop)),
        format_flop(run.total_flop),
        _hours(run.device_s),
        run.declared.pool,
    )


def _pool_row(pool: "PoolEntry") -> tuple[str, ...]:
    from mynah.record.thresholds import format_flop

    return (
        pool.pool,
        pool.device,
        str(pool.num_devices),
        str(len(pool.runs)),
        format_flop(pool.flop),
        _hours(pool.device_s),
    )


def _state(run: "RunEntry") -> str:
    if run.paused_by:
        return "paused"
    if run.is_final:
        return "done"
    return "begun" if run.flop else "declared"


def _hours(device_s: Decimal) -> str:
    hours = device_s / 3600
    return f"{hours:,.1f}" if hours >= 10 else f"{hours:.4f}"


def _maybe(flop: int | None) -> str | None:
    return None if flop is None else str(flop)


def _is_above(run: "RunEntry", flop: int) -> bool:
    return (run.total_flop or 0) > flop


def _bars(
    runs: Sequence[tuple[str, "RunEntry"]], thresholds: Sequence["Threshold"], *, low: int
) -> list[str]:
    """A bar a run: # counted with its lineage, - planned on top, | where thresholds lie."""
    width = max(len(name) for name, _ in runs)
    marks = {_column(t.amount, low): "|" for t in thresholds}
    lines: list[str] = []
    for name, run in runs:
        counted, planned = _column(run.total_flop, low), _column(run.covered_total(), low)
        bar = "#" * counted + "-" * (planned - counted)
        if run.total_flop is None:
            bar = "?" * _BAR
        shown = "".join(
            marks.get(i, " ") if c == " " else c for i, c in enumerate(f"{bar:<{_BAR}}")
        )
        lines.append(f"{name:<{width}}  {shown}".rstrip())
    axis = f"1e{low}" + f"1e{_TOP}".rjust(_BAR - len(f"1e{low}"))
    return [*lines, f"{'':<{width}}  {axis}"]


def _column(flop: int | None, low: int) -> int:
    """Where a number lies on the scale, 0 to ``_BAR``."""
    if not flop:
        return 0
    share = (float(Decimal(flop).log10()) - low) / (_TOP - low)
    return max(1, min(_BAR, round(share * _BAR)))


def _threshold_lines(
    runs: Sequence[tuple[str, "RunEntry"]], thresholds: Sequence["Threshold"]
) -> list[str]:
    """What is crossed, what is near; of an unknown lineage neither can be told."""
    from mynah.record.thresholds import format_flop

    totals = [total for _, run in runs if (total := run.covered_total()) is not None]
    lines: list[str] = []
    for threshold in thresholds:
        if crossed := [name for name, run in runs if _is_above(run, threshold.amount)]:
            said = f"crossed by {', '.join(crossed)}"
        elif totals:
            times = Decimal(threshold.amount) / max(1, *totals)
            near = "near: " if times < _NEAR else ""
            said = f"{near}the largest run of known lineage is {_short_times(times)} below"
        else:
            said = "no run of known lineage"
        lines.append(f"{format_flop(threshold.amount):>8}  {threshold.name}: {said}")
        lines.append(f"{'':>8}  {threshold.source}")
    if unknown := [name for name, run in runs if run.total_flop is None]:
        lines.append(
            f"unknown: {', '.join(unknown)}; a parent's compute is not declared, and every pause "
            "covers it (mynah up --set base_flop=...)"
        )
    return lines


def _short_times(times: Decimal) -> str:
    """A factor, as people say it."""
    from mynah.record.thresholds import format_flop

    return f"{times:,.1f} times" if times < 10_000 else f"{format_flop(int(times))} times"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
