"""What `mynah plan validate` prints: errors by source; then sweeps, memory, scale, a line each.

Pure.
"""

import math
from collections.abc import Sequence

from mynah.plan.accuracy import Accuracy

__all__ = ["accuracy_shown"]

HEAD = ("source", "runs", "median", "1 in 10", "bias", "inside", "constant MFU", "1 in 10")


def accuracy_shown(found: Accuracy) -> list[str]:
    """Errors as lines of text: a table, and what it leaves out."""
    rows = [
        (
            one.name,
            f"{one.num_runs:,}",
            _percent(one.median),
            _percent(one.tenth),
            f"{100 * one.bias:+.1f}%",
            _percent(one.inside),
            _percent(one.constant_median),
            _percent(one.constant_tenth),
        )
        for one in found.scores
    ]
    return [
        "Tokens a second and accelerator, predicted without the source that is scored",
        *_table([HEAD, *rows]),
        "",
        *(
            f"sweep of {one.num_layouts} layouts on {one.num_accelerators:,} ({one.source}): "
            f"rank correlation {one.spearman:.2f}, the first reached {_percent(one.first)}"
            for one in found.sweeps
        ),
        *(
            f"memory ({one.name}): of {one.num_failed} that failed {one.num_both} are refused, of "
            f"{one.num_refused} refused {one.num_both} failed"
            for one in found.fits
            if one.num_failed
        ),
        *(
            f"from {one.few:,} to {one.many:,} ({one.source}): {_percent(one.measured)} of the "
            f"speed is left, predicted {_percent(one.predicted)}"
            for one in found.scales
        ),
    ]


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f}%"
