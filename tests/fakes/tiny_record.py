"""A record with every kind of leaf and a pause in force, of three organisations that do not exist.

Writes a workspace's record and the keys of its owner under one folder; clocks are stepped by hand,
so that the leaves are weeks apart, as they would be.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

from mynah.record.envelopes import add_signature, seal
from mynah.record.following import follow
from mynah.record.identity import Identity
from mynah.record.notes import COSIGNER, SigningKey, cosign
from mynah.record.orders import cosign_order, make_release
from mynah.record.pausing import PauseTerms, cosign_pause, lift_pause, order_pause
from mynah.record.record import Record
from mynah.record.statements import (
    AuditDone,
    Body,
    CheckpointSaved,
    ModelServed,
    ModelWithdrawn,
    ParentModel,
    Paused,
    PostForgotten,
    Progress,
    Resumed,
    RunDeclared,
    ShareCut,
    ShareGranted,
    Statement,
    format_time,
)

HOSTILE_REASON = "<script>document.title = 'stolen'</script> {{ 7 * 7 }} let us wait & look"
DAY_US = 86_400 * 10**6
WEEKS = 3
"""How long ago the record begins."""
POOLS = {"north": ("H100 80GB", 16_384), "bench": ("A100 40GB", 64)}


class Clock:
    """Time as the record sees it: it stands still until it is told."""

    def __init__(self, start: datetime) -> None:
        self.now_ns = 0
        self.set(start)

    def set(self, moment: datetime) -> None:
        self.now_ns = int(moment.timestamp()) * 1_000_000_000

    def forward(self, **span: float) -> None:
        self.now_ns += int(timedelta(**span).total_seconds() * 1e9)

    def now(self) -> int:
        return self.now_ns

    def now_us(self) -> int:
        return self.now_ns // 1000

    @contextmanager
    def rules(self) -> Iterator[None]:
        with mock.patch.object(time, "time_ns", self.now):
            yield


def digest(word: str) -> str:
    return (word.encode().hex() + "0" * 64)[:64]


def declared(run: str, model: str, *, flop: str, pool: str, parents=()) -> RunDeclared:
    device, num_devices = POOLS[pool]
    return RunDeclared(
        run=run, model=model, recipe=digest(run), corpus=digest("corpus"),
        objective="next token", parents=parents, planned_flop=flop,
        planned_basis="6 x parameters x tokens", pool=pool, device=device,
        num_devices=num_devices, peak_flop_per_s=str(10**15),
    )  # fmt: skip


def progress(run: str, step: int, flop: int, *, hours: float, is_final: bool = False) -> Progress:
    return Progress(
        run=run, recipe=digest(run), step=step, flop=str(flop), device_s=f"{hours * 3600:.3f}",
        tokens=step * 4_000_000, is_final=is_final,
        checkpoint=digest(f"{run}@{step}") if is_final else "",
    )  # fmt: skip


def identity_of(folder: Path, name: str) -> Identity:
    identity = Identity.open(folder / "keys" / name)
    return identity if identity.name == name else identity.rename(name)


def write_tiny_record(folder: Path, workspace: Path) -> Record:
    """Write the record of ``heron.example``; the keys of all three lie under ``folder``."""
    heron, stork, crane = (
        identity_of(folder, f"{bird}.example") for bird in ("heron", "stork", "crane")
    )
    clock = Clock(datetime.now(UTC) - timedelta(weeks=WEEKS))
    with clock.rules():
        record = Record.open(workspace, identity=heron)
        _before_any_pause(record, clock)
        _first_pause(record, clock, other=identity_of(folder, "ibis.example"))
        _between(record, clock)
        clock.set(datetime.now(UTC) - timedelta(days=4))
        order = _second_pause(record, clock, parties=(stork, crane))
        broken = _breaks(folder / "stork", clock, stork, order)
        stale = _falls_silent(folder / "crane", clock, crane, order)
        clock.set(datetime.now(UTC) - timedelta(minutes=50))
        for other in (broken, stale):
            follow(record, other.folder / "log", key=other.key)
            clock.forward(minutes=4)
        _write(record, clock, progress("tern-chat-3", 800, 24 * 10**21, hours=5600))
    witnessed(record)
    return record


def _write(record: Record, clock: Clock, *bodies: Body, hours: float = 7) -> None:
    for body in bodies:
        record.write(body)
        clock.forward(hours=hours)


def _before_any_pause(record: Record, clock: Clock) -> None:
    base = declared("tern-base-1", "tern-base", flop=str(4 * 10**24), pool="north")
    _write(record, clock, base)
    for step in range(1, 13):
        _write(record, clock, progress("tern-base-1", 5000 * step, step * 26 * 10**22,
                                       hours=step * 60_000), hours=9)  # fmt: skip
    saved = CheckpointSaved(
        run="tern-base-1", step=60_000, name="tern-base", digest=digest("tern-base"),
        num_files=14, num_bytes=141_000_000_000, lineage_flop=str(12 * 26 * 10**22),
    )  # fmt: skip
    _write(record, clock,
           progress("tern-base-1", 60_000, 12 * 26 * 10**22, hours=720_000, is_final=True),
           saved,
           AuditDone(model="tern-base", digest=digest("tern-base"), report=digest("report"),
                     suite="memorisation-1", is_passed=True),
           ModelServed(model="tern-base", digest=digest("gguf"), made_from=digest("tern-base")),
           ShareGranted(grant=digest("grant"), recipient="University of the Delta",
                        purpose="How fast rumours spread", scope=digest("scope"),
                        until=format_time(clock.now_us() + 10**13)),
           PostForgotten(posts=digest("posts"), num_posts=3, snapshot="s-17"))  # fmt: skip


def _first_pause(record: Record, clock: Clock, *, other: Identity) -> None:
    """A short one, which both who signed it end early."""
    _write(record, clock, declared("tern-probe", "tern-probe", flop=str(3 * 10**21), pool="bench"),
           progress("tern-probe", 400, 8 * 10**20, hours=600), hours=5)  # fmt: skip
    terms = PauseTerms(
        above="1e21", until_us=clock.now_us() + 20 * DAY_US,
        reason="A new eval for self-copying is being run", cosigners=[other.key.verifier()],
    )  # fmt: skip
    signed = order_pause(record, terms, clock=clock.now_us)
    envelope = cosign_order(signed.envelope, other.key)
    cosign_pause(record, envelope, clock=clock.now_us)
    clock.forward(minutes=3)
    stopped = Paused(run="tern-probe", order=signed.id, step=410, flop=str(82 * 10**19),
                     checkpoint=digest("p410"))  # fmt: skip
    _write(record, clock, stopped, hours=50)
    signed = record.register().orders[signed.id].signed
    release = add_signature(
        make_release(signed, "The eval found nothing", record.identity.key), other.key
    )
    lift_pause(record, signed.id, release=release, clock=clock.now_us)
    clock.forward(minutes=9)
    _write(record, clock, Resumed(run="tern-probe", step=410, checkpoint=digest("p410")),
           progress("tern-probe", 1500, 29 * 10**20, hours=2100, is_final=True))  # fmt: skip


def _between(record: Record, clock: Clock) -> None:
    parent = ParentModel(name="tern-base", digest=digest("tern-base"),
                         flop=str(12 * 26 * 10**22), basis="record")  # fmt: skip
    _write(record, clock,
           ShareCut(grant=digest("grant"), reason="The study is over"),
           declared("tern-chat-3", "tern-chat", flop=str(5 * 10**22), pool="bench",
                    parents=(parent,)),
           declared("tern-2-pre", "tern-2", flop=str(26 * 10**24), pool="north"))  # fmt: skip
    for step in range(1, 8):
        _write(record, clock,
               progress("tern-2-pre", 3000 * step, step * 2 * 10**24, hours=step * 390_000),
               progress("tern-chat-3", 100 * step, step * 3 * 10**21, hours=step * 700),
               hours=11)  # fmt: skip
    _write(record, clock, ModelWithdrawn(model="tern-base", digest=digest("gguf"),
                                         reason="tern-chat takes over"))  # fmt: skip


def _second_pause(record: Record, clock: Clock, *, parties: tuple[Identity, ...]) -> bytes:
    """The one in force; returns it with all signatures."""
    terms = PauseTerms(
        above="2.1e25", until_us=clock.now_us() + 120 * DAY_US, reason=HOSTILE_REASON,
        cosigners=[party.key.verifier() for party in parties],
    )  # fmt: skip
    envelope = order_pause(record, terms, clock=clock.now_us).envelope
    for party in parties:
        envelope = cosign_order(envelope, party.key)
    signed = cosign_pause(record, envelope, clock=clock.now_us)
    clock.forward(minutes=1)
    _write(record, clock, Paused(run="tern-2-pre", order=signed.id, step=21_040,
                                 flop=str(1402 * 10**22), checkpoint=digest("t21040")))  # fmt: skip
    return envelope


def _breaks(workspace: Path, clock: Clock, owner: Identity, order: bytes) -> Record:
    """A log whose owner signs the pause and goes on training: written past its own register."""
    record = Record.open(workspace, identity=owner)
    _write(record, clock, declared("wader-1", "wader", flop=str(4 * 10**25), pool="north"),
           progress("wader-1", 50, 10**25, hours=10_000), hours=1)  # fmt: skip
    cosign_pause(record, order, clock=clock.now_us)
    clock.forward(hours=9)
    more = replace(progress("wader-1", 60, 12 * 10**24, hours=12_000),
                   time=format_time(clock.now_us()))  # fmt: skip
    record.log.append([seal(Statement(more).encode(), owner.key)])
    return record


def _falls_silent(workspace: Path, clock: Clock, owner: Identity, order: bytes) -> Record:
    """A log that says it keeps the pause, and nothing since."""
    record = Record.open(workspace, identity=owner)
    cosign_pause(record, order, clock=clock.now_us)
    return record


def witnessed(record: Record) -> None:
    """Two cosignatures, one of a key that the workspace's policy names."""
    known, unknown = (
        SigningKey(name, Identity.open(record.identity.folder.parent / name).key.private)
        for name in ("witness.stork.example", "witness.ibis.example")
    )
    now = int(time.time())
    text = record.log.head().text
    lines = [cosign(text, known, time_s=now - 90), cosign(text, unknown, time_s=now - 4000)]
    record.log.add_cosignatures(lines)
    policy = f"log {record.key}\nwitness w1 {known.verifier(COSIGNER)}\nquorum w1\n"
    (record.folder / "policy").write_text(policy)
