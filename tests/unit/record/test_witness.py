"""What a witness answers, status by status, and what it remembers."""

import base64
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mynah.errors import ConfigError, RecordError
from mynah.record.notes import (
    Note,
    SigningKey,
    TreeHead,
    VerifierKey,
    cosigned_at,
    parse_note,
    parse_signature,
    sign_note,
)
from mynah.record.tree import consistency_proof, leaf_hash, subtree_root, tree_root
from mynah.record.witness import MAX_REQUEST_BYTES, Answer, Witness, keys_of_logs

ORIGIN = "heron.example/log"


class ToyLog:
    """A log in memory: leaves, a key, and requests to a witness."""

    def __init__(self, origin: str = ORIGIN, *, salt: str = "") -> None:
        self.key = SigningKey(origin, Ed25519PrivateKey.generate())
        self.salt = salt
        self.extra = ""

    def hash_at(self, height: int, number: int) -> bytes:
        leaves = range(number << height, (number + 1) << height)
        return subtree_root([leaf_hash(f"{self.salt}{i}".encode()) for i in leaves])

    def note(self, size: int) -> Note:
        head = TreeHead(self.key.name, size, tree_root(size, self.hash_at))
        return sign_note(head.text + self.extra, self.key)

    def request(self, old: int, size: int) -> bytes:
        proof = consistency_proof(old, size, self.hash_at)
        return request(old, proof, self.note(size).encode())


def request(old: int | str, proof: list[bytes], note: bytes) -> bytes:
    lines = [f"old {old}", *(base64.b64encode(step).decode() for step in proof)]
    return "\n".join(lines).encode() + b"\n\n" + note


@pytest.fixture
def log() -> ToyLog:
    return ToyLog()


@pytest.fixture
def witness(tmp_path: Path, log: ToyLog) -> Witness:
    return Witness.create(tmp_path / "w", "stork.example/w", logs={ORIGIN: log.key.verifier()})


def is_cosigned(answer: Answer, note: Note, witness: Witness) -> bool:
    assert answer.status == 200, answer
    line = parse_signature(answer.body.decode().removesuffix("\n"))
    return cosigned_at(note.with_signatures([line]), witness.vkey) is not None


def test_heads_that_go_on_from_one_another_are_cosigned(log: ToyLog, witness: Witness) -> None:
    for old, size in ((0, 0), (0, 5), (5, 5), (5, 300), (300, 301)):
        answer = witness.add_checkpoint(log.request(old, size))
        assert is_cosigned(answer, log.note(size), witness)
        assert answer.content_type.startswith("text/plain")
    again = Witness.open(witness.folder, logs=witness.logs)
    kept = again.latest(ORIGIN)
    assert kept is not None
    assert kept.text == log.note(301).text


def test_another_old_size_is_told_the_right_one(log: ToyLog, witness: Witness) -> None:
    assert witness.add_checkpoint(log.request(3, 5)) == Answer(409, b"0\n", "text/x.tlog.size")
    witness.add_checkpoint(log.request(0, 5))
    for old, size in ((0, 9), (4, 9), (6, 9), (0, 5), (3, 4)):
        answer = witness.add_checkpoint(log.request(old, size))
        assert answer == Answer(409, b"5\n", "text/x.tlog.size")


def test_a_fork_is_never_cosigned(log: ToyLog, witness: Witness) -> None:
    witness.add_checkpoint(log.request(0, 5))
    fork = ToyLog(salt="other")
    fork.key = log.key
    same_size = witness.add_checkpoint(fork.request(5, 5))
    assert (same_size.status, same_size.content_type) == (409, "text/x.tlog.size")
    assert witness.add_checkpoint(fork.request(5, 9)).status == 422
    evidence = [parse_note(p.read_bytes()) for p in (witness.folder / "evidence").iterdir()]
    assert [note.text for note in evidence] == [fork.note(5).text]
    kept = witness.latest(ORIGIN)
    assert kept is not None
    assert kept.text == log.note(5).text


def test_evidence_fills_no_disk(log: ToyLog, witness: Witness) -> None:
    witness.add_checkpoint(log.request(0, 5))
    for number in range(20):
        fork = ToyLog(salt=f"other {number}")
        fork.key = log.key
        witness.add_checkpoint(fork.request(5, 5))
    assert len(list((witness.folder / "evidence").iterdir())) == 16


def test_a_smaller_tree_is_not_cosigned(log: ToyLog, witness: Witness) -> None:
    witness.add_checkpoint(log.request(0, 9))
    answer = witness.add_checkpoint(request(9, [], log.note(5).encode()))
    assert (answer.status, b"9" in answer.body) == (400, True)


def test_a_false_proof_is_refused(log: ToyLog, witness: Witness) -> None:
    witness.add_checkpoint(log.request(0, 5))
    proof = consistency_proof(5, 9, log.hash_at)
    note = log.note(9).encode()
    for bad in (proof[:-1], [*proof, proof[0]], proof[::-1], [], [bytes(32), *proof[1:]]):
        assert witness.add_checkpoint(request(5, bad, note)).status == 422
    assert witness.add_checkpoint(request(5, [bytes(32)], log.note(5).encode())).status == 422


def test_the_proof_from_nothing_is_empty(log: ToyLog, witness: Witness) -> None:
    assert witness.add_checkpoint(request(0, [bytes(32)], log.note(5).encode())).status == 422
    no_tree = sign_note(TreeHead(ORIGIN, 0, bytes(32)).text, log.key)
    assert witness.add_checkpoint(request(0, [], no_tree.encode())).status == 409


