"""The one way in: what is written is there, once, in order, whoever writes and whatever fails."""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mynah.errors import MachineError, RecordError
from mynah.record import log as log_module
from mynah.record import record as record_module
from mynah.record.envelopes import open_envelope, seal
from mynah.record.guard import held
from mynah.record.identity import Identity
from mynah.record.log import LogReader
from mynah.record.queueing import HEADER, MAGIC, Queue
from mynah.record.record import Record
from mynah.record.restoring import restore_record
from mynah.record.statements import (
    AuditDone,
    ModelServed,
    PostForgotten,
    Progress,
    RunDeclared,
    Statement,
    parse_time,
)
from mynah.record.tree import check_inclusion, leaf_hash


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity.open(tmp_path / "keys")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    place = tmp_path / "network"
    place.mkdir()
    return place


@pytest.fixture
def record(workspace: Path, identity: Identity) -> Record:
    return Record.open(workspace, identity=identity)


def forgotten(number: int) -> PostForgotten:
    return PostForgotten(posts=f"{number:064x}", num_posts=1, snapshot="s")


def numbers(record: Record) -> list[int]:
    """Which statements are in the log, by the number each was made with."""
    bodies = [statement.body for _, statement in record.statements()]
    return [int(body.posts, 16) for body in bodies if isinstance(body, PostForgotten)]


RUN = RunDeclared(
    run="r1",
    model="m",
    recipe="1" * 64,
    corpus="2" * 64,
    objective="pretrain",
    parents=(),
    planned_flop="1000",
    planned_basis="recipe",
    pool="lab",
    device="cpu",
    num_devices=1,
    peak_flop_per_s="100",
)


def test_what_is_written_can_be_read_and_proved(record: Record) -> None:
    written = [record.write(forgotten(n)) for n in range(3)]
    assert [one.index for one in written] == [0, 1, 2]
    assert numbers(record) == [0, 1, 2]
    payload, signers = open_envelope(written[1].leaf, [record.identity.key.verifier()])
    assert signers == (record.identity.key.verifier(),)
    assert Statement.decode(payload).body == replace(forgotten(1), time=written[1].time)
    head = record.log.head()
    check_inclusion(
        leaf_hash(written[1].leaf),
        1,
        size=3,
        root=head.root,
        proof=record.log.inclusion_proof(1),
    )
    assert b"index 1\n" in record.proof(1)
    assert [index for index, _ in record.statements(2)] == [2]


def test_a_workspace_keeps_its_log(record: Record, workspace: Path, identity: Identity) -> None:
    record.write(forgotten(1))
    again = Record.open(workspace, identity=identity)
    assert again.origin == record.origin
    assert numbers(again) == [1]
    found = Record.find(workspace, identity=identity)
    assert found is not None
    assert found.origin == record.origin


def test_finding_makes_nothing(tmp_path: Path, identity: Identity) -> None:
    assert Record.find(tmp_path / "nowhere", identity=identity) is None
    assert not (tmp_path / "nowhere").exists()
    assert not list(identity.logs.glob("*/tree_head"))


def test_two_workspaces_have_two_logs(tmp_path: Path, identity: Identity) -> None:
    one, two = (Record.open(tmp_path / name, identity=identity) for name in "ab")
    assert one.origin != two.origin


