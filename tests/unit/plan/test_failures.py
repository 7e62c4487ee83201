from dataclasses import asdict, fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mynah.config import dump_toml, parse_config
from mynah.errors import ConfigError
from mynah.plan.failures import (
    CAUSES,
    PUBLISHED_RATES,
    PUBLISHED_RECOVERIES,
    FailureConfig,
    failures_without,
    mean_time_to_interrupt_h,
    spread_of,
)
from mynah.plan.ranges import Range


def parse(**values: object) -> FailureConfig:
    return parse_config(FailureConfig, values, source="a test")


def test_causes_add_up_to_the_interruptions_of_llama_3():
    assert sum(cause.count for cause in CAUSES) == 419
    assert FailureConfig().node_share == pytest.approx(0.766, abs=0.001)
    assert FailureConfig().stops_all_share == pytest.approx(0.134, abs=0.001)


def test_rates_lie_where_clusters_differ_by_an_order_of_magnitude():
    assert all(1e-5 < one.value < 1e-4 for one in PUBLISHED_RATES)
    found = FailureConfig().failures_per_accelerator_hour
    assert found == spread_of(PUBLISHED_RATES)
    assert found.high > 3 * found.low


def test_every_published_figure_says_where():
    for one in (*PUBLISHED_RATES, *PUBLISHED_RECOVERIES):
        assert one.source
        assert len(one.where) > len(one.source)


@pytest.mark.parametrize("source", [one.source for one in PUBLISHED_RATES])
def test_a_source_that_is_left_out_has_no_say(source: str):
    left = [one for one in PUBLISHED_RATES if one.source != source]
    assert failures_without(source).failures_per_accelerator_hour == spread_of(left)
    assert spread_of(left) != spread_of(PUBLISHED_RATES)


def test_nothing_left_out_is_the_defaults():
    assert failures_without("") == FailureConfig()


def test_detection_and_restart_are_the_published_recovery():
    config, published = FailureConfig(), spread_of(PUBLISHED_RECOVERIES)
    both = config.detection_s.plus(config.restart_s)
    assert both.middle == pytest.approx(published.middle)
    assert both.high == pytest.approx(published.high)


def test_a_recipe_sets_a_number_or_a_range():
    config = parse(restart_s=300, repair_h={"low": 2, "middle": 4, "high": 8})
    assert config.restart_s == Range.exactly(300.0)
    assert config.repair_h == Range(low=2, middle=4, high=8)


def test_a_config_survives_toml():
    text = dump_toml(FailureConfig())
    assert "[failures_per_accelerator_hour]" in text
    assert parse(**asdict(FailureConfig())) == FailureConfig()


@pytest.mark.parametrize(
    "value",
    [
        -1,
        {"low": 3, "middle": 2, "high": 4},
        {"low": 0, "middle": 1, "high": float("inf")},
        {"low": float("nan"), "middle": 1, "high": 2},
        {"low": 1, "middle": 2, "high": 3, "top": 4},
        {"low": 1, "high": 3},
        "often",
        True,
    ],
)
def test_a_range_that_is_none_is_refused(value: object):
    with pytest.raises(ConfigError, match="restart_s"):
        parse(restart_s=value)


@pytest.mark.parametrize("name", ["node_share", "stops_all_share"])
def test_a_share_over_one_is_refused(name: str):
    with pytest.raises(ConfigError, match=name):
        parse(**{name: 1.1})


def test_an_unknown_field_is_refused():
    with pytest.raises(ConfigError, match="mood"):
        parse(mood=1)


def test_every_field_can_be_set():
    assert {field.name for field in fields(FailureConfig)} == set(asdict(FailureConfig()))


def test_planned_stops_interrupt_too():
    config = parse(failures_per_accelerator_hour=1e-5, planned_per_day=2.4)
    assert mean_time_to_interrupt_h(config, 10_000).middle == pytest.approx(1 / (0.1 + 0.1))


def test_what_never_fails_runs_for_ever():
    config = parse(failures_per_accelerator_hour=0, planned_per_day=0)
    assert mean_time_to_interrupt_h(config, 10_000) == Range.exactly(float("inf"))


@settings(deadline=None)
@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_more_accelerators_are_interrupted_sooner(one: int, more: int):
    config = FailureConfig()
    few, many = sorted((one, more))
    assert (
        mean_time_to_interrupt_h(config, many).middle
        <= mean_time_to_interrupt_h(config, few).middle
    )
