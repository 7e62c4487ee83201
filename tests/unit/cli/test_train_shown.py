"""What `mynah train show` prints, from files as a run leaves them."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.train.conftest import network

from mynah.cli.train_shown import as_lines
from mynah.errors import ConfigError
from mynah.job import find_run, summarise_run
from mynah.train import read_run, write_run

__all__ = ["network"]


def row(step: int, loss: float | None, **more: Any) -> dict[str, Any]:
    return {
        "step": step,
        "loss": loss,
        "is_skipped": loss is None,
        "tokens_per_s": 1234.5,
        "mfu": 0.42,
        "step_time_s": 0.5,
        "elapsed_s": 60.0 * step,
        "remaining_s": 120.0,
        **more,
    }


@pytest.fixture
def run(network, tmp_path) -> Path:
    folder = tmp_path / "runs" / "abcdef"
    write_run(folder, network.config())
    return folder


def lines_of(run: Path, rows: list[dict[str, Any]]) -> str:
    (run / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return "\n".join(as_lines(summarise_run(run)))


def test_a_run_that_has_begun_says_so(run):
    assert "no step is done yet" in lines_of(run, [])


def test_a_run_under_way(run):
    slow = {"rank_step_time_median_s": 1.0, "rank_step_time_max_s": 1.5, "slowest_rank": 7}
    rows = [
        {"step": 0, "elapsed_s": 0.0, "heldout_bits_per_byte": 2.5},
        row(1, 4.0),
        row(2, None),
        row(3, 3.0, **slow),
        row(4, 2.0, heldout_bits_per_byte=1.25),
    ]
    shown = lines_of(run, rows)
    for words in (
        "one process",
        "step        4, 4.0 min done, 2.0 min left",
        "1,234 tokens/s, 42% of the measured peak",
        "loss        4.000 @=_ 2.000",
        "skipped     1 steps",
        "slowest     rank 7, 1.50 times the median",
        "2.5000 to 1.2500",
    ):
        assert words in shown


def test_runs_are_found_by_the_beginning_of_their_names(run, tmp_path):
    assert find_run(tmp_path, "abc") == run == find_run(tmp_path, str(run))
    write_run(run.with_name("abcxyz"), read_run(run))
    with pytest.raises(ConfigError, match="names 2 runs") as refused:
        find_run(tmp_path, "abc")
    assert "abcdef, abcxyz" in refused.value.hint
