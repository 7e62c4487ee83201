"""DSSE envelopes and in-toto statements in their one canonical form.

Pure. Every byte of an envelope is either canonical or refused, so that two readers never see two
things in the same bytes: no duplicate keys, no spaces, no second spelling of a number or string.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Any, cast

import orjson

from mynah.errors import RecordError
from mynah.record.verify.notes import Key, is_signed, wrong

__all__ = ["PREDICATES", "Envelope", "canonical", "read_json", "read_statement"]

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATES = "https://mynah.example/record/"
_PAE = b"DSSEv1 %d %b " % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode())
Json = Any


def canonical(value: Json) -> bytes:
    """Sorted keys, no spaces, UTF-8.

    Raises:
        RecordError: It is nested too deeply.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise wrong(f"this cannot be written as canonical JSON: {error}") from error


def read_json(data: bytes) -> Json:
    """Read JSON that is canonical.

    Raises:
        RecordError: It is no JSON, or JSON in another form.
    """
    try:
        value: Json = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise wrong(f"this is no JSON: {error}") from error
    if canonical(value) != data:
        raise wrong("the JSON is not in its canonical form")
    return value


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload and the signatures it came with: (keyid, 64 bytes)."""

    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]

    @classmethod
    def parse(cls, data: bytes) -> "Envelope":
        """Read an envelope.

        Raises:
            RecordError: It is none, or not in canonical form.
        """
        raw = read_json(data)
        try:
            if raw["payloadType"] != PAYLOAD_TYPE or len(raw) != 3:
                raise wrong("the envelope is none of an in-toto statement")
            lines = tuple(_signature(line) for line in raw["signatures"])
            payload = _strict_base64(raw["payload"])
        except (TypeError, KeyError, ValueError) as error:
            raise wrong("this is no DSSE envelope") from error
        if not lines or len({keyid for keyid, _ in lines}) < len(lines):
            raise wrong("the envelope has no signature, or two of one key")
        return cls(payload, lines)

    def check(self, keyid: str, public: bytes) -> None:
        """Check the signature of one key.

        Raises:
            RecordError: It is not there, or false.
        """
        message = _PAE + b"%d %b" % (len(self.payload), self.payload)
        for found, signature in self.signatures:
            if found == keyid:
                if is_signed(public, signature, message):
                    return
                raise wrong(f"the signature of {keyid.partition('+')[0]} is false")
        raise wrong(f"there is no signature of {keyid.partition('+')[0]}")

    def signers(self, parties: dict[str, Key], *, what: str) -> frozenset[str]:
        """Vkeys of those who signed; each must be one of ``parties``, each signature true.

        Raises:
            RecordError: A signature is false or of somebody else.
        """
        for keyid, _ in self.signatures:
            if keyid not in parties:
                raise wrong(f"{what} is signed by {keyid[:60]!r}, who is no party of it")
            self.check(keyid, parties[keyid].public)
        return frozenset(keyid for keyid, _ in self.signatures)


def _strict_base64(text: Json) -> bytes:
    raw = base64.b64decode(text, validate=True)
    if binascii.b2a_base64(raw, newline=False) != text.encode():
        raise wrong("base64 with stray bits or padding")
    return raw


def _signature(line: dict[str, Json]) -> tuple[str, bytes]:
    keyid = line["keyid"]
    signature = _strict_base64(line["sig"])
    if len(line) != 2 or type(keyid) is not str or len(signature) != 64:
        raise wrong("the envelope has a signature of another kind")
    return keyid, signature


def read_statement(payload: bytes) -> tuple[str, dict[str, Json], str, str]:
    """Kind, predicate, and the subject's name and digest of an in-toto statement.

    Raises:
        RecordError: It is none of ours.
    """
    raw = read_json(payload)
    try:
        [subject] = raw["subject"]
        kind, predicate = raw["predicateType"], raw["predicate"]
        name, digest = subject["name"], subject["digest"]["sha256"]
        fits = (
            raw["_type"] == STATEMENT
            and len(raw) == 4
            and len(subject) == 2
            and len(subject["digest"]) == 1
            and type(predicate) is dict
            and kind.startswith(PREDICATES)
            and kind.endswith("/v1")
        )
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise wrong("the payload is no in-toto statement") from error
    if not fits:
        raise RecordError(
            f"the statement is none of this format: {str(kind)[:100]!r}",
            hint="a newer format needs a newer verifier",
        )
    return kind[len(PREDICATES) : -3], cast("dict[str, Json]", predicate), name, digest
