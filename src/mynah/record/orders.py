"""Pause orders and releases: what several parties sign together.

Pure. An order and a release are in-toto statements in DSSE envelopes, one signature a party. The
id of an order is the SHA-256 of its payload, so that every copy of it is the same order however
many have signed that copy.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from typing import Annotated, Any, TypeVar, cast

import orjson
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from mynah.errors import RecordError
from mynah.record.envelopes import add_signature, open_envelope, read_payload, seal
from mynah.record.notes import (
    COSIGNER,
    SIGNER,
    SigningKey,
    VerifierKey,
)
from mynah.record.statements import (
    PREDICATES,
    STATEMENT,
    Flop,
    Sha256,
    Text,
    Time,
    parse_time,
)
from mynah.workspace import canonical_json

__all__ = [
    "Order",
    "Release",
    "SignedOrder",
    "cosign_order",
    "make_order",
    "make_release",
    "merge_orders",
    "new_nonce",
    "read_order",
    "read_release",
]

ORDER_TYPE = f"{PREDICATES}pause-order/v1"
RELEASE_TYPE = f"{PREDICATES}pause-release/v1"
MAX_KEYS = 32
"""Parties of an order, and timekeepers: a leaf with all their signatures stays below 64 KiB."""
_HINT = "get it again from who signed it; docs/spec/record.md lists what an order may say"
Json = Any
T = TypeVar("T")
_Vkey = Annotated[str, Field(min_length=1, max_length=400)]


def _fault(message: str, *, hint: str = _HINT) -> RecordError:
    return RecordError(message, hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The terms of a pause, as all its parties sign them."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    above_flop: Flop
    """A run is covered if it, with all it descends from, has or plans more than this."""
    begins: Time
    """UTC, microseconds; may be past."""
    until: Time
    """UTC, microseconds; the order does not end by itself then, it may be lifted."""
    reason: Text
    """One line, for the public record."""
    parties: tuple[_Vkey, ...]
    """Who is asked to sign; the first is the author."""
    timekeepers: tuple[_Vkey, ...] = ()
    """Cosigners whose word for ``until`` counts; empty if the local clock is enough."""
    quorum: Annotated[int, Field(ge=0, le=MAX_KEYS)] = 0
    """Timekeepers needed."""
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    """Random, so that two orders of equal terms are two."""

    @property
    def party_keys(self) -> tuple[VerifierKey, ...]:
        """The parties' keys, the author's first."""
        return _keys(self.parties)

    @property
    def timekeeper_keys(self) -> tuple[VerifierKey, ...]:
        """The timekeepers' keys."""
        return _keys(self.timekeepers)

    @property
    def above(self) -> int:
        """``above_flop`` as a number."""
        return int(self.above_flop)

    @property
    def begins_us(self) -> int:
        """``begins`` in microseconds since 1970."""
        return parse_time(self.begins)

    @property
    def until_us(self) -> int:
        """``until`` in microseconds since 1970."""
        return parse_time(self.until)

    def covers(self, total_flop: int | None) -> bool:
        """Whether it covers a run of ``total_flop``, lineage included; an unknown one it does."""
        return total_flop is None or total_flop > self.above


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedOrder:
    """An order, and who has signed this copy of it."""

    order: Order
    id: str
    """SHA-256 of the signed text, hex."""
    signers: tuple[VerifierKey, ...]
    """Those of ``order.parties`` whose signature is there and true, in their order."""
    envelope: bytes

    @property
    def missing(self) -> tuple[VerifierKey, ...]:
        """Parties who have not signed this copy."""
        return tuple(key for key in self.order.party_keys if key not in self.signers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The parties' agreement that an order is over before its time."""

    order: str
    reason: str
    signers: tuple[VerifierKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Agreement:
    """Predicate of a release."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    order: Sha256
    """Id of the order."""
    reason: Text
    """One line, for the public record."""


@lru_cache(maxsize=1024)
def _keys(texts: tuple[str, ...]) -> tuple[VerifierKey, ...]:
    return tuple(VerifierKey.parse(text) for text in texts)


def new_nonce() -> str:
    """Sixteen random bytes, hex."""
    return secrets.token_hex(16)


def make_order(order: Order, key: SigningKey) -> bytes:
    """Sign an order as its author.

    Raises:
        RecordError: A term is wrong (says which), or ``key`` is not the first party's.
    """
    _check_terms(_validate(Order, asdict(order)))
    if order.parties[0] != str(key.verifier()):
        raise _fault(f"the author of an order is its first party, and that is not {key.name}")
    predicate = asdict(order)
    digest = hashlib.sha256(canonical_json(predicate)).hexdigest()
    return seal(_payload(ORDER_TYPE, predicate, digest), key)


def cosign_order(envelope: bytes, key: SigningKey) -> bytes:
    """Sign another's order; one that ``key`` has signed already comes back as it is.

    Raises:
        RecordError: It is no valid order, or it does not list ``key`` as a party.
    """
    signed = read_order(envelope)
    ours = key.verifier()
    if ours in signed.signers:
        return envelope
    if ours not in signed.order.party_keys:
        raise _fault(
            f"the order {signed.id[:12]} does not name {key.name} as a party",
            hint=f"ask its author, {signed.order.party_keys[0].name}, for an order that names you",
        )
    return add_signature(envelope, key)


def merge_orders(envelope: bytes, other: bytes) -> bytes:
    """One copy with the signatures of both.

    Raises:
        RecordError: They are not copies of one order.
    """
    if read_payload(envelope) != read_payload(other):
        raise _fault("these are two orders, not two copies of one")
    if envelope == other:
        return envelope
    one: Json = orjson.loads(envelope)
    two: Json = orjson.loads(other)
    known = {line["keyid"] for line in one["signatures"]}
    one["signatures"] += [line for line in two["signatures"] if line["keyid"] not in known]
    return canonical_json(one)


def read_order(envelope: bytes) -> SignedOrder:
    """Check an order: its form, its terms, and each signature.

    Raises:
        RecordError: Says what is wrong; also when a key that is no party has signed it, or its
            author has not.
    """
    payload = read_payload(envelope)
    predicate = _predicate(payload, ORDER_TYPE, what="a pause order")
    order = _validate(Order, predicate)
    _check_terms(order)
    digest = hashlib.sha256(canonical_json(predicate)).hexdigest()
    if _payload(ORDER_TYPE, predicate, digest) != payload:
        raise _fault("the pause order is not in its canonical form")
    _check_signers(envelope, order.parties, what="the pause order")
    parties = order.party_keys
    signers = open_envelope(envelope, parties)[1]
    if parties[0] not in signers:
        raise _fault(f"the pause order is not signed by its author, {parties[0].name}")
    order_id = hashlib.sha256(payload).hexdigest()
    return SignedOrder(order=order, id=order_id, signers=signers, envelope=envelope)


def make_release(signed: SignedOrder, reason: str, key: SigningKey) -> bytes:
    """Agree, as one of the parties, that ``signed`` is over; others add their signatures.

    Raises:
        RecordError: ``key`` is not of a party, or the reason is not one line of plain text.
    """
    if key.verifier() not in signed.order.party_keys:
        raise _fault(f"{key.name} is no party of the order {signed.id[:12]}")
    agreement = _validate(_Agreement, {"order": signed.id, "reason": reason})
    predicate = asdict(agreement)
    return seal(_payload(RELEASE_TYPE, predicate, signed.id), key)


def read_release(envelope: bytes, signed: SignedOrder) -> Release:
    """Check a release of ``signed``: its form and each signature.

    Raises:
        RecordError: It is of another order, or a signature is false or of no party.
    """
    payload = read_payload(envelope)
    predicate = _predicate(payload, RELEASE_TYPE, what="a release")
    agreement = _validate(_Agreement, predicate)
    if _payload(RELEASE_TYPE, predicate, agreement.order) != payload:
        raise _fault("the release is not in its canonical form")
    if agreement.order != signed.id:
        raise _fault(f"the release is of the order {agreement.order[:12]}, not {signed.id[:12]}")
    _check_signers(envelope, signed.order.parties, what="the release")
    signers = open_envelope(envelope, signed.order.party_keys)[1]
    return Release(order=agreement.order, reason=agreement.reason, signers=signers)


def _check_terms(order: Order) -> None:
    """What no single field can show."""
    if order.until_us <= order.begins_us:
        raise _fault(f"the order ends at {order.until}, not after it begins at {order.begins}")
    if not order.parties:
        raise _fault("the order has no party")
    for texts, kind, what in (
        (order.parties, SIGNER, "party"),
        (order.timekeepers, COSIGNER, "timekeeper"),
    ):
        if len(texts) > MAX_KEYS:
            raise _fault(f"the order names {len(texts)} as {what}, more than {MAX_KEYS}")
        keys = _keys(texts)
        for text, key in zip(texts, keys, strict=True):
            if str(key) != text or key.kind != kind:
                raise _fault(f"the key of the {what} {key.name} is not of the kind it must be")
        if len({key.public for key in keys}) < len(keys) or len({k.name for k in keys}) < len(keys):
            raise _fault(f"the order names one {what} twice")
    if order.quorum > len(order.timekeepers):
        raise _fault(f"the order wants {order.quorum} of {len(order.timekeepers)} timekeepers")
    if bool(order.quorum) != bool(order.timekeepers):
        raise _fault("an order with timekeepers needs at least one of them: its quorum is 0")


def _check_signers(envelope: bytes, parties: Sequence[str], *, what: str) -> None:
    raw: Json = orjson.loads(envelope)
    for line in raw["signatures"]:
        if line["keyid"] not in parties:
            name = re.sub(r"\+.*", "", str(line["keyid"]))[:60]
            raise _fault(f"{what} bears the signature of {name!r}, who is no party of it")


def _payload(kind: str, predicate: dict[str, Json], digest: str) -> bytes:
    return canonical_json(
        {
            "_type": STATEMENT,
            "predicate": predicate,
            "predicateType": kind,
            "subject": [{"digest": {"sha256": digest}, "name": "order"}],
        }
    )


def _predicate(payload: bytes, kind: str, *, what: str) -> dict[str, Json]:
    try:
        raw: Json = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise _fault(f"{what} is no JSON: {error}") from error
    found = cast("dict[str, Json]", raw) if isinstance(raw, dict) else {}
    predicate = found.get("predicate")
    if found.get("predicateType") != kind or not isinstance(predicate, dict):
        raise _fault(f"this is not {what}: it is {str(found.get('predicateType'))[:80]!r}")
    return cast("dict[str, Json]", predicate)


@cache
def _adapter(kind: type[Json]) -> TypeAdapter[Json]:
    return TypeAdapter(kind)


def _validate(kind: type[T], values: dict[str, Json]) -> T:
    try:
        return cast("T", _adapter(kind).validate_json(orjson.dumps(values), strict=True))
    except TypeError as error:  # a lone surrogate, which no UTF-8 can say
        raise _fault(f"an order cannot say what UTF-8 cannot: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _fault(f"an order cannot say {where}: {first['msg']}") from error
