"""Verdicts about a pause: each from logs in folders, the guilty ones written by hand."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.record_party import HOUR_US, Party

from mynah.record.envelopes import seal
from mynah.record.following import follow, refresh
from mynah.record.log import RecordLog
from mynah.record.orders import SignedOrder, cosign_order
from mynah.record.pausing import cosign_pause, lift_pause, sign_release
from mynah.record.statements import Body, Paused, Statement, format_time
from mynah.record.status import PartyStatus, pause_status


@pytest.fixture(autouse=True)
def no_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is killed: waiting for a busy disk would be most of the time."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def heron(tmp_path: Path) -> Party:
    return Party("heron.example", tmp_path / "heron")


@pytest.fixture
def stork(tmp_path: Path) -> Party:
    return Party("stork.example", tmp_path / "stork")


def forge(party: Party, body: Body) -> int:
    """Write a leaf that mynah would refuse: by hand, with the party's own keys."""
    late = replace(body, time=format_time(time.time_ns() // 1000))
    leaf = seal(Statement(late).encode(), party.identity.key)
    log = RecordLog.open(party.log, party.identity, origin=party.key.name)
    return log.append([leaf])[0]


def joint(heron: Party, stork: Party) -> SignedOrder:
    """An order of both, in both logs; each follows the other."""
    for one, other in ((heron, stork), (stork, heron)):
        follow(one.record, other.log, key=other.key)
    order = heron.pause(cosigners=[stork.vkey])
    cosign_pause(stork.record, order.envelope)
    refresh(heron.record)
    return order


def row(heron: Party, name: str, *, later_us: int = 0) -> PartyStatus:
    (order,) = pause_status(heron.record, now_us=time.time_ns() // 1000 + later_us).orders
    (found,) = [one for one in order.parties if one.name == name]
    return found


def test_no_order_no_verdict(heron: Party) -> None:
    assert pause_status(heron.record).orders == ()
    assert pause_status(heron.record).is_kept


def test_both_keep_it(heron: Party, stork: Party) -> None:
    stork.declare("small", planned="1000000")
    stork.declare("big", planned="9" * 30)
    joint(heron, stork)
    stork.record.write(stork.progress("small", "999999"))
    refresh(heron.record)
    assert pause_status(heron.record).is_kept
    kept = row(heron, "stork.example")
    assert (kept.verdict, kept.role, kept.is_signed) == ("kept", "party", True)
    assert kept.declared == kept.evidence == 3
    assert kept.last_seen
    assert row(heron, "heron.example").role == "author"


@pytest.mark.parametrize("planned", ["9" * 30, "1000000"])
def test_work_inside_the_pause_breaks_it(heron: Party, stork: Party, planned: str) -> None:
    stork.declare("big", planned=planned)
    stork.record.write(stork.progress("big", "1" + "0" * 5))
    joint(heron, stork)
    index = forge(stork, stork.progress("big", "1" + "0" * 25))
    refresh(heron.record)
    broken = row(heron, "stork.example")
    assert (broken.verdict, broken.evidence) == ("broken", index)
    assert "FLOP more inside the pause" in broken.detail
    assert not pause_status(heron.record).is_kept
    assert row(heron, "heron.example").verdict == "kept"
    later = row(heron, "stork.example", later_us=48 * HOUR_US)
    assert later.verdict == "broken", "what is proved does not go stale"


def test_counting_on_while_paused_breaks_it(heron: Party, stork: Party) -> None:
    stork.declare("big", planned="9" * 30)
    order = joint(heron, stork)
    at = Paused(run="big", order=order.id, step=1, flop="7", checkpoint="aa" * 32)
    stork.record.write(at)
    refresh(heron.record)
    assert row(heron, "stork.example").verdict == "kept", "the step that was under way may end"
    forge(stork, replace(at, flop="8"))
    refresh(heron.record)
    assert row(heron, "stork.example").verdict == "broken"


def test_a_run_that_was_never_declared_is_covered(heron: Party, stork: Party) -> None:
    joint(heron, stork)
    forge(stork, stork.progress("secret", "100000"))
    refresh(heron.record)
    assert row(heron, "stork.example").verdict == "broken"


def test_a_log_that_contradicts_itself_is_not_kept(heron: Party, stork: Party) -> None:
    stork.declare("small", planned="1000000")
    stork.record.write(stork.progress("small", "500000"))
    joint(heron, stork)
    forge(stork, stork.progress("small", "400000"))
    refresh(heron.record)
    found = row(heron, "stork.example")
    assert (found.verdict, "contradicts itself" in found.detail) == ("broken", True)


def test_who_has_not_signed_or_is_not_followed(heron: Party, stork: Party, tmp_path: Path) -> None:
    crane = Party("crane.example", tmp_path / "crane")
    order = heron.pause(cosigners=[stork.vkey, crane.vkey])
    assert row(heron, "stork.example").verdict == "not signed"
    signed = cosign_pause(crane.record, order.envelope)
    cosign_pause(heron.record, signed.envelope)
    assert row(heron, "crane.example").verdict == "not followed"
    follow(heron.record, stork.log, key=stork.key)
    assert row(heron, "stork.example").verdict == "not signed"


def test_signed_and_not_declared(heron: Party, stork: Party) -> None:
    follow(heron.record, stork.log, key=stork.key)
    order = heron.pause(cosigners=[stork.vkey])
    cosign_pause(heron.record, cosign_order(order.envelope, stork.identity.key))
    assert row(heron, "stork.example").verdict == "silent"
    stork.write(1)
    refresh(heron.record)
    assert row(heron, "stork.example").verdict == "not declared"
    stork.declare("big", planned="9" * 30)
    stork.record.write(stork.progress("big", "100000"))
    refresh(heron.record)
    assert row(heron, "stork.example").verdict == "broken", "a signature binds without a leaf"


def test_silence_and_age_are_not_kept(heron: Party, stork: Party) -> None:
    joint(heron, stork)
    assert row(heron, "stork.example").verdict == "kept"
    assert row(heron, "stork.example", later_us=23 * HOUR_US).verdict == "kept"
    old = row(heron, "stork.example", later_us=25 * HOUR_US)
    assert (old.verdict, "25 hours" in old.detail) == ("stale", True)


def test_who_cannot_be_reached(heron: Party, stork: Party, tmp_path: Path) -> None:
    joint(heron, stork)
    stork.log.rename(tmp_path / "away")
    refresh(heron.record)
    assert row(heron, "stork.example").verdict == "unreachable"


def test_a_release_of_all_lifts_it(heron: Party, stork: Party) -> None:
    order = joint(heron, stork)
    cosign_pause(heron.record, cosign_pause(stork.record, order.envelope).envelope)
    release = sign_release(heron.record, order.id, reason="it is over")
    release = sign_release(stork.record, order.id, release=release)
    lift_pause(stork.record, order.id, release=release)
    refresh(heron.record)
    lifted = row(heron, "stork.example")
    assert (lifted.verdict, lifted.evidence) == ("lifted", stork.record.log.head().size - 1)
    (status,) = pause_status(heron.record).orders
    assert not status.is_lifted, "each log lifts for itself"


def test_a_follower_that_obeys_has_a_row(heron: Party, stork: Party, tmp_path: Path) -> None:
    crane = Party("crane.example", tmp_path / "crane")
    follow(crane.record, heron.log, key=heron.key, obey=True)
    heron.pause()
    refresh(crane.record)
    follow(heron.record, crane.log, key=crane.key)
    (order,) = pause_status(heron.record).orders
    followers = [one for one in order.parties if one.role == "follower"]
    assert [(one.log, one.verdict) for one in followers] == [(crane.key.name, "kept")]
