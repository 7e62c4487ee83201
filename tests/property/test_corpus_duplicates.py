"""Keys are what plain Python says, duplicates are what they are said to be."""

import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from mynah.corpus.duplicates import find_duplicates
from mynah.corpus.near_duplicates import candidate_pairs, choose_survivors, packed, verified
from mynah.corpus.signatures import comparison_keys, sign

anything = st.text(max_size=60)
near_words = st.lists(
    st.sampled_from(["rain", "wind", "Sun", "\u65e5", "\U0001f600", "!"]), max_size=12
)
texts = anything | near_words.map(" ".join) | st.text("abcde \u65e5\U0001f600", max_size=40)


def plain_key(text):
    """The comparison key, one character after the other."""
    out = [" "]
    for character in text:
        category = unicodedata.category(character)
        if category == "Me" or "\ufe00" <= character <= "\ufe0f":
            continue
        is_ideograph = "\U00020000" <= character < "\U000323b0"
        folded = character.casefold()
        if category in ("Mn", "Mc") and character < "\U00020000":
            out.append("" if out[-1] == " " else character)
        elif is_ideograph or (
            character < "\U00020000" and (character.isalnum() or character in "@#")
        ):
            out.append(folded if len(folded) == 1 else character.lower()[0])
        elif out[-1] != " ":
            out.append(" ")
        out = out if out[-1] else out[:-1]
    key = "".join(out).strip()
    return key if key.strip("@# ") else ""


def grams(key):
    return {key[i : i + 5] for i in range(max(1, len(key) - 4))}


def similarity(a, b):
    return len(grams(a) & grams(b)) / len(grams(a) | grams(b))


def found_in(written, folder, *, precedence, threshold, num_threads=1, size=1000):
    parts = []
    for begin in range(0, len(written), size):
        column = pa.array(written[begin : begin + size], pa.large_string())
        table = pa.table({"text": column}).append_column("key", sign(column)["key"])
        table = table.append_column("bands", sign(column)["bands"])
        parts.append(Path(folder) / f"{begin}.arrow")
        with pa.OSFile(str(parts[-1]), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    return find_duplicates(parts, precedence, min_similarity=threshold, num_threads=num_threads)


@settings(max_examples=150, deadline=None)
@given(st.lists(texts, max_size=5))
def test_the_compiled_key_is_the_plain_one(written):
    assert comparison_keys(pa.array(written, pa.large_string())) == [plain_key(t) for t in written]


@settings(max_examples=150, deadline=None)
@given(st.lists(texts | st.none(), max_size=12), st.integers(0, 12), st.integers(0, 12))
def test_signatures_do_not_depend_on_the_batch(written, first, second):
    column = pa.array(written, pa.large_string())
    first, second = sorted((min(first, len(written)), min(second, len(written))))
    whole = sign(column)
    pieces = [sign(column[:first]), sign(column[first:second]), sign(column[second:])]
    joined = pa.Table.from_batches(pieces).combine_chunks()
    assert joined.equals(pa.Table.from_batches([whole]))


@settings(max_examples=60, deadline=None)
@given(st.data(), st.lists(texts, max_size=30), st.sampled_from([0.3, 0.55, 0.7, 1.0]))
def test_every_duplicate_has_a_survivor_before_it_that_is_like_it(data, written, threshold):
    precedence = np.array(data.draw(st.permutations(range(len(written)))), dtype=np.int64)
    with tempfile.TemporaryDirectory() as folder:
        found = found_in(written, folder, precedence=precedence, threshold=threshold)
        cut = found_in(
            written, folder, precedence=precedence, threshold=threshold, num_threads=2, size=7
        )
    assert cut.exact.tolist() == found.exact.tolist()
    assert cut.near.tolist() == found.near.tolist()
    keys = [plain_key(text) for text in written]
    for row, (exact, near) in enumerate(zip(found.exact, found.near, strict=True)):
        assert exact < 0 or near < 0
        if exact >= 0:
            assert precedence[exact] < precedence[row]
            assert keys[exact] == keys[row]
            assert found.exact[exact] == -1
        if near >= 0:
            assert precedence[near] < precedence[row]
            assert found.near[near] == found.exact[near] == -1
            assert similarity(keys[near], keys[row]) >= threshold
    survivors = [key for key, exact in zip(keys, found.exact, strict=True) if key and exact < 0]
    assert len(survivors) == len(set(survivors))


@settings(max_examples=100, deadline=None)
@given(st.lists(texts.filter(plain_key), min_size=1, max_size=8), st.floats(0.05, 1.0))
def test_verification_is_the_jaccard_similarity(written, threshold):
    pairs = [(a, b) for a in range(len(written)) for b in range(len(written))]
    left, right = np.array(pairs, dtype=np.int64).T.copy()
    is_alike = verified(
        (left, right), pa.array(written, pa.large_string()), min_similarity=threshold
    )
    keys = [plain_key(text) for text in written]
    assert is_alike.tolist() == [similarity(keys[a], keys[b]) >= threshold for a, b in pairs]


@settings(max_examples=100, deadline=None)
@given(st.data(), st.lists(st.integers(0, 4), max_size=40))
def test_candidates_share_a_bucket_and_small_buckets_are_complete(data, hashes):
    places = data.draw(st.permutations(range(100, 100 + len(hashes))))
    pairs = candidate_pairs(np.array(hashes, dtype=np.uint32), np.array(places, dtype=np.int64))
    of_place = dict(zip(places, hashes, strict=True))
    found = {(pair >> 32, pair & 0xFFFFFFFF) for pair in pairs.tolist()}
    assert len(found) == pairs.size
    for first, second in found:
        assert first < second
        assert of_place[first] == of_place[second] != 0
    for value in range(1, 5):
        bucket = sorted(place for place in places if of_place[place] == value)
        leaders = bucket[:8]
        expected = {(a, b) for a in leaders for b in bucket if a < b}
        assert expected == {pair for pair in found if of_place[pair[0]] == value}


@given(st.sets(st.tuples(st.integers(0, 15), st.integers(0, 15)).filter(lambda p: p[0] < p[1])))
def test_survivors_are_chosen_greedily(wanted):
    pairs = np.array(sorted(wanted), dtype=np.int64).reshape(-1, 2)
    near = choose_survivors(packed(pairs[:, 0], pairs[:, 1]), 16).tolist()
    expected = []
    for place in range(16):
        like = [a for a in range(place) if (a, place) in wanted and expected[a] == -1]
        expected.append(like[0] if like else -1)
    assert near == expected
