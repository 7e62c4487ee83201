"""Figures of a plan: short, with their range, every digit on hover."""

from dataclasses import replace

import pytest
from tests.fakes.small_plan import small_plan

from mynah.plan.ranges import Range
from mynah.plan.shapes import Sparsity, shape_near_active
from mynah.plan.wording import count_words
from mynah.web.pages.plan_figures import headline
from mynah.web.pages.plan_wording import (
    Figure,
    days_words,
    money_words,
    percent,
    seconds_words,
    span_words,
)


@pytest.mark.parametrize(
    ("value", "words"),
    [(6.1e12, "6.1T"), (70e9, "70B"), (405.8e9, "406B"), (1.24e9, "1.24B"), (999.9e6, "1B"),
     (135e6, "135M"), (11_240, "11.2k"), (999, "999"), (0, "0")],
)  # fmt: skip
def test_counts(value: float, words: str) -> None:
    assert count_words(value) == words


def test_money() -> None:
    assert [money_words(usd) for usd in (104.4e6, 2.1e6, 1.05e9, 27_952, 3.5)] == [
        "$104 M", "$2.1 M", "$1.05 B", "$27,952", "$3.50",
    ]  # fmt: skip


def test_times() -> None:
    assert [days_words(days) for days in (90, 6.61, 1.125, 0.02)] == [
        "90 days", "6.6 days", "27.0 h", "29 min",
    ]  # fmt: skip
    assert [seconds_words(s) for s in (0.35, 26.7, 480, 10_000)] == [
        "350 ms", "26.7 s", "8 min", "2.8 h",
    ]  # fmt: skip


def test_shares_have_a_digit_more_where_it_counts() -> None:
    assert [percent(share) for share in (0.935, 0.42, 0.006)] == ["93.5 %", "42 %", "1 %"]


def test_a_figure_that_is_known_has_no_range() -> None:
    assert span_words(Range.exactly(90), days_words) == ""
    assert span_words(Range(low=61.4e6, middle=105e6, high=180e6), money_words) == (
        "$61.4 M to $180 M"
    )


def test_the_exact_value_is_there_on_hover() -> None:
    figure = Figure(name="Money", value=Range(low=61_405_714.3, middle=104_821_877.7, high=1.8e8),
                    words=money_words, meaning="The whole bill", unit="USD")  # fmt: skip
    assert figure.exact == "The whole bill: 104,821,878 USD, 61,405,714 to 180,000,000"
    known = replace(figure, value=Range.exactly(3.5))
    assert known.exact == "The whole bill: 3.5 USD"


def test_the_headline_says_what_can_be_trained() -> None:
    outline = replace(small_plan().outline, tokens=Range.exactly(6.1e12))
    assert headline(replace(outline, all_weights=210_000_000_000)) == (
        "A 210B model on 6.1T tokens"
    )
    for weights, article in (
        (8.4e9, "An"),
        (11e9, "An"),
        (110e9, "A"),
        (18.2e9, "An"),
        (85e9, "An"),
    ):
        assert headline(replace(outline, all_weights=int(weights))).startswith(f"{article} ")


def test_idle_experts_are_told_apart() -> None:
    shape = shape_near_active(3e9, vocab_size=32_000, max_context_tokens=8192, sparsity=Sparsity())
    outline = replace(
        small_plan().outline, shape=shape, all_weights=30 * 10**9, active_weights=3 * 10**9
    )
    assert headline(outline).startswith("A 30B model (3B active) on ")
