import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mynah.errors import ConfigError
from mynah.plan.checkpointing import CheckpointCost, daly_interval_s, expected_goodput
from mynah.plan.failures import FailureConfig
from mynah.plan.goodput import (
    LOSSES,
    Goodput,
    PlannedRun,
    best_interval_s,
    run_goodput,
    spares_to_hold,
)
from mynah.plan.ranges import Range

RATE = 2e-5
MTTI_S = 18_000
"""Of 10,000 accelerators at that rate."""

KNOWN = FailureConfig(
    failures_per_accelerator_hour=Range.exactly(RATE),
    planned_per_day=Range.exactly(0.0),
    detection_s=Range.exactly(100.0),
    restart_s=Range.exactly(300.0),
    group_stall_s=Range.exactly(20.0),
    repair_h=Range.exactly(24.0),
)
"""Everything is known, so that only chance is left."""
RUN = PlannedRun(num_accelerators=10_000, days=30)


def cost(
    stall_s: float = 30.0, write_s: float | None = None, read_s: float = 0.0
) -> CheckpointCost:
    return CheckpointCost(
        size_bytes=1e12,
        stall_s=Range.exactly(stall_s),
        write_s=Range.exactly(stall_s if write_s is None else write_s),
        read_s=Range.exactly(read_s),
    )


def play(failures: FailureConfig = KNOWN, run: PlannedRun = RUN, **others: float) -> Goodput:
    return run_goodput(failures, cost(), run, **({"interval_s": 1_000, "num_trials": 100} | others))


def known_rate(rate: float) -> FailureConfig:
    return replace(KNOWN, failures_per_accelerator_hour=Range.exactly(rate))


def lost_h(found: Goodput) -> float:
    return sum(hours.middle for hours in found.lost_h.values())


def one_trial(failures: FailureConfig = KNOWN, run: PlannedRun = RUN, seed: int = 0) -> Goodput:
    return run_goodput(failures, cost(20, 80, 60), run, interval_s=1_000, num_trials=1, seed=seed)


# Beside the analytic law


@pytest.mark.parametrize("interval_s", [300, 1_000, 3_000])
@pytest.mark.parametrize("recovery_s", [400, 3_600])
def test_a_blocking_run_follows_the_exact_law(interval_s: float, recovery_s: float):
    failures = replace(KNOWN, restart_s=Range.exactly(recovery_s - 100))
    found = run_goodput(failures, cost(), RUN, interval_s=interval_s, num_trials=150)
    expected = expected_goodput(interval_s, stall_s=30, recovery_s=recovery_s, mtti_s=MTTI_S)
    assert found.goodput.middle == pytest.approx(expected, abs=0.003)


@pytest.mark.parametrize("stall_s", [5.0, 30.0])
def test_the_best_interval_is_dalys(stall_s: float):
    daly_s = daly_interval_s(stall_s, MTTI_S)
    found_s = best_interval_s(KNOWN, cost(stall_s), RUN, near_s=daly_s, num_trials=60)
    assert found_s == pytest.approx(daly_s, rel=0.06)


def test_the_search_need_not_begin_at_the_best():
    daly_s = daly_interval_s(30, MTTI_S)
    found_s = best_interval_s(KNOWN, cost(), RUN, near_s=2 * daly_s, num_trials=60)
    assert found_s == pytest.approx(daly_s, rel=0.1)


def test_failures_are_as_many_as_the_rate_says():
    expected = RATE * 10_000 * 30 * 24
    found = play()
    assert found.num_failures.middle == pytest.approx(expected, rel=0.03)
    spread = (found.num_failures.high - found.num_failures.low) / 2 / 1.28
    assert spread == pytest.approx(expected**0.5, rel=0.3)


def test_early_failures_come_on_top():
    failures = replace(KNOWN, early_factor=5.0, early_days=3.0)
    expected = RATE * 10_000 * 24 * (30 + 4 * 3)
    assert play(failures).num_failures.middle == pytest.approx(expected, rel=0.03)


def test_saving_in_the_background_loses_what_is_not_yet_written():
    early = run_goodput(KNOWN, cost(20, 20), RUN, interval_s=1_000, num_trials=200)
    late = run_goodput(KNOWN, cost(20, 620), RUN, interval_s=1_000, num_trials=200)
    more_h = late.lost_h["lost_work"].middle - early.lost_h["lost_work"].middle
    assert more_h == pytest.approx(early.num_failures.middle * 600 / 3_600, rel=0.1)


