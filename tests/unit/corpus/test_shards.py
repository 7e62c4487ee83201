import struct

import numpy as np
import pyarrow.parquet as pq
import pytest

from mynah.corpus import TokenShard, write_shard
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