def test_foreign_logs_and_keys(log: ToyLog, witness: Witness) -> None:
    assert witness.add_checkpoint(ToyLog("crane.example/log").request(0, 5)).status == 404
    assert witness.add_checkpoint(ToyLog(ORIGIN).request(0, 5)).status == 403
    changed = log.note(5)
    line = changed.signatures[0]
    broken = replace(line, blob=bytes([line.blob[0] ^ 1]) + line.blob[1:])
    note = replace(changed, signatures=(broken,)).encode()
    assert witness.add_checkpoint(request(0, [], note)).status == 403


def test_signatures_of_others_are_ignored_and_not_kept(log: ToyLog, witness: Witness) -> None:
    other = ToyLog("crane.example/log").note(5).signatures
    note = log.note(5).with_signatures(other)
    answer = witness.add_checkpoint(request(0, [], note.encode()))
    assert is_cosigned(answer, note, witness)
    kept = witness.latest(ORIGIN)
    assert kept is not None
    assert {s.name for s in kept.signatures} == {ORIGIN, "stork.example/w"}


def test_further_lines_of_a_tree_head_are_cosigned(log: ToyLog, witness: Witness) -> None:
    log.extra = "policy 7\n"
    assert is_cosigned(witness.add_checkpoint(log.request(0, 5)), log.note(5), witness)
    assert is_cosigned(witness.add_checkpoint(log.request(5, 9)), log.note(9), witness)


NOTE = ToyLog().note(5).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n",
        b"old 0\n\n",
        b"old 00\n\n" + NOTE,
        b"old -1\n\n" + NOTE,
        b"OLD 0\n\n" + NOTE,
        b"old 0 \n\n" + NOTE,
        b"old 99999999999999999999\n\n" + NOTE,
        b"old \xd9\xa3\n\n" + NOTE,
        request(1, [b"short"], NOTE),
        b"old 1\nnot base64!\n\n" + NOTE,
        request(1, [bytes(32)] * 64, NOTE),
        request(0, [], NOTE[:-1]),
        request(0, [], b"x" * MAX_REQUEST_BYTES),
        request(6, [], NOTE.replace(b"\n5\n", b"\n05\n")),
    ],
)
def test_what_is_no_request(witness: Witness, body: bytes) -> None:
    answer = witness.add_checkpoint(body)
    assert (answer.status, answer.body[-1:]) == (400, b"\n")


def test_an_old_size_above_the_new_one_is_no_request(log: ToyLog, witness: Witness) -> None:
    assert witness.add_checkpoint(request(6, [], log.note(5).encode())).status == 400


def test_many_at_once_never_go_back(log: ToyLog, witness: Witness) -> None:
    """The race that the specification warns of: of all who ask at size 0, one is signed."""
    answers: list[Answer] = []
    bodies = [log.request(0, size) for size in range(1, 9)]

    def ask(body: bytes) -> None:
        answers.append(witness.add_checkpoint(body))

    threads = [threading.Thread(target=ask, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status for answer in answers) == [200] + [409] * 7


def test_the_time_never_goes_back(log: ToyLog, witness: Witness) -> None:
    def at(seconds: float, old: int, size: int) -> int | None:
        then = replace(witness, clock=lambda: seconds)
        then.add_checkpoint(log.request(old, size))
        kept = then.latest(ORIGIN)
        assert kept is not None
        return cosigned_at(kept, witness.vkey)

    assert at(1000.9, 0, 5) == 1000
    assert at(970.0, 5, 6) == 1000
    with pytest.raises(RecordError, match="clock went back"):
        at(900.0, 6, 7)
    assert at(1001.0, 6, 7) == 1001


def test_the_key_is_for_its_owner_alone(witness: Witness) -> None:
    assert (witness.folder / "key.pem").stat().st_mode & 0o777 == 0o600
    assert str(witness.vkey).startswith("stork.example/w+")
    assert VerifierKey.parse(str(witness.vkey)) == witness.vkey


@pytest.mark.parametrize("lost", ["key.pem", "name", "known", "heads"])
def test_a_witness_that_lost_something_does_not_begin_anew(
    log: ToyLog, witness: Witness, lost: str
) -> None:
    witness.add_checkpoint(log.request(0, 5))
    path = witness.folder / lost
    path.rename(witness.folder.parent / "away")
    with pytest.raises(RecordError, match="no whole witness") as caught:
        Witness.open(witness.folder, logs=witness.logs)
    assert "--init" in caught.value.hint
    with pytest.raises(ConfigError, match="not empty"):
        Witness.create(witness.folder, "stork.example/w", logs=witness.logs)


@pytest.mark.parametrize("fault", ["gone", "cut", "foreign"])
def test_a_damaged_memory_signs_nothing(log: ToyLog, witness: Witness, fault: str) -> None:
    witness.add_checkpoint(log.request(0, 5))
    (path,) = (witness.folder / "heads").iterdir()
    if fault == "gone":
        path.unlink()
    elif fault == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        path.write_bytes(log.note(3).encode())
    with pytest.raises(RecordError, match="memory"):
        witness.add_checkpoint(log.request(0, 7))
    with pytest.raises(RecordError, match="memory"):
        Witness.open(witness.folder, logs=witness.logs)


def test_logs_are_known_by_their_keys(log: ToyLog, witness: Witness) -> None:
    vkey = log.key.verifier()
    assert keys_of_logs([str(vkey), str(vkey)]) == {ORIGIN: vkey}
    with pytest.raises(RecordError, match="no log's"):
        keys_of_logs([str(witness.vkey)])
    with pytest.raises(RecordError, match="named twice"):
        keys_of_logs([str(vkey), str(ToyLog(ORIGIN).key.verifier())])
