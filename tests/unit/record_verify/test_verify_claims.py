"""Each way in which leaves of one log can contradict one another."""

from dataclasses import replace

import orjson
import pytest
from tests.fakes.record_logs import (
    SECOND_US,
    START_US,
    LogBuilder,
    checkpoint_of,
    digest,
    order_envelope,
    order_id,
    progress_of,
    release_envelope,
    run_declared,
    signing_key,
)

from mynah.record.notes import TreeHead, cosign, sign_note
from mynah.record.statements import (
    LogFollowed,
    ModelServed,
    ModelWithdrawn,
    ParentModel,
    Paused,
    PauseLifted,
    PauseOrdered,
    Resumed,
)
from mynah.record.verify import verify_log

STORK, FINCH = signing_key("stork.example", 2), signing_key("finch.example", 3)
CLOCKS = [signing_key(f"clock{n}.example", 20 + n) for n in range(3)]
WEIGHTS = digest("weights")


def faults(log: LogBuilder) -> list[str]:
    report = verify_log(log.source(), keys=[log.vkey])
    return [f"{claim.index}: {claim.detail}" for claim in report.of("contradicted")]


def started(planned: int = 1000) -> LogBuilder:
    log = LogBuilder()
    log.add(run_declared("r", planned=planned))
    log.add(progress_of("r", 1, 100))
    return log


def order(log: LogBuilder, **terms) -> bytes:
    facts = {"above": 500, "begins": log.time(), "until": log.time(1000), **terms}
    return order_envelope(facts.pop("parties", [log.key, STORK]), **facts)


def ordered(log: LogBuilder, **terms) -> str:
    envelope = order(log, **terms)
    log.add(PauseOrdered(order=order_id(envelope), envelope=orjson.loads(envelope)))
    return order_id(envelope)


def paused(log: LogBuilder, order: str, flop: int = 150, **more) -> None:
    facts = {"run": "r", "step": 2, "checkpoint": WEIGHTS, **more}
    log.add(Paused(order=order, flop=str(flop), **facts))


def only(log: LogBuilder, says: str) -> None:
    found = faults(log)
    assert len(found) == 1, found
    assert says in found[0]


# Compute


@pytest.mark.parametrize(
    ("after", "is_false"),
    [
        ({}, False),
        ({"flop": 99}, True),
        ({"device_s": "0.999"}, True),
        ({"tokens": 999}, True),
        ({"step": 0, "tokens": 1000, "device_s": "1.000"}, False),
    ],
)
def test_compute_may_only_grow(after, is_false):
    log = started()
    facts = {"step": 1, "flop": 100, **after}
    log.add(progress_of("r", facts.pop("step"), facts.pop("flop"), **facts))
    if is_false:
        only(log, "2: the compute of the run shrinks")
    else:
        assert faults(log) == []


def test_leaves_of_a_run_that_nobody_declared():
    log = LogBuilder()
    log.add(progress_of("r", 1, 1))
    log.add(checkpoint_of("r", 1, 1))
    log.add(Paused(run="r", order="0" * 64, step=1, flop="1", checkpoint=WEIGHTS))
    log.add(Resumed(run="r", step=1, checkpoint=WEIGHTS))
    assert [fault.split(": ")[1] for fault in faults(log)] == [
        *["the run is not declared"] * 3,
        "the run is not paused",
    ]


def test_a_run_is_declared_twice():
    log = started()
    log.add(run_declared("r", planned=1000))
    assert faults(log) == []
    log.add(run_declared("r", planned=1001))
    only(log, "leaf 0 with other facts")


def test_another_recipe():
    log = started()
    log.add(replace(progress_of("r", 2, 200), recipe=digest("other")))
    only(log, "another recipe")


def test_flop_beyond_the_sum():
    log = started()
    log.add(checkpoint_of("r", 1, 100))
    assert faults(log) == []
    log.add(checkpoint_of("r", 1, 101))
    only(log, "given 101 FLOP, the log adds up to 100")


def parent(flop: int | None, basis: str, name: str = "model of r") -> ParentModel:
    flop_text = "" if flop is None else str(flop)
    return ParentModel(name="p", digest=digest(name), flop=flop_text, basis=basis)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (parent(100, "record"), ""),
        (parent(99, "record"), "given 99 FLOP, the log counted 100"),
        (parent(None, "record"), "given unknown FLOP"),
        (parent(100, "its paper"), "says otherwise"),
        (parent(100, "record", "else"), "does not know it"),
        (parent(7, "its paper", "else"), ""),
    ],
)
def test_parents(given, says):
    log = started()
    log.add(checkpoint_of("r", 1, 100))
    log.add(run_declared("child", parents=(given,)))
    if says:
        only(log, says)
    else:
        assert faults(log) == []


