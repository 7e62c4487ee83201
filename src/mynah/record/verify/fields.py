"""What each kind of leaf may hold, field by field, and what its subject is.

Pure. It says the same as ``record.statements`` in other words; a test compares the two.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeGuard

__all__ = ["FIELDS", "ORDER", "PARENT", "RELEASE", "SUBJECTS", "first_fault", "is_time"]

Json = Any
Check = Callable[[Json], bool]
Fields = Mapping[str, Check]

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")


def _text(pattern: str) -> Check:
    match = re.compile(pattern, re.DOTALL).fullmatch

    def check(value: Json) -> bool:
        return type(value) is str and match(value) is not None

    return check


def is_time(value: Json) -> TypeGuard[str]:
    """Whether it is a moment that exists, in UTC, to the microsecond."""
    if type(value) is not str or not _TIME.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_count(value: Json) -> bool:
    return type(value) is int and 0 <= value < 1 << 53


def _is_bool(value: Json) -> bool:
    return type(value) is bool


def _is_object(value: Json) -> bool:
    return type(value) is dict


def _is_quorum(value: Json) -> bool:
    return type(value) is int and 0 <= value <= 32


def _is_vkeys(value: Json) -> bool:
    return type(value) is list and all(type(v) is str and 0 < len(v) <= 400 for v in value)


_name = _text(r"[^\x00-\x1f]{1,200}")
_maybe_name = _text(r"[^\x00-\x1f]{0,200}")
_line = _text(r"[^\x00-\x1f]{0,500}")
_sha256 = _text(r"[0-9a-f]{64}")
_maybe_sha256 = _text(r"(?:[0-9a-f]{64})?")
_flop = _text(r"0|[1-9][0-9]{0,39}")
_maybe_flop = _text(r"(?:0|[1-9][0-9]{0,39})?")
_seconds = _text(r"(?:0|[1-9][0-9]{0,15})\.[0-9]{3}")

PARENT: Fields = {"name": _name, "digest": _sha256, "flop": _maybe_flop, "basis": _line}


def _is_parents(value: Json) -> bool:
    return type(value) is list and all(
        type(parent) is dict and not first_fault(parent, PARENT) for parent in value
    )


_RUN: Fields = {"time": is_time, "run": _name}
_GRANT: Fields = {"time": is_time, "grant": _sha256}
_ORDER: Fields = {"time": is_time, "order": _sha256}
_MODEL: Fields = {"time": is_time, "model": _name, "digest": _sha256}

FIELDS: Mapping[str, Fields] = {
    "run-declared": {
        **_RUN,
        "model": _name,
        "recipe": _sha256,
        "corpus": _sha256,
        "objective": _name,
        "parents": _is_parents,
        "planned_flop": _flop,
        "planned_basis": _line,
        "pool": _name,
        "device": _name,
        "num_devices": _is_count,
        "peak_flop_per_s": _flop,
    },
    "progress": {
        **_RUN,
        "recipe": _sha256,
        "step": _is_count,
        "flop": _flop,
        "device_s": _seconds,
        "tokens": _is_count,
        "checkpoint": _maybe_sha256,
        "is_final": _is_bool,
    },
    "checkpoint": {
        **_RUN,
        "step": _is_count,
        "name": _name,
        "digest": _sha256,
        "num_files": _is_count,
        "num_bytes": _is_count,
        "lineage_flop": _maybe_flop,
    },
    "pause-ordered": {**_ORDER, "envelope": _is_object},
    "pause-lifted": {
        **_ORDER,
        "basis": _text("until|parties"),
        "release": _is_object,
        "evidence": _text(r".{0,40000}"),
    },
    "paused": {**_RUN, "order": _sha256, "step": _is_count, "flop": _flop, "checkpoint": _sha256},
    "resumed": {**_RUN, "step": _is_count, "checkpoint": _sha256},
    "log-followed": {"time": is_time, "log": _name, "key": _sha256, "is_obeyed": _is_bool},
    "share-granted": {
        **_GRANT,
        "recipient": _name,
        "purpose": _line,
        "scope": _sha256,
        "until": is_time,
    },
    "share-cut": {**_GRANT, "reason": _line},
    "post-forgotten": {
        "time": is_time,
        "posts": _sha256,
        "num_posts": _is_count,
        "snapshot": _maybe_name,
    },
    "audit": {**_MODEL, "report": _sha256, "suite": _name, "is_passed": _is_bool},
    "model-served": {**_MODEL, "made_from": _maybe_sha256},
    "model-withdrawn": {**_MODEL, "reason": _line},
}
"""Every kind of leaf: each field must be there, no other may be."""

ORDER: Fields = {
    "above_flop": _flop,
    "begins": is_time,
    "until": is_time,
    "reason": _line,
    "parties": _is_vkeys,
    "timekeepers": _is_vkeys,
    "quorum": _is_quorum,
    "nonce": _text(r"[0-9a-f]{32}"),
}
RELEASE: Fields = {"order": _sha256, "reason": _line}

SUBJECTS: Mapping[str, tuple[str, str]] = {
    "run-declared": ("run/{run}", "recipe"),
    "progress": ("run/{run}", "recipe"),
    "checkpoint": ("model/{name}", "digest"),
    "pause-ordered": ("order", "order"),
    "pause-lifted": ("order", "order"),
    "paused": ("run/{run}/checkpoint", "checkpoint"),
    "resumed": ("run/{run}/checkpoint", "checkpoint"),
    "log-followed": ("log", "key"),
    "share-granted": ("grant", "grant"),
    "share-cut": ("grant", "grant"),
    "post-forgotten": ("posts", "posts"),
    "audit": ("model/{model}", "digest"),
    "model-served": ("model/{model}", "digest"),
    "model-withdrawn": ("model/{model}", "digest"),
}
"""Name of the subject, as a format over the fields, and the field that is its digest."""


def first_fault(predicate: Mapping[str, Json], fields: Fields) -> str:
    """Name of the first field that is missing, unknown or wrong; empty when all is well."""
    for name, check in fields.items():
        if name not in predicate or not check(predicate[name]):
            return name
    if len(predicate) != len(fields):
        return next(name for name in predicate if name not in fields)
    return ""
