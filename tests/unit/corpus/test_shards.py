import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mynah.corpus.blanking import blank_posts
from mynah.corpus.shards import META_SCHEMA, ShardWriter, TokenShard, write_shard
from mynah.errors import DataError

DOCUMENTS = [[5, 6, 7], [1], [9, 9, 9, 9], []]


@pytest.fixture
def prefix(tmp_path):
    ids = [[f"x:{n}"] for n in range(len(DOCUMENTS))]
    assert write_shard(tmp_path / "train", DOCUMENTS, post_ids=ids, vocab_size=100) == 8
    return tmp_path / "train"


def test_documents_come_back(prefix):
    shard = TokenShard(prefix)
    assert [shard[n].tolist() for n in range(len(shard))] == DOCUMENTS
    assert shard.sizes.tolist() == [3, 1, 4, 0]
    assert shard.num_tokens == 8
    assert shard[-1].tolist() == []
    shard.close()


def test_the_index_is_megatrons_byte_for_byte(prefix):
    expected = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, 4, 5)
    expected += struct.pack("<4i", 3, 1, 4, 0)
    expected += struct.pack("<4q", 0, 6, 8, 16)
    expected += struct.pack("<5q", 0, 1, 2, 3, 4)
    assert prefix.with_name("train.idx").read_bytes() == expected
    assert prefix.with_name("train.bin").read_bytes() == struct.pack("<8H", 5, 6, 7, 1, 9, 9, 9, 9)


def test_a_large_vocabulary_takes_four_bytes(tmp_path):
    write_shard(tmp_path / "a", [[70_000]], post_ids=[["x:1"]], vocab_size=70_001)
    shard = TokenShard(tmp_path / "a")
    assert shard.dtype == np.int32
    assert shard[0].tolist() == [70_000]


def test_the_sidecar_names_the_posts(prefix):
    table = pq.read_table(prefix.with_name("train.meta.parquet"))
    assert table["document"].to_pylist() == [0, 1, 2, 3]
    assert table["post_ids"].to_pylist()[2] == ["x:2"]
    assert table["post_tokens"].to_pylist() == [[3], [1], [4], [0]]


def test_a_document_that_is_not_there(prefix):
    with pytest.raises(IndexError):
        TokenShard(prefix)[4]


def test_tokens_cannot_be_changed(prefix):
    with pytest.raises(ValueError, match="read-only"):
        TokenShard(prefix)[0][0] = 1


def test_an_empty_shard(tmp_path):
    write_shard(tmp_path / "a", [], post_ids=[], vocab_size=10)
    assert len(TokenShard(tmp_path / "a")) == 0


@pytest.mark.parametrize("ending", [".bin", ".idx"])
def test_a_missing_file(prefix, ending):
    prefix.with_name("train" + ending).unlink()
    with pytest.raises(DataError, match="there is no"):
        TokenShard(prefix)


@pytest.mark.parametrize(
    ("ending", "change", "message"),
    [
        (".bin", lambda raw: raw[:-2], "has 14 bytes, its index says 16"),
        (".bin", lambda raw: raw + b"\0\0", "has 18 bytes, its index says 16"),
        (".idx", lambda raw: raw[:20], "its header alone has 34"),
        (".idx", lambda raw: raw[:-8], "4 documents need 122"),
        (".idx", lambda raw: b"X" + raw[1:], "does not begin with MMIDIDX"),
        (".idx", lambda raw: raw[:9] + b"\2" + raw[10:], "format version 2"),
        (".idx", lambda raw: raw[:17] + b"\5" + raw[18:], "token type 5"),
        (".idx", lambda raw: raw[:34] + b"\4" + raw[35:], "do not fit one another"),
        (".idx", lambda raw: raw[:18] + b"\xff" * 7 + raw[25:], "documents need"),
    ],
)
def test_a_damaged_file_says_what_does_not_fit(prefix, ending, change, message):
    path = prefix.with_name("train" + ending)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=message):
        TokenShard(prefix)


def test_tokens_are_read_across_documents(prefix):
    shard = TokenShard(prefix)
    assert shard.read(2, 4).tolist() == [7, 1, 9, 9]
    assert shard.read(8, 0).tolist() == []
    assert [shard.position(n) for n in range(4)] == [0, 3, 4, 8]
    for position, length in ((-1, 2), (7, 2), (0, -1), (9, 0)):
        with pytest.raises(IndexError):
            shard.read(position, length)
    with pytest.raises(ValueError, match="read-only"):
        shard.read(0, 2)[0] = 1


THREADS = [([1, 2, 3, 4, 0], ["x:a", "x:b"], [1, 3]), ([5, 0], ["x:c"], [1]), ([6, 7, 0], [], [])]


def write_threads(prefix, batch_sizes):
    with ShardWriter(prefix, vocab_size=100) as writer:
        at = 0
        for size in batch_sizes:
            batch = THREADS[at : at + size]
            writer.append(
                np.array([token for tokens, _, _ in batch for token in tokens], np.uint32),
                np.array([len(tokens) for tokens, _, _ in batch], np.int64),
                post_ids=[ids for _, ids, _ in batch],
                post_tokens=pa.array([counts for _, _, counts in batch], pa.list_(pa.int64())),
            )
            at += size
    return writer


