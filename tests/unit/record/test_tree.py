import hashlib
import random
from collections.abc import Callable

import pytest

from mynah.errors import RecordError
from mynah.record.tree import (
    EMPTY_ROOT,
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    subtree_root,
    tile_path,
    tile_widths,
    tree_root,
)

LEAVES = [
    bytes.fromhex(text)
    for text in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
]
"""The test vectors of Certificate Transparency, which RFC 6962's tree is from."""
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def plain_root(hashes: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, word for word."""
    if len(hashes) <= 1:
        return hashes[0] if hashes else EMPTY_ROOT
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return node_hash(plain_root(hashes[:split]), plain_root(hashes[split:]))


def hash_at_of(hashes: list[bytes]) -> Callable[[int, int], bytes]:
    rows = [hashes]
    while len(rows[-1]) > 1:
        row = rows[-1]
        rows.append([node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)])
    return lambda height, number: rows[height][number]


def hashes_of(num: int) -> list[bytes]:
    return [leaf_hash(b"%d" % n) for n in range(num)]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_rfc_6962(size: int) -> None:
    hashes = [leaf_hash(leaf) for leaf in LEAVES[:size]]
    assert tree_root(size, hash_at_of(hashes)).hex() == ROOTS[size]
    if size:
        assert subtree_root(hashes).hex() == ROOTS[size]


def test_proofs_are_those_of_rfc_6962() -> None:
    """Section 2.1.3: the tree of seven leaves, its nodes by their letters."""
    a, b, c, d, e, f, j = leaves = hashes_of(7)
    g, h, i = node_hash(a, b), node_hash(c, d), node_hash(e, f)
    k, low = node_hash(g, h), node_hash(i, j)
    hash_at = hash_at_of(leaves)
    assert inclusion_proof(0, 7, hash_at) == [b, h, low]
    assert inclusion_proof(3, 7, hash_at) == [c, g, low]
    assert inclusion_proof(4, 7, hash_at) == [f, j, k]
    assert inclusion_proof(6, 7, hash_at) == [i, k]
    assert consistency_proof(3, 7, hash_at) == [c, d, g, low]
    assert consistency_proof(4, 7, hash_at) == [low]
    assert consistency_proof(6, 7, hash_at) == [i, j, k]


def test_every_proof_of_small_trees_checks() -> None:
    hashes = hashes_of(70)
    hash_at = hash_at_of(hashes)
    roots = [plain_root(hashes[:size]) for size in range(71)]
    for size in range(1, 71):
        assert tree_root(size, hash_at) == roots[size]
        for index in range(size):
            proof = inclusion_proof(index, size, hash_at)
            check_inclusion(hashes[index], index, size=size, root=roots[size], proof=proof)
        for old in range(size + 1):
            proof = consistency_proof(old, size, hash_at)
            check_consistency(old, size, old_root=roots[old], new_root=roots[size], proof=proof)


def test_random_proofs_of_bigger_trees_check() -> None:
    chance = random.Random(6)
    hashes = hashes_of(2000)
    hash_at = hash_at_of(hashes)
    for _ in range(60):
        size = chance.randrange(71, 2001)
        root = plain_root(hashes[:size])
        assert tree_root(size, hash_at) == root
        index, old = chance.randrange(size), chance.randrange(1, size + 1)
        proof = inclusion_proof(index, size, hash_at)
        check_inclusion(hashes[index], index, size=size, root=root, proof=proof)
        old_root = plain_root(hashes[:old])
        proof = consistency_proof(old, size, hash_at)
        check_consistency(old, size, old_root=old_root, new_root=root, proof=proof)


def test_changed_inclusion_proofs_are_refused() -> None:
    hashes = hashes_of(21)
    hash_at = hash_at_of(hashes)
    root = plain_root(hashes)
    for index in range(21):
        proof = inclusion_proof(index, 21, hash_at)
        wrong = [
            (index, 21, proof[:-1]),
            (index, 21, [*proof, root]),
            (index, 21, [root, *proof[1:]]),
            (index, 21, proof[::-1] if proof != proof[::-1] else []),
            (index ^ 1, 21, proof),
            (index + 32, 21, proof),
            (-1, 21, proof),
            (21, 21, proof),
            (index, 0, proof),
        ]
        for number, size, steps in wrong:
            with pytest.raises(RecordError):
                check_inclusion(hashes[index], number, size=size, root=root, proof=steps)
        with pytest.raises(RecordError):
            check_inclusion(hashes[index - 1], index, size=21, root=root, proof=proof)


def test_a_rewritten_history_is_refused() -> None:
    hashes = hashes_of(21)
    hash_at = hash_at_of(hashes)
    new_root = plain_root(hashes)
    for old in range(1, 21):
        old_root = plain_root(hashes[:old])
        proof = consistency_proof(old, 21, hash_at)
        other = plain_root([leaf_hash(b"other"), *hashes[1:old]])
        wrong = [
            (old, other, new_root, proof),
            (old, old_root, other, proof),
            (old, old_root, new_root, proof[:-1]),
            (old, old_root, new_root, [*proof, new_root]),
            (old, old_root, new_root, []),
            (old, old_root, new_root, [other, *proof[1:]]),
        ]
        for size, before, after, steps in wrong:
            with pytest.raises(RecordError, match="a fork"):
                check_consistency(size, 21, old_root=before, new_root=after, proof=steps)


def test_edges_of_consistency() -> None:
    root = plain_root(hashes_of(5))
    check_consistency(0, 5, old_root=EMPTY_ROOT, new_root=root, proof=[])
    check_consistency(5, 5, old_root=root, new_root=root, proof=[])
    for old, new, before, proof in (
        (0, 5, root, []),
        (0, 5, EMPTY_ROOT, [root]),
        (5, 5, EMPTY_ROOT, []),
        (5, 5, root, [root]),
        (6, 5, root, []),
        (-1, 5, root, []),
        (-4, 5, root, [root]),
    ):
        with pytest.raises(RecordError):
            check_consistency(old, new, old_root=before, new_root=root, proof=proof)


def test_what_is_not_in_a_tree_has_no_proof() -> None:
    hash_at = hash_at_of(hashes_of(5))
    for index, size in ((5, 5), (-1, 5), (0, 0)):
        with pytest.raises(RecordError, match="is not in a tree"):
            inclusion_proof(index, size, hash_at)
    for old, new in ((6, 5), (-1, 5)):
        with pytest.raises(RecordError, match="cannot go on"):
            consistency_proof(old, new, hash_at)


@pytest.mark.parametrize(
    ("level", "number", "width", "path"),
    [
        (0, 0, 256, "tile/0/000"),
        (0, 273, 112, "tile/0/273.p/112"),
        (2, 0, 1, "tile/2/000.p/1"),
        ("entries", 1_234_067, 256, "tile/entries/x001/x234/067"),
        (0, 1000, 255, "tile/0/x001/000.p/255"),
        (63, 999, 256, "tile/63/999"),
    ],
)
def test_paths_of_tiles(level: int | str, number: int, width: int, path: str) -> None:
    assert tile_path(level, number, width) == path


def test_the_partial_tiles_of_a_tree() -> None:
    assert tile_widths(0) == []
    assert tile_widths(256) == [(1, 0, 1)]
    assert tile_widths(70_000) == [(0, 273, 112), (1, 1, 17), (2, 0, 1)]


def test_a_leaf_is_no_node() -> None:
    left, right = hashes_of(2)
    assert leaf_hash(left + right) != node_hash(left, right)
    assert leaf_hash(b"") == hashlib.sha256(b"\x00").digest()
