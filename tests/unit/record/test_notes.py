import base64
import re
from pathlib import Path

import pytest

from mynah.errors import RecordError
from mynah.record.identity import Identity
from mynah.record.notes import (
    COSIGNER,
    Note,
    NoteSignature,
    SigningKey,
    TreeHead,
    VerifierKey,
    cosign,
    cosigned_at,
    parse_note,
    sign_note,
    verify_note,
)

GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\u2014 PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
"""The example of Go's package sumdb/note."""
TEXT = "heron.example/log\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    identity = Identity.open(tmp_path_factory.mktemp("note_keys"))
    return identity.log_key("heron.example/log")


def test_a_note_of_go_verifies() -> None:
    key = VerifierKey.parse(GO_KEY)
    assert str(key) == GO_KEY
    note = parse_note(GO_NOTE.encode())
    assert verify_note(note, [key]) == (key,)
    assert note.encode() == GO_NOTE.encode()
    with pytest.raises(RecordError, match="does not fit the note: it was changed"):
        verify_note(parse_note(GO_NOTE.replace("answer", "Answer").encode()), [key])


def test_what_is_signed_can_be_read_and_checked(key: SigningKey) -> None:
    note = sign_note(TEXT, key)
    assert parse_note(note.encode()) == note
    assert verify_note(note, [key.verifier()]) == (key.verifier(),)
    assert VerifierKey.parse(f"{key.verifier()}\n") == key.verifier()


def test_lines_of_strangers_are_passed_over(key: SigningKey) -> None:
    note = sign_note(TEXT, key)
    stranger = NoteSignature("stork.example", b"1234", b"x" * 64)
    both = Note(note.text, (stranger, *note.signatures))
    assert verify_note(both, [key.verifier()]) == (key.verifier(),)
    with pytest.raises(RecordError, match=r"no known key signed the note; it is .* stork\.example"):
        verify_note(Note(note.text, (stranger,)), [key.verifier()])


def test_one_key_signs_once(key: SigningKey) -> None:
    note = sign_note(TEXT, key)
    with pytest.raises(RecordError, match="two signatures"):
        verify_note(Note(note.text, note.signatures * 2), [key.verifier()])
    assert note.with_signatures(note.signatures) == note


def test_a_witness_signs_a_time(key: SigningKey) -> None:
    witness = SigningKey("stork.example/witness", key.private)
    note = sign_note(TEXT, key)
    note = note.with_signatures([cosign(note.text, witness, time_s=1_800_000_000)])
    verifier = witness.verifier(COSIGNER)
    assert cosigned_at(note, verifier) == 1_800_000_000
    assert cosigned_at(sign_note(TEXT, key), verifier) is None
    assert verify_note(note, [key.verifier(), verifier]) == (key.verifier(), verifier)
    line = note.signatures[1]
    later = NoteSignature(line.name, line.key_id, b"\x01" + line.blob[1:])
    with pytest.raises(RecordError, match="the cosignature of stork"):
        cosigned_at(Note(note.text, (later,)), verifier)
    short = NoteSignature(line.name, line.key_id, line.blob[:-1])
    with pytest.raises(RecordError, match="the cosignature of stork"):
        cosigned_at(Note(note.text, (short,)), verifier)
    again = note.with_signatures([cosign(note.text, witness, time_s=1_900_000_000)])
    assert cosigned_at(again, verifier) == 1_900_000_000


def test_a_cosignature_is_no_signature_of_the_log(key: SigningKey) -> None:
    as_witness = cosign(TEXT, key, time_s=5)
    as_log = NoteSignature(key.name, key.verifier().key_id, as_witness.blob)
    with pytest.raises(RecordError):
        verify_note(Note(TEXT, (as_log,)), [key.verifier()])