def test_a_save_that_takes_longer_than_the_interval_delays_the_next():
    found = run_goodput(KNOWN, cost(20, 2_020), RUN, interval_s=100, num_trials=100)
    worked_h = 720 * found.goodput.middle + found.lost_h["lost_work"].middle
    share = found.lost_h["saving"].middle / worked_h
    assert share == pytest.approx(20 / 2_000, rel=0.05)


# What a run loses


@pytest.mark.parametrize("num_groups", [1, 2, 16])
@pytest.mark.parametrize("seed", range(5))
def test_every_hour_is_booked_once(num_groups: int, seed: int):
    failures = replace(KNOWN, planned_per_day=Range.exactly(2.0))
    run = replace(RUN, num_groups=num_groups, num_spare_nodes=2)
    found = one_trial(failures, run, seed)
    hours = 24 * run.days
    assert found.goodput.middle * hours + lost_h(found) == pytest.approx(hours)
    assert set(found.lost_h) == set(LOSSES)
    assert all(one.low >= 0 for one in found.lost_h.values())


def test_a_run_without_failures_only_saves():
    found = play(known_rate(0.0))
    assert found.goodput.middle == pytest.approx(1_000 / 1_030)
    assert found.num_failures.high == 0
    assert found.spares_to_hold == 0


def test_planned_stops_lose_no_work():
    failures = replace(known_rate(0.0), planned_per_day=Range.exactly(5.0))
    found = play(failures)
    assert found.lost_h["lost_work"].high == 0
    assert found.lost_h["planned"].middle == pytest.approx(5 * 30 * 330 / 3_600, rel=0.05)


def test_one_group_that_restarts_in_no_time_still_goes_back():
    failures = replace(KNOWN, detection_s=Range.exactly(0.0), restart_s=Range.exactly(0.0))
    assert play(failures).lost_h["lost_work"].low > 0


def test_a_run_beyond_hope_gets_nothing_done():
    found = play(known_rate(1e-2), num_trials=10)
    assert found.goodput.high < 0.01
    assert found.num_failures.middle == pytest.approx(1e-2 * 10_000 * 720, rel=0.02)
    assert found.days_for(1).low > 100


# Spare nodes


def test_without_spares_a_run_waits_for_every_repair():
    none = play(run=replace(RUN, num_spare_nodes=0))
    enough = play()
    assert enough.lost_h["waiting"].middle == 0
    assert none.lost_h["waiting"].middle > 300
    assert none.goodput.high < enough.goodput.low


def test_in_95_percent_of_runs_nobody_waits():
    enough = spares_to_hold(KNOWN, RUN)
    others = {"interval_s": 1_000, "num_trials": 400, "seed": 7}
    calm = run_goodput(KNOWN, cost(), replace(RUN, num_spare_nodes=enough), **others)
    short = run_goodput(KNOWN, cost(), replace(RUN, num_spare_nodes=enough - 4), **others)
    assert calm.lost_h["waiting"].high == 0
    assert short.lost_h["waiting"].high > 0


def test_nodes_in_repair_follow_littles_law():
    """3.7 nodes are away on average, Poisson; the peak of 30 days lies above."""
    assert 8 <= spares_to_hold(KNOWN, RUN) <= 16
    assert spares_to_hold(replace(KNOWN, repair_h=Range.exactly(0.0)), RUN) <= 1
    assert spares_to_hold(replace(KNOWN, node_share=0.0), RUN) == 0


# Groups


def test_many_groups_beat_a_restart_of_the_world():
    whole, groups = play(), play(run=replace(RUN, num_groups=32))
    assert groups.goodput.low > whole.goodput.high
    assert groups.num_failures.middle == pytest.approx(whole.num_failures.middle, rel=0.05)


def test_groups_that_stall_each_other_for_long_are_no_gain():
    failures = replace(KNOWN, group_stall_s=Range.exactly(2_000.0))
    groups = play(failures, replace(RUN, num_groups=32))
    assert groups.goodput.high < play().goodput.low


