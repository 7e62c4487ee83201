"""A log that is large enough for several processes reads the same as in one.

Writes a log of some thousand leaves to a folder; starts worker processes.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fakes.record_logs import LogBuilder, MemorySource, story, tile_files, write_log

from mynah.errors import MachineError, RecordError
from mynah.record import tree as writer
from mynah.record.verify import verify_log
from mynah.record.verify.notes import Head
from mynah.record.verify.sources import FolderSource
from mynah.record.verify.tree import fold, verify_tree

NUM_LEAVES = 5_000


@pytest.fixture(scope="module")
def log() -> LogBuilder:
    return story(NUM_LEAVES)


@pytest.fixture(scope="module")
def folder(log: LogBuilder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log"), log.leaves, log.key, log.origin)


def test_many_processes_see_what_one_sees(folder, log):
    one = verify_log(folder, keys=[log.vkey], num_workers=1)
    two = verify_log(folder, keys=[log.vkey], num_workers=2)
    assert one.to_json() == two.to_json()
    assert not one.is_contradicted
    assert one.size == NUM_LEAVES


def test_a_bit_far_inside_is_seen_by_a_process(folder, log):
    path = folder / "tile" / "entries" / "016"
    content = path.read_bytes()
    path.write_bytes(content[:1000] + bytes([content[1000] ^ 4]) + content[1001:])
    report = verify_log(folder, keys=[log.vkey], num_workers=2)
    path.write_bytes(content)
    assert [claim.index for claim in report.of("contradicted")] == [16 * 256]


@dataclass(frozen=True)
class FailingDisk:
    """A source whose disk fails in the midst of the log."""

    folder: Path
    location: str = "a disk that fails"

    def read(self, path: str, *, max_bytes: int) -> bytes | None:
        if path == "tile/entries/012":
            raise MachineError("the disk failed", hint="mend it")
        return FolderSource(self.folder).read(path, max_bytes=max_bytes)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_source_that_fails_is_an_error_and_no_verdict(folder, log, num_workers):
    with pytest.raises(MachineError, match="the disk failed"):
        verify_log(FailingDisk(folder), keys=[log.vkey], num_workers=num_workers)


@dataclass(frozen=True)
class Deadly:
    """A source that ends the worker process, as a system without memory does."""

    folder: Path
    location: str = "a machine without memory"

    def read(self, path: str, *, max_bytes: int) -> bytes | None:
        if path == "tile/entries/012":
            os._exit(9)
        return FolderSource(self.folder).read(path, max_bytes=max_bytes)


def test_a_process_that_is_killed_is_an_error_and_no_verdict(folder, log):
    with pytest.raises(MachineError, match="ended by the system"):
        verify_log(Deadly(folder), keys=[log.vkey], num_workers=2)


def test_more_than_65536_leaves_have_a_third_level():
    leaves = [b"%d" % n for n in range(65_536 + 300)]
    hashes = [writer.leaf_hash(leaf) for leaf in leaves]
    files = tile_files(leaves)
    assert {"tile/1/000", "tile/1/001.p/1", "tile/2/000.p/1"} < set(files)
    root = writer.node_hash(fold(hashes[:65_536]), fold(hashes[65_536:]))
    head = Head("heron.example", len(leaves), root)
    assert verify_tree(MemorySource(files), head).root(65_537) == writer.node_hash(
        fold(hashes[:65_536]), hashes[65_536]
    )
    changed = bytearray(files["tile/2/000.p/1"])
    changed[5] ^= 1
    with pytest.raises(RecordError, match="tile/2/000"):
        verify_tree(MemorySource({**files, "tile/2/000.p/1": bytes(changed)}), head)
