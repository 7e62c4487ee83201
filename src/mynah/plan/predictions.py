"""Predictions for a table of runs: speed with a range, memory, whether it fits, MFU.

Reads a CSV of descriptions (see ``published``); writes it again with more columns. What was
measured is never looked at.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from mynah.errors import machine_errors
from mynah.plan.constants import CALIBRATED, SPREAD_DENSE, SPREAD_SPARSE, Constants
from mynah.plan.memory import memory_of
from mynah.plan.published import Table
from mynah.plan.setups import Floats, Setups
from mynah.plan.step import step_times
from mynah.workspace import replace_file

__all__ = ["COLUMNS", "Predictions", "predict", "predicted_frame", "write_predictions"]

COLUMNS = (
    "predicted_tokens_per_s_per_gpu",
    "predicted_low",
    "predicted_high",
    "predicted_memory_gb",
    "predicted_fits",
    "predicted_mfu",
)
"""What is added to a table, in this order."""
DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Of N setups; arrays."""

    tokens_per_s: Floats
    """Of one accelerator."""
    low: Floats
    high: Floats
    """80% of measured runs lay between these."""
    memory_bytes: Floats
    """At the fullest moment, of the fullest rank."""
    fits: np.ndarray
    mfu: Floats
    """Model FLOP, causal attention counted half, over the 16-bit peak of the datasheet."""


def predict(setups: Setups, constants: Constants = CALIBRATED) -> Predictions:
    """Predict every setup."""
    speed = step_times(setups, constants).tokens_per_s(setups)
    memory = memory_of(setups)
    is_sparse = setups.shapes.experts > 0
    flop = setups.shapes.flop_per_token(setups.work.row_tokens)
    return Predictions(
        tokens_per_s=speed,
        low=speed * np.where(is_sparse, SPREAD_SPARSE[0], SPREAD_DENSE[0]),
        high=speed * np.where(is_sparse, SPREAD_SPARSE[1], SPREAD_DENSE[1]),
        memory_bytes=memory.total,
        fits=memory.fits,
        mfu=speed * flop / setups.machines.peak_flop_per_s,
    )


def predicted_frame(table: Table, constants: Constants = CALIBRATED) -> pl.DataFrame:
    """Return the table as it was read with ``COLUMNS`` added; blank where a row is no setup."""
    found = predict(table.setups, constants)
    memory = memory_of(table.roomiest)
    cells = {
        COLUMNS[0]: _texts(found.tokens_per_s),
        COLUMNS[1]: _texts(found.low),
        COLUMNS[2]: _texts(found.high),
        COLUMNS[3]: _texts(memory.total / 1e9),
        COLUMNS[4]: ["yes" if fits else "no" for fits in memory.fits],
        COLUMNS[5]: _texts(found.mfu),
    }
    frame = table.frame.drop(COLUMNS, strict=False)
    added: list[pl.Series] = []
    for name, texts in cells.items():
        column = [""] * frame.height
        for row, text in zip(table.which.tolist(), texts, strict=True):
            column[row] = text
        added.append(pl.Series(name, column, dtype=pl.String))
    return frame.with_columns(added)


def write_predictions(table: Table, path: Path, constants: Constants = CALIBRATED) -> None:
    """Write such a table as CSV, in one step.

    Raises:
        MachineError: The disk is full or may not be written.
    """
    with machine_errors(path):
        replace_file(path, predicted_frame(table, constants).write_csv().encode())


def _texts(values: Floats) -> list[str]:
    return [f"{value:.{DIGITS}g}" for value in values]
