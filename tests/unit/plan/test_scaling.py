"""Sizes and tokens by published laws, beside what their authors print."""

import csv
import math
from itertools import pairwise
from pathlib import Path

import pytest

from mynah.plan.ranges import Range
from mynah.plan.scaling import (
    BESIROGLU,
    CHINCHILLA,
    LAWS,
    LossLaw,
    OptimumLaw,
    best_size,
    dense_equivalent,
    expected_loss,
    largest_batch,
    optimum_flop,
    overtraining,
    size_at_equal_loss,
    training_flop,
)

BUDGETS = [10.0**power for power in range(17, 29)]
BY_NAME = {law.name: law for law in LAWS}


def published(shared_data: Path, kind: str) -> list[dict[str, str]]:
    path = shared_data / "scaling" / "scaling.csv"
    if not path.is_file():
        pytest.skip("needs ../shared/data/scaling, the published scaling data")
    with path.open(newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["kind"] == kind]


def printed_error(text: str) -> float:
    """Half a unit of the last digit that is printed, as a share."""
    digits = text.lower().partition("e")[0].replace(".", "").lstrip("0")
    return 0.5 / int(digits)


def test_approach_1_gives_the_pairs_of_its_table_within_5_percent(shared_data: Path):
    rows = published(shared_data, "compute-optimal pair")
    assert len(rows) >= 9
    for row in rows:
        size = BY_NAME["Chinchilla, approach 1"].optimum(float(row["flops"]))
        assert size.weights == pytest.approx(float(row["params"]), rel=0.05)
        assert size.tokens == pytest.approx(float(row["tokens"]), rel=0.05)


def test_flop_of_known_runs_within_a_percent_or_the_rounding(shared_data: Path):
    # Gopher's is its authors' own count, with attention; 70B of Chinchilla is rounded by more than
    # its digits say.
    others = {"Gopher 280B": 0.13, "Chinchilla 70B": 0.021}
    checked = 0
    for row in published(shared_data, "trained model"):
        params = row["params"].partition("(")[2].removesuffix(" active)") or row["params"]
        if not params or not row["tokens"]:
            continue  # an estimate of the FLOP alone
        error = max(0.01, printed_error(row["flops"]), others.get(row["name"], 0.0))
        flop = training_flop(float(params), float(row["tokens"]))
        assert flop == pytest.approx(float(row["flops"]), rel=error), row["name"]
        checked += 1
    assert checked >= 17


@pytest.mark.parametrize(
    ("name", "flop", "weights", "tokens"),
    [
        # What each says of the budget of Gopher, or of Llama 3's.
        ("Chinchilla, approach 1", 5.76e23, 67e9, 1.5e12),
        ("Chinchilla, approach 2", 5.76e23, 63e9, 1.4e12),
        ("Chinchilla, approach 3", 5.76e23, 40e9, 2.4e12),
        ("Llama 3", 3.8e25, 402e9, 16.55e12),
    ],
)
def test_laws_say_what_their_authors_say(name: str, flop: float, weights: float, tokens: float):
    size = BY_NAME[name].optimum(flop)
    assert size.weights == pytest.approx(
        weights, rel=0.09 if name == "Chinchilla, approach 2" else 0.05
    )
    assert size.tokens == pytest.approx(tokens, rel=0.09)


def test_the_second_fit_agrees_with_20_tokens_a_weight():
    size = BESIROGLU.optimum(5.76e23)
    assert 15 < size.tokens / size.weights < 25


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_a_law_spends_the_compute_and_no_more(law: OptimumLaw | LossLaw):
    for one, more in pairwise(BUDGETS):
        size, larger = law.optimum(one), law.optimum(more)
        assert size.flop == pytest.approx(one)
        assert size.weights < larger.weights
        assert size.tokens < larger.tokens
        assert optimum_flop(law, size.weights) == pytest.approx(one, rel=1e-6)


@pytest.mark.parametrize("law", [CHINCHILLA, BESIROGLU], ids=lambda law: law.name)
def test_no_other_size_of_the_same_compute_has_a_lower_loss(law: LossLaw):
    for flop in BUDGETS:
        best = law.optimum(flop)
        for factor in (0.5, 0.9, 1.1, 2.0):
            other = law.loss(best.weights * factor, best.tokens / factor)
            assert law.loss(best.weights, best.tokens) < other


@pytest.mark.parametrize("sparsity", [1.0, 16.0])
@pytest.mark.parametrize("served_tokens", [0.0, 1e12])
def test_more_compute_never_gives_a_higher_loss(sparsity: float, served_tokens: float):
    losses: list[Range] = []
    for flop in BUDGETS[::3]:
        weights = best_size(flop, sparsity=sparsity, served_tokens=served_tokens).middle
        tokens = flop / training_flop(weights, 1.0)
        dense = dense_equivalent(weights, weights * sparsity)
        losses.append(expected_loss(dense, tokens))
    for loss, lower in pairwise(losses):
        assert lower.low <= loss.low
        assert lower.middle <= loss.middle
        assert lower.high <= loss.high
        assert loss.low <= loss.middle <= loss.high


