"""Following a log in a folder: what is mirrored, what is refused, what is kept as evidence."""

import json
import shutil
from pathlib import Path

import pytest
from tests.fakes.record_party import Party

from mynah.errors import DataError, RecordError
from mynah.record.followed import followed_logs
from mynah.record.following import FollowOutcome, follow, obeyed_orders, refresh
from mynah.record.notes import VerifierKey, parse_note, sign_note
from mynah.record.orders import read_order


@pytest.fixture(autouse=True)
def no_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is killed: waiting for a busy disk would be most of the time."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def heron(tmp_path: Path) -> Party:
    return Party("heron.example", tmp_path / "heron")


@pytest.fixture
def stork(tmp_path: Path) -> Party:
    party = Party("stork.example", tmp_path / "stork")
    party.write(3)
    return party


def only(outcomes: list[FollowOutcome]) -> FollowOutcome:
    (outcome,) = outcomes
    return outcome


def mirror(heron: Party) -> list[bytes]:
    (one,) = followed_logs(heron.record)
    reader = one.reader()
    assert reader is not None
    return list(reader.leaves())


def leaves(party: Party) -> list[bytes]:
    return list(party.record.log.leaves())


def test_the_first_contact_is_a_leaf_and_a_mirror(heron: Party, stork: Party) -> None:
    outcome = follow(heron.record, stork.log, key=stork.key)
    assert (outcome.state, outcome.size, outcome.is_obeyed) == ("fresh", 3, False)
    assert outcome.head_time
    assert outcome.last_seen
    assert mirror(heron) == leaves(stork)
    (body,) = heron.record.register().followed.values()
    assert (body.log, body.is_obeyed) == (str(stork.key), False)
    follow(heron.record, stork.log, key=stork.key)
    assert heron.record.log.head().size == 1
    follow(heron.record, stork.log, key=stork.key, obey=True)
    assert heron.record.log.head().size == 2


def test_a_mirror_grows_with_the_log(heron: Party, stork: Party) -> None:
    follow(heron.record, stork.log, key=stork.key)
    stork.write(4)
    assert only(refresh(heron.record)).state == "fresh"
    assert mirror(heron) == leaves(stork)


def test_a_log_without_leaves(heron: Party, tmp_path: Path) -> None:
    crane = Party("crane.example", tmp_path / "crane")
    assert follow(heron.record, crane.folder / "work", key=crane.key).state == "stale"
    crane.write(1)
    assert only(refresh(heron.record)).state == "fresh"


def test_another_key_or_no_log_leaves_no_trace(heron: Party, stork: Party, tmp_path: Path) -> None:
    other = Party("crane.example", tmp_path / "crane")
    with pytest.raises(RecordError, match="no known key signed"):
        follow(heron.record, stork.log, key=other.key)
    with pytest.raises(DataError, match="holds no log"):
        follow(heron.record, tmp_path, key=stork.key)
    with pytest.raises(DataError, match="password"):
        follow(heron.record, "https://me:secret@stork.example/log", key=stork.key)
    with pytest.raises(RecordError, match="this record itself"):
        follow(heron.record, heron.log, key=heron.key)
    assert heron.record.log.head().size == 0
    assert followed_logs(heron.record) == []


def test_one_log_has_one_key(heron: Party, stork: Party) -> None:
    follow(heron.record, stork.log, key=stork.key)
    twin = VerifierKey(stork.key.name, bytes(range(32)))
    with pytest.raises(RecordError, match="under another key"):
        follow(heron.record, stork.log, key=twin)


def fork_of(stork: Party, tmp_path: Path, *, size: int) -> Path:
    """A second history under the same key: the guard and the log of an earlier day put back."""
    twin = tmp_path / "twin"
    shutil.copytree(stork.folder, twin)
    other = Party(stork.name, twin)
    other.write(size, word="other")
    return other.log


@pytest.mark.parametrize("size", [1, 5])
def test_a_fork_is_evidence_and_never_the_mirror(
    heron: Party, stork: Party, tmp_path: Path, size: int
) -> None:
    forked = fork_of(stork, tmp_path, size=size)
    stork.write(2)
    follow(heron.record, stork.log, key=stork.key)
    honest = mirror(heron)
    published = tmp_path / "published"
    shutil.copytree(forked, published)
    outcome = follow(heron.record, published, key=stork.key)
    assert outcome.state == "forked"
    assert mirror(heron) == honest
    (one,) = followed_logs(heron.record)
    (found,) = (one.folder / "evidence").iterdir()
    theirs, ours = (parse_note((found / name).read_bytes()) for name in ("theirs", "ours"))
    assert theirs.encode() == (forked / "checkpoint").read_bytes()
    assert ours.encode() == (stork.log / "checkpoint").read_bytes()
    assert json.loads((found / "claim.json").read_text())["size"] == min(5, 3 + size)
    again = follow(heron.record, stork.log, key=stork.key)
    assert again.state == "forked", "a fork stays one, whatever is shown next"