GOOD_LINE = f"\u2014 a.example {base64.b64encode(b'x' * 68).decode()}\n"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "no empty line"),
        (b"text\n", "no empty line"),
        (b"text\n\n", "does not end with a newline: it is cut short"),
        (f"text\n\n{GOOD_LINE}"[:-1].encode(), "does not end with a newline: it is cut short"),
        (f"text\n\n{GOOD_LINE}"[:-9].encode(), "does not end with a newline"),
        (f"te\rxt\n\n{GOOD_LINE}".encode(), "control character"),
        (f"te\x00xt\n\n{GOOD_LINE}".encode(), "control character"),
        (f"te\txt\n\n{GOOD_LINE}".encode(), "control character"),
        (b"te\xffxt\n\n", "not UTF-8 at byte 2"),
        (f"text\n\n{GOOD_LINE * 65}".encode(), "65 signatures, more than 64"),
        (b"x" * ((1 << 20) + 1), "more than 1048576"),
        (f"text\n\n{GOOD_LINE.replace(chr(0x2014), '-')}".encode(), "not with an em dash"),
        ("text\n\n\u2014 a.example\n".encode(), "wants a name, a space and base64"),
        ("text\n\n\u2014 a.example AAAA\n".encode(), "has 3 bytes"),
        ("text\n\n\u2014 a.example A*AA\n".encode(), "is not base64"),
        ("text\n\n\u2014 a.example AAAAAAB=\n".encode(), "not in its one canonical form"),
        ("text\n\n\u2014 a+b AAAAAAAA\n".encode(), "is no name of a key"),
        (f"text\n\n{GOOD_LINE}\n{GOOD_LINE}x".encode(), "does not end with a newline"),
    ],
)
def test_the_fault_of_a_note_is_named(data: bytes, told: str) -> None:
    with pytest.raises(RecordError, match=re.escape(told)) as refused:
        parse_note(data)
    assert refused.value.hint


def test_every_bit_of_a_note_counts(key: SigningKey) -> None:
    data = sign_note(TEXT, key).encode()
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RecordError):
            verify_note(parse_note(bytes(changed)), [key.verifier()])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no vkey"),
        ("name+00000000", "is no vkey"),
        (GO_KEY.replace("c74f20a3", "c74f20a4"), "has id c74f20a4, not c74f20a3"),
        (GO_KEY.replace("c74f20a3", "C74F20A3"), "has id"),
        (GO_KEY.replace("Peter", "Piter"), "has id"),
        (GO_KEY[:-4], "holds no Ed25519 key"),
        (GO_KEY[:-1], "is not base64"),
        (GO_KEY.replace("+ARpc", "+AhpC"), "holds no Ed25519 key"),
        (GO_KEY.replace("PeterNeumann", "Peter Neumann"), "is no name of a key"),
        (GO_KEY.replace("PeterNeumann", ""), "is no name of a key"),
    ],
)
def test_the_fault_of_a_vkey_is_named(text: str, told: str) -> None:
    with pytest.raises(RecordError, match=told):
        VerifierKey.parse(text)


ROOT = base64.b64encode(bytes(range(32))).decode()


def test_a_tree_head_says_three_things() -> None:
    head = TreeHead("heron.example/log", 12, bytes(range(32)))
    assert TreeHead.parse(head.text) == head
    assert head.text == f"heron.example/log\n12\n{ROOT}\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "three lines"),
        (f"a\n1\n{ROOT}", "three lines"),
        (f"a\n1\n{ROOT}\nmore\n", "three lines"),
        (f"\n1\n{ROOT}\n", "is no name"),
        (f"a b\n1\n{ROOT}\n", "is no name"),
        (f"a\n01\n{ROOT}\n", "not a plain decimal number"),
        (f"a\n-1\n{ROOT}\n", "not a plain decimal number"),
        (f"a\n+1\n{ROOT}\n", "not a plain decimal number"),
        (f"a\n1.0\n{ROOT}\n", "not a plain decimal number"),
        (f"a\n\u0661\n{ROOT}\n", "not a plain decimal number"),
        (f"a\n{1 << 63}\n{ROOT}\n", "not a plain decimal number"),
        (f"a\n{'9' * 5000}\n{ROOT}\n", "not a plain decimal number"),
        ("a\n1\nAAAA\n", "has 3 bytes, not 32"),
        (f"a\n1\n{ROOT[:-1]}\n", "is not base64"),
        (f"a\n1\n {ROOT}\n", "is not base64"),
        (f"a\n1\n{ROOT[:-2]}9=\n", "not in its one canonical form"),
    ],
)
def test_the_fault_of_a_tree_head_is_named(text: str, told: str) -> None:
    with pytest.raises(RecordError, match=told):
        TreeHead.parse(text)


def test_a_name_without_meaning_is_refused(tmp_path: Path) -> None:
    private = Identity.open(tmp_path).key.private
    for name in ("", "a b", "a+b", "a\nb", "a\x00b", "a\u00a0b", "x" * 201):
        with pytest.raises(RecordError, match="is no name of a key"):
            SigningKey(name, private).verifier()
