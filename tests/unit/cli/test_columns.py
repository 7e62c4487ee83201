import pytest

from mynah.cli.columns import parse_columns
from mynah.errors import ConfigError


def test_pairs_are_split_at_the_first_equals_sign():
    assert parse_columns(["text=body", "url=a=b", "lang="]) == {
        "text": "body",
        "url": "a=b",
        "lang": "",
    }


def test_a_pair_without_one_is_refused():
    with pytest.raises(ConfigError, match="'text'"):
        parse_columns(["text"])