def test_times_only_grow(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    first = parse_time(record.write(forgotten(0)).time)
    monkeypatch.setattr(time, "time_ns", lambda: (first - 30_000_000) * 1000)
    written = record.write_many([forgotten(1), forgotten(2)])
    assert [parse_time(one.time) for one in written] == [first + 1, first + 2]
    monkeypatch.setattr(time, "time_ns", lambda: (first - 61_000_000) * 1000)
    with pytest.raises(RecordError, match="the clock went back"):
        record.write(forgotten(3))
    monkeypatch.undo()
    assert record.write(forgotten(3)).index == 3


def test_a_contradiction_is_not_written(record: Record) -> None:
    progress = Progress(run="r1", recipe="1" * 64, step=1, flop="10", device_s="1.000", tokens=5)
    with pytest.raises(RecordError, match="not declared"):
        record.write(progress)
    assert record.log.head().size == 0
    record.write_many([RUN, progress])
    with pytest.raises(RecordError):
        record.write_many([forgotten(1), replace(progress, step=2, flop="9")])
    assert record.log.head().size == 2
    assert record.write(replace(progress, step=2, flop="11")).index == 2
    assert record.register().size == 3


def test_a_statement_that_says_too_much_is_refused(record: Record) -> None:
    with pytest.raises(RecordError, match="cannot say posts"):
        record.write(replace(forgotten(1), posts="no hash"))
    assert record.write(forgotten(1)).index == 0


def test_an_oversized_leaf_is_refused_before_anything_is_written(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_module, "seal", lambda payload, key: b"x" * 65_536)
    with pytest.raises(RecordError, match="65,536 bytes"):
        record.write(forgotten(1))
    monkeypatch.undo()
    assert not list(Queue(record.folder / "queue").frames(0))
    assert record.write(forgotten(1)).index == 0
    assert record.register().counts["post-forgotten"] == 1


def test_a_contradiction_with_what_another_wrote_is_seen(
    record: Record, workspace: Path, identity: Identity
) -> None:
    other = Record.open(workspace, identity=identity)
    other.enqueue(RUN)
    with pytest.raises(RecordError):
        record.write(replace(RUN, corpus="9" * 64))
    record.write(replace(RUN, run="r2"))
    with pytest.raises(RecordError):
        other.write(replace(RUN, run="r2", corpus="9" * 64))
    assert sorted(other.register().runs) == ["r1", "r2"]
    assert other.log.head().size == 2


def test_the_queue_is_written_by_the_next_writer(
    record: Record, workspace: Path, identity: Identity
) -> None:
    assert [record.enqueue(forgotten(n)).index for n in range(3)] == [0, 1, 2]
    assert record.log.head().size == 0
    assert record.register().size == 3
    other = Record.open(workspace, identity=identity)
    assert other.register().size == 3
    assert other.write(forgotten(3)).index == 3
    assert numbers(record) == [0, 1, 2, 3]
    assert record.enqueue(forgotten(4)).index == 4
    assert record.write_many([]) == []
    assert numbers(record) == [0, 1, 2, 3]


def test_threads_share_a_record(record: Record) -> None:
    def write(worker: int) -> None:
        for n in range(8):
            record.write(forgotten(100 * worker + n))

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers(record)) == [100 * w + n for w in range(4) for n in range(8)]


def test_a_leaf_that_nobody_signed_gets_no_further_than_the_queue(
    record: Record, tmp_path: Path
) -> None:
    stranger = Identity.open(tmp_path / "stranger").key
    body = replace(forgotten(1), time="2026-01-01T00:00:00.000000Z")
    queue = Queue(record.folder / "queue")
    with queue.lock():
        queue.push(0, [seal(Statement(body).encode(), stranger)])
    with pytest.raises(RecordError, match="no known key signed the statement"):
        record.write(forgotten(2))
    assert record.log.head().size == 0


@pytest.mark.parametrize("num_bytes", [1, 23, 24, 100, -1, -33])
def test_a_torn_frame_is_cut(record: Record, num_bytes: int) -> None:
    record.enqueue(forgotten(0))
    path = next((record.folder / "queue").glob("0*"))
    whole = path.read_bytes()
    record.enqueue(forgotten(1))
    frame = path.read_bytes()[len(whole) :]
    path.write_bytes(whole + frame[:num_bytes])
    again = Record.open(record.folder.parent, identity=record.identity)
    assert again.write(forgotten(2)).index == 1
    assert numbers(again) == [0, 2]


def test_a_frame_with_holes_at_the_end_is_cut_and_in_the_middle_named(record: Record) -> None:
    for n in range(2):
        record.enqueue(forgotten(n))
    path = next((record.folder / "queue").glob("0*"))
    data = path.read_bytes()
    path.write_bytes(data[:-100] + b"\x00" * 100)
    again = Record.open(record.folder.parent, identity=record.identity)
    assert again.register().size == 1
    path.write_bytes(data + b"\x00" * 500)
    assert Record.open(record.folder.parent, identity=record.identity).register().size == 2
    path.write_bytes(data[:100] + b"\x00" + data[101:])
    with pytest.raises(RecordError, match="does not give its checksum"):
        Record.open(record.folder.parent, identity=record.identity).register()
    path.write_bytes(data + b"rubbish" * 10)
    with pytest.raises(RecordError, match="does not give its checksum"):
        Record.open(record.folder.parent, identity=record.identity).register()


