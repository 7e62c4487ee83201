"""The figures of the accuracy page, found again on the published runs, against their targets.

Runs lie in ``../shared/data/runs``; without them there is nothing to find.
"""

import re
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from mynah.plan.accuracy import Accuracy, validate
from mynah.plan.accuracy_page import accuracy_lines, error_plot, scatter_plot
from mynah.plan.constants import BOUNDS, CALIBRATED, SPREAD_DENSE, SPREAD_SPARSE, to_array

ROOT = Path(__file__).parents[3]
RUNS = ROOT.parent / "shared" / "data" / "runs"
PAGE = ROOT / "docs" / "reference" / "planner-accuracy.md"

pytestmark = pytest.mark.skipif(not RUNS.is_dir(), reason=f"no published runs in {RUNS}")


@pytest.fixture(scope="module")
def found() -> Accuracy:
    return validate(RUNS)


def test_dense_models_meet_the_targets_of_speed(found: Accuracy):
    dense = found.score("dense")
    assert dense.num_runs > 500
    assert dense.median <= 0.08
    assert dense.tenth <= 0.22


def test_all_models_together_miss_them_by_as_much_as_the_page_says(found: Accuracy):
    # Targets: 8% and 22%. Models with experts, one run in six, are from one source whose releases
    # differ by half on the same layouts; the planner does not know a release's number.
    whole = found.score("all")
    assert whole.median <= 0.086
    assert whole.tenth <= 0.29
    assert whole.median < 0.5 * whole.constant_median


def test_ranges_hold_what_they_say(found: Accuracy):
    assert found.score("all").inside == pytest.approx(0.8, abs=0.05)


def test_what_does_not_fit_is_known(found: Accuracy):
    failed = found.fit("sources with failures")
    assert failed.num_failed > 250
    assert failed.precision >= 0.92
    assert failed.recall >= 0.92


def test_runs_that_ran_are_seldom_refused(found: Accuracy):
    others = [one for one in found.fits if not one.num_failed and one.name != "tpu"]
    refused = sum(one.num_refused for one in others)
    assert refused / sum(one.num_runs for one in others) < 0.05


def test_memory_is_close_where_it_was_measured(found: Accuracy):
    ratios = {one.name: one.ratio for one in found.fits if np.isfinite(one.ratio)}
    assert len(ratios) >= 2
    assert all(0.9 < ratio < 1.1 for ratio in ratios.values()), ratios


def test_the_loss_from_512_to_10752_accelerators(found: Accuracy):
    long = [one for one in found.scales if one.many > 10_000]
    assert long
    assert all(one.predicted / one.measured == pytest.approx(1.0, abs=0.05) for one in long)


def test_the_layout_ranked_first_is_good(found: Accuracy):
    firsts = [one.first for one in found.sweeps]
    assert len(firsts) > 10
    assert np.mean(np.array(firsts) >= 0.95) >= 0.8
    assert min(firsts) > 0.9
    # Target: 0.9 in each. Half of them reach it; what the others lack stands on the page.
    assert np.median([one.spearman for one in found.sweeps]) >= 0.85


def test_the_constants_that_ship_are_those_that_are_found(found: Accuracy):
    assert to_array(found.constants) == pytest.approx(to_array(CALIBRATED), rel=2e-3)
    assert found.spread_dense == pytest.approx(SPREAD_DENSE, rel=5e-3)
    assert found.spread_sparse == pytest.approx(SPREAD_SPARSE, rel=5e-3)
    bounds = zip(to_array(CALIBRATED), BOUNDS.values(), strict=True)
    assert all(low <= value <= high for value, (low, high) in bounds)


def test_the_page_says_what_is_found(found: Accuracy):
    page = PAGE.read_text(encoding="utf-8")
    speed = page.split("## Speed, by source")[1].split("## Layouts")[0]
    written = {line.split("|")[1]: line for line in speed.splitlines() if line.count("|") == 9}
    for line in accuracy_lines(found)[2:]:
        said, is_now = written[line.split("|")[1]], _figures(line)
        # Another machine adds up in another order: the last digit may differ.
        assert _figures(said) == pytest.approx(is_now, abs=0.11)


def _figures(line: str) -> list[float]:
    return [float(cell.strip(" %")) for cell in line.split("|")[2:-1]]


def test_the_drawings_have_a_point_a_run(found: Accuracy):
    runs = sum(len(some) for some in found.measured.values())
    for drawing in (scatter_plot(found), error_plot(found)):
        points = re.findall(r"<circle ", drawing)
        assert len(points) == runs + len(found.measured)
        assert "nan" not in drawing


def test_scores_are_found_without_the_source(found: Accuracy):
    assert all(np.isfinite(astuple(one)[1:]).all() for one in found.scores)
