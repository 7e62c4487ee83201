import pytest

from mynah.cli.amounts import amount_of, duration, link_rate, short, spread, whole_of
from mynah.errors import ConfigError
from mynah.plan.ranges import Range


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("15T", 15e12),
        ("300b", 300e9),
        ("2.5M", 2.5e6),
        ("10k", 10_000),
        ("10,000", 10_000),
        ("10_000", 10_000),
        (" 1e12 ", 1e12),
        (".5", 0.5),
        ("-3", -3),
    ],
)
def test_an_amount_is_read_as_people_write_it(text: str, value: float):
    assert amount_of("--tokens", "15T")(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "many", "inf", "nan", "1e400", "0x10", "1 2", "5%", "1,5"])
def test_what_is_no_number_is_refused_with_its_option(text: str):
    with pytest.raises(ConfigError, match="--tokens is") as caught:
        amount_of("--tokens", "15T")(text)
    assert "--tokens 15T" in caught.value.hint


def test_a_count_is_whole():
    assert whole_of("--gpus", "512")("1.5k") == 1500
    with pytest.raises(ConfigError, match="not a whole number"):
        whole_of("--gpus", "512")("2.5")


def test_rates_of_networks_are_bits_or_bytes():
    assert link_rate("50") == link_rate("50GB/s") == link_rate("400Gb/s") == link_rate("400gbps")
    for text in ("0", "fast", "-1", "400 MB/s"):
        with pytest.raises(ConfigError, match="no rate"):
            link_rate(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0, "0"), (0.0123, "0.0123"), (9.996, "10"), (42, "42"), (999.7, "1,000")),
        *((9936, "9,936"), (123_456, "123k"), (4.05e11, "405B"), (1.32e13, "13.2T")),
        *((9.999e11, "1T"), (float("inf"), "no end")),
    ],
)
def test_a_number_is_shown_short(value: float, text: str):
    assert short(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(6.3, "6.3 s"), (500, "8.33 min"), (17_640, "4.9 h"), (86_400 * 90, "90 days")],
)
def test_a_time_has_the_unit_that_people_would_take(seconds: float, text: str):
    assert duration(seconds) == text


def test_a_figure_that_is_known_has_no_spread():
    assert spread(Range.exactly(3.0), short) == ""
    assert spread(Range(low=1, middle=2, high=3), short) == "1 to 3"
