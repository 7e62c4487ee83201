from pathlib import Path

import pytest

from mynah.config import dump_toml, load_config
from mynah.errors import ConfigError
from mynah.record.thresholds import (
    THRESHOLDS,
    RecordConfig,
    Threshold,
    crossed,
    format_flop,
    parse_flop,
    warnings,
)

EU_SYSTEMIC = 10**25


@pytest.mark.parametrize(
    ("text", "flop"),
    [
        ("2.1e25", 21 * 10**24),
        ("1e23", 10**23),
        ("1E+26", 10**26),
        ("0", 0),
        ("12.50e1", 125),
        ("1.000", 1),
        ("00012", 12),
        ("1234567890123456789012345678901234567891", 1234567890123456789012345678901234567891),
        ("9.999999999999999999999999999999999999999e39", 10**40 - 1),
    ],
)
def test_flop_are_read_exactly(text: str, flop: int):
    assert parse_flop(text) == flop


@pytest.mark.parametrize(
    "text",
    [
        *("-1", "NaN", "inf", "1e40", "1e999", "1e99999999", "1.5", "1e-3", "", " 1", "1_000"),
        *("0x10", "2,1e25", "\u0661", "1" * 41, "1e", "."),
    ],
)
def test_what_is_no_amount_of_flop_is_refused_at_once(text: str):
    with pytest.raises(ConfigError, match="FLOP"):
        parse_flop(text)


def test_flop_are_shown_with_three_digits():
    assert [format_flop(n) for n in (None, 999, 21 * 10**24)] == ["unknown", "999", "2.10e25"]


def test_the_default_thresholds_are_those_of_the_law_and_name_their_sources():
    assert [one.amount for one in THRESHOLDS] == [10**23, 10**25, 21 * 10**24, 10**26]
    assert all(len(one.source) > 10 for one in THRESHOLDS)


def test_a_threshold_is_crossed_by_more_than_its_number():
    names = [one.name for one in crossed(EU_SYSTEMIC)]
    assert names == ["general-purpose model (EU)"]
    assert len(crossed(EU_SYSTEMIC + 1)) == 2
    assert crossed(None) == ()


def test_a_run_is_warned_before_it_crosses():
    [low, high] = warnings(10**22, 85 * 10**23)
    assert (low.is_crossed, low.threshold.amount) == (True, 10**23)
    assert (high.is_crossed, high.percent, high.threshold.amount) == (False, 80, EU_SYSTEMIC)
    assert "8.50e24 FLOP, lineage included, reaches 80% of 1e25" in str(high)


def test_what_was_passed_before_is_not_said_again():
    assert warnings(85 * 10**23, 9 * 10**24) == ()
    assert [one.percent for one in warnings(9 * 10**24, 10**25 + 1)] == [100]
    assert warnings(10**25 + 1, 10**25 + 2) == ()


def test_the_highest_mark_alone_is_said():
    thresholds = (Threshold(name="t", flop="1000", source="test"),)
    shares = [
        [one.percent for one in warnings(0, total, thresholds)] for total in (499, 500, 800, 1000)
    ]
    assert shares == [[], [50], [80], [80]]
    assert [one.percent for one in warnings(0, 100, thresholds, at_percent=(5, 10))] == [10]


def test_of_an_unknown_lineage_nothing_is_told():
    assert warnings(None, 10**27) == warnings(0, None) == ()


def test_thresholds_come_from_the_settings(tmp_path: Path):
    path = tmp_path / "record.toml"
    path.write_text(
        "warn_at_percent = [90]\n"
        '[thresholds."house rule"]\nflop = "2.5e20"\nsource = "our board, 2026"\n'
    )
    config = load_config(RecordConfig, path)
    [threshold] = config.named_thresholds()
    assert (threshold.name, threshold.amount) == ("house rule", 25 * 10**19)
    assert config.warn_at_percent == (90,)


def test_the_settings_are_written_as_they_are_read(tmp_path: Path):
    path = tmp_path / "record.toml"
    path.write_text(dump_toml(RecordConfig()))
    assert load_config(RecordConfig, path) == RecordConfig()
    found = load_config(RecordConfig, path).named_thresholds()
    assert [one.amount for one in found] == sorted(one.amount for one in THRESHOLDS)


@pytest.mark.parametrize("flop", ['"-1"', '"1e41"', "5"])
def test_a_wrong_threshold_in_the_settings_is_refused(tmp_path: Path, flop: str):
    path = tmp_path / "record.toml"
    path.write_text(f"[thresholds.x]\nflop = {flop}\nsource = 'y'\n")
    with pytest.raises(ConfigError):
        load_config(RecordConfig, path)
