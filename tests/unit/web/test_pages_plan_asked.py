"""What is typed, the address and the command line ask for the same."""

import shlex
from urllib.parse import parse_qsl

import pytest

from mynah.errors import ConfigError
from mynah.plan.failures import RATE
from mynah.plan.ranges import Range
from mynah.web.pages.plan_asked import Asked, as_number, command_of, config_of


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("10,000", 10_000),
        ("10 000", 10_000),
        ("$2.5 M", 2.5e6),
        ("6.1T", 6.1e12),
        ("3b", 3e9),
        ("1.8e-5", 1.8e-5),
        (".5", 0.5),
        ("-3", -3),
        ("25 USD", 25),
    ],
)
def test_numbers_are_read_as_people_write_them(typed: str, value: float) -> None:
    assert as_number(typed, flag="--budget") == pytest.approx(value)


@pytest.mark.parametrize("typed", ["lots", "1e", "10 apples", "1.2.3", "nan", "inf", "9e999", "--"])
def test_what_is_no_number_is_refused_by_its_flag(typed: str) -> None:
    with pytest.raises(ConfigError, match="--budget") as caught:
        as_number(typed, flag="--budget")
    assert caught.value.hint


def test_an_address_keeps_every_field() -> None:
    asked = Asked(gpus="512", days="", budget="2e6", serve_tokens="10T", failure_rate="1e-5")
    again = Asked.of(dict(parse_qsl(asked.query, keep_blank_values=True)))
    assert again == asked


def test_an_address_may_name_a_part_of_it() -> None:
    assert Asked.of({}) == Asked()
    assert Asked.of({"gpus": "64"}) == Asked(gpus="64")
    assert Asked.of({"budget": "1e6"}) == Asked(days="", budget="1e6")
    assert Asked.of({"nonsense": "1", "gpus": " 8 "}) == Asked(gpus="8")


def test_fields_become_what_is_asked_of_the_planner() -> None:
    config = config_of(Asked(gpus="1,024", gpu="A100", days="", budget="$2 M", serve_tokens="10 T"))
    assert (config.gpus, config.gpu, config.days, config.usd) == (1024, "A100", None, 2e6)
    assert config.served_tokens == 1e13
    assert config.failures.failures_per_accelerator_hour == RATE


def test_a_rate_that_is_given_is_known() -> None:
    config = config_of(Asked(failure_rate="2e-5"))
    assert config.failures.failures_per_accelerator_hour == Range.exactly(2e-5)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Asked(gpus=""), "how many accelerators"),
        (Asked(gpus="1.5"), "--gpus is 1.5"),
        (Asked(gpus="1e400"), "--gpus"),
        (Asked(days="soon"), "--days is 'soon'"),
        (Asked(failure_rate="2"), "failures_per_accelerator_hour is 2"),
        (Asked(failure_rate="-1e-5"), "failures_per_accelerator_hour"),
    ],
)
def test_what_cannot_be_asked_is_refused(asked: Asked, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config_of(asked)


def test_the_command_asks_for_the_same() -> None:
    asked = Asked(gpus="10k", days="", budget="50 M", serve_tokens="1e13", failure_rate="1.8e-5")
    assert command_of(asked) == (
        "mynah plan run --gpus 10000 --gpu H100-SXM-80GB --budget 50000000 "
        "--serve-tokens 1e+13 --set failures.failures_per_accelerator_hour=1.8e-05"
    )


def test_a_name_cannot_break_out_of_the_command() -> None:
    words = shlex.split(command_of(Asked(gpu="H100; rm -rf /")))
    assert words[words.index("--gpu") + 1] == "H100; rm -rf /"