@pytest.mark.parametrize("flop", [1e21, 1e24, 1e26])
def test_the_more_a_model_serves_the_smaller_it_is(flop: float):
    served = [best_size(flop, served_tokens=tokens) for tokens in (0.0, 1e10, 1e12, 1e14)]
    for one, more in pairwise(served):
        assert more.low <= one.low
        assert more.middle <= one.middle
        assert more.high <= one.high
    assert served[-1].middle < 0.9 * served[0].middle


def test_service_changes_the_size_as_sardana_and_frankle_say():
    # Figure 1 of arXiv:2401.00448: 13B and 2T tokens served; 7B saves 1.7e22 FLOP, 17%.
    served = 2e12
    best, smaller = size_at_equal_loss(
        optimum_flop(CHINCHILLA, 13e9), served_tokens=served, law=CHINCHILLA
    )
    assert best.weights == pytest.approx(13e9)
    assert smaller.weights == pytest.approx(7e9, rel=0.03)
    before = best.flop + 2 * best.weights * served
    saved = before - smaller.flop - 2 * smaller.weights * served
    assert saved == pytest.approx(1.7e22, rel=0.05)
    assert saved / before == pytest.approx(0.17, abs=0.01)


@pytest.mark.parametrize("law", [CHINCHILLA, BESIROGLU], ids=lambda law: law.name)
@pytest.mark.parametrize("served", [1e10, 1e12, 1e14])
def test_no_other_size_of_the_same_loss_takes_less_in_all(law: LossLaw, served: float):
    best, smaller = size_at_equal_loss(1e23, served_tokens=served, law=law)
    loss = law.loss(best.weights, best.tokens)
    assert law.loss(smaller.weights, smaller.tokens) == pytest.approx(loss, rel=1e-9)
    assert smaller.weights <= best.weights
    least = smaller.flop + 2 * smaller.weights * served
    for factor in (0.97, 1.03):
        weights = smaller.weights * factor
        tokens = (law.b / (loss - law.floor - law.a * weights**-law.alpha)) ** (1 / law.beta)
        assert least < training_flop(weights, tokens) + 2 * weights * served


def test_a_mixture_lies_between_its_active_weights_and_all():
    found = dense_equivalent(2.8e9, 16.4e9)
    assert found.low == pytest.approx(2.8e9)
    assert found.middle == pytest.approx(6.9e9, rel=0.03)  # arXiv:2401.06066, table 3
    assert found.high < 16.4e9
    assert dense_equivalent(0.85e9, 17.5e9).high == pytest.approx(6.1e9, rel=0.02)  # 2507.17702
    assert dense_equivalent(7e9, 7e9) == Range.exactly(7e9)


def test_with_experts_fewer_active_weights_see_more_tokens():
    dense, sparse = best_size(1e24), best_size(1e24, sparsity=16)
    assert sparse.middle < dense.middle
    assert sparse.high == pytest.approx(dense.high)  # where idle experts are worth nothing


def test_overtraining_counts_from_the_best_tokens():
    for flop in (1e21, 1e24):
        weights = best_size(flop).middle
        found = overtraining(weights, flop / training_flop(weights, 1.0))
        assert found.low < 1 < found.high
        assert found.middle == pytest.approx(1, rel=0.1)
    assert overtraining(8.03e9, 15e12).middle == pytest.approx(86, rel=0.1)
    sparse = best_size(1e24, sparsity=16).middle
    found = overtraining(sparse, 1e24 / training_flop(sparse, 1.0), sparsity=16)
    assert found.middle == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize(
    ("name", "flop", "weights", "tokens", "batch"),
    [
        # Batches of runs that the law was not fitted on.
        ("Llama 3.1 405B", 3.8e25, 405e9, 15.6e12, 16e6),
        ("DeepSeek-V3", 3.3e24, 160e9, 14.8e12, 63e6),
        ("OLMo 2 7B", 1.8e23, 7e9, 4e12, 4e6),
    ],
)
def test_batches_of_known_runs_are_not_far_beyond_the_largest(
    name: str, flop: float, weights: float, tokens: float, batch: float
):
    largest = largest_batch(flop, BESIROGLU.loss(weights, tokens))
    assert largest.low <= largest.middle <= largest.high
    assert batch <= 1.05 * largest.high, name


def test_the_best_batch_grows_with_compute():
    found = [largest_batch(flop, 2.0) for flop in BUDGETS]
    assert all(one.middle < more.middle for one, more in pairwise(found))
    # DeepSeek LLM 67B: 18.9M tokens at 8e23 FLOP.
    assert math.isclose(largest_batch(8e23, 2.0).middle, 18.9e6, rel_tol=0.05)
