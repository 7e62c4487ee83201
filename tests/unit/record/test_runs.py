"""A run in the record: declared once, counted upwards, stopped by an order, resumed as it was."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from mynah.errors import PausedError, RecordError
from mynah.record.identity import Identity
from mynah.record.model_signature import ModelDigest
from mynah.record.pausing import PauseTerms, lift_pause, order_pause, sign_release
from mynah.record.record import Record
from mynah.record.runs import RunRecord, Spent
from mynah.record.statements import ParentModel, RunDeclared

A, B, C = "a" * 64, "b" * 64, "c" * 64
DECLARED = RunDeclared(
    run="run-1",
    model="model-1",
    recipe=A,
    corpus=B,
    objective="posts",
    parents=(),
    planned_flop="1000",
    planned_basis="exact",
    pool="local",
    device="cpu",
    num_devices=1,
    peak_flop_per_s="100",
)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record.open(tmp_path / "network", identity=Identity.open(tmp_path / "keys"))


def spent(flop: int) -> Spent:
    return Spent(flop=flop, device_s=flop / 100, tokens=flop // 10)


def kinds(record: Record) -> list[str]:
    return [statement.body.kind for _, statement in record.statements()]


def pause(record: Record, *, above: str = "10") -> str:
    until_us = time.time_ns() // 1000 + 3_600_000_000
    return order_pause(record, PauseTerms(above=above, until_us=until_us, reason="to think")).id


def lift(record: Record, order: str) -> None:
    lift_pause(record, order, release=sign_release(record, order))


def test_a_run_is_declared_once_and_counted(record: Record):
    for step in (0, 4):
        ledger = RunRecord.open(record, DECLARED)
        ledger.begin(step, spent(10 * step), lambda: C)
    ledger.progress(5, spent(50), digest=C)
    assert kinds(record) == ["run-declared", "progress", "progress", "progress"]
    assert ledger.spent == spent(50)
    assert Spent(flop=1, device_s=9.0).at_least(spent(50)) == Spent(flop=50, device_s=9.0, tokens=5)


def test_other_facts_are_refused(record: Record):
    RunRecord.open(record, DECLARED)
    with pytest.raises(RecordError, match="other facts"):
        RunRecord.open(record, replace(DECLARED, planned_flop="1"))
    assert kinds(record) == ["run-declared"]


def test_a_count_that_shrinks_is_refused(record: Record):
    ledger = RunRecord.open(record, DECLARED)
    ledger.begin(3, spent(30), lambda: C)
    with pytest.raises(RecordError, match="fewer than the 30 before"):
        ledger.progress(2, spent(20))


def test_a_new_run_inside_a_pause_is_refused_and_not_declared(record: Record):
    order = pause(record)
    with pytest.raises(PausedError, match=f"paused: order {order[:12]} .*: to think") as refused:
        RunRecord.open(record, DECLARED)
    assert "mynah record pause status" in refused.value.hint
    assert "run-declared" not in kinds(record)
    below = replace(DECLARED, planned_flop="10")
    RunRecord.open(record, below).begin(0, spent(0), lambda: C)


def test_a_lineage_that_nobody_knows_is_covered_by_any_order(record: Record):
    pause(record, above="1e30")
    parent = ParentModel(name="found", digest=C, flop="", basis="nobody knows")
    with pytest.raises(PausedError) as refused:
        RunRecord.open(record, replace(DECLARED, parents=(parent,)))
    assert "--set base_flop=" in refused.value.hint


def test_an_order_stops_a_run_before_its_next_step(record: Record):
    ledger = RunRecord.open(record, DECLARED)
    ledger.begin(0, spent(0), lambda: C)
    assert ledger.stop_order(10) is None
    order_id = pause(record)
    order = ledger.stop_order(20)
    assert order is not None
    assert order.signed.id == order_id
    assert isinstance(ledger.pause(order, 2, spent(20), C), PausedError)
    with pytest.raises(PausedError):  # a restart
        RunRecord.open(record, DECLARED)
    lift(record, order_id)
    ledger = RunRecord.open(record, DECLARED)
    with pytest.raises(RecordError, match=r"paused at a checkpoint with digest cccc.*has bbbb"):
        ledger.begin(2, spent(20), lambda: B)
    ledger.begin(2, spent(20), lambda: C)
    assert kinds(record)[-4:] == ["paused", "pause-lifted", "resumed", "progress"]


def test_counted_flop_that_cross_the_threshold_stop_a_run(record: Record):
    """Planned below it; work that kills undid takes it above."""
    pause(record, above="1500")
    ledger = RunRecord.open(record, DECLARED)
    ledger.begin(0, spent(0), lambda: C)
    assert ledger.stop_order(1500) is None
    assert ledger.stop_order(1501) is not None


def test_an_order_between_two_looks_is_no_error_and_no_progress(record: Record):
    ledger = RunRecord.open(record, DECLARED)
    ledger.begin(0, spent(0), lambda: C)
    pause(record)
    ledger.progress(1, spent(20))
    assert kinds(record) == ["run-declared", "progress", "pause-ordered"]
    assert ledger.stop_order(20) is not None


def test_a_run_killed_before_it_could_say_so_is_paused_by_its_next_start(record: Record):
    RunRecord.open(record, DECLARED).begin(0, spent(0), lambda: C)
    order_id = pause(record)
    ledger = RunRecord.open(record, DECLARED)
    with pytest.raises(PausedError):
        ledger.begin(1, spent(15), lambda: C)
    assert kinds(record)[-1] == "paused"
    with pytest.raises(PausedError):
        ledger.begin(1, spent(15), lambda: C)
    assert kinds(record).count("paused") == 1
    lift(record, order_id)
    RunRecord.open(record, DECLARED).begin(1, spent(15), lambda: C)


def test_the_end_is_told_once_with_the_lineage(record: Record):
    parent = ParentModel(name="base", digest=C, flop="7", basis="its card")
    ledger = RunRecord.open(record, replace(DECLARED, parents=(parent,)))
    ledger.begin(0, spent(0), lambda: C)
    model = ModelDigest(hex=B, num_files=3, num_bytes=90)
    for _ in range(2):
        ledger.finish(9, spent(90), model)
    assert kinds(record) == ["run-declared", "progress", "progress", "checkpoint"]
    assert record.register().models[B].lineage_flop == 97
    assert record.register().runs["run-1"].is_final


def test_seconds_that_were_read_back_are_no_less(record: Record):
    ledger = RunRecord.open(record, DECLARED)
    ledger.begin(0, Spent(device_s=0.6299), lambda: C)
    for milliseconds in range(629, 700, 7):
        ledger.progress(0, Spent(device_s=milliseconds / 1000))
        assert ledger.spent.device_s == milliseconds / 1000
        ledger.progress(0, ledger.spent)
