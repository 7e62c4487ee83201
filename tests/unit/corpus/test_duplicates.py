import random

import numpy as np
import pytest

from mynah.corpus.duplicates import find_duplicates

WORDS = [
    f"{start}{end}"
    for start in ("riv", "mark", "stat", "harb")
    for end in ("er", "et", "ion", "our", "ium")
]


def sentence(generator, length=18):
    return " ".join(generator.choice(WORDS) + str(generator.randrange(40)) for _ in range(length))


def similarity(a, b):
    grams = [{text[i : i + 5] for i in range(len(text) - 4)} for text in (a, b)]
    return len(grams[0] & grams[1]) / len(grams[0] | grams[1])


def test_exact_copies_point_to_the_first():
    found = find_duplicates(["a b c d", "x", "a b c d", "a b c d"], min_similarity=0.7)
    assert found.exact.tolist() == [-1, -1, 0, 0]
    assert found.near.tolist() == [-1] * 4


def test_planted_near_duplicates_are_found_and_nothing_else():
    generator = random.Random(7)
    originals = [sentence(generator) for _ in range(600)]
    copies = []
    for text in originals:
        words = text.split()
        words[generator.randrange(len(words))] = "changed"
        copies.append(" ".join(words))
    found = find_duplicates(originals + copies, min_similarity=0.7)
    assert (found.near[:600] == -1).all()
    planted = [similarity(a, b) >= 0.7 for a, b in zip(originals, copies, strict=True)]
    hit = found.near[600:] == np.arange(600)
    assert hit.sum() / sum(planted) > 0.99
    assert not (hit & ~np.array(planted)).any()


def test_a_chain_of_small_changes_does_not_pull_in_its_far_end():
    words = [f"word{n}x" for n in range(30)]
    chain = [" ".join(words)]
    for step in range(1, 12):
        changed = [f"new{n}y" if n < step else word for n, word in enumerate(words)]
        chain.append(" ".join(changed))
    found = find_duplicates(chain, min_similarity=0.7)
    for index, survivor in enumerate(found.near.tolist()):
        if survivor >= 0:
            assert found.near[survivor] == -1
            assert similarity(chain[index], chain[survivor]) >= 0.7
    assert found.near[-1] != 0


def test_empty_keys_and_short_keys_are_no_near_duplicates():
    found = find_duplicates(["", "", "a", "ab", "b"], min_similarity=0.7)
    assert found.near.tolist() == [-1] * 5


def test_letters_beyond_the_basic_plane_count_as_one():
    text = "\U0001f600 " * 30 + "some words after the faces that are long enough"
    found = find_duplicates([text, text + " x"], min_similarity=0.7)
    assert found.near.tolist() == [-1, 0]


def test_boilerplate_of_thousands_is_fast_and_leaves_one():
    keys = [f"breaking news about the weather today, number {n} of the series" for n in range(3000)]
    found = find_duplicates(keys, min_similarity=0.7)
    assert (found.near == -1).sum() < 20


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare(count):
    assert len(find_duplicates(["alone"] * count, min_similarity=0.7).near) == count
