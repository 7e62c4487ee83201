"""A stream cut into sentences."""

import pytest

from mynah.chat import SentenceSplitter


def split(text: str) -> list[str]:
    splitter = SentenceSplitter()
    return [*splitter.feed(text), *splitter.flush()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("It costs 3.50 in all. Fine", ["It costs 3.50 in all.", "Fine"]),
        ("first line\nsecond line\n\nthird", ["first line", "second line", "third"]),
        (
            '@ann writes: "One. Two! Three" [1] @ben writes: "Four." [2]',
            ['@ann writes: "One. Two! Three" [1]', '@ben writes: "Four." [2]'],
        ),
        (
            '@ann writes: "One. Two." [1]\n@ben writes: "Three." [2]\n',
            ['@ann writes: "One. Two." [1]', '@ben writes: "Three." [2]'],
        ),
        ("Said so. [1] [2] Next one.", ["Said so. [1] [2]", "Next one."]),
        ('He said "stop." Then he left.', ['He said "stop."', "Then he left."]),
        ('"an open quotation. It goes on', ['"an open quotation. It goes on']),
        ("", []),
        ("\n \n", []),
    ],
)
def test_sentences(text: str, expected: list[str]):
    assert split(text) == expected


def test_a_sentence_comes_as_soon_as_it_is_whole():
    splitter = SentenceSplitter()
    assert splitter.feed('@ann writes: "One. Two.') == []
    assert splitter.feed('" [1]') == []
    assert splitter.feed("\n@b") == ['@ann writes: "One. Two." [1]']
    assert splitter.flush() == ["@b"]
    assert splitter.flush() == []
