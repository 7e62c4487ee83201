"""Predictions of the published runs do not rest on anything that was measured on them.

Reads ``runs/*.csv`` of the public data, puts other things into every column of a measurement, and
predicts both. Every row of every table is either predicted or named with what it lacks.
"""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.unit.plan.table_of import MEASURED

from mynah.plan.predictions import COLUMNS, predict, predicted_frame
from mynah.plan.published import read_table

ODD = ("", "0", "-1", "1e30", "nan", "OOM", "ok", "as printed", "hardware", "H100")


@pytest.fixture(params=["every cell shuffled", "every cell odd", "every column gone"])
def how(request: pytest.FixtureRequest) -> str:
    return request.param


def tables(data: Path) -> list[Path]:
    found = sorted((data / "runs").glob("*.csv"))
    if not found:
        pytest.skip("needs ../shared/data/runs, the published training runs")
    return found


def scrambled(frame: pl.DataFrame, how: str, rng: np.random.Generator) -> pl.DataFrame:
    measured = [name for name in frame.columns if name in MEASURED or name.startswith("derived_")]
    assert len(measured) == len(MEASURED)
    if how == "every column gone":
        return frame.drop(measured)
    if how == "every cell shuffled":
        new = {name: frame[name].to_numpy()[rng.permutation(frame.height)] for name in measured}
    else:
        new = {name: rng.choice(ODD, frame.height) for name in measured}
    return frame.with_columns(
        pl.Series(name, list(map(str, cells)), dtype=pl.String) for name, cells in new.items()
    )


def test_no_prediction_changes_with_what_was_measured(shared_data: Path, tmp_path: Path, how: str):
    rng = np.random.default_rng(0)
    for path in tables(shared_data):
        plain = read_table(path)
        other_path = tmp_path / path.name
        scrambled(plain.frame, how, rng).write_csv(other_path)
        other = read_table(other_path)
        assert other.problems == plain.problems, path.name
        assert other.assumed == plain.assumed, path.name
        one, two = (predicted_frame(table).select(COLUMNS) for table in (plain, other))
        assert one.equals(two), path.name


def test_every_published_run_is_predicted_or_named(shared_data: Path):
    for path in tables(shared_data):
        table = read_table(path)
        numbers = sorted([*table.which.tolist(), *table.problems])
        assert numbers == list(range(table.frame.height)), path.name
        assert all(table.problems.values()), path.name
        found = predict(table.setups)
        for column in (found.tokens_per_s, found.low, found.high, found.memory_bytes, found.mfu):
            assert np.isfinite(column).all(), path.name
            assert (column > 0).all(), path.name
        assert (found.low < found.tokens_per_s).all(), path.name
        assert (found.tokens_per_s < found.high).all(), path.name