def test_a_lineage_counts_each_part_once():
    log = LogBuilder()
    base = parent(1000, "its paper", "base")
    log.add(run_declared("r", parents=(base,)))
    log.add(progress_of("r", 1, 10))
    log.add(checkpoint_of("r", 1, 1010))
    ours = parent(1010, "record")
    log.add(run_declared("s", parents=(ours, base)))
    log.add(progress_of("s", 1, 5))
    log.add(checkpoint_of("s", 1, 1015))
    merged = (ours, parent(1015, "record", "model of s"))
    log.add(run_declared("t", parents=merged))
    log.add(checkpoint_of("t", 0, 1015))
    log.add(run_declared("u", parents=(parent(None, "", "unknown"),)))
    log.add(checkpoint_of("u", 0, None))
    assert faults(log) == []


def test_one_parent_twice():
    log = LogBuilder()
    log.add(run_declared("r", parents=(parent(5, "", "x"), parent(5, "", "x"))))
    only(log, "one parent twice")


# Pauses


def test_a_pause_that_is_kept():
    log = started()
    wanted = ordered(log)
    paused(log, wanted)
    log.add(progress_of("r", 2, 150, tokens=1000))
    report = verify_log(log.source(), keys=[log.vkey])
    assert not report.is_contradicted
    kept = [claim for claim in report.of("proved") if "was kept" in claim.what]
    assert len(kept) == 1
    assert "to the end" in kept[0].detail


def test_progress_inside_a_pause():
    log = started()
    ordered(log)
    log.add(progress_of("r", 2, 101))
    only(log, "3: the run goes on inside the pause")
    kept = [c for c in verify_log(log.source()).claims if "was kept" in c.what]
    assert kept == []


def test_progress_with_more_tokens_inside_a_pause():
    log = started()
    ordered(log)
    log.add(progress_of("r", 2, 100))
    only(log, "inside the pause")


def test_a_run_below_the_threshold_goes_on():
    log = started(planned=500)
    ordered(log)
    log.add(progress_of("r", 2, 500))
    assert faults(log) == []
    log.add(progress_of("r", 3, 501))
    only(log, "inside the pause")


def test_a_lineage_above_the_threshold_is_covered():
    log = LogBuilder()
    log.add(run_declared("r", planned=1, parents=(parent(500, "", "x"),)))
    ordered(log)
    log.add(progress_of("r", 1, 1))
    only(log, "inside the pause")


def test_an_unknown_lineage_is_covered():
    log = LogBuilder()
    log.add(run_declared("r", planned=1, parents=(parent(None, "", "x"),)))
    ordered(log, above=10**39)
    log.add(progress_of("r", 1, 1))
    only(log, "inside the pause")


def test_before_it_begins_a_pause_binds_nobody():
    log = started()
    ordered(log, begins=log.time(5))
    for step in range(2, 5):
        log.add(progress_of("r", step, step * 100))
    assert faults(log) == []
    log.add(progress_of("r", 5, 500))
    only(log, "6: the run goes on")


def test_a_new_run_inside_a_pause():
    log = started()
    ordered(log)
    log.add(run_declared("small", planned=500))
    log.add(run_declared("r", planned=1000))
    assert faults(log) == []
    log.add(run_declared("large", planned=501))
    only(log, "declared inside the pause")


def test_going_on_without_being_resumed():
    log = started()
    wanted = ordered(log, until=log.time(3))
    paused(log, wanted)
    log.add(PauseLifted(order=wanted, basis="until"))
    log.add(progress_of("r", 2, 150, tokens=1000))
    assert faults(log) == []
    log.add(progress_of("r", 3, 151))
    only(log, "without being resumed")


@pytest.mark.parametrize("is_early", [True, False])
def test_resumed_before_the_lift(is_early):
    log = started()
    wanted = ordered(log, until=log.time(3))
    paused(log, wanted)
    if not is_early:
        log.add(PauseLifted(order=wanted, basis="until"))
    log.add(Resumed(run="r", step=2, checkpoint=WEIGHTS))
    found = faults(log)
    assert [f.split(" order")[0] for f in found] == (
        ["4: the run is resumed while"] if is_early else []
    )


def test_resumed_from_another_checkpoint():
    log = started()
    wanted = ordered(log, until=log.time(3))
    paused(log, wanted)
    log.add(PauseLifted(order=wanted, basis="until"))
    log.add(Resumed(run="r", step=2, checkpoint=digest("other weights")))
    only(log, "another checkpoint")


