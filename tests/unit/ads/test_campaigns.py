"""What a campaign may be, and money that is exact."""

from typing import Any

import pytest

from mynah.ads import format_money, parse_money
from mynah.errors import RequestError

from .conftest import draft


def test_texts_and_keywords_are_tidied() -> None:
    tidy = draft(title="  Jobs \n board ", keywords=("Jobs", "job", " middle  class "))
    assert tidy.title == "Jobs board"
    assert tidy.keywords == ("Jobs", "middle class")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": " "}, "the title has 0 characters, expected 1 to 80"),
        ({"title": "x" * 81}, "the title has 81 characters"),
        ({"text": "x" * 281}, "the text has 281 characters"),
        ({"text": "bell\x07"}, "the text holds a control character"),
        ({"title": "flip\u202eped"}, "the title holds a control character"),
        ({"keywords": ()}, "there are 0 keywords"),
        ({"keywords": tuple(f"word{n}" for n in range(21))}, "there are 21 keywords"),
        ({"keywords": ("?!",)}, "has no word in it"),
        ({"bid_micros": 9_999}, "the bid is 0.009999, expected 0.01"),
        ({"budget_micros": 199_999}, "the budget is 0.199999, expected 0.20"),
        ({"budget_micros": 10**16}, "the budget is 10,000,000,000.00"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        draft(**changes)
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "JAVASCRIPT:alert(1)",
        " java\tscript:alert(1)",
        "data:text/html,x",
        "//example.org",
        "example.org",
        "ftp://example.org",
        "https://",
        "https:///path",
        "https://example.org:99999/",
        "https://[::1",
        "https://bank.example@evil.example/",
        "https://example.org/a b",
        'https://example.org/"onload=x',
        "https://example.org/" + "x" * 2_000,
        "",
    ],
)
def test_a_link_that_is_no_web_address_is_refused(link: str) -> None:
    with pytest.raises(RequestError, match="the link"):
        draft(link=link)


@pytest.mark.parametrize(
    "link", ["http://example.org", "https://example.org:8443/a?b=c#d", "HTTPS://example.org/%20"]
)
def test_web_addresses_are_taken(link: str) -> None:
    assert draft(link=f" {link} ").link == link


@pytest.mark.parametrize(
    ("text", "micros", "written"),
    [
        ("2.50", 2_500_000, "2.50"),
        (" 0.000001 ", 1, "0.000001"),
        ("1e3", 1_000_000_000, "1,000.00"),
        ("0", 0, "0.00"),
        ("0.1", 100_000, "0.10"),
    ],
)
def test_money_is_exact(text: str, micros: int, written: str) -> None:
    assert parse_money(text, name="bid") == micros
    assert format_money(micros) == written


@pytest.mark.parametrize("text", ["", "abc", "-1", "0.0000001", "NaN", "Infinity", "1e30", "1,5"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="the bid is"):
        parse_money(text, name="the bid")


def test_debts_are_written_with_a_sign() -> None:
    assert format_money(-1_500_000) == "-1.50"
