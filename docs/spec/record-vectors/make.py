"""Make the test vectors of ``docs/spec/record.md`` with the writer's code: same input, same bytes.

Writes the files beside this one; run it from the repository's root when the format changes:
``PYTHONPATH=. .venv/bin/python docs/spec/record-vectors/make.py [FOLDER]``.
"""

import base64
import json
import shutil
import sys
from pathlib import Path

from tests.fakes.record_logs import LogBuilder, signing_key, story, write_files

from mynah.record.envelopes import read_payload
from mynah.record.notes import COSIGNER, TreeHead, cosign, sign_note
from mynah.record.statements import Statement
from mynah.record.tree import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    subtree_root,
    tile_path,
    tree_root,
)

NUM_LEAVES = 258
"""More than one tile, and small enough to be kept in the repository."""
SEEDS = {"heron.example": 1, "stork.example": 2, "clock.example/w1": 3}


def to_base64(raw: bytes) -> str:
    """As it stands in notes and proofs."""
    return base64.b64encode(raw).decode()


def small_leaf(number: int) -> bytes:
    """Leaves of the trees in ``trees.json``: the number in ASCII."""
    return b"%d" % number


def make_keys() -> object:
    """Keys from seeds: 32 times the byte."""
    keys = []
    for name, seed in SEEDS.items():
        key = signing_key(name, seed)
        signer, cosigner = key.verifier(), key.verifier(COSIGNER)
        keys.append(
            {
                "name": name,
                "seed": bytes([seed] * 32).hex(),
                "public": signer.public.hex(),
                "vkey": str(signer),
                "vkey_cosigner": str(cosigner),
            }
        )
    return keys


def make_notes() -> object:
    """A tree head, true and changed in ways that must be refused."""
    key, witness = signing_key("heron.example", 1), signing_key("clock.example/w1", 3)
    head = TreeHead("heron.example", 3, leaf_hash(b"any"))
    line = cosign(head.text, witness, time_s=1_767_225_600)
    note = sign_note(head.text, key).with_signatures([line]).encode().decode()
    changed = {
        "cut short": note[:-1],
        "no empty line": note.replace("\n\n", "\n"),
        "another size": note.replace("\n3\n", "\n4\n"),
        "leading zero": note.replace("\n3\n", "\n03\n"),
        "an extension line": note.replace("\n\n", "\nmore\n\n"),
        "carriage return": note.replace("\n3\n", "\n3\r\n"),
        "stray base64 bits": note.replace("=\n\n", "F\n\n"),
        "a hyphen for the em dash": note.replace("\u2014", "-"),
        "one signature twice": note + note.split("\n\n")[1].split("\n")[0] + "\n",
    }
    return {"good": note, "time": 1_767_225_600, "bad": changed}


def make_trees() -> object:
    """Roots of all sizes, and some proofs."""
    hashes = [leaf_hash(small_leaf(number)) for number in range(301)]

    def hash_at(height: int, number: int) -> bytes:
        return subtree_root(hashes[number << height : (number + 1) << height])

    proofs = [
        {
            "index": index,
            "size": size,
            "path": [to_base64(step) for step in inclusion_proof(index, size, hash_at)],
        }
        for size in (1, 2, 3, 7, 8, 256, 257, 300)
        for index in sorted({0, size // 2, size - 1})
    ]
    consistency = [
        {
            "old": old,
            "new": new,
            "path": [to_base64(step) for step in consistency_proof(old, new, hash_at)],
        }
        for old, new in ((1, 2), (3, 7), (4, 8), (255, 256), (256, 300), (257, 300), (300, 300))
    ]
    roots = [to_base64(tree_root(size, hash_at)) for size in range(301)]
    paths = [
        {"level": level, "number": number, "width": width, "path": tile_path(level, number, width)}
        for level, number, width in (
            (0, 0, 256),
            (1, 999, 1),
            ("entries", 1000, 256),
            (2, 1_234_067, 255),
        )
    ]
    return {"roots": roots, "inclusion": proofs, "consistency": consistency, "paths": paths}


def make_leaves(log: LogBuilder) -> object:
    """The first leaf of each kind in ``log/``: where, its hash, its payload."""
    found: dict[str, object] = {}
    for index, leaf in enumerate(log.leaves):
        payload = read_payload(leaf)
        kind = Statement.decode(payload).body.kind
        if kind not in found:
            found[kind] = {
                "index": index,
                "payload": payload.decode(),
                "hash": leaf_hash(leaf).hex(),
            }
    return found


def make_proof(log: LogBuilder, index: int, note: bytes) -> bytes:
    """A C2SP tlog-proof of one leaf of the log whose tree head is ``note``."""
    hashes = log.hashes

    def hash_at(height: int, number: int) -> bytes:
        return subtree_root(hashes[number << height : (number + 1) << height])

    steps = inclusion_proof(index, len(hashes), hash_at)
    lines = ["c2sp.org/tlog-proof@v1", f"index {index}", *map(to_base64, steps), "", ""]
    return "\n".join(lines).encode() + note


def write(folder: Path) -> None:
    """Write every file."""
    log = story(NUM_LEAVES)
    for name, content in (
        ("keys", make_keys()),
        ("notes", make_notes()),
        ("trees", make_trees()),
        ("leaves", make_leaves(log)),
    ):
        text = json.dumps(content, indent=1, ensure_ascii=True) + "\n"
        (folder / f"{name}.json").write_text(text)
    shutil.rmtree(folder / "log", ignore_errors=True)
    files = log.files([signing_key("clock.example/w1", 3)])
    write_files(folder / "log", files)
    (folder / "leaf-1.tlog-proof").write_bytes(make_proof(log, 1, files["checkpoint"]))


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
