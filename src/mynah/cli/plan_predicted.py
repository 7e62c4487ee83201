"""What `mynah plan predict` says of a table: what was assumed, what is no run, and predictions.

Reads a table that ``read_table`` has read; writes nothing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mynah.plan.predictions import COLUMNS, predict
from mynah.plan.published import DEFAULTS, Table

__all__ = ["predicted_json", "told_lines"]

MAX_TOLD = 10
"""Rows that are no runs, told one by one."""


def told_lines(path: Path, table: Table) -> list[str]:
    """What a person ought to know before trusting the predictions."""
    total, good = table.frame.height, len(table.which)
    lines = [f"{path}: {_rows(total)}, {good:,} predicted, {total - good:,} not"]
    if total == 0:
        lines.append("there is a header and no row below it")
    if table.assumed:
        lines.append("assumed where a column is missing or a cell says nothing:")
        width = max(map(len, table.assumed))
        lines += [
            f"  {name:<{width}}  {_rows(count):>12}  {DEFAULTS.get(name, '')}".rstrip()
            for name, count in table.assumed.items()
        ]
    if table.problems:
        lines.append("no prediction for:")
        told = sorted(table.problems.items())
        lines += [f"  row {row + 1:,}: {reason}" for row, reason in told[:MAX_TOLD]]
        if len(told) > MAX_TOLD:
            lines.append(f"  and {_rows(len(told) - MAX_TOLD)} more")
    return lines


def predicted_json(table: Table) -> dict[str, Any]:
    """Predictions by row, counted from 1, with what was assumed and what is no run."""
    found = predict(table.setups)
    columns = {
        COLUMNS[0]: found.tokens_per_s.tolist(),
        COLUMNS[1]: found.low.tolist(),
        COLUMNS[2]: found.high.tolist(),
        COLUMNS[3]: (found.memory_bytes / 1e9).tolist(),
        COLUMNS[4]: found.fits.tolist(),
        COLUMNS[5]: found.mfu.tolist(),
    }
    return {
        "num_rows": table.frame.height,
        "assumed": {name: _assumed(count, name) for name, count in table.assumed.items()},
        "problems": {str(row + 1): reason for row, reason in sorted(table.problems.items())},
        "predictions": [
            {"row": row + 1, **{name: values[place] for name, values in columns.items()}}
            for place, row in enumerate(table.which.tolist())
        ],
    }


def _assumed(count: int, name: str) -> Mapping[str, object]:
    return {"num_rows": count, "default": DEFAULTS.get(name, "")}


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
