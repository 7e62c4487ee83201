"""How words become terms, and where they stood."""

import unicodedata

import pytest

from mynah.search import analyse, parse_query, tokenise
from mynah.search.results import find_highlights


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Running JOBS, job's done", ["run", "job", "job", "done"]),
        ("#MakeItSo @Ada_L", ["makeitso", "ada_l"]),
        ("don't don\u2019t", ["don't", "don't"]),
        ("caf\u00e9 na\u00efve \u0130stanbul", ["cafe", "naiv", "istanbul"]),
        ("__bold__ snake_case ___", ["bold", "snake_cas"]),
        ("see https://t.co/aB1, now", ["see", "https://t.co/ab1", "now"]),
        ("\u65e5\u672c\u8a9eabc", ["\u65e5", "\u672c", "\u8a9e", "abc"]),
        (
            "\u0928\u0947\u092a\u093e\u0932\u0915\u094b",
            ["\u0928\u0947\u092a\u093e\u0932\u0915\u094b"],
        ),
        ("ok \U0001f600\u2764\ufe0f", ["ok", "\U0001f600", "\u2764"]),
        ("\U0001f1f3\U0001f1f5", ["\U0001f1f3\U0001f1f5"]),
        ("", []),
        ("?! -- ...", []),
    ],
)
def test_terms_of_a_text(text: str, terms: list[str]) -> None:
    assert analyse(text) == terms
    assert [token.term for token in tokenise(text)] == terms


def test_places_are_characters_of_the_text_as_given() -> None:
    composed = "\U0001f600 Une ann\u00e9e, \u00e0 la caf\u00e9"
    for text in (composed, unicodedata.normalize("NFD", composed)):
        words = [text[token.start : token.end] for token in tokenise(text)]
        assert [unicodedata.normalize("NFC", word) for word in words] == [
            "\U0001f600", "Une", "ann\u00e9e", "\u00e0", "la", "caf\u00e9",
        ]  # fmt: skip
        assert [token.term for token in tokenise(text)] == analyse(composed)


def lit(query: str, text: str) -> list[str]:
    highlights, _ = find_highlights(parse_query(query), text)
    return [text[start:end] for start, end in highlights]


@pytest.mark.parametrize(
    ("query", "text", "expected"),
    [
        ("jobs", "A job \U0001f600\U0001f600 and JOBS", ["job", "JOBS"]),
        ("jobs", "#jobs for @jobs", ["#jobs", "@jobs"]),
        ('"middle class"', "class, middle - class first; middle", ["middle - class"]),
        ('"a a"', "a a a b a", ["a a a"]),
        ("cafe", "\U0001f468\u200d\U0001f469 cafe\u0301!", ["cafe\u0301"]),
        ("\u0938\u0930", "\u0928\u092f\u093e \u0938\u0930 \u091b\u0938\u0930", ["\u0938\u0930"]),
        ("jobs -taxes", "taxes and jobs", ["jobs"]),
        ("one OR two", "two, three, one", ["two", "one"]),
        ("5,000", "5 and 000; 5,000", ["5,000"]),
        ("\u65e5\u672c", "\u672c\u65e5\u65e5\u672c", ["\u65e5\u672c"]),
        ("from:ada", "ada", []),
    ],
)  # fmt: skip
def test_highlights_cover_what_was_asked(query: str, text: str, expected: list[str]) -> None:
    assert lit(query, text) == expected
