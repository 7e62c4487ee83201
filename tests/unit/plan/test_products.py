from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.plan.setup_of import setups_with

from mynah.plan.constants import BOUNDS, CALIBRATED, PRIOR, Constants, from_array, to_array
from mynah.plan.products import Products
from mynah.plan.setups import Setups

ONE = setups_with()
FLOP_PER_S, BYTES_PER_S = 800e12, 3350e9

sides = st.integers(1, 512).map(lambda count: float(64 * count))
odd_sides = st.integers(1, 40_000).map(float)
constants_there_may_be = st.tuples(*(st.floats(low, high) for low, high in BOUNDS.values())).map(
    lambda values: from_array(np.array(values))
)


def seconds(
    m: float,
    n: float,
    k: float,
    *,
    constants: Constants = CALIBRATED,
    is_wide: bool = False,
    **given: float,
) -> float:
    products = products_on(setups_with(**given) if given else ONE, constants)
    return float(products.seconds(*map(side, (m, n, k)), is_wide=is_wide)[0])


def products_on(setups: Setups, constants: Constants) -> Products:
    """Made of whatever fields of a setup they rest on."""
    known: dict[str, Any] = {"machines": setups.machines, "constants": constants}
    for one in fields(Products):
        for group in (setups.work, setups.stacks):
            if hasattr(group, one.name):
                known[one.name] = getattr(group, one.name)
    return Products(**known)


def side(value: float) -> np.ndarray:
    return np.array([float(value)])


@settings(deadline=None)
@given(odd_sides, odd_sides, odd_sides, constants_there_may_be)
def test_no_product_is_faster_than_what_was_measured_alone(
    m: float, n: float, k: float, constants: Constants
):
    took_s = seconds(m, n, k, constants=constants)
    assert took_s >= 2 * m * n * k / FLOP_PER_S * (1 - 1e-9)
    assert took_s >= 2 * (m * k + k * n + m * n) / BYTES_PER_S


@settings(deadline=None)
@given(sides, sides, sides)
def test_nor_is_one_of_eight_bits_faster_than_such(m: float, n: float, k: float):
    took_s = seconds(m, n, k, bits=8, low_flop_per_s=1500e12)
    assert took_s >= 2 * m * n * k / 1500e12


@pytest.mark.parametrize("halved", [0, 1, 2])
@settings(deadline=None)
@given(st.tuples(*[st.integers(1, 64).map(lambda count: 512.0 * count)] * 3))
def test_a_whole_product_is_no_slower_than_its_halves(
    halved: int, shape: tuple[float, float, float]
):
    half = [side / 2 if place == halved else side for place, side in enumerate(shape)]
    m, n, k = half
    assert seconds(*shape) <= 2 * seconds(m, n, k) * (1 + 1e-9)


@pytest.mark.parametrize("longer", [0, 1, 2])
@settings(deadline=None)
@given(st.tuples(*[st.integers(1, 64).map(lambda count: 256.0 * count)] * 3))
def test_a_longer_side_never_saves_time(longer: int, shape: tuple[float, float, float]):
    m, n, k = (side + 256.0 * (place == longer) for place, side in enumerate(shape))
    assert seconds(m, n, k) >= seconds(*shape) * (1 - 1e-9)


def test_a_product_that_fills_the_cores_is_near_the_constant_rate():
    rate = 2 * 16_384**3 / seconds(16_384, 16_384, 16_384)
    assert 0.9 < rate / (FLOP_PER_S * CALIBRATED.product) <= 1


def test_one_tile_leaves_most_cores_idle():
    small, large = 2 * 128 * 128 * 4096, 2 * 8192 * 8192 * 4096
    assert small / seconds(128, 128, 4096) < 0.2 * large / seconds(8192, 8192, 4096)


def test_a_wave_more_costs_more_than_its_share():
    # 132 cores: 132 tiles of 128 x 256 are one wave, 144 are two.
    full, over = seconds(128 * 12, 256 * 11, 8192), seconds(128 * 12, 256 * 12, 8192)
    assert over / full > 1.05 * 12 / 11


def test_a_deep_product_reaches_more_of_the_rate_than_a_flat_one():
    rates = [k / seconds(8192, 8192, k) for k in (256, 1024, 4096, 16_384)]
    assert rates == sorted(rates)
    assert rates[-1] < 1.2 * rates[-2]


@pytest.mark.parametrize(("n", "padded"), [(50_257, 50_304), (11_001, 11_008)])
def test_padding_a_side_pays(n: float, padded: float):
    assert seconds(4096, padded, 4096) < seconds(4096, n, 4096)
    assert seconds(4096, 4096, padded) < seconds(4096, 4096, n)


def test_few_rows_take_as_long_as_reading_the_matrix():
    read_s = 2 * 8192 * 8192 / BYTES_PER_S
    assert read_s < seconds(1, 8192, 8192) < 3 * read_s
    assert seconds(16, 8192, 8192) < 1.5 * seconds(1, 8192, 8192)


def test_half_the_bits_save_less_than_half_the_time():
    wide, low = seconds(8192, 8192, 8192), seconds(8192, 8192, 8192, bits=8, low_flop_per_s=1600e12)
    assert 0.5 * wide < low < 0.8 * wide


def test_casting_eats_what_a_flat_product_gains():
    def gain(n: float, k: float) -> float:
        low = {"bits": 8.0, "low_flop_per_s": 1600e12, "is_fused": 0.0}
        return seconds(8192, n, k) / seconds(8192, n, k, **low)

    assert gain(512, 1024) < 1 < gain(16_384, 16_384)


def test_the_output_matrix_stays_in_sixteen_bits():
    shape = (8192, 32_768, 4096)
    assert seconds(*shape, bits=8, low_flop_per_s=1600e12, is_wide=True) == seconds(*shape)


@settings(deadline=None)
@given(odd_sides, odd_sides, odd_sides, st.sampled_from([4.0, 8.0, 16.0]))
def test_a_better_machine_is_no_slower(m: float, n: float, k: float, bits: float):
    own = seconds(m, n, k, bits=bits)
    for name in ("flop_per_s", "low_flop_per_s", "memory_bytes_per_s"):
        better = seconds(m, n, k, bits=bits, **{name: 2 * float(getattr(ONE.machines, name)[0])})
        assert better <= own, name


def test_constants_go_to_an_array_and_back():
    assert from_array(to_array(PRIOR)) == PRIOR
    assert from_array(to_array(CALIBRATED)) == CALIBRATED


@pytest.mark.parametrize("constants", [PRIOR, CALIBRATED], ids=["prior", "calibrated"])
def test_constants_lie_within_their_bounds(constants: Constants):
    for (name, (low, high)), value in zip(BOUNDS.items(), to_array(constants), strict=True):
        assert low <= value <= high, name
        assert value == getattr(constants, name)


@pytest.mark.parametrize(
    ("less", "more"),
    [((128, 128, 4096), (129, 128, 4096)), ((256, 4096, 4096), (257, 4096, 4096))],
)
def test_a_row_more_never_saves_time(
    less: tuple[float, float, float], more: tuple[float, float, float]
):
    assert seconds(*more) >= seconds(*less)


def test_halves_of_a_ragged_product_are_no_faster():
    assert seconds(258, 128, 4096, cores=2.0) <= 2 * seconds(129, 128, 4096, cores=2.0)
