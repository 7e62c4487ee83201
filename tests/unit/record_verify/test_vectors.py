"""The test vectors in docs/spec/record-vectors, read with the verifier's code and the writer's."""

import base64
import json
import runpy
from pathlib import Path

import pytest

from mynah.errors import RecordError
from mynah.record import notes as writer_notes
from mynah.record import tree as writer_tree
from mynah.record.envelopes import open_envelope
from mynah.record.statements import KINDS, Statement
from mynah.record.verify import Policy, verify_log, verify_proof
from mynah.record.verify.leaves import read_leaf
from mynah.record.verify.notes import Head, Key, SignedNote
from mynah.record.verify.tree import fold, follow_path, hash_leaf, split_bundle, tile_name

FOLDER = Path(__file__).parents[3] / "docs" / "spec" / "record-vectors"


def vectors(name: str):
    return json.loads((FOLDER / f"{name}.json").read_text())


def decoded(path: list[str]) -> list[bytes]:
    return [base64.b64decode(step) for step in path]


KEYS = {key["name"]: key for key in vectors("keys")}


def log_leaves() -> list[bytes]:
    bundles = [FOLDER / "log/tile/entries/000", FOLDER / "log/tile/entries/001.p/2"]
    widths = (256, 2)
    parts = [split_bundle(p.read_bytes(), w) for p, w in zip(bundles, widths, strict=True)]
    return [*parts[0], *parts[1]]


def test_the_files_are_what_the_writer_makes_today(tmp_path):
    make = runpy.run_path(str(FOLDER / "make.py"))
    make["write"](tmp_path)
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    kept = {path.relative_to(FOLDER) for path in FOLDER.rglob("*") if path.is_file()}
    assert {path for path in kept if path.suffix not in (".py", ".pyc")} == made
    assert [p for p in made if (tmp_path / p).read_bytes() != (FOLDER / p).read_bytes()] == []
    assert sum((FOLDER / path).stat().st_size for path in made) < 300_000


def test_keys():
    for key in KEYS.values():
        for name in ("vkey", "vkey_cosigner"):
            found = Key.parse(key[name])
            assert (found.name, found.public.hex(), str(found)) == (
                *(key["name"], key["public"]),
                key[name],
            )
            assert str(writer_notes.VerifierKey.parse(key[name])) == key[name]


def test_a_good_note():
    found = vectors("notes")
    data = found["good"].encode()
    signer, cosigner = KEYS["heron.example"]["vkey"], KEYS["clock.example/w1"]["vkey_cosigner"]
    note = SignedNote.parse(data)
    assert Head.parse(note.text).size == 3
    assert note.signed_by(Key.parse(signer)) == 0
    assert note.signed_by(Key.parse(cosigner)) == found["time"]
    written = writer_notes.parse_note(data)
    key = writer_notes.VerifierKey.parse(signer)
    assert writer_notes.verify_note(written, [key]) == (key,)
    assert (
        writer_notes.cosigned_at(written, writer_notes.VerifierKey.parse(cosigner)) == found["time"]
    )


@pytest.mark.parametrize("what", sorted(vectors("notes")["bad"]))
def test_bad_notes(what):
    data = vectors("notes")["bad"][what].encode()
    vkey = KEYS["heron.example"]["vkey"]
    with pytest.raises(RecordError):
        read_head(data, vkey)
    with pytest.raises(RecordError):
        read_head_as_the_writer_does(data, vkey)


def read_head(data: bytes, vkey: str) -> None:
    note = SignedNote.parse(data)
    Head.parse(note.text)
    if note.signed_by(Key.parse(vkey)) is None:
        raise RecordError("not signed", hint="")


def read_head_as_the_writer_does(data: bytes, vkey: str) -> None:
    note = writer_notes.parse_note(data)
    writer_notes.TreeHead.parse(note.text)
    writer_notes.verify_note(note, [writer_notes.VerifierKey.parse(vkey)])


def test_trees():
    found = vectors("trees")
    roots = decoded(found["roots"])
    hashes = [hash_leaf(b"%d" % number) for number in range(301)]
    assert roots[0] == writer_tree.EMPTY_ROOT
    for size in range(1, 301):
        assert fold(hashes[:size]) == writer_tree.subtree_root(hashes[:size]) == roots[size]
    for one in found["inclusion"]:
        index, size, path = one["index"], one["size"], decoded(one["path"])
        assert follow_path(hashes[index], index, size, path) == roots[size]
        writer_tree.check_inclusion(hashes[index], index, size=size, root=roots[size], proof=path)
    for one in found["consistency"]:
        old, new, path = one["old"], one["new"], decoded(one["path"])
        writer_tree.check_consistency(
            old, new, old_root=roots[old], new_root=roots[new], proof=path
        )
    for one in found["paths"]:
        assert tile_name(one["level"], one["number"], one["width"]) == one["path"]
        assert writer_tree.tile_path(one["level"], one["number"], one["width"]) == one["path"]


def test_one_leaf_of_every_kind():
    found = vectors("leaves")
    assert set(found) == set(KINDS)
    leaves = log_leaves()
    key = writer_notes.VerifierKey.parse(KEYS["heron.example"]["vkey"])
    for kind, one in found.items():
        leaf = leaves[one["index"]]
        assert hash_leaf(leaf).hex() == writer_tree.leaf_hash(leaf).hex() == one["hash"]
        assert read_leaf(leaf, key.public).kind == kind
        assert open_envelope(leaf, [key]) == (one["payload"].encode(), (key,))
        assert Statement.decode(one["payload"].encode()).body.kind == kind


def test_the_log_and_a_proof_of_it():
    witness = f"witness clock {KEYS['clock.example/w1']['vkey_cosigner']}\n"
    vkey = (FOLDER / "log" / "vkey").read_text().strip()
    policy = Policy.parse(f"log {vkey}\n{witness}quorum clock\n")
    report = verify_log(FOLDER / "log", policy=policy)
    assert not report.is_contradicted
    assert report.size == 258
    proof = (FOLDER / "leaf-1.tlog-proof").read_bytes()
    leaves = log_leaves()
    assert not verify_proof(proof, leaves[1], policy=policy).is_contradicted
    assert verify_proof(proof, leaves[2], policy=policy).is_contradicted
