"""One leaf, read as strictly as it can be: canonical, of a known kind, signed by its log's owner.

Pure. Made for a million leaves: most of the time goes to Ed25519.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mynah.errors import RecordError
from mynah.record.verify.dsse import Envelope, read_statement
from mynah.record.verify.fields import FIELDS, SUBJECTS, first_fault
from mynah.record.verify.notes import SIGNER, Key, wrong

__all__ = ["MAX_LEAF_BYTES", "Leaf", "read_leaf"]

MAX_LEAF_BYTES = 65_535
Json = Any


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a leaf says and who says it."""

    kind: str
    body: dict[str, Json]
    signer: str
    """Vkey of the party."""


@lru_cache(maxsize=1024)
def _public_key(vkey: str) -> bytes:
    key = Key.parse(vkey)
    if key.kind != SIGNER:
        raise wrong(f"the key of {key.name} is one of a witness")
    return key.public


def read_leaf(leaf: bytes, public: bytes) -> Leaf:
    """Check one leaf of the log whose tree heads the key ``public`` signs.

    Raises:
        RecordError: Says what is wrong with it.
    """
    envelope = Envelope.parse(leaf)
    if len(envelope.signatures) != 1:
        raise wrong(f"the leaf has {len(envelope.signatures)} signatures, not one")
    signer = envelope.signatures[0][0]
    if _public_key(signer) != public:
        raise wrong(f"the leaf is signed by {signer[:60]!r}, who does not own this log")
    envelope.check(signer, public)
    kind, body, name, digest = read_statement(envelope.payload)
    fields = FIELDS.get(kind)
    if fields is None:
        raise RecordError(
            f"the leaf is of the kind {kind[:60]!r}, which this format does not know",
            hint="a newer log needs a newer verifier",
        )
    if fault := first_fault(body, fields):
        raise wrong(f"the {kind} leaf has a wrong, missing or unknown field: {fault[:60]}")
    subject, field = SUBJECTS[kind]
    if name != subject.format_map(body) or digest != body[field]:
        raise wrong(f"the {kind} leaf names another subject than its fields do")
    return Leaf(kind, body, signer)
