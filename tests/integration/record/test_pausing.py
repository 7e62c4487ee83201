"""The acts behind the commands of a pause, between real organisations in folders."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.record_logs import digest, progress_of, run_declared, signing_key
from tests.fakes.record_party import Party

from mynah.errors import ConfigError, PausedError, RecordError
from mynah.record.gate import Gate, now_us
from mynah.record.identity import Identity
from mynah.record.notes import COSIGNER, Note, SigningKey, cosign
from mynah.record.order_store import OrderStore
from mynah.record.orders import cosign_order, read_order
from mynah.record.pausing import (
    PauseTerms,
    cosign_pause,
    find_order,
    lift_pause,
    order_pause,
    sign_release,
)
from mynah.record.record import Record
from mynah.record.statements import Paused, Resumed

HOUR_US = 3_600_000_000
BIG = 10**22
UNTIL_US = now_us() + HOUR_US
TERMS = PauseTerms(above="1e21", until_us=UNTIL_US, reason="until the audit is done")
CLOCKS = [signing_key(f"clock.example/w{number}", 40 + number) for number in range(3)]
TIMED = replace(TERMS, timekeepers=[key.verifier(COSIGNER) for key in CLOCKS], quorum=2)


@pytest.fixture
def heron(tmp_path: Path) -> Party:
    return Party("heron.example", tmp_path / "heron")


@pytest.fixture
def stork(tmp_path: Path) -> Party:
    return Party("stork.example", tmp_path / "stork")


def cosigned(record: Record, keys: list[SigningKey], *, plus_s: int = 0) -> Callable[[], Note]:
    """A tree head as those timekeepers cosign it, so many seconds after ``until``."""

    def ask() -> Note:
        note = record.log.note()
        time_s = -(-UNTIL_US // 10**6) + plus_s
        return note.with_signatures([cosign(note.text, key, time_s=time_s) for key in keys])

    return ask


# Ordering


def test_an_order_is_in_the_log_and_beside_the_keys(heron: Party):
    signed = order_pause(heron.record, replace(TERMS, above="2.1e25"))
    assert signed.order.above == 21 * 10**24
    assert signed.order.reason == "until the audit is done"
    assert [key.name for key in signed.signers] == ["heron.example"]
    assert set(heron.record.register().orders) == set(OrderStore(heron.identity).read())
    assert signed.order.begins_us <= now_us()


def test_wrong_terms_leave_nothing(heron: Party):
    for terms, kind in (
        (replace(TERMS, above="lots"), ConfigError),
        (replace(TERMS, above="-1"), ConfigError),
        (replace(TERMS, until_us=now_us() - 1), ConfigError),
        (replace(TERMS, begins_us=UNTIL_US), RecordError),
        (replace(TERMS, reason="two\nlines"), RecordError),
        (replace(TERMS, quorum=1), RecordError),
        (replace(TIMED, quorum=4), RecordError),
        (replace(TIMED, quorum=0), RecordError),
        (replace(TERMS, cosigners=[heron.vkey]), RecordError),
    ):
        with pytest.raises(kind):
            order_pause(heron.record, terms)
    assert heron.record.register().size == 0
    assert OrderStore(heron.identity).read() == {}


def test_another_party_signs_and_is_bound(heron: Party, stork: Party):
    signed = order_pause(heron.record, replace(TERMS, cosigners=[stork.vkey]))
    assert [key.name for key in signed.missing] == ["stork.example"]
    assert Gate(stork.record).refusal(BIG) is None
    both = cosign_pause(stork.record, signed.envelope)
    assert (both.id, both.missing) == (signed.id, ())
    assert Gate(stork.record).refusal(BIG) is not None
    assert cosign_pause(heron.record, both.envelope).missing == ()
    assert len(heron.record.register().orders[signed.id].signed.signers) == 2


def test_only_who_is_asked_cosigns(heron: Party, stork: Party):
    signed = order_pause(heron.record, TERMS)
    with pytest.raises(RecordError, match="does not name stork"):
        cosign_pause(stork.record, signed.envelope)
    with pytest.raises(RecordError):
        cosign_pause(stork.record, b"not an order")
    assert stork.record.register().size == 0


def test_an_order_that_is_over_is_not_cosigned(heron: Party, stork: Party):
    signed = order_pause(heron.record, replace(TERMS, cosigners=[stork.vkey]))
    with pytest.raises(RecordError, match="ended at"):
        cosign_pause(stork.record, signed.envelope, clock=lambda: UNTIL_US)
    release = sign_release(heron.record, signed.id, reason="over")
    lift_pause(heron.record, signed.id, release=release)
    late = cosign_order(signed.envelope, stork.identity.key)
    with pytest.raises(RecordError, match="lifted already"):
        cosign_pause(heron.record, late)


def test_orders_are_found_by_their_begin(heron: Party):
    signed = order_pause(heron.record, TERMS)
    assert find_order(heron.record, signed.id).signed == signed
    assert find_order(heron.record, signed.id[:6]).index == 0
    for name in (signed.id[:5], "0" * 64, "", "x"):
        with pytest.raises(ConfigError, match="orders known here"):
            find_order(heron.record, name)
    other = Record.open(heron.folder / "other", identity=heron.identity)
    assert find_order(other, signed.id).index == -1


# Lifting


def test_all_who_signed_must_release(heron: Party, stork: Party):
    signed = order_pause(heron.record, replace(TERMS, cosigners=[stork.vkey]))
    signed = cosign_pause(stork.record, signed.envelope)
    cosign_pause(heron.record, signed.envelope)
    release = sign_release(heron.record, signed.id, reason="the audit is done")
    for party in (heron, stork):
        with pytest.raises(RecordError, match=r"not signed by stork\.example"):
            lift_pause(party.record, signed.id, release=release)
    assert sign_release(heron.record, signed.id, release=release) == release
    release = sign_release(stork.record, signed.id, release=release)
    for party in (heron, stork):
        lifted = lift_pause(party.record, signed.id, release=release)
        assert (lifted.basis, lifted.order) == ("parties", signed.id)
        assert Gate(party.record).refusal(None) is None
        with pytest.raises(RecordError, match="lifted already, by leaf"):
            lift_pause(party.record, signed.id, release=release)


def test_who_signed_is_not_forgotten_with_the_file(heron: Party, stork: Party):
    """The order is put back with fewer signatures: the log remembers the rest."""
    signed = order_pause(heron.record, replace(TERMS, cosigners=[stork.vkey]))
    cosign_pause(heron.record, cosign_order(signed.envelope, stork.identity.key))
    (heron.identity.orders / f"{signed.id}.json").unlink()
    OrderStore(heron.identity).put(signed.envelope)
    release = sign_release(heron.record, signed.id, reason="alone")
    with pytest.raises(RecordError, match=r"not signed by stork\.example"):
        lift_pause(heron.record, signed.id, release=release)


def test_a_release_that_is_none_is_refused(heron: Party, stork: Party):
    first, second = (order_pause(heron.record, TERMS) for _ in range(2))
    other = sign_release(heron.record, second.id, reason="over")
    for release in (b"", b"{}", b"x", first.envelope, other):
        with pytest.raises(RecordError):
            lift_pause(heron.record, first.id, release=release)
        with pytest.raises(RecordError):
            sign_release(heron.record, first.id, release=release)
    stranger = Party("stork.example", heron.folder / "stranger")
    OrderStore(stranger.identity).put(first.envelope)
    for given in (None, sign_release(heron.record, first.id, reason="over")):
        with pytest.raises(RecordError, match="no party"):
            sign_release(stranger.record, first.id, reason="over", release=given)
    assert Gate(heron.record).refusal(BIG) is not None


def test_before_its_time_it_says_how_long_it_is(heron: Party):
    signed = order_pause(heron.record, TERMS)
    for back_us, left in (
        (90_000_000, "0 h 1 min 30 s from now"),
        (50 * HOUR_US, "2 d 2 h from now"),
    ):
        with pytest.raises(RecordError, match=left) as refused:
            lift_pause(heron.record, signed.id, clock=lambda past=back_us: UNTIL_US - past)
        assert "signed by heron.example" in refused.value.hint


def test_a_clock_set_forward_and_back_again_lifts_nothing(heron: Party):
    """The log writes its own time: a clock that only the caller sees does not do."""
    signed = order_pause(heron.record, TERMS)
    with pytest.raises(RecordError, match="stands until"):
        lift_pause(heron.record, signed.id, clock=lambda: UNTIL_US + HOUR_US)
    assert Gate(heron.record).refusal(BIG) is not None


def test_without_timekeepers_its_time_and_a_leaf_end_it(heron: Party):
    until_us = now_us() + 150_000
    signed = order_pause(heron.record, replace(TERMS, until_us=until_us))
    while now_us() < until_us:
        assert Gate(heron.record).refusal(BIG) is not None
    assert Gate(heron.record).refusal(BIG) is not None, "nothing lifts itself"
    lifted = lift_pause(heron.record, signed.id[:8])
    assert (lifted.basis, lifted.evidence, lifted.release) == ("until", "", {})
    assert Gate(heron.record).refusal(BIG) is None


def test_timekeepers_end_it_and_the_local_clock_does_not(heron: Party):
    signed = order_pause(heron.record, TIMED)
    record = heron.record

    def refused(fault: str, ask: Callable[[], Note] | None = None) -> None:
        with pytest.raises(RecordError, match=fault):
            lift_pause(record, signed.id, cosign=ask, clock=lambda: UNTIL_US + HOUR_US)

    refused(r"0 of 2 timekeepers.*w0 \(nothing\)")
    refused("1 of 2", cosigned(record, CLOCKS[:1]))
    refused("0 of 2", cosigned(record, CLOCKS, plus_s=-1))
    refused("1 of 2", cosigned(record, [CLOCKS[0], signing_key("other.example", 77)]))
    assert Gate(record).refusal(BIG) is not None
    lifted = lift_pause(record, signed.id, cosign=cosigned(record, CLOCKS[1:]))
    assert lifted.basis == "until"
    assert Gate(record).refusal(BIG) is None


def test_only_the_timekeepers_lines_are_kept_as_evidence(heron: Party):
    signed = order_pause(heron.record, TIMED)
    strangers = [signing_key(f"w{number}.example", 50 + number) for number in range(20)]
    ask = cosigned(heron.record, [*strangers, *CLOCKS])
    lifted = lift_pause(heron.record, signed.id, cosign=ask)
    assert lifted.evidence.count("\u2014") == 4


def test_cosignatures_that_the_log_has_already_do(heron: Party):
    signed = order_pause(heron.record, TIMED)
    note = cosigned(heron.record, CLOCKS)()
    heron.record.log.add_cosignatures(list(note.signatures[1:]), size=1)
    assert lift_pause(heron.record, signed.id).basis == "until"


def test_evidence_is_of_this_log_as_it_is_now(heron: Party, stork: Party):
    signed = order_pause(heron.record, TIMED)
    stork.write(1)
    with pytest.raises(RecordError, match="no known key"):
        lift_pause(heron.record, signed.id, cosign=cosigned(stork.record, CLOCKS))
    old = cosigned(heron.record, CLOCKS)()
    heron.write(1)
    with pytest.raises(RecordError, match="1 leaves, the log has 2"):
        lift_pause(heron.record, signed.id, cosign=lambda: old)


# Several logs of one organisation


def test_each_log_lifts_for_itself_and_a_new_one_is_free(heron: Party):
    other = Record.open(heron.folder / "other", identity=heron.identity)
    signed = order_pause(heron.record, TERMS)
    assert Gate(other).refusal(BIG) is not None
    release = sign_release(heron.record, signed.id, reason="over")
    lift_pause(heron.record, signed.id, release=release)
    assert Gate(other).refusal(BIG) is not None
    assert lift_pause(other, signed.id).basis == "parties", "the release is known already"
    assert Gate(other).refusal(BIG) is None
    fresh = Record.open(heron.folder / "fresh", identity=heron.identity)
    assert Gate(fresh).refusal(BIG) is None
    assert fresh.register().size == 0


def test_a_kill_between_leaf_and_file_is_healed(heron: Party, monkeypatch: pytest.MonkeyPatch):
    signed = order_pause(heron.record, TERMS)
    release = sign_release(heron.record, signed.id, reason="over")

    def killed(*_: object, **given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(OrderStore, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            lift_pause(heron.record, signed.id, release=release)
    assert OrderStore(heron.identity).read()[signed.id].lift is None
    again = Record.open(heron.folder / "work", identity=heron.identity)
    assert Gate(again).refusal(BIG) is None
    lift = OrderStore(heron.identity).read()[signed.id].lift
    assert lift is not None
    assert lift.basis == "parties"


def test_a_pause_from_its_order_to_the_run_s_next_step(heron: Party):
    record = heron.record
    record.write(run_declared("r", planned=BIG))
    record.write(progress_of("r", 1, 100))
    signed = order_pause(record, TERMS)
    with pytest.raises(PausedError):
        record.write(progress_of("r", 2, 200))
    stop = Paused(run="r", order=signed.id, step=2, flop="150", checkpoint=digest("two"))
    record.write(stop)
    resumed = Resumed(run="r", step=2, checkpoint=digest("two"))
    with pytest.raises(PausedError):
        record.write(resumed)
    lift_pause(record, signed.id, release=sign_release(record, signed.id, reason="over"))
    with pytest.raises(PausedError, match="write resumed"):
        record.write(progress_of("r", 2, 200))
    record.write_many([resumed, progress_of("r", 2, 200)])
    assert record.register().runs["r"].flop == 200


def test_a_stranger_s_keys_lift_nothing(heron: Party, tmp_path: Path):
    """Someone who holds the workspace and not the keys cannot write to its log."""
    signed = order_pause(heron.record, TERMS)
    thief = Identity.open(tmp_path / "thief")
    with pytest.raises(RecordError):
        lift_pause(Record.open(heron.folder / "work", identity=thief), signed.id)
    assert read_order(signed.envelope).id == signed.id
