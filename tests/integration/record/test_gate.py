"""The gate of a pause: who is bound, and what no edit, copy or clock gets past."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from tests.fakes.record_logs import order_envelope, run_declared, signing_key
from tests.fakes.record_party import Party

from mynah.errors import PausedError, RecordError
from mynah.record.following import follow, refresh
from mynah.record.gate import Gate, now_us
from mynah.record.identity import Identity
from mynah.record.order_store import OrderStore
from mynah.record.orders import cosign_order
from mynah.record.pausing import PauseTerms, lift_pause, order_pause, sign_release
from mynah.record.record import Record
from mynah.record.statements import PauseOrdered, Statement, format_time

HOUR_US = 3_600_000_000
BIG = 10**22
TERMS = PauseTerms(above="1e21", until_us=now_us() + 24 * HOUR_US, reason="test")
Records = Callable[[str], Record]


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity.open(tmp_path / "keys")


@pytest.fixture
def records(tmp_path: Path, identity: Identity) -> Records:
    """Workspaces of one identity, by name; each call is a new process as far as files go."""
    return lambda name: Record.open(tmp_path / name, identity=identity)


def file_of(identity: Identity, order_id: str) -> Path:
    return identity.orders / f"{order_id}.json"


def test_without_orders_everything_may_run(records: Records):
    gate = Gate(records("a"))
    assert gate.refusal(10**39) is None
    assert gate.refusal(None) is None
    gate.require(BIG)


def test_an_order_covers_what_is_above_it_and_what_is_unknown(records: Records):
    signed = order_pause(records("a"), TERMS)
    gate = Gate(records("a"))
    for total in (BIG, None):
        entry = gate.refusal(total)
        assert entry is not None
        assert entry.signed.id == signed.id
    assert gate.refusal(10**21) is None
    with pytest.raises(PausedError, match=r"pauses training above 1\.00e21 FLOP until"):
        gate.require(BIG)
    with pytest.raises(PausedError, match="base_flop"):
        gate.require(None)


def test_the_strictest_order_answers(records: Records):
    order_pause(records("a"), replace(TERMS, above="1e20"))
    strict = order_pause(records("a"), replace(TERMS, above="5"))
    order_pause(records("a"), TERMS)
    entry = Gate(records("b")).refusal(BIG)
    assert entry is not None
    assert entry.signed.id == strict.id


def test_every_workspace_of_the_identity_is_bound(records: Records):
    signed = order_pause(records("a"), TERMS)
    for name in ("new", "other"):
        record = records(name)
        gate = Gate(record)
        assert gate.adopt() == 1
        assert gate.adopt() == 0
        assert set(record.register().orders) == {signed.id}
        assert gate.refusal(BIG) is not None


def test_another_identity_is_not_bound(records: Records, tmp_path: Path):
    order_pause(records("a"), TERMS)
    other = Record.open(tmp_path / "b", identity=Identity.open(tmp_path / "others-keys"))
    assert Gate(other).refusal(BIG) is None


def test_an_order_copied_into_another_identity_binds_it(records: Records, tmp_path: Path):
    order_pause(records("a"), TERMS)
    others = Identity.open(tmp_path / "others-keys")
    record = Record.open(tmp_path / "b", identity=others)
    [path] = records("a").identity.orders.glob("*.json")
    content = orjson.loads(path.read_bytes()) | {"ordered": None}
    others.orders.mkdir()
    (others.orders / path.name).write_bytes(orjson.dumps(content))
    assert Gate(record).refusal(BIG) is not None


# What people and kills do to files


def test_a_kill_between_file_and_leaf_is_healed(records: Records, monkeypatch: pytest.MonkeyPatch):
    def killed(self: Record, body: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Record, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            order_pause(records("a"), TERMS)
    record = records("a")
    assert record.register().orders == {}
    assert [entry.index for entry in Gate(record).orders_in_force()] == [-1]
    assert Gate(record).refusal(BIG) is not None
    assert len(record.register().orders) == 1


def test_a_deleted_order_file_is_written_again_from_the_log(records: Records, identity: Identity):
    signed = order_pause(records("a"), TERMS)
    before = file_of(identity, signed.id).read_bytes()
    shutil.rmtree(identity.orders)
    assert Gate(records("a")).refusal(BIG) is not None
    assert file_of(identity, signed.id).read_bytes() == before
    assert Gate(records("b")).refusal(BIG) is not None


def test_a_deleted_workspace_does_not_lift(records: Records, tmp_path: Path):
    order_pause(records("a"), TERMS)
    shutil.rmtree(tmp_path / "a" / "record")
    with pytest.raises(RecordError):
        Gate(records("a")).refusal(BIG)
    assert Gate(records("elsewhere")).refusal(BIG) is not None


def test_a_deleted_register_is_folded_again(records: Records, identity: Identity):
    order_pause(records("a"), TERMS)
    for path in identity.logs.glob("*/register.json"):
        path.unlink()
    assert Gate(records("a")).refusal(BIG) is not None


def edited_above(raw: dict[str, object], signed_by: Identity) -> dict[str, object]:
    """The same order above a much larger number, signed by a key that is not its author's."""
    party = signed_by.key
    envelope = order_envelope(
        [party],
        above=10**30,
        begins=format_time(0),
        until=format_time(now_us() + HOUR_US),
        signers=[signing_key(party.name, 9)],
    )
    return raw | {"envelope": orjson.loads(envelope)}


