"""Pause orders that bind this identity, kept with its keys, whatever becomes of a workspace.

Reads and writes ``<keys>/orders/<id>.json``: the order's envelope, the leaf that put it into a log
first, and the leaf that lifted it. Both leaves bear this identity's signature, so that nobody
lifts an order, or takes back the time by which it was known, by editing a file.
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import orjson

from mynah.errors import RecordError, machine_errors
from mynah.record.envelopes import open_envelope
from mynah.record.guard import held
from mynah.record.identity import Identity
from mynah.record.lifting import check_lift
from mynah.record.notes import VerifierKey
from mynah.record.orders import SignedOrder, merge_orders, read_order
from mynah.record.statements import Body, PauseLifted, PauseOrdered, Statement, parse_time
from mynah.workspace import canonical_json, replace_file

__all__ = ["OrderStore", "StoredOrder"]

Json = Any
_HINT = "docs/spec/record.md says what the file of an order holds"
_PARTS = {"envelope", "lifted", "ordered"}
B = TypeVar("B", bound=Body)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOrder:
    """An order as its file has it, all signatures checked."""

    signed: SignedOrder
    ordered: bytes = b""
    """The leaf that put it into a log first; empty if a kill came before."""
    known_us: int = 0
    """Time of that leaf: since then at least, this identity knows the order."""
    lifted: bytes = b""
    """The leaf that lifted it; empty while it stands."""
    lift: PauseLifted | None = None
    """What that leaf says."""


class OrderStore:
    """The folder of orders of one identity."""

    def __init__(self, identity: Identity) -> None:
        self.folder = identity.orders
        self.key = identity.key.verifier()

    def read(self) -> dict[str, StoredOrder]:
        """Every order by its id.

        Raises:
            RecordError: A file is damaged or was edited. Nothing may run before it is mended.
        """
        try:
            names = sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise RecordError(
                f"the pause orders in {self.folder} cannot be read: {error.strerror}",
                hint="make the folder readable; without it nobody knows what is paused",
            ) from error
        found = (self._load(self.folder / name) for name in names if _is_order(name))
        return {stored.signed.id: stored for stored in found}

    def put(self, envelope: bytes, *, ordered: bytes = b"", lifted: bytes = b"") -> StoredOrder:
        """Keep an order, or what is new about it; what is kept already is never lost.

        Raises:
            RecordError: The order or a leaf is not what it should be, or its file is damaged.
        """
        signed = read_order(envelope)
        path = self.folder / f"{signed.id}.json"
        with machine_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with held(self.folder / ".lock"):
            old = self._load(path) if path.is_file() else None
            if old is not None:
                # A signature that comes after the end changes nothing about how it ended.
                envelope = old.signed.envelope
                if not old.lifted:
                    envelope = merge_orders(envelope, signed.envelope)
                ordered, lifted = old.ordered or ordered, old.lifted or lifted
            raw = {"envelope": envelope, "lifted": lifted, "ordered": ordered}
            content = canonical_json({k: orjson.loads(v) if v else None for k, v in raw.items()})
            stored = _parse(path.name, content, self.key)
            if old is None or stored != old:
                replace_file(path, content)
        return stored

    def _load(self, path: Path) -> StoredOrder:
        try:
            return _parse(path.name, path.read_bytes(), self.key)
        except (OSError, RecordError) as error:
            reason = error.message if isinstance(error, RecordError) else error.strerror
            raise RecordError(
                f"the pause order {path} cannot be trusted: {reason}",
                hint="put the file back from a backup, or move it away: a log that has the order"
                " writes it again",
            ) from error


@lru_cache(maxsize=1024)
def _parse(name: str, content: bytes, key: VerifierKey) -> StoredOrder:
    """Check all of a file; the same bytes are checked once in a process."""
    try:
        raw: Json = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise RecordError(f"it holds no JSON: {error}", hint=_HINT) from error
    if not isinstance(raw, dict) or set(cast("dict[str, Json]", raw)) != _PARTS:
        raise RecordError("it lacks a part, or has one too many", hint=_HINT)
    signed = read_order(canonical_json(raw["envelope"]))
    if name != f"{signed.id}.json":
        raise RecordError(f"it holds the order {signed.id}", hint=_HINT)
    ordered, first = _leaf(raw["ordered"], PauseOrdered, key)
    lifted, lift = _leaf(raw["lifted"], PauseLifted, key)
    if first is not None and first.order != signed.id:
        raise RecordError("its first leaf is of another order", hint=_HINT)
    if lift is not None:
        check_lift(signed, lift, order_index=-1, origin="")
    known_us = parse_time(first.time) if first else 0
    return StoredOrder(signed=signed, ordered=ordered, known_us=known_us, lifted=lifted, lift=lift)


def _leaf(raw: Json, kind: type[B], key: VerifierKey) -> tuple[bytes, B | None]:
    if raw is None:
        return b"", None
    leaf = canonical_json(raw)
    body = Statement.decode(open_envelope(leaf, (key,))[0]).body
    if not isinstance(body, kind):
        raise RecordError(f"it has a {body.kind} leaf for a {kind.kind} leaf", hint=_HINT)
    return leaf, body


def _is_order(name: str) -> bool:
    return name.endswith(".json") and not name.startswith(".")
