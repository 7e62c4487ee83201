import base64

import orjson
import pytest
from tests.fakes.record_logs import progress_of, signing_key

from mynah.errors import RecordError
from mynah.record.envelopes import add_signature, seal
from mynah.record.statements import Statement
from mynah.record.verify.leaves import read_leaf
from mynah.workspace import canonical_json

KEY = signing_key("heron.example", 1)
PUBLIC = KEY.verifier().public
PAYLOAD = (
    Statement(
        progress_of(
            "run-1",
            1,
            10,
        )
    )
    .encode()
    .replace(b'"time":""', b'"time":"2026-01-31T12:00:00.000000Z"')
)
LEAF = seal(PAYLOAD, KEY)


def test_a_true_leaf():
    leaf = read_leaf(LEAF, PUBLIC)
    assert (leaf.kind, leaf.body["flop"], leaf.signer) == ("progress", "10", str(KEY.verifier()))


def resealed(payload: bytes) -> bytes:
    return seal(payload, KEY)


def with_type(payload_type: str) -> bytes:
    return canonical_json({**orjson.loads(LEAF), "payloadType": payload_type})


@pytest.mark.parametrize(
    ("leaf", "says"),
    [
        (b"", "no JSON"),
        (b"[]", "no DSSE"),
        (b"{}", "no DSSE"),
        (b"1", "no DSSE"),
        (b"[" * 5000 + b"]" * 5000, "JSON"),
        (LEAF + b" ", "canonical"),
        (LEAF.replace(b":", b": ", 1), "canonical"),
        (LEAF[:-1] + b',"payload":"aa=="}', "canonical"),
        (LEAF[:-1] + b',"more":1}', "canonical|none of an in-toto"),
        (with_type("text/plain"), "none of an in-toto"),
        (canonical_json({**orjson.loads(LEAF), "signatures": []}), "no signature"),
        (canonical_json({**orjson.loads(LEAF), "signatures": [1]}), "no DSSE"),
        (canonical_json({**orjson.loads(LEAF), "payload": "a"}), "no DSSE"),
        (canonical_json({**orjson.loads(LEAF), "payload": 7}), "no DSSE"),
        (add_signature(LEAF, signing_key("stork.example", 2)), "2 signatures"),
        (seal(PAYLOAD, signing_key("stork.example", 2)), "does not own"),
        (LEAF.replace(b'"sig":"', b'"sig":"AAAA'), "another kind"),
        (resealed(b"{}"), "no in-toto"),
        (resealed(b"[]"), "no in-toto"),
        (resealed(PAYLOAD.replace(b"progress/v1", b"progress/v2")), "none of this format"),
        (resealed(PAYLOAD.replace(b"progress/v1", b"prophecy/v1")), "does not know"),
        (resealed(PAYLOAD.replace(b"Statement/v1", b"Statement/v2")), "none of this format"),
        (resealed(PAYLOAD.replace(b'"step":1', b'"step":1.0')), "step"),
        (resealed(PAYLOAD.replace(b'"step":1', b'"step":1e0')), "canonical"),
        (resealed(PAYLOAD.replace(b'"step":1', b'"step":99999999999999999999')), "canonical|step"),
        (resealed(PAYLOAD.replace(b'"step":1', b'"step":true')), "step"),
        (resealed(PAYLOAD.replace(b'"step":1', b'"step":1,"step":1')), "canonical"),
        (resealed(PAYLOAD.replace(b'"flop":"10"', b'"flop":"010"')), "flop"),
        (resealed(PAYLOAD.replace(b'"flop":"10"', b'"flop":"1\\u0030"')), "canonical"),
        (resealed(PAYLOAD.replace(b'"flop":"10",', b"")), "flop"),
        (resealed(PAYLOAD.replace(b'"name":"run/run-1"', b'"name":"run/run-2"')), "subject"),
        (resealed(PAYLOAD + b"\n"), "canonical"),
    ],
)
def test_a_leaf_that_is_none_says_why(leaf, says):
    with pytest.raises(RecordError, match=says):
        read_leaf(leaf, PUBLIC)


def test_a_signature_over_other_words():
    other = orjson.loads(seal(PAYLOAD.replace(b'"step":1', b'"step":2'), KEY))
    other["payload"] = base64.b64encode(PAYLOAD).decode()
    with pytest.raises(RecordError, match="false"):
        read_leaf(canonical_json(other), PUBLIC)