EDITS: list[Callable[[dict[str, object], Identity], object]] = [
    lambda raw, _: raw | {"lifted": raw["ordered"]},
    lambda raw, _: raw | {"lifted": raw["envelope"]},
    lambda raw, _: raw | {"lifted": {}},
    lambda raw, _: raw | {"ordered": raw["envelope"]},
    lambda raw, _: raw | {"envelope": None},
    lambda raw, _: {"envelope": raw["envelope"]},
    lambda raw, _: raw | {"is_lifted": True},
    edited_above,
    lambda *_: [],
    lambda *_: None,
]


def test_an_edited_order_file_stops_everything(records: Records, identity: Identity):
    signed = order_pause(records("a"), TERMS)
    path = file_of(identity, signed.id)
    content = path.read_bytes()
    edited = [orjson.dumps(edit(orjson.loads(content), identity)) for edit in EDITS]
    gates = [Gate(records(name)) for name in ("a", "b")]
    for bad in (*edited, b"", b"{", b"\x00" * 100, content[:-1], content.replace(b"A", b"B", 1)):
        path.write_bytes(bad)
        for gate in gates:
            with pytest.raises(RecordError, match="cannot be trusted"):
                gate.refusal(1)
    path.unlink()  # as the hint says: the log writes it again
    assert gates[0].refusal(BIG) is not None
    assert path.read_bytes() == content


def test_an_order_under_another_name_stops_everything(records: Records, identity: Identity):
    signed = order_pause(records("a"), TERMS)
    shutil.copy(file_of(identity, signed.id), identity.orders / f"{'0' * 64}.json")
    with pytest.raises(RecordError, match="holds the order"):
        Gate(records("a")).refusal(1)


def test_a_lift_by_forged_hand_does_not_count(records: Records, identity: Identity):
    """A true pause-lifted leaf, of another order: the file is not believed."""
    first, second = order_pause(records("a"), TERMS), order_pause(records("a"), TERMS)
    record = records("a")
    lift_pause(record, first.id, release=sign_release(record, first.id, reason="over"))
    lifted = orjson.loads(file_of(identity, first.id).read_bytes())["lifted"]
    path = file_of(identity, second.id)
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | {"lifted": lifted}))
    with pytest.raises(RecordError, match="cannot be trusted"):
        Gate(records("b")).refusal(BIG)


def test_junk_beside_the_orders_is_no_order(records: Records, identity: Identity):
    order_pause(records("a"), TERMS)
    for name in (".x.json.1.writing", "notes.txt", ".hidden.json"):
        (identity.orders / name).write_text("junk")
    assert Gate(records("a")).refusal(BIG) is not None


# Signatures that come later


def test_a_signature_that_comes_later_is_logged_and_never_lost(
    records: Records, identity: Identity
):
    stork = signing_key("stork.example", 2)
    record = records("a")
    signed = order_pause(record, replace(TERMS, cosigners=[stork.verifier()]))
    OrderStore(identity).put(cosign_order(signed.envelope, stork))
    OrderStore(identity).put(signed.envelope)
    assert Gate(record).adopt() == 1
    assert record.register().counts["pause-ordered"] == 2
    file_of(identity, signed.id).unlink()
    OrderStore(identity).put(signed.envelope)
    assert Gate(records("a")).adopt() == 0
    stored = OrderStore(identity).read()[signed.id]
    assert [key.name for key in stored.signed.signers][1:] == ["stork.example"]


