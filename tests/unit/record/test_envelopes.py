import base64
import json
import subprocess
from pathlib import Path

import pytest
from securesystemslib.dsse import Envelope

from mynah.errors import RecordError
from mynah.record.envelopes import PAYLOAD_TYPE, add_signature, open_envelope, read_payload, seal
from mynah.record.identity import Identity
from mynah.record.notes import SigningKey

PAYLOAD = b'{"a":"\xc3\xbc"}'


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[SigningKey, SigningKey]:
    places = [tmp_path_factory.mktemp("heron"), tmp_path_factory.mktemp("stork")]
    one, two = (Identity.open(place).key for place in places)
    return one, two


def test_who_signed_is_told(keys: tuple[SigningKey, SigningKey]) -> None:
    one, two = keys
    envelope = seal(PAYLOAD, one)
    assert read_payload(envelope) == PAYLOAD
    assert open_envelope(envelope, [one.verifier()]) == (PAYLOAD, (one.verifier(),))
    both = add_signature(envelope, two)
    found = open_envelope(both, [two.verifier(), one.verifier()])
    assert found == (PAYLOAD, (two.verifier(), one.verifier()))
    assert open_envelope(both, [two.verifier()]) == (PAYLOAD, (two.verifier(),))
    with pytest.raises(RecordError, match="no known key signed the statement"):
        open_envelope(envelope, [two.verifier()])
    with pytest.raises(RecordError, match="no known key signed the statement"):
        open_envelope(envelope, [])


def test_an_envelope_is_canonical_json_and_signs_the_dsse_text(
    keys: tuple[SigningKey, SigningKey],
) -> None:
    key = keys[0]
    raw = json.loads(seal(PAYLOAD, key))
    assert raw["payloadType"] == PAYLOAD_TYPE
    assert base64.b64decode(raw["payload"]) == PAYLOAD
    (line,) = raw["signatures"]
    assert line["keyid"] == str(key.verifier())
    signed = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), 10, PAYLOAD)
    assert len(PAYLOAD) == 10
    assert key.verifier().is_valid(base64.b64decode(line["sig"]), signed)
    assert seal(PAYLOAD, key) == seal(PAYLOAD, key)
    assert Envelope.from_dict(raw).pae() == signed


def test_openssl_checks_the_signature(tmp_path: Path) -> None:
    identity = Identity.open(tmp_path / "keys")
    read = Envelope.from_dict(json.loads(seal(PAYLOAD, identity.key)))
    (signature,) = read.signatures.values()
    (tmp_path / "text").write_bytes(read.pae())
    (tmp_path / "signature").write_bytes(bytes.fromhex(signature.signature))
    (tmp_path / "key").write_bytes(identity.public_pem)
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "key"]
    command += ["-in", "text", "-sigfile", "signature"]
    try:
        told = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    assert told.returncode == 0, told


def test_every_bit_of_an_envelope_counts(keys: tuple[SigningKey, SigningKey]) -> None:
    envelope = seal(PAYLOAD, keys[0])
    for bit in range(len(envelope) * 8):
        flipped = bytearray(envelope)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RecordError):
            open_envelope(bytes(flipped), [keys[0].verifier()])


@pytest.mark.parametrize(
    "envelope",
    [
        *(b"", b"[]", b"{}", b"null", b"1", b'"x"', b"[" * 9999, b"\xff", b'{"payload":1}'),
        b'{"payload":"YQ==","payloadType":"x","signatures":[{"keyid":1,"sig":"YQ=="}]}',
        b'{"payload":"YQ==","payloadType":"x","signatures":[{"keyid":"a","sig":1}]}',
        b'{"payload":"YQ==","payloadType":"x","signatures":{}}',
        b'{"payload":"YQ=","payloadType":"x","signatures":[]}',
    ],
)
def test_what_is_no_envelope_is_refused(envelope: bytes) -> None:
    with pytest.raises(RecordError, match=r"no DSSE envelope|canonical form"):
        read_payload(envelope)


def test_another_form_of_the_same_envelope_is_refused(
    keys: tuple[SigningKey, SigningKey],
) -> None:
    envelope = seal(PAYLOAD, keys[0])
    others = [
        envelope + b"\n",
        envelope.replace(b'":"', b'": "', 1),
        envelope.replace(PAYLOAD_TYPE.encode(), b"text/plain"),
        json.dumps(json.loads(envelope) | {"more": 1}, sort_keys=True).encode(),
        envelope.replace(b'"payload"', b'"\\u0070ayload"'),
    ]
    for other in others:
        with pytest.raises(RecordError, match="not in its canonical form"):
            read_payload(other)


def test_a_signature_of_another_length_is_refused(keys: tuple[SigningKey, SigningKey]) -> None:
    raw = json.loads(seal(PAYLOAD, keys[0]))
    for sig in ("", "YQ==", base64.b64encode(b"x" * 65).decode()):
        raw["signatures"][0]["sig"] = sig
        changed = json.dumps(raw, sort_keys=True, separators=(",", ":")).encode()
        with pytest.raises(RecordError, match="does not fit the statement"):
            open_envelope(changed, [keys[0].verifier()])
