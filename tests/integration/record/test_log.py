"""The log on disk, step by step: a kill after each step of a commit, old copies, damaged tiles."""

import random
import shutil
from pathlib import Path

import pytest

from mynah.errors import MachineError, RecordError
from mynah.record import committing
from mynah.record import log as log_module
from mynah.record.guard import Guard
from mynah.record.identity import Identity
from mynah.record.log import LogReader, RecordLog
from mynah.record.notes import COSIGNER, SigningKey, cosign, cosigned_at, parse_note
from mynah.record.tree import check_consistency, check_inclusion, leaf_hash, tile_widths, tree_root

ORIGIN = "heron.example/log"


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity.open(tmp_path / "keys")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "network" / "record" / "log"


@pytest.fixture
def log(folder: Path, identity: Identity) -> RecordLog:
    return RecordLog.open(folder, identity, origin=ORIGIN)


def leaves(start: int, stop: int) -> list[bytes]:
    return [b"leaf %d " % n * (1 + n % 40) for n in range(start, stop)]


def fill(log: RecordLog, size: int) -> None:
    log.append(leaves(log.head().size, size))


def partial_tiles(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.glob("tile/**/*.p/*")}


def test_a_new_log_is_empty_and_signed(log: RecordLog, folder: Path) -> None:
    assert log.head().size == 0
    assert (folder / "vkey").read_text() == f"{log.key}\n"
    assert LogReader.open(folder, log.key).head() == log.head()
    assert list(log.leaves()) == []


