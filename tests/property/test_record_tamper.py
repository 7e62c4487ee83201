"""A log that was changed in any way is found out: bits, cuts, swaps, forks, rollbacks, replays.

Works in memory on a true log of 1,000 leaves with every kind of leaf. With the same code
``benchmarks/record_tamper.py`` changes 100,000 bits of tiles and entry bundles, this 2,000.
"""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.fakes.record_logs import (
    LogBuilder,
    MemorySource,
    log_files,
    progress_of,
    signing_key,
    story,
    tile_files,
)

from mynah.errors import RecordError
from mynah.record.notes import TreeHead, sign_note
from mynah.record.verify import Policy, Trust, verify_head, verify_log, verify_proof, verify_with
from mynah.record.verify.leaves import read_leaf
from mynah.record.verify.notes import Head, SignedNote
from mynah.record.verify.tree import verify_tree

NUM_LEAVES = 1000
NUM_BIT_CHANGES = 2_000
WITNESSES = [signing_key("stork.example/w1", 11), signing_key("finch.example/w1", 12)]


@pytest.fixture(scope="module")
def log() -> LogBuilder:
    return story(NUM_LEAVES)


@pytest.fixture(scope="module")
def files(log: LogBuilder) -> dict[str, bytes]:
    return log.files(WITNESSES)


@pytest.fixture(scope="module")
def policy(log: LogBuilder) -> Policy:
    witnesses = [f"witness w{n} {key.verifier(4)}" for n, key in enumerate(WITNESSES)]
    lines = [f"log {log.vkey}", *witnesses, "group both all w0 w1", "quorum both"]
    return Policy.parse("\n".join(lines))


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def is_found_out(files: dict[str, bytes], trust: Trust) -> bool:
    return verify_with(MemorySource(files), trust, num_workers=1).is_contradicted


def undetected_bit_changes(
    files: dict[str, bytes], head: Head, *, num_changes: int, seed: int
) -> Iterator[tuple[str, int]]:
    """Change one random bit of a random tile or bundle at a time; yield those nobody noticed."""
    random_number = random.Random(seed)
    paths = sorted(path for path in files if path.startswith("tile/"))
    sizes = [len(files[path]) for path in paths]
    for _ in range(num_changes):
        [path] = random_number.choices(paths, weights=sizes)
        bit = random_number.randrange(len(files[path]) * 8)
        try:
            verify_tree(MemorySource({**files, path: flip(files[path], bit)}), head)
        except RecordError:
            continue
        yield path, bit


def head_of(files: dict[str, bytes]) -> Head:
    return Head.parse(SignedNote.parse(files["checkpoint"]).text)


def test_the_true_log_is_not_contradicted(files, log, policy):
    report = verify_with(
        MemorySource(files), Trust(policy=policy, known_head=files["checkpoint"]), num_workers=1
    )
    assert not report.is_contradicted, report.of("contradicted")
    assert report.size == NUM_LEAVES


def test_every_bit_of_the_tree_head_counts(files, policy):
    """Of text, of the log's signature and of each witness's, whom the policy all asks for."""
    note, trust = files["checkpoint"], Trust(policy=policy)
    assert not verify_head(note, trust).is_contradicted
    bits = range(len(note) * 8)
    unseen = [bit for bit in bits if not verify_head(flip(note, bit), trust).is_contradicted]
    assert unseen == []
    for bit in bits[::97]:
        assert is_found_out({**files, "checkpoint": flip(note, bit)}, trust), bit


def test_bits_of_tiles_and_bundles_count(files):
    seed = random.randrange(1 << 32)
    unseen = undetected_bit_changes(files, head_of(files), num_changes=NUM_BIT_CHANGES, seed=seed)
    assert list(unseen) == [], f"seed {seed}"


def test_the_whole_verifier_notices_changed_bits(files, log):
    seed = random.randrange(1 << 32)
    random_number = random.Random(seed)
    for path in sorted(path for path in files if path.startswith("tile/")):
        changed = flip(files[path], random_number.randrange(len(files[path]) * 8))
        assert is_found_out({**files, path: changed}, Trust(keys=(log.vkey,))), f"{path} {seed}"


@pytest.mark.parametrize("kind", ["run-declared", "pause-ordered", "pause-lifted"])
def test_every_bit_of_a_leaf_counts_even_in_a_tree_of_its_own(log, kind):
    """Whoever holds no key cannot say anything in the name of the log's owner."""
    public = log.key.verifier().public
    leaf = next(leaf for leaf in log.leaves if read_leaf(leaf, public).kind == kind)
    step = 1 if kind == "run-declared" else 7  # orders and evidence are long
    for bit in range(0, len(leaf) * 8, step):
        with pytest.raises(RecordError):
            read_leaf(flip(leaf, bit), public)


