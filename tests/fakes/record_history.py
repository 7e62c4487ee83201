"""A short history for a record: two runs, a model, an order, a pause, shares and an audit.

Writes statements into the record it is given; every number is fixed, times are the record's.
"""

import hashlib
import time

import orjson

from mynah.record.orders import Order, make_order, new_nonce, read_order
from mynah.record.record import Record
from mynah.record.statements import (
    AuditDone,
    Body,
    CheckpointSaved,
    LogFollowed,
    ModelServed,
    ModelWithdrawn,
    ParentModel,
    Paused,
    PauseOrdered,
    PostForgotten,
    Progress,
    RunDeclared,
    ShareCut,
    ShareGranted,
    format_time,
)

__all__ = ["CORPUS", "MODEL", "fake_digest", "run_declared", "write_history"]

DAY_US = 86_400_000_000


def fake_digest(text: str) -> str:
    """A hash of nothing in particular."""
    return hashlib.sha256(text.encode()).hexdigest()


CORPUS = fake_digest("corpus")
MODEL = fake_digest("model")
SERVED = fake_digest("corvid.gguf")
BASE = ParentModel(
    name="outside-base", digest=fake_digest("base"), flop="400000000000000000000", basis="its card"
)


def run_declared(run: str, *, parents: tuple[ParentModel, ...] = (BASE,)) -> RunDeclared:
    """A run of 3e21 FLOP at most on eight devices."""
    return RunDeclared(
        run=run,
        model="corvid",
        recipe=fake_digest(run),
        corpus=CORPUS,
        objective="next token",
        parents=parents,
        planned_flop="3000000000000000000000",
        planned_basis="6 x parameters x tokens",
        pool="main",
        device="H200",
        num_devices=8,
        peak_flop_per_s="989000000000000",
    )


def _progress(run: str, step: int, flop: int, *, is_final: bool = False) -> Progress:
    return Progress(
        run=run,
        recipe=fake_digest(run),
        step=step,
        flop=str(flop),
        device_s=f"{step * 8}.500",
        tokens=step * 1000,
        is_final=is_final,
    )


def write_history(record: Record) -> None:
    """Write 16 leaves; afterwards a pause of all above 2.1e21 FLOP is in force."""
    record.write_many([*_first_run(), *_second_run(record), *_sharing()])


def _first_run() -> list[Body]:
    return [
        run_declared("first"),
        _progress("first", 10, 10**21),
        _progress("first", 20, 12 * 10**20, is_final=True),
        CheckpointSaved(
            run="first",
            step=20,
            name="corvid",
            digest=MODEL,
            num_files=3,
            num_bytes=720_000_000,
            lineage_flop=str(16 * 10**20),
        ),
        AuditDone(
            model="corvid",
            digest=MODEL,
            report=fake_digest("report"),
            suite="misuse/1",
            is_passed=True,
        ),
        ModelServed(model="corvid", digest=SERVED, made_from=MODEL),
    ]


def _second_run(record: Record) -> list[Body]:
    parent = ParentModel(name="corvid", digest=MODEL, flop=str(16 * 10**20), basis="record")
    ordered = pause_ordered(record)
    flop, log = 4 * 10**20, str(record.key)
    at = fake_digest("five")
    return [
        run_declared("second", parents=(parent,)),
        _progress("second", 5, flop),
        ordered,
        Paused(run="second", order=ordered.order, step=5, flop=str(flop), checkpoint=at),
        LogFollowed(log=log, key=fake_digest(log), is_obeyed=False),
    ]


def _sharing() -> list[Body]:
    grant = fake_digest("grant")
    return [
        ShareGranted(
            grant=grant,
            recipient="stork.example",
            purpose="research on <script>alert(1)</script>",
            scope=fake_digest("scope"),
            until="2031-01-01T00:00:00.000000Z",
        ),
        ShareCut(grant=grant, reason="the research is done"),
        PostForgotten(posts=fake_digest("salted"), num_posts=3, snapshot="0a1b"),
        _progress("first", 20, 12 * 10**20, is_final=True),
        ModelWithdrawn(model="corvid", digest=SERVED, reason="an answer <b>was</b> wrong"),
    ]


def pause_ordered(record: Record) -> PauseOrdered:
    """An order that has begun, by the record's own party, without timekeepers."""
    now_us = time.time_ns() // 1_000
    party = record.identity.key
    order = Order(
        above_flop="2100000000000000000000",
        begins=format_time(now_us - DAY_US),
        until=format_time(now_us + 365 * DAY_US),
        reason="no larger models until <both> are audited",
        parties=(str(party.verifier()),),
        nonce=new_nonce(),
    )
    envelope = make_order(order, party)
    return PauseOrdered(order=read_order(envelope).id, envelope=orjson.loads(envelope))
