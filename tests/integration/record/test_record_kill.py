"""Processes that write the record are killed at random moments; the disk fills up under them.

Starts real processes that write, queue and batch statements, and note what they were told is
written; kills them with ``kill -9``; then checks that the log verifies from its first leaf, has
everything that was acknowledged at the place that was named, and nothing twice.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from mynah.errors import MachineError
from mynah.record.identity import Identity
from mynah.record.log import LogReader
from mynah.record.record import Record
from mynah.record.statements import PostForgotten
from mynah.record.tree import check_consistency, leaf_hash

SEED = 11
NUM_KILLS = 24
"""In each of the two tests."""

WRITER = """
import os, random, sys
from pathlib import Path
from mynah.record.identity import Identity
from mynah.record.record import Record
from mynah.record.statements import PostForgotten
from mynah.record.tree import leaf_hash

chance = random.Random(int(sys.argv[3]))
record = Record.open(Path(sys.argv[1]), identity=Identity.open(Path(sys.argv[2])))
told = os.open(sys.argv[4], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.write(told, b"open\\n")
while True:
    bodies = [
        PostForgotten(posts=f"{chance.getrandbits(256):064x}", num_posts=1, snapshot="s")
        for _ in range(chance.choice((1, 1, 1, 2, 5, 300)))
    ]
    if len(bodies) == 2:
        written = [record.enqueue(body) for body in bodies]
    else:
        written = record.write_many(bodies)
    lines = [f"{one.index} {leaf_hash(one.leaf).hex()}\\n" for one in written]
    os.write(told, "".join(lines).encode())
"""


def start(workspace: Path, keys: Path, *, seed: int, told: Path) -> "subprocess.Popen[bytes]":
    arguments = [str(workspace), str(keys), str(seed), str(told)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", WRITER, *arguments], env=environment)
    deadline_s = time.monotonic() + 60
    while not told.exists():
        assert process.poll() is None, "the writer ended by itself"
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
    return process


def acknowledged(told: Path) -> dict[int, str]:
    lines = told.read_text().splitlines()[1:]
    return {int(line.split()[0]): line.split()[1] for line in lines}


def check(workspace: Path, keys: Path, *, acked: dict[int, str]) -> Record:
    """Open what a kill left, write what waits, and check all of it against what was told."""
    record = Record.open(workspace, identity=Identity.open(keys))
    record.write(PostForgotten(posts=os.urandom(32).hex(), num_posts=1, snapshot="s"))
    reader = LogReader.open(record.folder / "log", record.key)
    hashes = [leaf_hash(leaf).hex() for leaf in reader.leaves()]
    lost = [index for index, digest in acked.items() if hashes[index : index + 1] != [digest]]
    assert not lost, f"seed {SEED}: acknowledged, and not there: {lost[:5]}"
    bodies = [statement.body for _, statement in record.statements()]
    ids = [body.posts for body in bodies if isinstance(body, PostForgotten)]
    assert len(set(ids)) == len(ids) == len(hashes), f"seed {SEED}: something was written twice"
    times = [body.time for body in bodies]
    assert times == sorted(set(times))
    assert record.register().size == len(hashes)
    return record


@pytest.mark.parametrize("num_writers", [1, 2])
def test_kill_at_any_moment_loses_and_doubles_nothing(tmp_path: Path, num_writers: int) -> None:
    chance = random.Random(SEED + num_writers)
    keys = tmp_path / "keys"
    Identity.open(keys)
    acked: dict[int, str] = {}
    heads = []
    workspace = tmp_path / "network-0"
    for turn in range(NUM_KILLS):
        if turn % 8 == 0:
            workspace, acked, heads = tmp_path / f"network-{turn}", {}, []
            workspace.mkdir()
        told = [tmp_path / f"told-{turn}-{n}" for n in range(num_writers)]
        writers = [
            start(workspace, keys, seed=1000 * turn + n, told=path) for n, path in enumerate(told)
        ]
        for writer in writers:
            time.sleep(chance.uniform(0.0, 0.25))
            writer.send_signal(signal.SIGKILL)
            assert writer.wait() == -signal.SIGKILL
        for path in told:
            acked |= acknowledged(path)
        record = check(workspace, keys, acked=acked)
        heads.append(record.log.head())
        for before, after in pairwise(heads):
            proof = record.log.consistency_proof(before.size, after.size)
            check_consistency(
                before.size, after.size, old_root=before.root, new_root=after.root, proof=proof
            )
    assert acked, f"seed {SEED}: every kill came before the first statement"


def test_writers_share_one_log(tmp_path: Path) -> None:
    keys, workspace = tmp_path / "keys", tmp_path / "network"
    Identity.open(keys)
    told = [tmp_path / f"told-{n}" for n in range(4)]
    writers = [start(workspace, keys, seed=n, told=path) for n, path in enumerate(told)]
    time.sleep(1.5)
    for writer in writers:
        assert writer.poll() is None, "a writer ended by itself"
        writer.send_signal(signal.SIGSTOP)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    acked = [acknowledged(path) for path in told]
    assert all(acked), "each of them wrote"
    assert sum(map(len, acked)) == len({index for one in acked for index in one})
    check(workspace, keys, acked={k: v for one in acked for k, v in one.items()})


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A disk of its own; called with a size, it gets that size."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")

    def resize(size: str) -> Path:
        command = ["mount", "-o", f"remount,size={size}", str(place)]
        subprocess.run(command, check=True, capture_output=True)
        return place

    yield resize
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def forgotten(number: int) -> PostForgotten:
    return PostForgotten(posts=f"{number:064x}", num_posts=1, snapshot="s")


@pytest.mark.parametrize("is_guard_full", [False, True])
def test_a_full_disk_is_told_and_nothing_is_lost(
    tmp_path: Path, disk: Callable[[str], Path], is_guard_full: bool
) -> None:
    place = disk("64m")
    keys = place / "keys" if is_guard_full else tmp_path / "keys"
    workspace = tmp_path / "network" if is_guard_full else place / "network"
    record = Record.open(workspace, identity=Identity.open(keys))
    number = record.write_many([forgotten(n) for n in range(250)])[-1].index + 1
    refusals: list[str] = []
    for room_kib in range(0, 400, 4):
        facts = os.statvfs(place)
        disk(f"{(facts.f_blocks - facts.f_bfree) * facts.f_frsize // 1024 + room_kib}k")
        try:
            record.write_many([forgotten(number), forgotten(number + 1)])
        except MachineError as error:
            refusals.append(error.message)
        else:
            number += 2
            break
    assert refusals, "the disk was never full"
    assert all("the disk is full" in refusal for refusal in refusals)
    disk("64m")
    record.write(forgotten(number))
    posts = [s.body.posts for _, s in record.statements() if isinstance(s.body, PostForgotten)]
    assert posts == [f"{n:064x}" for n in range(number + 1)]
    again = Record.open(workspace, identity=Identity.open(keys))
    again.write(forgotten(number + 1))
    assert len(list(LogReader.open(again.folder / "log", again.key).leaves())) == number + 2
