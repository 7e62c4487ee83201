import re

import numba.core.caching
import numpy as np
import pyarrow as pa
import pytest
from numba import types

from mynah.corpus.compiled import compiled
from mynah.corpus.signatures import NUM_BANDS, SIGNATURE_SCHEMA, comparison_keys, sign


def key_of(text):
    return comparison_keys(pa.array([text], pa.large_string()))[0]


def plain_key(text):
    return re.sub(r"[^\w@#]+|_+", " ", text.casefold()).strip()


def bands_of(texts):
    return sign(pa.array(texts, pa.large_string()))["bands"].flatten().to_numpy().reshape(-1, 24)


@pytest.mark.parametrize(
    "text",
    [
        "The bridge is OPEN again!!",
        "  spaces\tand\nlines  ",
        "snake_case and #tag, @name: 3.5% of 1,000",
        "Stra\u00dfe, \u00c9T\u00c9, \u039f\u03a3, \u0130stanbul, \u0414\u041e\u041c",
        "\u65e5\u672c\u8a9e\u3001\u30ab\u30bf\u30ab\u30ca\u3002",
        "\u1230\u120b\u121d\u1361 \u1208\u12d3\u1208\u121d",
        "\U00020000\U0001d400 beyond the basic plane \U0001f600",
        "dashes \u2014 and \u2018quotes\u2019 \u2026 \u300cbrackets\u300d",
    ],
)
def test_the_key_is_what_plain_python_says(text):
    expected = plain_key(text.replace("\u0130", "I").replace("\u00df", "s"))
    assert key_of(text.replace("\u00df", "s")).replace("\u0307", "") == expected


def test_letters_of_several_in_lower_case_stand_as_one():
    assert key_of("\u0130") == "i"
    assert key_of("\u00df\u1e9e") == "\u00df\u00df"


def test_marks_stay_within_words_and_nowhere_else():
    hindi = "\u0928\u092e\u0938\u094d\u0924\u0947"
    assert key_of(f"{hindi} x\u0336y") == f"{hindi} x\u0336y"
    assert key_of("a \u0301b") == "a b"


@pytest.mark.parametrize(
    "sign_",
    ["\u2764\ufe0f", "\U0001f44d\U0001f3fd", "1\ufe0f\u20e3"[1:], "\U0001f1eb\U0001f1f7", "\u200d"],
)
def test_emoji_only_divide_words(sign_):
    assert key_of(f"good{sign_}day {sign_}") in ("good day", "goodday")
    assert key_of(f"good day {sign_}") == "good day"


@pytest.mark.parametrize("text", [None, "", " ", "\u2764\ufe0f !", "@ # @", "\u0301"])
def test_what_has_no_word_takes_no_part(text):
    signed = sign(pa.array(["a word", text], pa.large_string()))
    assert signed["key"].is_valid().to_pylist() == [True, False]
    assert signed["bands"][1].as_py() == [0] * NUM_BANDS


def test_equal_keys_have_equal_signatures_and_others_do_not():
    texts = ["Rain, again!", "rain AGAIN \U0001f327\ufe0f", "rain against", "rainagain"]
    signed = sign(pa.array(texts, pa.large_string()))
    keys = signed["key"].to_pylist()
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert signed["bands"][0] == signed["bands"][1]


def test_a_row_does_not_depend_on_the_rows_around_it():
    texts = ["one two three", None, "four five six seven", "", "\u65e5\u672c\u8a9e\u3067\u3059"] * 3
    whole = sign(pa.array(texts, pa.large_string()))
    assert whole.schema == SIGNATURE_SCHEMA
    for begin, end in ((0, 4), (4, 5), (5, 15)):
        assert sign(pa.array(texts, pa.large_string())[begin:end]).equals(whole[begin:end])
    chunked = pa.chunked_array([texts[:7], [], texts[7:]], pa.string())
    assert sign(chunked).equals(whole)
    assert sign(pa.array([], pa.large_string())).num_rows == 0


def test_one_changed_word_leaves_a_band_of_a_short_text():
    words = ["six", "words", "are", "in", "this", "text"]
    first = bands_of([" ".join(words)])[0]
    for place in range(len(words)):
        changed = [*words[:place], "other", *words[place + 1 :]]
        assert (bands_of([" ".join(changed)])[0][20:] == first[20:]).any()


def test_one_changed_letter_leaves_a_band_where_no_spaces_are():
    text = "\u4eca\u65e5\u306f\u3068\u3066\u3082\u5929\u6c17\u304c\u3044\u3044"
    changed = text.replace("\u5929", "\u96fb")
    first, second = bands_of([text, changed])
    assert (first[20:] == second[20:]).sum() >= 1


def test_bands_agree_as_often_as_similarity_promises():
    generator = np.random.default_rng(5)
    letters = list("abcdefghijklmnopqrstuvwxyz")
    both = ["".join(generator.choice(letters, 300)) for _ in range(600)]
    other = [text[:240] + "".join(generator.choice(letters, 60)) for text in both]
    grams = [({a[i : i + 5] for i in range(296)}, {b[i : i + 5] for i in range(296)})
             for a, b in zip(both, other, strict=True)]  # fmt: skip
    similarity = np.mean([len(a & b) / len(a | b) for a, b in grams])
    agreeing = (bands_of(both) == bands_of(other))[:, :20].mean()
    assert agreeing == pytest.approx(similarity**5, abs=0.01)


def test_long_posts_are_signed_by_minhash_alone():
    text = " ".join(f"word{n}" for n in range(400))
    bands = bands_of([text])[0]
    assert (bands[:20] != 0).all()
    assert (bands[20:] == 0).all()


def test_kernels_are_compiled_where_no_cache_can_be_written(monkeypatch):
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])

    @compiled(types.int64(types.int64))
    def twice(number):
        return 2 * number

    assert twice(4) == 8