def test_paused_twice():
    log = started()
    wanted = ordered(log)
    paused(log, wanted)
    paused(log, wanted)
    assert faults(log) == []
    paused(log, wanted, flop=151)
    only(log, "has gone on since")


def test_paused_by_no_order():
    log = started()
    paused(log, "0" * 64)
    only(log, "not in force")


def test_paused_though_not_covered():
    log = started(planned=10)
    paused(log, ordered(log))
    only(log, "does not cover")


# Orders


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        ({"signers": [STORK]}, "author has not signed"),
        ({"signers": None, "parties": [FINCH, STORK]}, ""),
        ({"until": "2025-01-01T00:00:00.000000Z"}, "ends before it begins"),
        ({"timekeepers": CLOCKS, "quorum": 4}, "wants 4 of 3"),
        ({"timekeepers": CLOCKS, "quorum": 0}, "wants 0 of 3"),
        ({"quorum": 1}, "wants 1 of 0"),
        ({"timekeepers": [CLOCKS[0], CLOCKS[0]], "quorum": 1}, "twice"),
        ({"nonce": "x"}, "nonce"),
        ({"begins": "soon"}, "begins"),
    ],
)
def test_orders_that_are_none(terms, says):
    log = started()
    ordered(log, **terms)
    if says:
        only(log, says)
    else:
        assert faults(log) == []


def test_an_order_that_a_stranger_signed():
    log = started()
    whole = order(log, signers=[log.key, FINCH])
    log.add(PauseOrdered(order=order_id(whole), envelope=orjson.loads(whole)))
    only(log, "no party of it")


def test_an_order_under_another_name():
    log = started()
    log.add(PauseOrdered(order="0" * 64, envelope=orjson.loads(order(log))))
    only(log, "another order")


def test_a_lifted_order_does_not_come_back():
    log = started()
    wanted = order(log, until=log.time(2))
    leaf = PauseOrdered(order=order_id(wanted), envelope=orjson.loads(wanted))
    log.add(leaf)
    log.add(leaf)
    log.add(PauseLifted(order=order_id(wanted), basis="until"))
    assert faults(log) == []
    log.add(leaf)
    only(log, "lifted by leaf 4")


def test_a_lift_before_its_time():
    log = started()
    wanted = ordered(log, until=log.time(100))
    log.add(PauseLifted(order=wanted, basis="until"))
    log.add(progress_of("r", 2, 200))
    found = faults(log)
    assert "it stands until" in found[0]
    assert "inside the pause" in found[1]


def test_a_lift_of_no_order():
    log = started()
    log.add(PauseLifted(order="0" * 64, basis="until"))
    only(log, "not in force")


@pytest.mark.parametrize(
    ("signers", "says"),
    [
        (["heron", "stork"], ""),
        (["heron"], "not signed by stork.example"),
        (["heron", "stork", "finch"], "no party"),
    ],
)
def test_a_release_needs_all_who_signed(signers, says):
    log = started()
    keys = {"heron": log.key, "stork": STORK, "finch": FINCH}
    wanted = ordered(log)
    release = release_envelope(wanted, [keys[name] for name in signers])
    log.add(PauseLifted(order=wanted, basis="parties", release=orjson.loads(release)))
    if says:
        only(log, says)
    else:
        assert faults(log) == []


def test_a_party_that_never_signed_need_not_release():
    log = started()
    wanted = ordered(log, signers=[log.key])
    release = release_envelope(wanted, [log.key])
    log.add(PauseLifted(order=wanted, basis="parties", release=orjson.loads(release)))
    assert faults(log) == []


def test_a_party_that_signed_a_later_copy_must_release():
    log = started()
    terms = {"begins": log.time(), "until": log.time(1000)}
    wanted = ordered(log, signers=[log.key], **terms)
    assert ordered(log, **terms) == wanted
    release = release_envelope(wanted, [log.key])
    log.add(PauseLifted(order=wanted, basis="parties", release=orjson.loads(release)))
    only(log, "not signed by stork.example")


def test_a_release_of_another_order():
    log = started()
    wanted = ordered(log)
    release = orjson.loads(release_envelope("0" * 64, [log.key, STORK]))
    log.add(PauseLifted(order=wanted, basis="parties", release=release))
    only(log, "another order")


# Timekeepers


