"""Cells of a table of runs, as people's programs write them.

Reads CSV files: parted by commas, semicolons, tabs or bars, with any line ends, with a byte-order
mark or without. Writes nothing.
"""

import csv
from collections.abc import Collection
from pathlib import Path

import numpy as np
import polars as pl

from mynah.errors import DataError
from mynah.plan.setups import Floats

__all__ = ["numbers_of", "read_cells"]

PARTERS = ",;\t|"
LEAST, MOST = 1e-3, 1e13
"""What a cell may hold besides 0: nothing that describes a run lies beyond, and what is computed of
such numbers stays within what a float can hold."""
WORDS = {"true": "1", "yes": "1", "false": "0", "no": "0"}
THOUSANDS = r"^([+-]?\d{1,3})((?:,\d{3})+)(\.\d*)?$"
HINT = "one line of names, then one line a run, all of as many cells, in UTF-8"


def read_cells(path: Path, known: Collection[str]) -> pl.DataFrame:
    """Read a CSV file as it is, every column text.

    Args:
        path: Its first line that is not blank names the columns; of two of a name the first counts.
        known: Names to look for: they tell what parts the cells, and are found in upper case and
            among spaces, too.

    Raises:
        DataError: There is no such file, or it is no table; the message names the line.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}", hint="name a CSV file of runs"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8: byte {error.start + 1} is {error.object[error.start]:#04x}",
            hint="save it as CSV in UTF-8",
        ) from error
    if "\n" not in text:
        text = text.replace("\r", "\n")
    head = next((line for line in text.splitlines() if line.strip()), "")
    parter = max(
        PARTERS, key=lambda one: len({_plain(name) for name in head.split(one)} & {*known})
    )
    try:
        frame = pl.read_csv(text.encode(), separator=parter, infer_schema=False)
    except pl.exceptions.NoDataError as error:
        raise DataError(f"{path} is empty", hint=HINT) from error
    except pl.exceptions.PolarsError as error:
        reason = _odd_line(text, parter) or str(error).splitlines()[0]
        raise DataError(f"{path} is no CSV table: {reason}", hint=HINT) from error
    return _named(frame, known)


def _plain(name: str) -> str:
    return name.strip().strip('"').strip().lower()


def _named(frame: pl.DataFrame, known: Collection[str]) -> pl.DataFrame:
    """Give known columns their plain names, unless another has that already."""
    taken, names = set(frame.columns), dict[str, str]()
    for name in frame.columns:
        plain = _plain(name)
        if plain in known and plain not in taken:
            names[name] = plain
            taken.add(plain)
    return frame.rename(names)


def _odd_line(text: str, parter: str) -> str:
    """Say which line has another number of cells than the first; nothing where none has."""
    reader = csv.reader(text.splitlines(keepends=True), delimiter=parter, strict=True)
    count = 0
    try:
        for row in reader:
            if not row:
                continue
            count = count or len(row)
            if len(row) > count:
                return f"line {reader.line_num} has {len(row)} cells, the first line {count}"
    except csv.Error as error:
        return f"line {reader.line_num}: {error}"
    return ""


def numbers_of(frame: pl.DataFrame, name: str) -> Floats:
    """A column as numbers; NaN where a cell is blank, text, or no number that a run may have."""
    if name not in frame.columns:
        return np.full(frame.height, np.nan)
    text = frame[name].cast(pl.String).str.strip_chars().str.to_lowercase()
    text = text.replace(list(WORDS), list(WORDS.values()))
    is_parted = text.str.contains(THOUSANDS).fill_null(value=False)
    # Else a comma is a decimal point, as in tables whose cells are parted by semicolons.
    whole = pl.select(
        pl.when(is_parted)
        .then(text.str.replace_all(",", ""))
        .otherwise(text.str.replace(",", ".", literal=True))
    ).to_series()
    found = whole.cast(pl.Float64, strict=False).to_numpy().astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.where((found == 0) | ((found >= LEAST) & (found <= MOST)), found, np.nan)
