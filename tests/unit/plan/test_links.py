from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.plan.setup_of import setups_with

from mynah.plan.constants import CALIBRATED
from mynah.plan.links import Links

PERFECT = replace(CALIBRATED, scale_up=1.0, scale_out=1.0)
"""Collectives that reach the whole rate of the links."""
UP, CARD = 450e9, 50e9
"""Bytes a second of the machine: inside its domain of 8, and through one network card."""

sizes = st.integers(1, 4096).map(float)
inners = st.sampled_from([1.0, 2.0, 4.0, 8.0, 16.0])


def links_of(**machine: float) -> Links:
    return Links(setups_with(**machine).machines, PERFECT)


def ring(size: float, inner: float = 1, **machine: float) -> float:
    return float(links_of(**machine).ring_bytes_per_s(*arrays(size, inner))[0])


def single(size: float, inner: float = 1, **machine: float) -> float:
    return float(links_of(**machine).single_bytes_per_s(*arrays(size, inner))[0])


def gather(num_bytes: float, size: float, inner: float = 1, **machine: float) -> float:
    return float(links_of(**machine).gather_s(*arrays(num_bytes, size, inner))[0])


def arrays(*values: float) -> list[np.ndarray]:
    return [np.array([float(value)]) for value in values]


@settings(deadline=None)
@given(st.floats(0, 1e12), inners)
def test_one_rank_has_nothing_to_send(num_bytes: float, inner: float):
    assert gather(num_bytes, 1, inner) == 0


def test_a_ring_inside_a_domain_has_its_rate():
    assert ring(8) == pytest.approx(UP)
    assert ring(2, 4) == pytest.approx(UP)


def test_a_ring_beyond_it_has_that_of_all_network_cards_it_passes():
    assert ring(16) == pytest.approx(8 * CARD)
    assert ring(16, 4) == pytest.approx(2 * CARD)
    assert ring(16, 8) == pytest.approx(CARD)
    assert ring(16, 16) == pytest.approx(CARD)


def test_good_cards_do_not_make_a_ring_faster_than_the_domain():
    assert ring(64, nic_bytes_per_s=1e12) == pytest.approx(UP)


def test_a_rank_by_itself_has_one_card():
    assert single(16) == pytest.approx(CARD)
    assert single(8) == pytest.approx(UP)


def test_a_rack_that_is_one_domain_needs_no_network():
    assert ring(64, scale_up_size=72) == pytest.approx(UP)
    assert ring(16, 64, scale_up_size=72) < UP


@settings(deadline=None)
@given(st.floats(1e3, 1e11), sizes, inners)
def test_more_ranks_never_take_less_time(num_bytes: float, size: float, inner: float):
    assert gather(num_bytes, size + 1, inner) >= gather(num_bytes, size, inner) * (1 - 1e-9)


@settings(deadline=None)
@given(st.floats(0, 1e11), sizes.filter(lambda size: size > 1), inners)
def test_nothing_is_faster_than_the_links(num_bytes: float, size: float, inner: float):
    took_s, moved = gather(num_bytes, size, inner), num_bytes * (1 - 1 / size)
    assert took_s > moved / UP
    assert single(size, inner) <= ring(size, inner) <= UP


def test_a_large_ring_moves_all_of_the_bytes_and_a_pair_half():
    inside = {"scale_up_size": 1e4}
    pair, many = gather(1e12, 2, **inside), gather(1e12, 1000, **inside)
    assert many / pair == pytest.approx(2 * 999 / 1000, rel=0.02)


def test_small_messages_cost_a_trip():
    assert gather(0, 2) > 0
    assert gather(2, 8) == pytest.approx(gather(1, 8), rel=1e-3)


@settings(deadline=None)
@given(sizes, inners, st.sampled_from([64.0, 512.0]), st.floats(1, 8))
def test_oversubscription_slows_only_who_leaves_the_pod(
    size: float, inner: float, pod_size: float, times: float
):
    plain = single(size, inner)
    slowed = single(size, inner, pod_size=pod_size, oversubscription=times)
    if size * inner <= pod_size:
        assert slowed == plain
        assert ring(size, inner, pod_size=pod_size, oversubscription=times) == ring(size, inner)
    else:
        assert slowed == pytest.approx(plain / times)


def test_a_fabric_without_a_bottleneck_has_no_pods():
    assert ring(4096, oversubscription=4) == ring(4096)


@settings(deadline=None)
@given(st.floats(0.4, 1.0), sizes, inners)
def test_what_collectives_reach_scales_them(share: float, size: float, inner: float):
    less = Links(setups_with().machines, replace(PERFECT, scale_up=share, scale_out=share))
    rate = less.ring_bytes_per_s(*arrays(size, inner))[0]
    assert rate == pytest.approx(share * ring(size, inner))