def test_a_rollback_is_evidence_too(heron: Party, stork: Party, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(stork.log, old)
    stork.write(4)
    follow(heron.record, stork.log, key=stork.key)
    outcome = follow(heron.record, old, key=stork.key)
    assert outcome.state == "rolled back"
    assert mirror(heron) == leaves(stork)
    assert follow(heron.record, stork.log, key=stork.key).state == "fresh"


def test_tiles_that_lie_are_no_proof_of_a_fork(heron: Party, stork: Party) -> None:
    follow(heron.record, stork.log, key=stork.key)
    stork.write(1)
    tile = stork.log / "tile" / "0" / "000.p" / "4"
    tile.write_bytes(bytes(32) + tile.read_bytes()[32:])
    outcome = only(refresh(heron.record))
    assert outcome.state == "damaged"
    (one,) = followed_logs(heron.record)
    assert not (one.folder / "evidence").exists()


def test_a_head_of_another_log_is_refused(heron: Party, stork: Party) -> None:
    follow(heron.record, stork.log, key=stork.key)
    head = stork.record.log.head().text.replace(stork.key.name, "stork.example/other")
    note = sign_note(head, stork.identity.log_key(stork.key.name))
    (stork.log / "checkpoint").write_bytes(note.encode())
    assert only(refresh(heron.record)).state == "damaged"


def test_a_log_that_is_gone_is_unreachable(heron: Party, stork: Party, tmp_path: Path) -> None:
    follow(heron.record, stork.log, key=stork.key)
    stork.log.rename(tmp_path / "away")
    outcome = only(refresh(heron.record))
    assert (outcome.state, outcome.size) == ("unreachable", 3)


def test_an_old_head_is_stale(heron: Party, stork: Party) -> None:
    follow(heron.record, stork.log, key=stork.key)
    assert only(refresh(heron.record, stale_after_s=0.0)).state == "stale"


def test_orders_of_an_obeyed_log_bind_here(heron: Party, stork: Party, tmp_path: Path) -> None:
    follow(heron.record, stork.log, key=stork.key, obey=True)
    order = stork.pause().id
    assert list(obeyed_orders(heron.record)) == []
    refresh(heron.record)
    assert [read_order(e).id for e in obeyed_orders(heron.record)] == [order]
    assert order in heron.record.register().orders, "adopted as soon as it was seen"
    assert (heron.identity.orders / f"{order}.json").is_file()


def test_orders_of_a_log_that_is_only_followed_do_not(heron: Party, stork: Party) -> None:
    stork.pause()
    follow(heron.record, stork.log, key=stork.key)
    assert list(obeyed_orders(heron.record)) == []
    assert heron.record.register().orders == {}


def test_an_order_that_an_obeyed_log_only_quotes_does_not_bind(
    heron: Party, stork: Party, tmp_path: Path
) -> None:
    crane = Party("crane.example", tmp_path / "crane")
    order = crane.pause().id
    follow(stork.record, crane.log, key=crane.key, obey=True)
    assert order in stork.record.register().orders
    follow(heron.record, stork.log, key=stork.key, obey=True)
    assert list(obeyed_orders(heron.record)) == []


def test_an_obeyed_log_without_its_mirror_is_no_way_out(heron: Party, stork: Party) -> None:
    follow(heron.record, stork.log, key=stork.key, obey=True)
    shutil.rmtree(heron.record.folder / "followed")
    with pytest.raises(RecordError, match="its mirror is gone"):
        list(obeyed_orders(heron.record))
    (one,) = followed_logs(heron.record)
    assert (one.contact, one.source) == ("never", "")
    assert only(refresh(heron.record)).state == "unreachable"


def test_a_state_file_that_is_damaged_says_so(heron: Party, stork: Party) -> None:
    follow(heron.record, stork.log, key=stork.key)
    (one,) = followed_logs(heron.record)
    (one.folder / "state.json").write_text("{")
    with pytest.raises(RecordError, match="is damaged"):
        refresh(heron.record)
