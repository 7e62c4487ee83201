import polars as pl
import pytest

from mynah.config import parse_config
from mynah.corpus.privacy import PERSONAL_KINDS, PrivacyConfig, redact
from mynah.corpus.privacy_patterns import has_luhn_digit, has_valid_iban_check
from mynah.errors import ConfigError


def redacted(*texts, **settings):
    column, _ = redact(pl.Series(texts), config=PrivacyConfig(**settings))
    return column.to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to first.last+news@mail.example.co.uk.", "write to [email]."),
        ("mailto:someone@example.org?", "mailto:[email]?"),
        ('"some one"@example.org or a@[192.0.2.1]', "[email] or [email]"),
        ("someone (at) example (dot) org", "[email]"),
        ("someone\uff20example.org", "[email]"),
        ("ring +49 30 1234567, or 0049-171-1234567", "ring [phone], or [phone]"),
        ("+44 (0)20 7946 0958", "[phone]"),
        ("(555) 223-4567 ext. 89", "[phone]"),
        ("06 12 34 56 78 / 06.12.34.56.78", "[phone] / [phone]"),
        ("030/1234567 und 0171-1234567", "[phone] und [phone]"),
        ("8 (912) 345-67-89", "[phone]"),
        ("call 555-1234 now", "call [phone] now"),
        ("\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669", "[phone]"),
        ("4111 1111 1111 1111 and 378282246310005", "[card] and [card]"),
        ("DE89 3704 0044 0532 0130 00, gb29nwbk60161331926819", "[iban], [iban]"),
        ("from 8.8.8.8:443 to 2001:db8::1", "from [ip]:443 to [ip]"),
    ],
)
def test_what_is_personal_is_replaced(text, expected):
    assert redacted(text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "on 01.02.2015 at 10:30, 2015-06-01 and 01/02/2015 10:30",
        "it ended 21-14, 3-0 and 100-1000",
        "1,234,567,890 people or 3.14159265358979",
        "it costs $1 555 123 4567 or 12.99",
        "post 1234567890123456789 has id 583920174652",
        "version 1.2.3.4 and v10.20.30.40 and 10.0.19045.1",
        "localhost is 127.0.0.1",
        "std::vector at 12:30:45, aa:bb:cc:dd:ee:ff",
        "@someone@social.example says hi to @another",
        "4111 1111 1111 1112",
        "section 2016-2017-2018",
    ],
)
def test_what_only_looks_like_it_stays(text):
    assert redacted(text) == [text]


def test_people_named_by_config_go_by_name_handle_and_address():
    found = redacted(
        "Ask some one of 12 Long Road,  Town - or @someone, not someone2",
        people=("Some One", "someone"),
        addresses=("12 Long Road, Town",),
    )
    assert found == ["Ask [name] of [address] - or [name], not someone2"]


def test_a_person_called_like_a_placeholder_changes_no_placeholder():
    settings = {"people": ("phone", "Name")}
    once = redacted("phone or +49 30 1234567", **settings)
    assert once == ["[name] or [phone]"]
    assert redacted(*once, **settings) == once


def test_mentions_go_only_when_asked():
    text = "thanks @someone and @someone@social.example"
    assert redacted(text) == [text]
    assert redacted(text, keep_mentions=False) == ["thanks [mention] and [mention]"]


def test_patterns_can_be_turned_off():
    assert redacted("someone@example.org", patterns=False) == ["someone@example.org"]


def test_counts_are_of_each_row_and_kind():
    texts = pl.Series(["a@example.org b@example.org", "nothing", "+49 30 1234567"])
    _, counts = redact(texts, config=PrivacyConfig())
    assert counts.columns == list(PERSONAL_KINDS)
    assert counts["email"].to_list() == [2, 0, 0]
    assert counts["phone"].to_list() == [0, 0, 1]
    assert redact(texts[:0], config=PrivacyConfig())[1].height == 0


def test_the_column_that_came_is_left_as_it_was():
    texts = pl.Series("text", ["a@example.org", "nothing"])
    found, _ = redact(texts, config=PrivacyConfig())
    assert texts.to_list() == ["a@example.org", "nothing"]
    assert found.name == "text"


@pytest.mark.parametrize(
    "piece",
    ["0", "5 ", "(0", "+1", "a.", "a@", "@a.", "1.", "fe80:", "de12 ", '"', "(at)", "0-", "tel 1"],
)
def test_hostile_text_comes_to_an_end(piece):
    """Anything worse than linear would take minutes here."""
    text = piece * (10_000 // len(piece)) + " a@example.org"
    assert redacted(text)[0].endswith(" [email]")


def test_check_digits():
    assert has_luhn_digit([4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    assert not has_luhn_digit([4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2])
    assert has_valid_iban_check("NL91ABNA0417164300")
    assert not has_valid_iban_check("NL91ABNA0417164301")


def test_an_empty_name_is_refused():
    with pytest.raises(ConfigError, match="people"):
        parse_config(PrivacyConfig, {"people": [" "]}, source="mynah.toml")
