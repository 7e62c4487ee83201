import contextlib

import pytest
from tests.fakes.record_logs import MemorySource, root_of, tile_files

from mynah.errors import RecordError
from mynah.record import tree as writer
from mynah.record.verify.notes import Head
from mynah.record.verify.tree import (
    fold,
    follow_path,
    hash_leaf,
    split_bundle,
    tile_name,
    verify_tree,
)

LEAVES = [b"leaf %d" % n for n in range(700)]
HASHES = [writer.leaf_hash(leaf) for leaf in LEAVES]


def hash_at(height: int, number: int) -> bytes:
    return fold(HASHES[number << height : (number + 1) << height])


@pytest.mark.parametrize("number", [0, 1, 9, 255, 999, 1000, 1_234_067, 12_345_678_901])
@pytest.mark.parametrize("width", [1, 255, 256])
def test_names_of_tiles_are_those_of_the_writer(number, width):
    for level in (0, 3, "entries"):
        assert tile_name(level, number, width) == writer.tile_path(level, number, width)


def test_roots_are_those_of_the_writer():
    assert [hash_leaf(leaf) for leaf in LEAVES] == HASHES
    for size in range(1, 300):
        assert fold(HASHES[:size]) == writer.tree_root(size, hash_at)


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 513, 700])
def test_a_whole_log_gives_the_root_of_each_of_its_sizes(size):
    source = MemorySource(tile_files(LEAVES[:size]))
    tree = verify_tree(source, Head("heron.example", size, root_of(HASHES[:size])))
    for earlier in {0, 1, 2, 3, 100, 255, 256, 257, 511, 512, size} & set(range(size + 1)):
        assert tree.root(earlier) == writer.tree_root(earlier, hash_at)


def test_a_full_tile_stands_for_the_narrow_one_that_is_gone():
    files = tile_files(LEAVES)
    head = Head("heron.example", 600, root_of(HASHES[:600]))
    wanted = {**tile_files(LEAVES[:600]), **tile_files(LEAVES[:768])}
    for path in ("tile/entries/002.p/88", "tile/0/002.p/88"):
        del wanted[path]
    with pytest.raises(RecordError, match="not published"):
        verify_tree(MemorySource(wanted), head)
    whole = [*LEAVES, *(b"more %d" % n for n in range(68))]
    files = {**wanted, **tile_files(whole), "tile/1/000.p/2": files["tile/1/000.p/2"]}
    verify_tree(MemorySource(files), head)


def test_paths_of_the_writer_lead_to_the_root():
    for size in (1, 2, 3, 5, 8, 100, 256, 257, 700):
        root = writer.tree_root(size, hash_at)
        for index in {0, 1, size // 2, size - 1} & set(range(size)):
            path = writer.inclusion_proof(index, size, hash_at)
            assert follow_path(HASHES[index], index, size, path) == root
            with pytest.raises(RecordError):
                follow_path(HASHES[index], index, size, [*path, bytes(32)])
            for wrong in {index + 1, index - 1, index ^ 64} - {index}:
                if 0 <= wrong < size:
                    with contextlib.suppress(RecordError):  # of another length
                        assert follow_path(HASHES[index], wrong, size, path) != root
    with pytest.raises(RecordError):
        follow_path(HASHES[0], 1, 1, [])


@pytest.mark.parametrize("bundle", [b"\0", b"\0\1", b"\0\5abcd", b"\0\1a\0", b"\0\1a\0\1b", b""])
def test_a_bundle_of_another_shape_is_refused(bundle):
    with pytest.raises(RecordError, match="bundle"):
        split_bundle(bundle, 1)


def test_empty_leaves_have_a_place():
    assert split_bundle(b"\0\0\0\1a\0\0", 3) == [b"", b"a", b""]