def test_a_queue_that_does_not_go_on_from_the_log_is_named(record: Record) -> None:
    record.write(forgotten(0))
    queue = Queue(record.folder / "queue")
    with queue.lock():
        queue.push(5, [b"leaf"])
    with pytest.raises(RecordError, match="has leaf 5 where 1 belongs"):
        record.write(forgotten(1))


def test_the_queue_stays_small(record: Record) -> None:
    for start in range(0, 3000, 500):
        record.write_many([forgotten(n) for n in range(start, start + 500)])
    queued = sum(p.stat().st_size for p in (record.folder / "queue").iterdir())
    assert queued < 300_000
    record.enqueue(forgotten(3000))
    record.write(forgotten(3001))
    assert numbers(record) == list(range(3002))


def test_a_statement_that_cannot_be_written_is_taken_back(
    record: Record, workspace: Path, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Record.open(workspace, identity=identity)
    record.write(forgotten(0))
    record.enqueue(forgotten(1))

    def full(*_: object) -> None:
        raise MachineError("the disk is full", hint="free some space")

    with monkeypatch.context() as patch:
        patch.setattr(log_module, "stage", full)
        with pytest.raises(MachineError) as refused:
            record.write(forgotten(2))
        assert "waits" not in refused.value.message
    assert other.register().size == 2
    assert record.register().size == 2
    assert record.write(forgotten(3)).index == 2
    assert numbers(record) == [0, 1, 3]


def test_others_forget_a_statement_that_was_taken_back(
    record: Record, workspace: Path, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Record.open(workspace, identity=identity)

    def look_then_fail(*_: object) -> None:
        assert other.register().size == 1
        raise MachineError("the disk is full", hint="free some space")

    with monkeypatch.context() as patch:
        patch.setattr(log_module, "stage", look_then_fail)
        with pytest.raises(MachineError):
            record.write(RUN)
    record.write(forgotten(1))
    assert other.register().runs == {}
    assert other.register().counts == {"post-forgotten": 1}
    assert other.write(RUN).index == 1


def test_a_statement_that_others_built_on_waits(
    record: Record, workspace: Path, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Record.open(workspace, identity=identity)

    def build_then_fail(*_: object) -> None:
        other.enqueue(forgotten(2))
        raise MachineError("the disk is full", hint="free some space")

    with monkeypatch.context() as patch:
        patch.setattr(log_module, "stage", build_then_fail)
        with pytest.raises(MachineError, match="waits in the queue as leaf 0"):
            record.write(forgotten(1))
    assert record.write(forgotten(3)).index == 2
    assert numbers(record) == [1, 2, 3]


def test_a_second_writer_waits_and_is_told(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        log_module, "held", lambda path, *, wait_s, is_done: held(path, wait_s=0.05)
    )
    with (
        held(record.log.guard.lock),
        pytest.raises(RecordError, match=r"another process has held .*waits in the queue"),
    ):
        record.write(forgotten(0))
    assert record.write(forgotten(1)).index == 1
    assert numbers(record) == [0, 1]


# The register's snapshot


def test_a_snapshot_of_the_register_saves_the_folding(
    record: Record, workspace: Path, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_module, "SNAPSHOT_LEAVES", 10)
    record.write_many([RUN, *(forgotten(n) for n in range(24))])
    record.register()
    record.write(forgotten(99))
    path = record.log.guard.register
    assert json.loads(path.read_bytes())["size"] == 25
    decoded: list[bytes] = []
    real = Statement.decode

    def count(payload: bytes) -> Statement:
        decoded.append(payload)
        return real(payload)

    monkeypatch.setattr(Statement, "decode", count)
    again = Record.open(workspace, identity=identity).register()
    assert len(decoded) == 1
    assert again.to_json() == record.register().to_json()


@pytest.mark.parametrize("damage", ["size", "root", "register", "rubbish"])
def test_a_snapshot_that_does_not_fit_is_ignored(
    record: Record,
    workspace: Path,
    identity: Identity,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
) -> None:
    monkeypatch.setattr(record_module, "SNAPSHOT_LEAVES", 10)
    record.write_many([RUN, *(forgotten(n) for n in range(24))])
    expected = record.register().to_json()
    path = record.log.guard.register
    saved = json.loads(path.read_bytes())
    changed = {
        "size": {**saved, "size": 26},
        "root": {**saved, "root": "0" * 64},
        "register": {**saved, "register": {"format": "other"}},
        "rubbish": [1],
    }
    path.write_text(json.dumps(changed[damage]))
    assert Record.open(workspace, identity=identity).register().to_json() == expected


# Workspaces that are lost, moved, copied


def test_a_record_that_was_deleted_is_not_begun_anew(
    record: Record, workspace: Path, identity: Identity
) -> None:
    record.write(forgotten(1))
    shutil.rmtree(workspace)
    workspace.mkdir()
    for attempt in (Record.open, Record.find):
        with pytest.raises(RecordError, match="is gone: 1 leaves were signed") as refused:
            attempt(workspace, identity=identity)
        assert "mynah record restore" in refused.value.hint
    assert not (workspace / "record" / "log" / "checkpoint").exists()


def test_a_log_without_leaves_is_made_again(
    record: Record, workspace: Path, identity: Identity
) -> None:
    shutil.rmtree(workspace / "record")
    assert Record.open(workspace, identity=identity).origin == record.origin


def test_the_record_of_another_workspace_is_refused(
    record: Record, workspace: Path, identity: Identity, tmp_path: Path
) -> None:
    record.write(forgotten(1))
    other = Record.open(tmp_path / "other", identity=identity)
    shutil.rmtree(workspace / "record")
    shutil.copytree(other.folder, workspace / "record")
    with pytest.raises(RecordError, match=f"1 leaves were signed for it as {record.origin}"):
        Record.open(workspace, identity=identity)


def test_other_keys_are_told_whose_the_record_is(
    record: Record, workspace: Path, tmp_path: Path
) -> None:
    record.write(forgotten(1))
    stranger = Identity.open(tmp_path / "strangers keys")
    for opened in (Record.open, Record.find):
        with pytest.raises(RecordError, match=r"strangers keys never signed") as refused:
            opened(workspace, identity=stranger)
        assert "MYNAH_KEYS" in refused.value.hint


def test_a_moved_workspace_keeps_its_record(
    record: Record, workspace: Path, identity: Identity, tmp_path: Path
) -> None:
    record.write(forgotten(1))
    workspace.rename(tmp_path / "moved")
    moved = Record.open(tmp_path / "moved", identity=identity)
    assert moved.write(forgotten(2)).index == 1
    assert Record.open(workspace, identity=identity).origin != record.origin


def test_of_two_copies_one_goes_on(
    record: Record, workspace: Path, identity: Identity, tmp_path: Path
) -> None:
    record.write(forgotten(1))
    shutil.copytree(workspace, tmp_path / "copy")
    copy = Record.open(tmp_path / "copy", identity=identity)
    copy.write(forgotten(2))
    for attempt in (lambda: Record.open(workspace, identity=identity), lambda: record):
        with pytest.raises(RecordError, match="this is a copy, and the record went on in"):
            attempt().write(forgotten(3))
    assert numbers(copy) == [1, 2]


# Putting it back


@pytest.fixture
def published(record: Record, tmp_path: Path) -> Callable[[], Path]:
    """Publishes the log as it is now."""
    made: list[Path] = []

    def publish() -> Path:
        made.append(tmp_path / f"published-{len(made)}")
        return Path(shutil.copytree(record.folder / "log", made[-1]))

    return publish


def test_a_lost_record_is_put_back(
    record: Record, workspace: Path, identity: Identity, published: Callable[[], Path]
) -> None:
    record.write_many([forgotten(n) for n in range(300)])
    site = published()
    shutil.rmtree(workspace)
    restored = restore_record(workspace, site, identity=identity)
    assert (restored.size, restored.replaced) == (300, None)
    assert restored.num_bytes > 0
    assert restored.record.write(forgotten(300)).index == 300
    assert numbers(Record.open(workspace, identity=identity)) == list(range(301))


def test_a_lost_record_is_put_back_over_http(
    record: Record, workspace: Path, identity: Identity, published: Callable[[], Path]
) -> None:
    record.write_many([forgotten(n) for n in range(300)])
    site = published()

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=os.fspath(site))  # pyright: ignore

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    try:
        shutil.rmtree(workspace)
        address = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(RecordError, match="HTTP 404"):
            restore_record(workspace, f"{address}/nothing/", identity=identity)
        assert restore_record(workspace, f"{address}/", identity=identity).size == 300
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(MachineError, match="cannot be reached"):
        restore_record(workspace, address, identity=identity)
    assert numbers(Record.open(workspace, identity=identity)) == list(range(300))


def test_a_copy_that_is_older_than_the_record_is_not_put_back(
    record: Record, workspace: Path, identity: Identity, published: Callable[[], Path]
) -> None:
    record.write(forgotten(1))
    old = published()
    record.write(forgotten(2))
    new = published()
    shutil.rmtree(workspace / "record" / "log")
    shutil.copytree(old, workspace / "record" / "log")
    with pytest.raises(RecordError, match="ends at leaf 1, but 2 were signed"):
        restore_record(workspace, old, identity=identity)
    restored = restore_record(workspace, new, identity=identity)
    assert restored.replaced is not None
    assert LogReader.open(restored.replaced / "log", record.key).head().size == 1
    assert numbers(restored.record) == [1, 2]


def test_what_waited_in_the_queue_is_written_after_a_restore(
    record: Record, workspace: Path, identity: Identity, published: Callable[[], Path]
) -> None:
    record.write(forgotten(1))
    site = published()
    record.enqueue(forgotten(2))
    shutil.rmtree(workspace / "record" / "log")
    restored = restore_record(workspace, site, identity=identity)
    assert restored.replaced is None
    restored.record.write(forgotten(3))
    assert numbers(restored.record) == [1, 2, 3]


def test_a_queue_of_a_copy_is_put_aside_at_a_restore(
    record: Record, workspace: Path, identity: Identity, tmp_path: Path
) -> None:
    record.write(forgotten(1))
    shutil.copytree(workspace, tmp_path / "copy")
    copy = Record.open(tmp_path / "copy", identity=identity)
    copy.enqueue(forgotten(7))
    record.write(forgotten(2))
    (tmp_path / "copy" / "record" / "log").rename(tmp_path / "gone")
    shutil.copytree(record.folder / "log", tmp_path / "site")
    shutil.rmtree(workspace)
    restored = restore_record(tmp_path / "copy", tmp_path / "site", identity=identity)
    assert restored.replaced is not None
    assert (restored.replaced / "queue").is_dir()
    restored.record.write(forgotten(3))
    assert numbers(restored.record) == [1, 2, 3]


def test_a_damaged_or_foreign_copy_is_not_put_back(
    record: Record,
    workspace: Path,
    identity: Identity,
    published: Callable[[], Path],
    tmp_path: Path,
) -> None:
    record.write_many([forgotten(n) for n in range(300)])
    damaged = published()
    path = damaged / "tile" / "entries" / "000"
    path.write_bytes(path.read_bytes().replace(b"payload", b"PAYLOAD", 1))
    with pytest.raises(RecordError, match="leaf 0 is not in the tree"):
        restore_record(workspace, damaged, identity=identity)
    (damaged / "tile" / "0" / "000").unlink()
    with pytest.raises(RecordError, match="is missing"):
        restore_record(workspace, damaged, identity=identity)
    stranger = Record.open(tmp_path / "theirs", identity=Identity.open(tmp_path / "stranger"))
    stranger.write(forgotten(1))
    with pytest.raises(RecordError, match="never signed the log"):
        restore_record(workspace, stranger.folder / "log", identity=identity)
    mine = Record.open(tmp_path / "mine", identity=identity)
    with pytest.raises(RecordError, match=f"the record of .* is {record.origin}"):
        restore_record(workspace, mine.folder / "log", identity=identity)
    with pytest.raises(RecordError, match="lives on in"):
        restore_record(tmp_path / "third", record.folder / "log", identity=identity)
    assert numbers(Record.open(workspace, identity=identity)) == list(range(300))


def test_every_kind_of_room_can_write(record: Record) -> None:
    digest = "3" * 64
    record.write(ModelServed(model="m", digest=digest))
    record.write(AuditDone(model="m", digest=digest, report=digest, suite="s", is_passed=True))
    assert record.register().size == 2


def test_the_frame_format_is_what_the_module_says(record: Record) -> None:
    written = record.enqueue(forgotten(0))
    data = next((record.folder / "queue").glob("0*")).read_bytes()
    magic, first, count, size = HEADER.unpack_from(data)
    assert (magic, first, count, size) == (MAGIC, 0, 1, 2 + len(written.leaf))
    assert len(data) == HEADER.size + size + 32
