import errno
import importlib
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.plan.setup_of import EXPERTS, setups_with
from tests.unit.plan.table_of import DENSE, FULL, MEASURED, table_of, write_rows

from mynah.errors import MachineError
from mynah.plan.memory import memory_of
from mynah.plan.predictions import COLUMNS, predict, predicted_frame, write_predictions
from mynah.plan.published import Table, read_table
from mynah.plan.setups import Sharding

SHARDED = {"data": 64, "sharding": Sharding.WEIGHTS, "batch_rows": 256}
cells = st.one_of(
    st.floats().map(str),
    st.sampled_from(
        ["", "ok", "OOM", "model", "hardware", "-1", "0", "1e9", "n/a", '"', ",", "\n"]
    ),
    st.text(max_size=5),
)


def frame_of(folder: Path, *rows: dict[str, str]) -> pl.DataFrame:
    return predicted_frame(table_of(folder, *rows))


def predicted(frame: pl.DataFrame) -> list[dict[str, str]]:
    return frame.select(COLUMNS).to_dicts()


# Figures


def test_a_prediction_lies_inside_its_range():
    found = predict(setups_with(**SHARDED, hidden=[2048, 4096, 8192]))
    assert (found.low < found.tokens_per_s).all()
    assert (found.tokens_per_s < found.high).all()
    assert (found.low > 0).all()


def test_sparse_models_have_the_wider_range():
    dense, sparse = predict(setups_with(**SHARDED)), predict(setups_with(**SHARDED, **EXPERTS))
    assert (sparse.high / sparse.low > dense.high / dense.low).all()


def test_a_large_run_has_an_mfu_that_such_runs_have():
    for tensor, data in ((1, 64), (8, 64)):
        setups = setups_with(**SHARDED | {"data": data}, tensor=tensor, row_tokens=8192)
        assert 0.25 < predict(setups).mfu < 0.65


def test_mfu_counts_no_flop_twice():
    plain = setups_with(**SHARDED)
    again = setups_with(**SHARDED, recompute=5)
    slower = predict(again).tokens_per_s / predict(plain).tokens_per_s
    assert predict(again).mfu / predict(plain).mfu == pytest.approx(slower)


def test_memory_is_that_of_the_memory_model():
    setups = setups_with(**SHARDED, memory_bytes=[10e9, 80e9])
    found = predict(setups)
    assert found.memory_bytes.tolist() == memory_of(setups).total.tolist()
    assert found.fits.tolist() == [False, True]


def test_tokens_of_all_accelerators_are_those_of_the_steps():
    few, many = setups_with(**SHARDED), setups_with(**SHARDED | {"data": 128, "batch_rows": 512})
    total = predict(many).tokens_per_s * 128 / (predict(few).tokens_per_s * 64)
    assert 1.7 < total < 2.05


# Tables


def test_columns_are_added_and_the_others_stay(tmp_path: Path):
    before = table_of(tmp_path, DENSE | MEASURED, FULL | MEASURED)
    after = predicted_frame(before)
    assert after.columns == [*before.frame.columns, *COLUMNS]
    assert after.drop(COLUMNS).equals(before.frame)
    assert all(cell for row in predicted(after) for cell in row.values())


def test_the_columns_are_those_that_are_asked_for():
    assert COLUMNS == (
        "predicted_tokens_per_s_per_gpu",
        "predicted_low",
        "predicted_high",
        "predicted_memory_gb",
        "predicted_fits",
        "predicted_mfu",
    )


def test_a_row_that_is_no_setup_stays_blank_between_others(tmp_path: Path):
    rows = predicted(frame_of(tmp_path, DENSE, DENSE | {"gpu": "?"}, DENSE))
    assert set(rows[1].values()) == {""}
    assert rows[0] == rows[2]
    assert set(rows[0].values()) != {""}


def test_a_row_gets_the_same_wherever_it_stands(tmp_path: Path):
    rows = [
        DENSE | {"tp": tp, "dp": "", "recompute": again} for tp in "1248" for again in ("", "full")
    ]
    forth = predicted(frame_of(tmp_path, *rows))
    back = predicted(frame_of(tmp_path, *reversed(rows)))
    assert forth == back[::-1]


def test_figures_can_be_read_back_as_numbers(tmp_path: Path):
    (row,) = predicted(frame_of(tmp_path, DENSE))
    low, middle, high = (float(row[name]) for name in (COLUMNS[1], COLUMNS[0], COLUMNS[2]))
    assert 0 < low < middle < high
    assert 0 < float(row["predicted_mfu"]) < 1
    assert row["predicted_fits"] in ("yes", "no")
    assert float(row["predicted_memory_gb"]) > 1


def test_predicting_twice_gives_the_same_table(tmp_path: Path):
    once = table_of(tmp_path, DENSE, FULL)
    out = tmp_path / "out.csv"
    write_predictions(once, out)
    first = out.read_bytes()
    again = read_table(out)
    write_predictions(again, out)
    assert out.read_bytes() == first
    assert not list(tmp_path.glob("*.tmp*"))


def test_a_full_disk_is_the_machines_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    # Not by its dotted name: the package has a function that is called as the module is.
    monkeypatch.setattr(importlib.import_module("mynah.plan.predictions"), "replace_file", refuse)
    with pytest.raises(MachineError):
        write_predictions(table_of(tmp_path, DENSE), tmp_path / "out.csv")


# What was measured


@pytest.fixture(scope="module")
def unmeasured(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    return predicted(frame_of(tmp_path_factory.mktemp("plain"), DENSE, FULL))


@settings(max_examples=50, deadline=None)
@given(st.fixed_dictionaries({name: cells for name in MEASURED}))
def test_nothing_that_was_measured_is_looked_at(
    unmeasured: list[dict[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
    measured: dict[str, str],
):
    folder = tmp_path_factory.mktemp("measured")
    measured = {name: cell.replace("\r", " ") for name, cell in measured.items()}
    assert predicted(frame_of(folder, DENSE | measured, FULL | measured)) == unmeasured


# Odd tables

odd_cells = st.one_of(
    st.sampled_from(
        ["", "1", "2", "8", "64", "0.5", "-1", "nan", "1,024", "full", "ZeRO-3", "fp8"]
    ),
    st.text("abz0189.,-+ e", max_size=6).filter(
        lambda cell: not re.search(r"e\+?\d\d|\d{5}", cell)
    ),
).filter(lambda cell: not re.fullmatch(r"[+-]?0*[.,]*0*(e.*)?", cell.strip()) or not cell.strip())
"""What people type; zeros and numbers beyond all sense have their own tests."""


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from([name for name in DENSE if name not in ("id", "gpu", "n_experts")]),
            odd_cells,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_every_row_is_predicted_or_named(
    tmp_path_factory: pytest.TempPathFactory, changes: list[dict[str, str]]
):
    table = table_of(tmp_path_factory.mktemp("odd"), *(DENSE | change for change in changes))
    assert sorted([*table.which.tolist(), *table.problems]) == list(range(len(changes)))
    assert_sound(table)


def assert_sound(table: Table) -> None:
    found = predict(table.setups)
    for column in (found.tokens_per_s, found.low, found.high, found.memory_bytes, found.mfu):
        assert np.isfinite(column).all()
        assert (column > 0).all()


def test_a_thousand_rows_are_read_in_one_go(tmp_path: Path):
    path = write_rows(tmp_path / "runs.csv", *([DENSE, FULL] * 500))
    rows = predicted(predicted_frame(read_table(path)))
    assert len(rows) == 1000
    assert rows[:2] * 500 == rows