def contents(prefix):
    return [prefix.with_name(prefix.name + end).read_bytes() for end in (".bin", ".idx")] + [
        prefix.with_name(prefix.name + ".meta.parquet").read_bytes()
    ]


def test_the_files_do_not_depend_on_the_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("mynah.corpus.shards.ROW_GROUP_DOCUMENTS", 2)
    monkeypatch.setattr("mynah.corpus.shards._SLICE_DOCUMENTS", 2)
    for name, sizes in (("a", [3]), ("b", [1, 1, 1]), ("c", [0, 2, 0, 1, 0])):
        writer = write_threads(tmp_path / name, sizes)
        assert (writer.num_documents, writer.num_tokens) == (3, 10)
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "c")
    shard = TokenShard(tmp_path / "a")
    assert [shard[n].tolist() for n in range(3)] == [tokens for tokens, _, _ in THREADS]
    table = pq.read_table(tmp_path / "a.meta.parquet")
    assert table.schema.equals(META_SCHEMA)
    assert table["post_tokens"].to_pylist() == [counts for _, _, counts in THREADS]


def test_a_shard_that_was_not_finished_has_no_index(tmp_path):
    with pytest.raises(KeyboardInterrupt), ShardWriter(tmp_path / "a", vocab_size=100):
        raise KeyboardInterrupt
    with pytest.raises(DataError, match=r"there is no .*a\.idx"):
        TokenShard(tmp_path / "a")


def test_a_document_made_over_posts_names_them_without_counts(tmp_path):
    write_shard(tmp_path / "a", [[1, 2], [3]], post_ids=[["x:a", "x:b"], []], vocab_size=9)
    table = pq.read_table(tmp_path / "a.meta.parquet")
    assert table["post_tokens"].to_pylist() == [[], []]
    assert [post["num_tokens"] for post in blank_posts(tmp_path / "a", ["x:b"], filler=0)] == [2]
    assert TokenShard(tmp_path / "a")[0].tolist() == [0, 0]


@pytest.fixture
def threads(tmp_path):
    write_threads(tmp_path / "train", [2, 1])
    return tmp_path / "train"


def test_a_blanked_post_is_gone_and_nothing_moves(threads):
    before = contents(threads)
    found = blank_posts(threads, ["x:b", "x:not-here"], filler=0)
    assert found == [{"post_id": "x:b", "document": 0, "position": 1, "num_tokens": 3}]
    shard = TokenShard(threads)
    assert [shard[n].tolist() for n in range(3)] == [[1, 0, 0, 0, 0], [5, 0], [6, 7, 0]]
    # The ids stay: which steps read the posts can still be told.
    assert contents(threads)[1:] == before[1:]


def test_blanking_again_says_the_same_and_changes_nothing(threads):
    first = blank_posts(threads, ["x:a", "x:c"], filler=0)
    before = contents(threads)
    assert blank_posts(threads, ["x:a", "x:c", ""], filler=0) == first
    assert contents(threads) == before


def test_blanking_looks_into_every_row_group(tmp_path, monkeypatch):
    monkeypatch.setattr("mynah.corpus.shards.ROW_GROUP_DOCUMENTS", 2)
    write_threads(tmp_path / "a", [3])
    assert blank_posts(tmp_path / "a", ["x:c"], filler=0)[0]["document"] == 1
    write_shard(tmp_path / "b", [[n] for n in range(7)], post_ids=[[f"x:{n}"] for n in range(7)],
                vocab_size=100)  # fmt: skip
    found = blank_posts(tmp_path / "b", ["x:6", "x:3"], filler=99)
    assert [post["document"] for post in found] == [3, 6]
    assert TokenShard(tmp_path / "b").read(0, 7).tolist() == [0, 1, 2, 99, 4, 5, 99]


def test_a_shard_of_an_earlier_release_is_blanked_by_document(tmp_path):
    write_shard(tmp_path / "a", [[5, 6, 0], [7, 0]], post_ids=[["x:1"], ["x:2"]], vocab_size=9)
    meta = tmp_path / "a.meta.parquet"
    pq.write_table(pq.read_table(meta).drop_columns("post_tokens"), meta)
    assert blank_posts(tmp_path / "a", ["x:1"], filler=0)[0]["num_tokens"] == 3
    assert TokenShard(tmp_path / "a").read(0, 5).tolist() == [0, 0, 0, 7, 0]


def test_a_sidecar_that_does_not_fit_is_refused(threads):
    meta = threads.with_name("train.meta.parquet")
    table = pq.read_table(meta)
    pq.write_table(table.slice(0, 2), meta)
    with pytest.raises(DataError, match="names 2 documents"):
        blank_posts(threads, ["x:a"], filler=0)
    counts = pa.array([[1, 30], [1], []], pa.list_(pa.int32()))
    pq.write_table(table.set_column(2, "post_tokens", counts), meta)
    with pytest.raises(DataError, match="has 5 tokens, its 2 posts 31"):
        blank_posts(threads, ["x:a"], filler=0)
    meta.unlink()
    with pytest.raises(DataError, match="there is no"):
        blank_posts(threads, ["x:a"], filler=0)