# Clocks


def test_a_clock_set_back_does_not_undo_the_begin(records: Records):
    record = records("a")
    order_pause(record, TERMS)
    back = Gate(record, clock=lambda: now_us() - 24 * HOUR_US)
    assert back.refusal(BIG) is not None
    # Nor in a log that is new: when the order was logged first stands in its file, signed.
    fresh = records("b")
    fresh_back = Gate(fresh, clock=lambda: now_us() - 24 * HOUR_US)
    assert fresh_back.refusal(BIG) is not None


def test_a_clock_set_forward_lifts_nothing(records: Records):
    record = records("a")
    order_pause(record, TERMS)
    assert Gate(record, clock=lambda: now_us() + 10**6 * HOUR_US).refusal(BIG) is not None


def test_an_order_binds_when_its_begin_has_come(records: Records):
    record, begins = records("a"), now_us() + 2 * HOUR_US
    order_pause(record, replace(TERMS, begins_us=begins))
    clock = [now_us()]
    gate = Gate(record, clock=lambda: clock[0])
    assert gate.refusal(BIG) is None
    settle(gate)
    assert gate.has_changed() is False
    clock[0] = begins
    assert gate.has_changed() is True
    assert gate.refusal(BIG) is not None


# Asked before every step


def settle(gate: Gate) -> None:
    """Look again until the files are older than a folder's clock can tell apart."""
    for _ in range(50):
        gate.adopt()
        if not gate.has_changed():
            return
        time.sleep(0.01)
    pytest.fail("the gate never settles")


def test_the_gate_says_when_something_has_changed(records: Records, identity: Identity):
    record = records("a")
    gate = Gate(record)
    assert gate.has_changed() is True
    settle(gate)
    assert [gate.has_changed() for _ in range(3)] == [False] * 3

    record.write(run_declared("r"))
    assert gate.has_changed() is True
    settle(gate)
    signed = order_pause(records("b"), TERMS)  # another workspace, another process
    assert gate.has_changed() is True
    assert gate.refusal(BIG) is not None
    settle(gate)
    file_of(identity, signed.id).unlink()
    assert gate.has_changed() is True
    settle(gate)
    (record.folder / "followed").mkdir()
    assert gate.has_changed() is True


def test_an_order_in_the_same_tick_of_the_clock_is_not_missed(records: Records, identity: Identity):
    """A folder's time moves in steps: two changes within one look the same."""
    gate = Gate(records("a"))
    settle(gate)
    for _ in range(20):
        identity.orders.mkdir(exist_ok=True)
        (identity.orders / "first").touch()
        gate.adopt()
        (identity.orders / "second").touch()
        assert gate.has_changed() is True
        os.unlink(identity.orders / "first")
        os.unlink(identity.orders / "second")


# Orders of others


def test_orders_of_an_obeyed_log_bind_every_workspace(records: Records, tmp_path: Path):
    stork = Party("stork.example", tmp_path / "stork")
    stork.write(1)
    record = records("a")
    follow(record, stork.log, key=stork.key, obey=True)
    gate = Gate(record)
    settle(gate)
    signed = stork.pause(above="5")
    assert gate.refusal(BIG) is None
    refresh(record)
    assert gate.has_changed() is True
    assert gate.refusal(BIG) is not None
    assert set(OrderStore(record.identity).read()) == {signed.id}
    assert Gate(records("b")).refusal(BIG) is not None
    shutil.rmtree(record.folder / "followed")
    assert Gate(records("b")).refusal(BIG) is not None


def test_an_obeyed_log_whose_mirror_is_gone_stops_everything(records: Records, tmp_path: Path):
    stork = Party("stork.example", tmp_path / "stork")
    stork.write(1)
    record = records("a")
    follow(record, stork.log, key=stork.key, obey=True)
    shutil.rmtree(record.folder / "followed")
    with pytest.raises(RecordError, match="mirror is gone"):
        Gate(record).refusal(1)


def test_the_leaf_in_the_file_is_that_of_the_log(records: Records, identity: Identity):
    record = records("a")
    signed = order_pause(record, TERMS)
    stored = OrderStore(identity).read()[signed.id]
    entry = record.register().orders[signed.id]
    assert stored.ordered == record.log.leaf(entry.index)
    [(_, statement)] = list(record.statements())
    assert isinstance(statement, Statement)
    assert isinstance(statement.body, PauseOrdered)
