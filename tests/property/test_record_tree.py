"""Trees, notes, statements and envelopes: proofs verify, tampering fails, decoding undoes encoding.

Draws sizes, leaves and damage; reads and writes only temporary folders.
"""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mynah.errors import RecordError
from mynah.record.envelopes import open_envelope, seal
from mynah.record.identity import Identity
from mynah.record.log import LogReader, RecordLog
from mynah.record.notes import TreeHead, VerifierKey, parse_note, sign_note, verify_note
from mynah.record.queueing import Queue
from mynah.record.statements import PostForgotten, ShareCut, Statement, format_time, parse_time
from mynah.record.tree import (
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    tile_path,
    tile_widths,
    tree_root,
)

TIME = "2026-01-31T12:00:00.000001Z"
LEAVES = [b"%d" % number for number in range(3000)]
ROWS = [[leaf_hash(leaf) for leaf in LEAVES]]
while len(ROWS[-1]) > 1:
    ROWS.append([node_hash(ROWS[-1][i], ROWS[-1][i + 1]) for i in range(0, len(ROWS[-1]) - 1, 2)])


def hash_at(height: int, number: int) -> bytes:
    return ROWS[height][number]


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Identity.open(tmp_path_factory.mktemp("property_keys"))


@given(st.integers(1, 3000), st.data())
def test_inclusion_proofs_verify_and_no_other_leaf_does(size: int, data: st.DataObject) -> None:
    index, other = (data.draw(st.integers(0, size - 1)) for _ in range(2))
    root, proof = tree_root(size, hash_at), inclusion_proof(index, size, hash_at)
    check_inclusion(ROWS[0][index], index, size=size, root=root, proof=proof)
    if other != index:
        for leaf, place in ((ROWS[0][other], index), (ROWS[0][index], other)):
            with pytest.raises(RecordError):
                check_inclusion(leaf, place, size=size, root=root, proof=proof)


@given(st.integers(1, 3000), st.data())
def test_a_changed_proof_fails(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size))
    bit = data.draw(st.integers(0, 255))

    def flipped(proof: list[bytes]) -> list[bytes]:
        at = data.draw(st.integers(0, len(proof) - 1))
        number = int.from_bytes(proof[at]) ^ (1 << bit)
        return [*proof[:at], number.to_bytes(32), *proof[at + 1 :]]

    root, old_root = tree_root(size, hash_at), tree_root(old, hash_at)
    proof = consistency_proof(old, size, hash_at)
    check_consistency(old, size, old_root=old_root, new_root=root, proof=proof)
    if proof:
        with pytest.raises(RecordError):
            check_consistency(old, size, old_root=old_root, new_root=root, proof=flipped(proof))
    path = inclusion_proof(old - 1, size, hash_at)
    if path:
        with pytest.raises(RecordError):
            check_inclusion(ROWS[0][old - 1], old - 1, size=size, root=root, proof=flipped(path))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.data())
def test_a_log_grown_in_any_batches_is_the_tree(
    identity: Identity, batches: list[int], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as place:
        log = RecordLog.open(Path(place) / "log", identity, origin=f"log-{Path(place).name}")
        size = 0
        for batch in batches:
            log.append(LEAVES[size : size + batch])
            size += batch
        reader = LogReader.open(log.folder, log.key)
        assert reader.head() == TreeHead(log.key.name, size, tree_root(size, hash_at))
        start = data.draw(st.integers(0, size))
        stop = data.draw(st.integers(start, size))
        assert list(reader.leaves(start, stop)) == LEAVES[start:stop]
        index = data.draw(st.integers(0, size - 1))
        assert reader.inclusion_proof(index) == inclusion_proof(index, size, hash_at)
        old = data.draw(st.integers(0, size))
        assert reader.consistency_proof(old) == consistency_proof(old, size, hash_at)
        files = sorted(path for path in log.folder.rglob("tile/**/*") if path.is_file())
        path = data.draw(st.sampled_from(files))
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        kept = {tile_path(*tile) for tile in tile_widths(size)}
        kept |= {tile_path("entries", *tile[1:]) for tile in tile_widths(size) if tile[0] == 0}
        needed = path.parent.suffix != ".p" or str(path.relative_to(log.folder)) in kept
        path.write_bytes(content)
        if needed:
            with pytest.raises(RecordError):
                list(LogReader.open(log.folder, log.key).leaves())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.binary(min_size=1, max_size=90), max_size=4, min_size=1), max_size=6))
def test_the_queue_gives_back_what_was_put_in(batches: list[list[bytes]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        queue, flat = Queue(Path(place)), [leaf for batch in batches for leaf in batch]
        with queue.lock():
            size = 0
            for batch in batches:
                size = queue.push(size, batch).end
            for reader in (queue, Queue(Path(place))):
                frames = reader.frames(0)
                assert [leaf for frame in frames for leaf in frame.leaves] == flat
            if batches:
                path = next(path for path in Path(place).iterdir() if path.name.isdecimal())
                whole = path.read_bytes()
                path.write_bytes(whole[:-1])
                assert len(Queue(Path(place)).frames(0)) == len(batches) - 1


@given(st.binary(max_size=300))
def test_any_bytes_are_a_note_or_an_error(data: bytes) -> None:
    try:
        note = parse_note(data)
    except RecordError:
        return
    assert note.encode() == data


@given(st.text(max_size=200))
def test_any_text_is_a_key_a_head_a_time_or_an_error(text: str) -> None:
    for parse, write in (
        (VerifierKey.parse, str),
        (TreeHead.parse, lambda head: head.text),
        (parse_time, format_time),
    ):
        try:
            value = parse(text)
        except RecordError:
            continue
        assert write(value) == text.strip()


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=80))
def test_any_text_can_be_signed(identity: Identity, text: str) -> None:
    note = sign_note(f"{text}\n", identity.key)
    if any(ord(letter) < 32 and letter != "\n" for letter in text):
        with pytest.raises(RecordError, match="control character"):
            parse_note(note.encode())
        return
    read = parse_note(note.encode())
    assert read == note
    assert verify_note(read, [identity.key.verifier()])


@given(st.text(max_size=60), st.integers(-5, 1 << 60))
def test_a_statement_that_can_be_written_can_be_read(text: str, number: int) -> None:
    for body in (
        ShareCut(time=TIME, grant="0" * 64, reason=text),
        PostForgotten(time=TIME, posts="0" * 64, num_posts=number, snapshot=text),
    ):
        try:
            payload = Statement(body).encode()
        except RecordError:
            continue
        assert Statement.decode(payload) == Statement(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_statement_or_an_error(data: bytes) -> None:
    with pytest.raises(RecordError):
        Statement.decode(data)
    with pytest.raises(RecordError):
        Statement.decode(b'{"predicateType":"https://mynah.example/record/audit/v1"' + data)


@settings(max_examples=50)
@given(st.binary(max_size=100), st.data())
def test_a_changed_envelope_fails(identity: Identity, payload: bytes, data: st.DataObject) -> None:
    envelope = seal(payload, identity.key)
    assert open_envelope(envelope, [identity.key.verifier()])[0] == payload
    at = data.draw(st.integers(0, len(envelope) - 1))
    other = data.draw(st.binary(max_size=3).filter(lambda new: new != envelope[at : at + 1]))
    with pytest.raises(RecordError):
        open_envelope(envelope[:at] + other + envelope[at + 1 :], [identity.key.verifier()])
