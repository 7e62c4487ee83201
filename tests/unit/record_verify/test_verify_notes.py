import pytest
from tests.fakes.record_logs import signing_key

from mynah.errors import RecordError
from mynah.record.notes import COSIGNER, TreeHead, cosign, sign_note
from mynah.record.verify.notes import Head, Key, SignedNote

HERON = signing_key("heron.example/log", 1)
WITNESS = signing_key("stork.example/w1", 2)
HEAD = TreeHead("heron.example/log", 3, bytes(32))


def note() -> bytes:
    line = cosign(HEAD.text, WITNESS, time_s=1_700_000_000)
    return sign_note(HEAD.text, HERON).with_signatures([line]).encode()


def test_what_the_writer_signs_this_reads():
    found = SignedNote.parse(note())
    key = Key.parse(str(HERON.verifier()))
    assert Head.parse(found.text) == Head("heron.example/log", 3, bytes(32))
    assert found.signed_by(key) == 0
    assert str(key) == str(HERON.verifier())


def test_a_cosignature_says_when():
    key = Key.parse(str(WITNESS.verifier(COSIGNER)))
    assert SignedNote.parse(note()).cosigners([key]) == {str(key): 1_700_000_000}


def test_a_key_that_did_not_sign_is_nobody():
    other = Key.parse(str(signing_key("finch.example", 3).verifier()))
    assert SignedNote.parse(note()).signed_by(other) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda n: n[:-1], "cut short"),
        (lambda n: n.replace(b"\n\n", b"\n"), "cut short"),
        (lambda n: n.split(b"\n\n")[0] + b"\n\n", "cut short"),
        (lambda n: n.replace(b"3", b"\xff", 1), "UTF-8"),
        (lambda n: n.replace(b"3\n", b"3\r\n", 1), "control character"),
        (lambda n: n + n.split(b"\n\n")[1], "two signatures"),
        (lambda n: n + b"stray\n", "reads"),
        (lambda n: n + "\u2014 heron.example AAAA\n".encode(), "3 bytes"),
        (lambda n: n + "\u2014 heron.example AAB=\n".encode(), "stray bits"),
        (lambda n: n + "\u2014 heron.example @@@\n".encode(), "not base64"),
        (lambda n: n + "".join(f"\u2014 k{i} AAAAAAAA\n" for i in range(64)).encode(), "more than"),
        (lambda n: b"x" * 1_000_001, "more than"),
    ],
)
def test_a_malformed_note_says_which_fault(change, says):
    with pytest.raises(RecordError, match=says):
        SignedNote.parse(change(note()))


@pytest.mark.parametrize(
    "text",
    [
        "a\n1\n",
        "a\n1\n" + "A" * 43 + "=\nmore\n",
        "a\n01\n" + "A" * 43 + "=\n",
        "a\n-1\n" + "A" * 43 + "=\n",
        "a\n\u0661\n" + "A" * 43 + "=\n",
        "a\n9223372036854775808\n" + "A" * 43 + "=\n",
        "a\n99999999999999999999999\n" + "A" * 43 + "=\n",
        "a\n1\nAAAA\n",
        "a b\n1\n" + "A" * 43 + "=\n",
        "a\n1\n" + "A" * 42 + "B=\n",
    ],
)
def test_a_malformed_head_is_refused(text):
    with pytest.raises(RecordError):
        Head.parse(text)


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "heron.example",
        "heron.example+00000000+" + "A" * 44,
        str(HERON.verifier()).replace("heron", "stork"),
        str(HERON.verifier())[:-4],
        str(HERON.verifier()) + "+",
        " " + str(HERON.verifier()),
    ],
)
def test_a_malformed_vkey_is_refused(vkey):
    with pytest.raises(RecordError):
        Key.parse(vkey)


def test_a_false_signature_of_a_known_key_is_an_error():
    changed = note().replace(b"\n3\n", b"\n4\n")
    for signer, kind in ((HERON, 1), (WITNESS, COSIGNER)):
        with pytest.raises(RecordError, match="does not fit"):
            SignedNote.parse(changed).signed_by(Key.parse(str(signer.verifier(kind))))