def test_proofs_of_a_log_grown_by_batches_lead_to_its_roots(log: RecordLog, folder: Path) -> None:
    sizes = [1, 2, 255, 256, 257, 300, 511, 512, 1100]
    heads = [log.head()]
    for size in sizes:
        assert log.append(leaves(log.head().size, size)) == range(heads[-1].size, size)
        heads.append(log.head())
    reader = LogReader.open(folder, log.key)
    assert list(reader.leaves()) == leaves(0, 1100)
    hashes = [leaf_hash(leaf) for leaf in leaves(0, 1100)]
    for head in heads[1:]:
        for index in {0, head.size // 2, head.size - 1, 254 % head.size, 256 % head.size}:
            proof = reader.inclusion_proof(index, head.size)
            check_inclusion(hashes[index], index, size=head.size, root=head.root, proof=proof)
    for old in heads:
        for new in [head for head in heads if head.size >= old.size]:
            proof = reader.consistency_proof(old.size, new.size)
            check_consistency(old.size, new.size, old_root=old.root, new_root=new.root, proof=proof)


def test_batches_and_single_leaves_give_the_same_log(tmp_path: Path, identity: Identity) -> None:
    logs = [RecordLog.open(tmp_path / n, identity, origin=f"{ORIGIN}/{n}") for n in "ab"]
    fill(logs[0], 300)
    for size in (1, 2, 3, *range(252, 260), 300):
        fill(logs[1], size)
    assert logs[0].head().root == logs[1].head().root
    names = [
        sorted(str(p.relative_to(log.folder)) for p in log.folder.glob("tile/*/*") if p.is_file())
        for log in logs
    ]
    assert names[0] == names[1]
    for name in names[0]:
        assert (logs[0].folder / name).read_bytes() == (logs[1].folder / name).read_bytes()


def test_only_partial_tiles_of_the_last_two_tree_heads_are_kept(
    log: RecordLog, folder: Path
) -> None:
    fill(log, 600)
    before = partial_tiles(folder)
    assert before == {"tile/entries/002.p/88", "tile/0/002.p/88", "tile/1/000.p/2"}
    fill(log, 601)
    assert partial_tiles(folder) == before | {"tile/entries/002.p/89", "tile/0/002.p/89"}
    fill(log, 66_000)
    wanted = {f"tile/{level}/{number:03d}.p/{w}" for level, number, w in tile_widths(66_000)}
    assert partial_tiles(folder) == wanted | {"tile/entries/257.p/208"}
    assert (folder / "tile/1/000").stat().st_size == 8192


def test_a_proof_stands_alone(log: RecordLog) -> None:
    fill(log, 5)
    text = log.tlog_proof(3).decode()
    head, _, note = text.partition("\n\n")
    assert head.split("\n")[:2] == ["c2sp.org/tlog-proof@v1", "index 3"]
    assert len(head.split("\n")) == 2 + 3
    assert parse_note(note.encode()) == log.note()


def test_what_is_asked_beyond_the_end_is_refused(log: RecordLog) -> None:
    fill(log, 5)
    for ask in (
        lambda: log.leaf(5),
        lambda: log.leaf(-1),
        lambda: log.inclusion_proof(5),
        lambda: log.inclusion_proof(0, 6),
        lambda: log.consistency_proof(6),
        lambda: log.consistency_proof(1, 6),
        lambda: log.hash_at(3, 0),
        lambda: list(log.leaves(0, 6)),
    ):
        with pytest.raises(RecordError):
            ask()


def test_a_leaf_that_no_bundle_holds_is_refused_before_anything_is_written(
    log: RecordLog, folder: Path
) -> None:
    for leaf in (b"", b"x" * 65_536):
        with pytest.raises(RecordError, match="it may have 1 to 65,535"):
            log.append([b"good", leaf])
    assert log.head().size == 0
    assert not (folder / "tile").exists()
    assert log.append([b"x" * 65_535]) == range(0, 1)
    assert log.leaf(0) == b"x" * 65_535


def test_nothing_to_append_signs_nothing(log: RecordLog) -> None:
    assert log.append([]) == range(0, 0)


def test_another_process_goes_on_where_this_one_was(
    log: RecordLog, folder: Path, identity: Identity
) -> None:
    fill(log, 3)
    other = RecordLog.open(folder, identity)
    fill(other, 300)
    fill(log, 301)
    assert other.head().size == 301
    assert list(other.leaves()) == leaves(0, 301)


def test_cosignatures_stay_with_the_head_they_are_for(log: RecordLog, folder: Path) -> None:
    fill(log, 3)
    witness = SigningKey("stork.example/witness", log.identity.key.private)
    line = cosign(log.note().text, witness, time_s=1_800_000_000)
    assert not log.add_cosignatures([line], size=2)
    assert log.add_cosignatures([line], size=3)
    published = LogReader.open(folder, log.key).note()
    assert cosigned_at(published, witness.verifier(COSIGNER)) == 1_800_000_000
    assert RecordLog.open(folder, log.identity).note() == published
    fill(log, 4)
    assert len(log.note().signatures) == 1


# A kill between the steps of a commit


class Killed(BaseException):
    """Nothing of ours catches it."""


def kill(*_: object) -> None:
    raise Killed


@pytest.mark.parametrize("size", [3, 255, 256, 700])
@pytest.mark.parametrize(
    ("place", "name", "size_after"),
    [
        (log_module, "stage", 0),
        (log_module, "publish", 0),
        (committing, "sync_folder", 0),
        (Guard, "write", 0),
        (RecordLog, "_publish_head", 1),
        (log_module, "drop_filled", 1),
    ],
)
def test_a_kill_leaves_the_tree_before_or_after(
    log: RecordLog,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: object,
    name: str,
    size_after: int,
    size: int,
) -> None:
    fill(log, size)
    with monkeypatch.context() as patch:
        patch.setattr(place, name, kill)
        with pytest.raises(Killed):
            log.append(leaves(size, size + 1))
    again = RecordLog.open(folder, log.identity)
    assert again.head().size == size + size_after
    assert LogReader.open(folder, log.key).head() == again.head()
    fill(again, size + 2)
    assert list(LogReader.open(folder, log.key).leaves()) == leaves(0, size + 2)


def test_leaves_of_a_tree_that_nobody_signed_are_swept(
    log: RecordLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(log, 200)
    before = {p for p in folder.rglob("*") if p.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr(Guard, "write", kill)
        with pytest.raises(Killed):
            fill(log, 900)
    assert {p for p in folder.rglob("*") if p.is_file()} > before
    again = RecordLog.open(folder, log.identity)
    again.append([])
    assert {p for p in folder.rglob("*") if p.is_file()} == before
    again.append([b"another leaf"])
    assert again.leaf(200) == b"another leaf"


def test_a_commit_that_fails_leaves_no_files(
    log: RecordLog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(log, 200)
    before = {p for p in folder.rglob("*") if p.is_file()}

    def full(*_: object) -> None:
        raise MachineError("the disk is full", hint="free some space")

    with monkeypatch.context() as patch:
        patch.setattr(Guard, "write", full)
        with pytest.raises(MachineError):
            fill(log, 900)
    assert {p for p in folder.rglob("*") if p.is_file()} == before


# What is on disk is not what was signed last


def refused(log: RecordLog) -> str:
    """What both who has the log open and who opens it are told."""
    told: set[str] = set()
    for attempt in (
        lambda: RecordLog.open(log.folder, log.identity, origin=ORIGIN).append([b"x"]),
        lambda: log.append([b"x"]),
    ):
        with pytest.raises(RecordError) as error:
            attempt()
        told.add(error.value.message)
        assert "mynah record restore" in error.value.hint
    assert len(told) == 1
    return told.pop()


def reload(log: RecordLog) -> RecordLog:
    return RecordLog(log.folder, log.identity, ORIGIN)


def test_an_old_backup_is_not_gone_on_from(log: RecordLog, folder: Path, tmp_path: Path) -> None:
    fill(log, 3)
    shutil.copytree(folder, tmp_path / "backup")
    fill(log, 9)
    log.guard.set_workspace(folder.parent.parent)
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "backup", folder)
    assert refused(log) == refused(reload(log))
    text = refused(reload(log))
    assert "ends at leaf 3, but 9 were signed: an older copy was put back" in text
    assert log.guard.read() is not None
    assert log.head().size == 9


def test_a_copy_says_where_the_record_went_on(log: RecordLog, folder: Path, tmp_path: Path) -> None:
    fill(log, 3)
    log.guard.set_workspace(folder.parent.parent)
    copy = tmp_path / "copy" / "record" / "log"
    shutil.copytree(folder, copy)
    fill(log, 4)
    text = refused(RecordLog(copy, log.identity, ORIGIN))
    assert f"this is a copy, and the record went on in {folder.parent.parent}" in text


def test_another_history_of_the_same_length_is_refused(
    log: RecordLog, folder: Path, tmp_path: Path
) -> None:
    fill(log, 3)
    shutil.copytree(folder, tmp_path / "before")
    shutil.copytree(log.guard.folder, tmp_path / "guard")
    fill(log, 4)
    shutil.copytree(folder, tmp_path / "after")
    for kept, place in ((tmp_path / "before", folder), (tmp_path / "guard", log.guard.folder)):
        shutil.rmtree(place)
        shutil.copytree(kept, place)
    other = reload(log)
    other.append([b"other"])
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "after", folder)
    assert "history went two ways" in refused(reload(log))


def test_a_record_that_is_gone_is_not_begun_anew(log: RecordLog, folder: Path) -> None:
    fill(log, 3)
    shutil.rmtree(folder)
    assert "is gone: 3 leaves were signed" in refused(reload(log))


def test_keys_that_never_signed_the_log_are_refused(
    log: RecordLog, folder: Path, tmp_path: Path
) -> None:
    fill(log, 3)
    stranger = Identity.open(tmp_path / "stranger")
    with pytest.raises(RecordError, match="no known key signed the note"):
        RecordLog.open(folder, stranger)
    shutil.rmtree(log.identity.logs)
    with pytest.raises(RecordError, match="have no memory of signing it"):
        RecordLog.open(folder, log.identity)


def test_a_guard_put_back_from_a_backup_learns_what_its_key_signed(
    log: RecordLog, folder: Path, tmp_path: Path
) -> None:
    fill(log, 3)
    shutil.copytree(log.guard.folder, tmp_path / "guard")
    fill(log, 300)
    shutil.rmtree(log.guard.folder)
    shutil.copytree(tmp_path / "guard", log.guard.folder)
    again = RecordLog.open(folder, log.identity)
    assert again.head().size == 300
    assert again.append([b"x"]) == range(300, 301)


def test_an_edited_guard_is_refused(log: RecordLog) -> None:
    fill(log, 3)
    path = log.guard.folder / "tree_head"
    path.write_bytes(path.read_bytes().replace(b"\n3\n", b"\n2\n"))
    with pytest.raises(RecordError, match=r"tree_head: the signature of .* does not"):
        log.append([b"x"])


def test_a_lost_checkpoint_is_published_again(log: RecordLog, folder: Path) -> None:
    fill(log, 3)
    (folder / "checkpoint").unlink()
    again = RecordLog.open(folder, log.identity, origin=ORIGIN)
    assert LogReader.open(folder, log.key).head() == again.head()


@pytest.mark.parametrize(
    ("name", "damage", "told"),
    [
        ("tile/0/002.p/88", "flip", "one at the right edge was changed"),
        ("tile/1/000.p/2", "flip", "one at the right edge was changed"),
        ("tile/0/002.p/88", "cut", "tile/0/002.p/88 has 2784 bytes, not 2816"),
        ("tile/1/000.p/2", "grow", "tile/1/000.p/2 has 96 bytes, not 64"),
        ("tile/0/002.p/88", "delete", "tile/0/002.p/88 is missing"),
        ("tile/entries/002.p/88", "delete", "tile/entries/002.p/88 is missing"),
        ("tile/entries/002.p/88", "flip", "002.p/88 was changed: leaf 512 is not in the tree"),
        ("tile/entries/002.p/88", "cut", "002.p/88 is cut short: its last leaf is not whole"),
    ],
)
def test_a_damaged_right_edge_is_named_and_not_gone_on_from(
    log: RecordLog, folder: Path, name: str, damage: str, told: str
) -> None:
    fill(log, 600)
    harm(folder / name, damage)
    assert told in refused(reload(log))


@pytest.mark.parametrize(
    ("name", "damage", "told"),
    [
        ("tile/0/001", "flip", "tile/0/001 was changed: it does not give the hash in the tile"),
        ("tile/0/001", "cut", "tile/0/001 has 8160 bytes, not 8192"),
        ("tile/0/001", "delete", "tile/0/001 is missing"),
        ("tile/entries/001", "flip", "tile/entries/001 was changed: leaf 256 is not in the tree"),
        ("tile/entries/001", "cut", "tile/entries/001 is cut short"),
        ("tile/entries/001", "grow", "tile/entries/001"),
        ("tile/entries/001", "delete", "tile/entries/001 is missing"),
    ],
)
def test_a_damaged_tile_is_named_by_who_reads_it(
    log: RecordLog, folder: Path, name: str, damage: str, told: str
) -> None:
    fill(log, 600)
    harm(folder / name, damage)
    reader = LogReader.open(folder, log.key)
    with pytest.raises(RecordError) as error:
        list(reader.leaves())
    assert told in error.value.message
    assert list(reader.leaves(512)) == leaves(512, 600)


def harm(path: Path, damage: str) -> None:
    data = path.read_bytes()
    changed = {
        "flip": data[:5] + bytes([data[5] ^ 1]) + data[6:],
        "cut": data[:-32],
        "grow": data + b"\x00" * 32,
    }
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(changed[damage])


@pytest.mark.parametrize(
    ("note", "told"),
    [
        (b"", "no empty line"),
        (b"\xff\n\n", "not UTF-8"),
        (b"heron.example/log\n1\n", "no empty line"),
        (b"x" * (1 << 20) + b"xx", "more than"),
    ],
)
def test_a_malformed_checkpoint_is_named(
    log: RecordLog, folder: Path, note: bytes, told: str
) -> None:
    fill(log, 3)
    (folder / "checkpoint").write_bytes(note)
    with pytest.raises(RecordError, match=told):
        LogReader.open(folder, log.key)


def test_a_reader_follows_a_writer(log: RecordLog, folder: Path) -> None:
    chance = random.Random(4)
    reader = LogReader.open(folder, log.key)
    while log.head().size < 800:
        tree = reader.tree()
        fill(log, log.head().size + chance.randrange(40, 90))
        assert list(tree.leaves(0, tree.head.size)) == leaves(0, tree.head.size)
        assert tree_root(tree.head.size, reader.tree().hash_at) == tree.head.root


def test_no_log_is_no_log(tmp_path: Path, identity: Identity) -> None:
    with pytest.raises(RecordError, match="is no log"):
        LogReader.open(tmp_path, identity.log_key(ORIGIN).verifier())
