import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mynah.config import parse_config
from mynah.errors import ConfigError
from mynah.plan.checkpointing import (
    StorageConfig,
    checkpoint_bytes,
    checkpoint_cost,
    daly_interval_s,
    expected_goodput,
    first_order_goodput,
    planned_interval_s,
    young_interval_s,
)
from mynah.plan.ranges import Range

SPEED = Range(low=0.05, middle=0.1, high=0.2)


def storage(**values: object) -> StorageConfig:
    given_ = {"gb_per_s_per_accelerator": 0.1, "overhead_s": 5} | values
    return parse_config(StorageConfig, given_, source="a test")


def best_by_search(stall_s: float, mtti_s: float) -> float:
    """The interval of the highest exact goodput, by going through them."""
    intervals = [mtti_s * 1.01**power / 1e4 for power in range(1_400)]
    return max(
        intervals,
        key=lambda one: expected_goodput(one, stall_s=stall_s, recovery_s=0, mtti_s=mtti_s),
    )


def test_a_checkpoint_is_a_weight_and_two_moments():
    assert checkpoint_bytes(1_000) == 12_000
    # BLOOM keeps a 16-bit copy as well, and says 2.3 TB.
    assert checkpoint_bytes(176_247_271_424, bytes_per_weight=14) == pytest.approx(2.3e12, rel=0.08)


def test_blocking_saves_take_as_long_as_writing():
    cost = checkpoint_cost(1e12, storage(is_async=False), num_accelerators=100)
    assert cost.stall_s == cost.write_s == Range.exactly(5 + 100.0)
    assert cost.read_s == Range.exactly(100.0)


def test_saves_in_the_background_stop_training_for_the_copy():
    cost = checkpoint_cost(1e12, storage(copy_gb_per_s=10), num_accelerators=100)
    assert cost.stall_s == Range.exactly(5 + 1.0)
    assert cost.write_s == Range.exactly(6 + 100.0)


def test_the_storage_bounds_what_many_write():
    cost = checkpoint_cost(1e12, storage(storage_gb_per_s=5), num_accelerators=100)
    assert cost.read_s == Range.exactly(200.0)


def test_slow_storage_is_the_high_end():
    cost = checkpoint_cost(
        1e12,
        storage(gb_per_s_per_accelerator={"low": 0.05, "middle": 0.1, "high": 0.2}),
        num_accelerators=100,
    )
    assert cost.read_s == Range(low=50, middle=100, high=200)


def test_a_cost_goes_to_machines():
    cost = checkpoint_cost(1e12, storage(), num_accelerators=100)
    assert cost.to_json()["read_s"] == {"low": 100, "middle": 100, "high": 100}


def test_storage_that_takes_nothing_is_refused():
    with pytest.raises(ConfigError, match="never finishes"):
        checkpoint_cost(1e12, storage(gb_per_s_per_accelerator=0), num_accelerators=1)
    with pytest.raises(ConfigError, match="storage_gb_per_s"):
        storage(storage_gb_per_s=0)


def test_young_by_hand():
    assert young_interval_s(50, 10_000) == 1_000


@pytest.mark.parametrize("stall_s", [1, 10, 100, 1_000])
def test_daly_is_the_optimum_of_the_exact_law(stall_s: float):
    mtti_s = 10_000
    assert daly_interval_s(stall_s, mtti_s) == pytest.approx(
        best_by_search(stall_s, mtti_s), rel=0.02
    )


def test_young_and_daly_agree_where_saving_is_quick():
    assert daly_interval_s(1, 1e6) == pytest.approx(young_interval_s(1, 1e6), rel=0.001)


def test_daly_of_a_save_that_outlasts_the_machine():
    assert daly_interval_s(500, 200) == 200


def test_a_save_is_finished_before_the_next_begins():
    slow = checkpoint_cost(1e12, storage(overhead_s=0.01), num_accelerators=1)
    assert planned_interval_s(slow, mtti_s=1_000) == pytest.approx(10_000)
    quick = checkpoint_cost(1e9, storage(), num_accelerators=1_000)
    assert planned_interval_s(quick, mtti_s=1e5) == daly_interval_s(quick.stall_s.middle, 1e5)


def test_first_order_by_hand():
    found = first_order_goodput(1_000, stall_s=10, recovery_s=500, mtti_s=100_000)
    assert found == pytest.approx(1 - 0.01 - 0.01)


@settings(deadline=None)
@given(st.floats(100, 2_000), st.floats(0, 10), st.floats(0, 1_000), st.floats(2e5, 1e7))
def test_first_order_is_exact_where_failures_are_rare(
    interval_s: float, stall_s: float, recovery_s: float, mtti_s: float
):
    known = {"stall_s": stall_s, "recovery_s": recovery_s, "mtti_s": mtti_s}
    exact = expected_goodput(interval_s, **known)
    lost = stall_s / interval_s + (interval_s / 2 + recovery_s) / mtti_s
    assert first_order_goodput(interval_s, **known) == pytest.approx(exact, abs=2 * lost**2 + 1e-9)


def test_a_machine_that_always_fails_gets_nothing_done():
    assert expected_goodput(1e6, stall_s=1, recovery_s=1, mtti_s=1) < 1e-100
    assert math.isfinite(expected_goodput(1e9, stall_s=1, recovery_s=1e9, mtti_s=1))
