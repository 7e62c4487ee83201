"""DSSE envelopes: a payload and who signed it, as securesystemslib makes and checks them.

Pure. The id of a key is its vkey, so that an envelope says who claims to have signed it; who
really did, only a key that the reader holds already can show.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, cast

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import (
    CryptoSigner,  # pyright: ignore[reportPrivateImportUsage]
    SSlibKey,  # pyright: ignore[reportPrivateImportUsage]
)

from mynah.errors import RecordError
from mynah.record.notes import SigningKey, VerifierKey
from mynah.workspace import canonical_json

__all__ = ["PAYLOAD_TYPE", "add_signature", "open_envelope", "read_payload", "seal"]

PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""What every payload is."""


@lru_cache(maxsize=256)
def _public(key: VerifierKey) -> SSlibKey:
    public = Ed25519PublicKey.from_public_bytes(key.public)
    return SSlibKey.from_crypto(public, keyid=str(key), scheme="ed25519")


@lru_cache(maxsize=8)
def _signer(key: SigningKey) -> CryptoSigner:
    return CryptoSigner(key.private, _public(key.verifier()))


def seal(payload: bytes, key: SigningKey) -> bytes:
    """Sign ``payload``; return the envelope as canonical JSON."""
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(_signer(key))
    return canonical_json(envelope.to_dict())


def add_signature(envelope: bytes, key: SigningKey) -> bytes:
    """Sign the payload of an envelope, too."""
    read = _read(envelope)
    read.sign(_signer(key))
    return canonical_json(read.to_dict())


def read_payload(envelope: bytes) -> bytes:
    """The payload, unchecked.

    Raises:
        RecordError: It is no envelope.
    """
    return _read(envelope).payload


def open_envelope(
    envelope: bytes, keys: Iterable[VerifierKey]
) -> tuple[bytes, tuple[VerifierKey, ...]]:
    """Return the payload and which of ``keys`` signed it.

    Raises:
        RecordError: It is no envelope, its one form apart, or none of them did.
    """
    read = _read(envelope)
    signers: list[VerifierKey] = []
    for key in keys:
        if str(key) in read.signatures:
            try:
                _public(key).verify_signature(read.signatures[str(key)], read.pae())
            except (UnverifiedSignatureError, VerificationError) as error:
                raise RecordError(
                    f"the signature of {key.name} does not fit the statement: it was changed",
                    hint="get it again from who signed it",
                ) from error
            signers.append(key)
    if not signers:
        raise RecordError(
            "no known key signed the statement", hint="give the key of who signed it: a vkey"
        )
    return read.payload, tuple(signers)


def _read(envelope: bytes) -> Envelope:
    try:
        raw: Any = orjson.loads(envelope)
        read = Envelope.from_dict(cast("dict[str, Any]", raw) | {})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(
            "this is no DSSE envelope", hint="docs/spec/record.md says what a leaf is made of"
        ) from error
    if read.payload_type != PAYLOAD_TYPE or canonical_json(read.to_dict()) != envelope:
        raise RecordError(
            "the DSSE envelope is not in its canonical form",
            hint="docs/spec/record.md says what a leaf is made of",
        )
    return read