def test_every_bit_of_a_bundle_around_a_leaf_counts(files, log):
    """Lengths included: no other split of the same bytes hashes to the same leaves."""
    small = log_files(log.leaves[:12], log.key, log.origin)
    head = head_of(small)
    path = "tile/entries/000.p/12"
    for bit in range(0, len(log.leaves[0]) * 8 + 32):
        with pytest.raises(RecordError):
            verify_tree(MemorySource({**small, path: flip(small[path], bit)}), head)


def test_every_bit_of_a_proof_counts(log, policy):
    whole = log.proof(7, WITNESSES)
    assert not verify_proof(whole, log.leaves[7], policy=policy).is_contradicted
    for bit in range(len(whole) * 8):
        assert verify_proof(flip(whole, bit), log.leaves[7], policy=policy).is_contradicted, bit


@pytest.mark.parametrize("num_bytes", [1, 31, 32, 33, 1000, -1])
def test_cut_files(files, log, num_bytes):
    for path in sorted(files):
        if path == "vkey":
            continue
        content = files[path]
        cut = content[:-num_bytes] if num_bytes > 0 else content + b"\0"
        assert is_found_out({**files, path: cut}, Trust(keys=(log.vkey,))), path


def test_missing_files(files, log):
    for path in sorted(path for path in files if path.startswith("tile/")):
        rest = {name: content for name, content in files.items() if name != path}
        assert is_found_out(rest, Trust(keys=(log.vkey,))), path


def test_swapped_bundles_and_tiles(files, log):
    for level in ("entries", "0"):
        one, other = f"tile/{level}/000", f"tile/{level}/001"
        swapped = {**files, one: files[other], other: files[one]}
        assert is_found_out(swapped, Trust(keys=(log.vkey,)))
    both = {
        **files,
        **{f"tile/{level}/000": files[f"tile/{level}/002"] for level in ("entries", "0")},
    }
    assert is_found_out(both, Trust(keys=(log.vkey,)))


def test_reordered_leaves(files, log):
    leaves = list(log.leaves)
    leaves[300], leaves[301] = leaves[301], leaves[300]
    moved = {**files, **tile_files(leaves)}
    assert is_found_out(moved, Trust(keys=(log.vkey,)))
    signed = log_files(leaves, log.key, log.origin)  # by the owner: then its times tell
    assert is_found_out(signed, Trust(keys=(log.vkey,)))


def test_a_left_out_leaf_is_found_by_what_was_known(files, log):
    shorter = log_files(log.leaves[:-1], log.key, log.origin)
    assert not is_found_out(shorter, Trust(keys=(log.vkey,)))
    trust = Trust(keys=(log.vkey,), known_head=files["checkpoint"])
    assert is_found_out(shorter, trust), "rolled back by one leaf"


def test_a_fork_signed_by_the_same_key_is_found_by_what_was_known(files, log):
    for known_size in (1, 255, 256, 700, NUM_LEAVES - 1):
        seen = log_files(log.leaves[:known_size], log.key, log.origin)["checkpoint"]
        trust = Trust(keys=(log.vkey,), known_head=seen)
        assert not is_found_out(files, trust)
        changed = replace(
            log, leaves=log.leaves[: known_size - 1], hashes=log.hashes[: known_size - 1]
        )
        changed.add(progress_of("run-9", 1, 1))
        fork = log_files([*changed.leaves, *log.leaves[known_size:]], log.key, log.origin)
        report = verify_with(MemorySource(fork), trust, num_workers=1)
        assert any("fork" in claim.detail for claim in report.of("contradicted"))


def test_the_head_of_another_log_replayed(files, log):
    other = log_files(log.leaves, log.key, "heron.example/other-ffffff")
    replayed = {**files, "checkpoint": other["checkpoint"]}
    assert is_found_out(replayed, Trust(keys=(log.vkey,)))
    assert is_found_out(replayed, Trust()), "the published vkey names the log, too"
    trust = Trust(keys=(log.vkey,), known_head=other["checkpoint"])
    assert is_found_out(files, trust)


def test_a_head_for_another_tree_signed_by_the_owner(files, log):
    for size, root in (
        (NUM_LEAVES, bytes(32)),
        (NUM_LEAVES + 1, head_of(files).root),
        (0, bytes(32)),
    ):
        head = TreeHead(log.origin, size, root)
        note = sign_note(head.text, log.log_key).encode()
        assert is_found_out({**files, "checkpoint": note}, Trust(keys=(log.vkey,)))


def test_another_key_under_the_same_name(files, log):
    stranger = log_files(log.leaves, signing_key("heron.example", 99), log.origin)
    assert is_found_out(stranger, Trust(keys=(log.vkey,)))
    assert is_found_out(stranger, Trust()), "its leaves are signed by somebody else"


def test_a_size_that_no_files_stand_behind_ends_soon(files, log):
    head = TreeHead(log.origin, (1 << 63) - 1, bytes(32))
    note = sign_note(head.text, log.log_key).encode()
    report = verify_log(MemorySource({**files, "checkpoint": note}), keys=[log.vkey], num_workers=1)
    assert report.is_contradicted
