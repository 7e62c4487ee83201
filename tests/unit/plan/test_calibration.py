from dataclasses import fields, replace

import numpy as np
import pytest
from tests.unit.plan.setup_of import setups_with

from mynah.plan.calibration import Measured, calibrate, log_errors
from mynah.plan.constants import BOUNDS, PRIOR, Constants, to_array
from mynah.plan.setups import Recompute, Setups, Sharding, joined
from mynah.plan.step import step_times

SHARE = 0.6
"""Of the way from the prior to the farther bound that the truth lies."""


def truth() -> Constants:
    """Constants that are not where the search begins, each within its bounds."""
    moved = {
        name: getattr(PRIOR, name) + SHARE / 3 * (max(ends, key=far) - getattr(PRIOR, name))
        for name, ends in BOUNDS.items()
        for far in [lambda end, name=name: abs(end - getattr(PRIOR, name))]
    }
    return replace(PRIOR, **moved)


def runs(seed: int, num_runs: int = 40) -> Setups:
    """All kinds of runs, so that each constant shows in some."""
    rng = np.random.default_rng(seed)
    several: list[Setups] = []
    for _ in range(num_runs):
        data = float(rng.choice([8, 16, 64, 256]))
        sharding = rng.choice([Sharding.NOTHING, Sharding.OPTIMIZER, Sharding.WEIGHTS])
        several.append(
            setups_with(
                hidden=float(rng.choice([512, 1024, 2048, 4096, 8192])),
                layers=float(rng.choice([16, 32, 64])),
                row_tokens=float(rng.choice([512, 2048, 8192, 32768])),
                data=data,
                batch_rows=data * float(rng.choice([1, 2, 8])),
                tensor=float(rng.choice([1, 4, 8, 16])),
                sharding=float(sharding),
                overlaps_tensor=float(rng.integers(2)),
                overlaps_data=float(rng.integers(2)),
                nic_bytes_per_s=float(rng.choice([12.5e9, 50e9])),
                recompute=float(rng.choice([Recompute.NOTHING, Recompute.LAYERS])),
            )
        )
    return joined(several)


def measured(name: str, setups: Setups, constants: Constants, *, noise: float = 0.0) -> Measured:
    """What such runs would have measured if these were the constants."""
    speed = step_times(setups, constants).tokens_per_s(setups)
    off = np.random.default_rng(7).normal(0.0, noise, len(setups)) if noise else 0.0
    return Measured(source=name, setups=setups, tokens_per_s=speed * np.exp(off))


@pytest.fixture(scope="module")
def sources() -> list[Measured]:
    return [measured(f"source {seed}", runs(seed), truth()) for seed in range(4)]


def median_error(constants: Constants, found: list[Measured]) -> float:
    errors = np.concatenate([log_errors(one, constants) for one in found])
    return float(np.median(np.abs(errors)))


def test_data_that_the_prior_made_move_nothing():
    found = calibrate([measured("as expected", runs(0), PRIOR)])
    assert to_array(found).tolist() == pytest.approx(to_array(PRIOR).tolist())


def test_errors_are_those_of_the_logarithm(sources: list[Measured]):
    assert log_errors(sources[0], truth()).tolist() == pytest.approx([0.0] * 40, abs=1e-12)
    slower = replace(sources[0], tokens_per_s=sources[0].tokens_per_s / 2)
    assert log_errors(slower, truth()).tolist() == pytest.approx([np.log(2)] * 40)


def test_constants_that_made_the_data_are_found_near_enough(sources: list[Measured]):
    found = calibrate(sources)
    # The prior draws, so that what shows in few runs is not found whole.
    assert median_error(found, sources) < 0.2 * median_error(PRIOR, sources)
    for name in ("product", "flash", "scale_up"):
        assert getattr(found, name) == pytest.approx(getattr(truth(), name), rel=0.1), name


def test_they_predict_runs_that_they_were_not_found_on(sources: list[Measured]):
    found = calibrate(sources)
    others = [measured("another", runs(99), truth())]
    assert median_error(found, others) < 0.2 * median_error(PRIOR, others)


def test_noise_and_a_few_wild_rows_do_little_harm(sources: list[Measured]):
    noisy = [measured(one.source, one.setups, truth(), noise=0.05) for one in sources]
    wild = noisy[0].tokens_per_s.copy()
    wild[:4] *= 10
    noisy[0] = replace(noisy[0], tokens_per_s=wild)
    assert median_error(calibrate(noisy), sources) < 0.3 * median_error(PRIOR, sources)


def test_the_same_data_give_the_same_constants(sources: list[Measured]):
    assert calibrate(sources) == calibrate(sources)


def test_the_order_of_sources_and_rows_does_not_matter(sources: list[Measured]):
    turned = [
        replace(
            one,
            setups=one.setups.take(np.arange(len(one.setups))[::-1]),
            tokens_per_s=one.tokens_per_s[::-1],
        )
        for one in reversed(sources)
    ]
    found = to_array(calibrate(sources))
    assert to_array(calibrate(turned)).tolist() == pytest.approx(found.tolist(), rel=1e-3)


def test_constants_stay_within_their_bounds():
    setups = runs(1)
    for times in (0.01, 100.0):
        speed = step_times(setups, PRIOR).tokens_per_s(setups) * times
        found = calibrate([Measured(source="odd", setups=setups, tokens_per_s=speed)])
        for name, (low, high) in BOUNDS.items():
            assert low <= getattr(found, name) <= high, name


def test_a_source_counts_once_however_many_rows_it_has(sources: list[Measured]):
    other = replace(sources[1], tokens_per_s=sources[1].tokens_per_s * 1.2)
    thrice = replace(
        other,
        setups=joined([other.setups] * 3),
        tokens_per_s=np.tile(other.tokens_per_s, 3),
    )
    once = to_array(calibrate([sources[0], other]))
    assert to_array(calibrate([sources[0], thrice])).tolist() == pytest.approx(
        once.tolist(), rel=1e-3
    )


def test_a_source_that_is_left_out_has_no_influence(sources: list[Measured]):
    kept = calibrate(sources[:3])
    odd = replace(sources[3], tokens_per_s=sources[3].tokens_per_s * 3)
    assert calibrate([*sources[:3], odd]) != calibrate(sources)
    assert calibrate([one for one in [*sources[:3], odd] if one is not odd]) == kept


def test_every_constant_has_bounds_and_the_prior_lies_inside():
    names = [one.name for one in fields(Constants)]
    assert list(BOUNDS) == names
    assert all(low <= getattr(PRIOR, name) <= high for name, (low, high) in BOUNDS.items())