def timed(log: LogBuilder) -> tuple[str, int]:
    until_us = START_US + 10**6 * SECOND_US
    until = log.time((until_us - log.time_us) // SECOND_US)
    return ordered(log, until=until, timekeepers=CLOCKS, quorum=2), until_us // SECOND_US


def lift(log: LogBuilder, order: str, evidence: bytes) -> None:
    log.add(PauseLifted(order=order, basis="until", evidence=evidence.decode()))


@pytest.mark.parametrize(
    ("clocks", "late_s", "says"),
    [
        (CLOCKS[:2], 0, ""),
        (CLOCKS, 5, ""),
        (CLOCKS[:1], 0, "1 of 2 timekeepers"),
        (CLOCKS, -1, "0 of 2 timekeepers"),
        ([FINCH, STORK], 0, "0 of 2 timekeepers"),
    ],
)
def test_timekeepers_say_when(clocks, late_s, says):
    log = started()
    wanted, until_s = timed(log)
    lift(log, wanted, log.note(clocks, time_s=until_s + late_s).encode())
    if says:
        only(log, says)
    else:
        assert faults(log) == []


def test_evidence_from_before_the_order():
    log = started()
    note = log.note(CLOCKS, time_s=START_US // SECOND_US + 10**7)
    wanted, _ = timed(log)
    lift(log, wanted, note.encode())
    only(log, "not more than")


def test_evidence_of_another_log():
    log = started()
    wanted, until_s = timed(log)
    other = replace(log, origin="heron.example/other")
    lift(log, wanted, other.note(CLOCKS, time_s=until_s).encode())
    only(log, "another log")


def test_evidence_of_another_history():
    log = started()
    wanted, until_s = timed(log)
    head = TreeHead(log.origin, 3, bytes(32))
    note = sign_note(head.text, log.log_key).with_signatures(
        [cosign(head.text, clock, time_s=until_s) for clock in CLOCKS]
    )
    lift(log, wanted, note.encode())
    only(log, "a fork")


def test_evidence_that_the_log_did_not_sign():
    log = started()
    wanted, until_s = timed(log)
    text = log.note().text
    note = sign_note(text, FINCH).with_signatures(
        [cosign(text, clock, time_s=until_s) for clock in CLOCKS]
    )
    lift(log, wanted, note.encode())
    only(log, "did not sign")


def test_evidence_that_is_none():
    log = started()
    wanted, _ = timed(log)
    lift(log, wanted, b"")
    only(log, "cut short")


# The rest


def test_served_from_a_checkpoint_that_nobody_made():
    log = started()
    log.add(checkpoint_of("r", 1, 100))
    log.add(ModelServed(model="m", digest=digest("f"), made_from=digest("model of r")))
    log.add(ModelServed(model="base", digest=digest("b")))
    assert faults(log) == []
    log.add(ModelServed(model="m", digest=digest("g"), made_from=digest("else")))
    only(log, "no checkpoint leaf names")


def test_served_again_is_said_and_not_false():
    log = LogBuilder()
    log.add(ModelServed(model="m", digest=WEIGHTS))
    log.add(ModelWithdrawn(model="m", digest=WEIGHTS, reason="replaced"))
    log.add(ModelServed(model="m", digest=WEIGHTS))
    report = verify_log(log.source())
    assert not report.is_contradicted
    assert any("served again" in claim.what for claim in report.of("not proved"))


def test_a_followed_log_has_its_key():
    log = LogBuilder()
    vkey = str(STORK.verifier())
    log.add(LogFollowed(log=vkey, key=digest(vkey), is_obeyed=False))
    assert faults(log) == []
    log.add(LogFollowed(log=vkey, key=digest("else"), is_obeyed=False))
    log.add(LogFollowed(log="nobody", key=digest("nobody"), is_obeyed=False))
    assert len(faults(log)) == 2


def test_times_strictly_increase():
    log = started()
    log.time_us -= SECOND_US
    log.add(progress_of("r", 2, 200))
    only(log, "2: its time")


def test_a_leaf_of_another_party_name():
    log = started()
    log.key = signing_key("egret.example", 1)
    log.add(progress_of("r", 2, 200))
    only(log, "it is signed as egret.example")


def test_a_leaf_that_is_no_leaf():
    log = started()
    log.add_leaf(b"hello")
    only(log, "no JSON")


@pytest.mark.parametrize(("flop", "verdict"), [(10**11, "proved"), (10**11 + 1, "not proved")])
def test_flop_are_divided_by_what_the_devices_can_do(flop: int, verdict: str):
    log = LogBuilder()
    log.add(run_declared("r", planned=10**12))
    log.add(replace(progress_of("r", 1, flop), device_s="1.000"))
    report = verify_log(log.source(), keys=[log.vkey])
    (claim,) = [one for one in report.claims if one.what.endswith("fit its device-seconds")]
    assert claim.verdict == verdict
    assert claim.detail.startswith("100.0%")
