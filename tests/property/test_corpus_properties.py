"""Cleaning settles, duplicates are what they are said to be, shards hold what was put in."""

import html
import tempfile
import unicodedata
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mynah.corpus import TokenShard, clean_text, write_shard
from mynah.errors import DataError

awkward = st.sampled_from(
    ["&amp;", "&", "#60;", "lt;", "&lt;", "https://", "http", "t.co/", "example.org", "/", "RT @a",
     ": ", " ", "\n", "<|", "|>", "im_start", "\u2026", "e", "\u0301", "\u037e",
     "\u200b", "\0", "."]
)  # fmt: skip
texts = st.text(max_size=100) | st.lists(awkward | st.text(max_size=3), max_size=20).map("".join)


@settings(max_examples=400, deadline=None)
@given(texts)
def test_cleaning_twice_changes_nothing(text):
    cleaned = clean_text(text)
    assert clean_text(cleaned) == cleaned


@settings(max_examples=200, deadline=None)
@given(texts)
def test_a_clean_text_is_one_line_without_marks(text):
    cleaned = clean_text(text)
    assert cleaned == " ".join(cleaned.split())
    assert unicodedata.is_normalized("NFC", cleaned)
    assert html.unescape(cleaned) == cleaned
    assert not any(unicodedata.category(character) == "Cc" for character in cleaned)
    assert "<|im_start|>" not in cleaned
    assert "https://" not in cleaned


def similarity(a, b):
    grams = [{text[i : i + 5] for i in range(max(1, len(text) - 4))} for text in (a, b)]
    return len(grams[0] & grams[1]) / len(grams[0] | grams[1])


keys = st.text("abcde \u65e5\U0001f600", max_size=40)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 60_000), max_size=30), max_size=20),
    st.sampled_from([65_000, 70_000]),
)
def test_shards_hold_what_was_put_in(documents, vocab_size):
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "train"
        ids = [[str(number)] for number in range(len(documents))]
        total = write_shard(prefix, documents, post_ids=ids, vocab_size=vocab_size)
        shard = TokenShard(prefix)
        assert [shard[n].tolist() for n in range(len(shard))] == documents
        assert shard.num_tokens == total == sum(map(len, documents))
        shard.close()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_index_never_gives_tokens_beyond_the_file(data):
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "train"
        write_shard(prefix, [[1, 2, 3], [4]], post_ids=[["a"], ["b"]], vocab_size=100)
        path = prefix.with_name("train.idx")
        raw = bytearray(path.read_bytes())
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
        try:
            shard = TokenShard(prefix)
        except DataError:
            return
        assert [shard[n].tolist() for n in range(len(shard))] == [[1, 2, 3], [4]]
