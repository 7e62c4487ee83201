import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mynah.corpus.duplicates import find_duplicates
from mynah.corpus.near_duplicates import candidate_pairs, choose_survivors, packed, verified
from mynah.corpus.signatures import sign

WORDS = [
    f"{start}{end}"
    for start in ("riv", "mark", "stat", "harb")
    for end in ("er", "et", "ion", "our", "ium")
]


def sentence(generator, length=18):
    return " ".join(generator.choice(WORDS) + str(generator.randrange(40)) for _ in range(length))


def similarity(a, b):
    grams = [{text[i : i + 5] for i in range(max(1, len(text) - 4))} for text in (a, b)]
    return len(grams[0] & grams[1]) / len(grams[0] | grams[1])


def written(texts, folder: Path, sizes=(10**9,)):
    """Sign the texts and write them as parts, of one or more record batches."""
    parts, begin = [], 0
    while begin < len(texts) or not parts:
        size = sizes[len(parts) % len(sizes)]
        column = pa.array(texts[begin : begin + size], pa.large_string())
        batch = pa.RecordBatch.from_arrays(
            [column, *sign(column).columns], ["text", "key", "bands"]
        )
        parts.append(folder / f"{len(parts):03}.arrow")
        with pa.OSFile(str(parts[-1]), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_table(pa.Table.from_batches([batch]), max_chunksize=max(1, size // 2))
        begin += size
    return parts


@pytest.fixture
def find(tmp_path):
    def find(texts, *, precedence=None, min_similarity=0.55, num_threads=1, sizes=(10**9,)):
        places = np.arange(len(texts)) if precedence is None else np.array(precedence)
        parts = written(texts, tmp_path, sizes)
        return find_duplicates(
            parts, places, min_similarity=min_similarity, num_threads=num_threads
        )

    return find


def test_exact_copies_point_to_the_first(find):
    found = find(["a b c d", "x", "A b, c d!", "a b c d"])
    assert found.exact.tolist() == [-1, -1, 0, 0]
    assert found.near.tolist() == [-1] * 4


def test_who_survives_is_a_matter_of_precedence(find):
    text = "the market by the station opens at eight"
    texts = [text, text + " \U0001f44d", text.replace("eight", "nine")]
    found = find(texts, precedence=[2, 1, 0])
    assert found.exact.tolist() == [1, -1, -1]
    assert found.near.tolist() == [-1, 2, -1]


def test_texts_that_are_null_or_have_no_word_take_no_part(find):
    found = find([None, "", None, "!!", "!!", "", "one word more", None])
    assert found.exact.tolist() == found.near.tolist() == [-1] * 8


def test_planted_near_duplicates_are_found_and_nothing_else(find):
    generator = random.Random(7)
    originals = [sentence(generator, generator.randrange(5, 40)) for _ in range(600)]
    copies = []
    for text in originals:
        words = text.split()
        words[generator.randrange(len(words))] = "changed"
        copies.append(" ".join(words))
    found = find(originals + copies)
    assert (found.near[:600] == -1).all()
    planted = np.array([similarity(*pair) >= 0.55 for pair in zip(originals, copies, strict=True)])
    hit = found.near[600:] == np.arange(600)
    assert hit.sum() / planted.sum() > 0.99
    assert not (hit & ~planted).any()


def test_a_chain_of_small_changes_does_not_pull_in_its_far_end(find):
    words = [f"word{n}x" for n in range(30)]
    chain = [" ".join(words)]
    for step in range(1, 12):
        changed = [f"new{n}y" if n < step else word for n, word in enumerate(words)]
        chain.append(" ".join(changed))
    found = find(chain, min_similarity=0.7)
    for index, survivor in enumerate(found.near.tolist()):
        if survivor >= 0:
            assert found.near[survivor] == -1
            assert similarity(chain[index], chain[survivor]) >= 0.7
    assert found.near[-1] != 0


def test_threads_and_parts_change_nothing(find):
    generator = random.Random(3)
    texts = [sentence(generator, 8) for _ in range(300)]
    texts += [text.replace("riv", "rav", 1) for text in texts] + texts[:50]
    precedence = np.random.default_rng(1).permutation(len(texts))
    found = find(texts, precedence=precedence)
    assert (found.near >= 0).sum() > 200
    for sizes, num_threads in (((7, 100, 1), 1), ((64,), 3)):
        again = find(texts, precedence=precedence, sizes=sizes, num_threads=num_threads)
        assert again.exact.tolist() == found.exact.tolist()
        assert again.near.tolist() == found.near.tolist()


def test_boilerplate_of_thousands_leaves_one(find):
    texts = [
        f"breaking news about the weather today, number {n} of the series" for n in range(3000)
    ]
    found = find(texts)
    assert (found.near == -1).sum() == 1


def test_a_wrong_number_of_places_is_refused(find):
    with pytest.raises(ValueError, match="3 places for 2 rows"):
        find(["a", "b"], precedence=[0, 1, 2])


def test_no_parts_at_all():
    found = find_duplicates([], np.arange(0), min_similarity=0.5, num_threads=2)
    assert found.exact.size == found.near.size == 0


def test_progress_ends_at_all_rows(tmp_path):
    seen = []
    parts = written(["one text here", "another text there"], tmp_path)
    find_duplicates(
        parts,
        np.arange(2),
        min_similarity=0.5,
        num_threads=1,
        progress=lambda done, total, note: seen.append((done, total)),
    )
    assert seen[-1] == (2, 2)
    assert seen == sorted(seen)


def test_a_small_bucket_is_compared_whole_and_a_large_one_with_its_first():
    hashes = np.array([9, 9, 0, 9, 0], dtype=np.uint32)
    pairs = candidate_pairs(hashes, np.array([4, 2, 1, 7, 0]))
    assert pairs.tolist() == packed(np.array([2, 2, 4]), np.array([4, 7, 7])).tolist()
    many = candidate_pairs(np.full(1000, 5, dtype=np.uint32), np.arange(1000))
    assert many.size == sum(min(n, 8) for n in range(1000))
    assert len(np.unique(many)) == many.size
    assert set((many >> np.uint64(32)).tolist()) == set(range(8))


def test_similarity_decides_at_the_threshold_itself():
    text = "abcdefghijklmnopqrstuvwxy"  # 21 grams
    longer = text + "zabcdefghijklmnopqrs"  # shares 21 of its 36
    column = pa.array([text, longer], pa.large_string())
    pair = (np.array([0, 1]), np.array([1, 0]))
    exact = similarity(text, longer)
    assert verified(pair, column, min_similarity=exact).tolist() == [True, True]
    above = np.nextafter(exact, 1)
    assert verified(pair, column, min_similarity=above).tolist() == [False, False]


def test_repeated_grams_count_once():
    column = pa.array(["haha " * 9, "haha " * 40], pa.large_string())
    assert verified((np.array([0]), np.array([1])), column, min_similarity=1.0).tolist() == [True]


def test_a_duplicate_never_stands_for_another():
    pairs = packed(np.array([0, 1, 2]), np.array([1, 2, 3]))
    assert choose_survivors(pairs, 4).tolist() == [-1, 0, -1, 2]
    assert choose_survivors(pairs[:0], 2).tolist() == [-1, -1]
