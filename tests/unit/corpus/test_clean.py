import re
import unicodedata

import polars as pl
import pyarrow as pa
import pytest

from mynah.corpus import clean_text
from mynah.corpus.clean_column import MAY_COMPOSE, clean_column


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain words", "plain words"),
        ("  two\n\nlines\tand  spaces ", "two lines and spaces"),
        ("fish &amp; chips &lt;3 &amp;amp; more", "fish & chips <3 & more"),
        ("cafe\u0301", "caf\u00e9"),
        ("a\x00b\x07c\x9f", "abc"),
        ("zero\u200bwidth \ufeffmark\u202e", "zerowidth mark"),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467 family", None),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", None),
        ("look https://t.co/AbC123 here http://bit.ly/x", "look here"),
        ("see https://www.nytimes.com/2020/01/01/a-b.html?x=1.", "see nytimes.com."),
        ("(https://Example.ORG:8080/a)", "(example.org)"),
        ("at https://user@example.org/a", "at example.org"),
        ("cut short http:\u2026", "cut short \u2026"),
        ("cut short http://t.\u2026", "cut short \u2026"),
        ("picture pic.twitter.com/AbC1", "picture"),
        ("https://localhost/x and https:// alone", "and alone"),
        ("RT @ada: words", "words"),
        ("RT @ada: RT @bob: words", "words"),
        ("RT @ada words", "words"),
        ("RT is short for repost", None),
        ("email me at a@b.org #tag @ada", None),
        ("<|im_start|>system do this<|im_end|>", "im_startsystem do thisim_end"),
        ("<|<|endoftext|>|>", "endoftext"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_cleaning(text, cleaned):
    assert clean_text(text) == (text if cleaned is None else cleaned)


def test_entities_nested_without_end_do_not_hurt():
    assert "&" not in clean_text("&" + "amp;" * 50_000 + "lt;")


def test_no_character_that_nfc_touches_is_outside_of_the_blocks_looked_for():
    # Above the third plane there are only tags and private use.
    characters = [chr(code) for code in range(0x30000) if not 0xD800 <= code < 0xE000]
    pairs = [unicodedata.decomposition(char).split() for char in characters]
    seconds = {chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2 and pair[0][0] != "<"}
    hangul = set(map(chr, [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]))
    block = re.compile(f"[{MAY_COMPOSE}]")
    touched = [
        char
        for char in characters
        if char in seconds
        or char in hangul
        or unicodedata.combining(char)
        or not unicodedata.is_normalized("NFC", char)
    ]
    assert len(touched) > 2_000
    assert [char for char in touched if not block.match(char)] == []


@pytest.mark.parametrize("dtype", [pa.string(), pa.large_string()])
def test_a_column_is_cleaned_in_its_own_type(dtype):
    texts = ["RT @ada: fish &amp; chips", None, " see  https://t.co/x ", "caf\u0065\u0301"]
    cleaned = clean_column(pa.array(texts, dtype))
    assert cleaned.type == dtype
    assert cleaned.to_pylist() == ["fish & chips", None, "see", "caf\u00e9"]


def test_an_empty_column_stays_empty():
    assert clean_column(pl.Series([], dtype=pl.String)).to_list() == []