def test_only_what_stops_all_groups_loses_work():
    failures = replace(KNOWN, stops_all_share=0.0)
    groups = play(failures, replace(RUN, num_groups=32))
    assert groups.lost_h["lost_work"].high == 0
    every = play(replace(KNOWN, stops_all_share=1.0), replace(RUN, num_groups=32))
    assert every.goodput.middle == pytest.approx(play().goodput.middle, abs=0.005)


def test_a_dead_group_costs_its_share():
    failures = replace(KNOWN, stops_all_share=0.0, group_stall_s=Range.exactly(0.0))
    found = play(failures, replace(RUN, num_groups=10))
    down_h = found.lost_h["detection"].middle + found.lost_h["restart"].middle
    assert down_h == pytest.approx(found.num_failures.middle * 400 / 3_600 / 10, rel=0.02)


# Ranges and seeds


def test_the_same_seed_is_the_same_run():
    assert play(seed=3) == play(seed=3)
    assert play(seed=3) != play(seed=4)


def test_what_nobody_knows_widens_the_range():
    known = play().goodput
    unknown = play(FailureConfig()).goodput
    assert unknown.high - unknown.low > 3 * (known.high - known.low)


def test_a_range_is_drawn_with_its_own_percentiles():
    rate = Range(low=1e-5, middle=2e-5, high=8e-5)
    found = run_goodput(
        replace(KNOWN, failures_per_accelerator_hour=rate),
        cost(),
        RUN,
        interval_s=1_000,
        num_trials=600,
    ).num_failures
    for drawn, given_ in zip(
        (found.low, found.middle, found.high), (rate.low, rate.middle, rate.high), strict=True
    ):
        assert drawn == pytest.approx(given_ * 10_000 * 720, rel=0.1)


def test_a_result_goes_to_machines():
    found = play()
    told = json.loads(json.dumps(found.to_json()))
    assert told["goodput"]["middle"] == found.goodput.middle
    assert told["lost_h"]["saving"]["low"] == found.lost_h["saving"].low
    assert told["run"]["num_spare_nodes"] == "enough"
    assert told["num_spare_nodes"] == found.spares_to_hold


@settings(max_examples=10, deadline=None)
@given(st.floats(1e-6, 5e-5), st.floats(1.5, 5), st.integers(1, 8))
def test_goodput_falls_with_the_rate(rate: float, factor: float, num_groups: int):
    run = replace(RUN, num_groups=num_groups, days=5)
    often = play(known_rate(rate * factor), run, num_trials=40)
    seldom = play(known_rate(rate), run, num_trials=40)
    assert often.goodput.middle <= seldom.goodput.middle + 0.002


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 100_000), st.integers(16, 64), st.integers(0, 3))
def test_many_groups_are_never_worse(num_accelerators: int, num_groups: int, seed: int):
    whole = PlannedRun(num_accelerators=max(num_accelerators, num_groups), days=10)
    groups = replace(whole, num_groups=num_groups)
    alone = play(run=whole, seed=seed, num_trials=40)
    many = play(run=groups, seed=seed, num_trials=40)
    assert many.goodput.middle >= alone.goodput.middle - 0.002


# Bad input


@pytest.mark.parametrize(
    ("run", "what"),
    [
        (replace(RUN, num_accelerators=0), "accelerators"),
        (replace(RUN, num_accelerators=-8), "accelerators"),
        (replace(RUN, days=0.0), "days"),
        (replace(RUN, days=float("nan")), "days"),
        (replace(RUN, days=1e9), "days"),
        (replace(RUN, num_groups=0), "groups"),
        (replace(RUN, num_groups=10_001), "groups"),
        (replace(RUN, num_spare_nodes=-1), "spare nodes"),
    ],
)
def test_what_cannot_be_played_is_refused(run: PlannedRun, what: str):
    with pytest.raises(ConfigError, match=what) as caught:
        play(run=run)
    assert caught.value.hint


@pytest.mark.parametrize("interval_s", [0, -1, float("inf"), float("nan")])
def test_an_interval_that_is_none_is_refused(interval_s: float):
    with pytest.raises(ConfigError, match="between saves"):
        run_goodput(KNOWN, cost(), RUN, interval_s=interval_s)


def test_no_trials_are_refused():
    with pytest.raises(ConfigError, match="trials"):
        run_goodput(KNOWN, cost(), RUN, interval_s=100, num_trials=0)
