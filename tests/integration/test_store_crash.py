"""`mynah posts add` killed, doubled, read while it writes, and on a full disk."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fakes.job_process import MYNAH, refusal, run_mynah, wait_until

from mynah.posts import POSTS_KIND, content_digest, load_posts
from mynah.posts.snapshots import one_writer
from mynah.workspace import Artifact, file_sha256, latest_artifact

SEED = 11
NUM_KILLS = 4
NUM_POSTS = 40_000


def write_export(path: Path, *, start: int, num_posts: int) -> Path:
    rows = [
        f"{number},writer{number % 97},Notice {number * 7919} of the ferries,{number % 13}"
        for number in range(start, start + num_posts)
    ]
    path.write_text("id,author,text,likes\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two exports that overlap."""
    folder = tmp_path_factory.mktemp("exports")
    return (
        write_export(folder / "old.csv", start=0, num_posts=NUM_POSTS),
        write_export(folder / "new.csv", start=NUM_POSTS // 2, num_posts=NUM_POSTS),
    )


def add(workspace: Path, export: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [MYNAH, "posts", "add", workspace, export],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def latest(workspace: Path) -> Artifact:
    found = latest_artifact(workspace / "posts", kind=POSTS_KIND)
    assert found is not None
    return found


def facts(workspace: Path) -> tuple[str, dict[str, str]]:
    artifact = latest(workspace)
    artifact.verify()
    files = {path.name: file_sha256(path) for path in artifact.folder.iterdir()}
    return content_digest(artifact), files


def wait_for_work(workspace: Path, process: "subprocess.Popen[bytes]") -> None:
    """Return when the readers have begun, or all is over."""
    store = workspace / "posts"
    wait_until(lambda: process.poll() is not None or any(store.glob(".spool.*")), what="a spool")


def test_killed_at_any_moment_the_same_command_ends_as_if_it_never_was(
    exports: tuple[Path, Path], tmp_path: Path
):
    assert run_mynah("posts", "add", tmp_path / "unbroken", exports[0]).returncode == 0
    shutil.copytree(tmp_path / "unbroken", tmp_path / "before")
    before = facts(tmp_path / "before")
    process = add(tmp_path / "unbroken", exports[1])
    wait_for_work(tmp_path / "unbroken", process)
    started_s = time.monotonic()
    assert process.wait(100) == 0
    usual_s = time.monotonic() - started_s
    expected = facts(tmp_path / "unbroken")
    draw = random.Random(SEED)
    num_kills = 0
    for number in range(NUM_KILLS):
        workspace = tmp_path / f"killed{number}"
        shutil.copytree(tmp_path / "before", workspace)
        process = add(workspace, exports[1])
        wait_for_work(workspace, process)
        time.sleep(draw.uniform(0, usual_s))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            num_kills += 1
        process.wait()
        assert facts(workspace) in (before, expected), f"seed {SEED}, kill {number}"
        done = run_mynah("posts", "add", workspace, exports[1])
        assert done.returncode == 0, done.stderr
        assert facts(workspace) == expected, f"seed {SEED}, kill {number}"
        assert not list(workspace.rglob("*.writing"))
    assert num_kills, f"seed {SEED}: no kill came before the end"


def test_a_second_writer_is_told_so(exports: tuple[Path, Path], tmp_path: Path):
    assert run_mynah("posts", "add", tmp_path / "w", exports[0]).returncode == 0
    with one_writer(tmp_path / "w" / "posts"):
        refused = run_mynah("posts", "add", tmp_path / "w", exports[1])
    error, hint = refusal(refused.stderr)
    assert "another process is changing the posts" in error
    assert "wait until it is done" in hint
    assert refused.returncode == 2


def test_a_reader_sees_a_whole_snapshot_at_any_moment(exports: tuple[Path, Path], tmp_path: Path):
    workspace = tmp_path / "w"
    assert run_mynah("posts", "add", workspace, exports[0]).returncode == 0
    process = add(workspace, exports[1])
    seen = set[int]()
    while process.poll() is None:
        artifact = latest(workspace)
        seen.add(load_posts(artifact).height)
        assert artifact.counts["num_posts"] in seen
    assert process.returncode == 0
    assert seen <= {NUM_POSTS, NUM_POSTS * 3 // 2}
    assert NUM_POSTS in seen
    assert load_posts(latest(workspace)).height == NUM_POSTS * 3 // 2


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A disk of its own; called with a size, it gets that size."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")

    def resize(size: str) -> Path:
        options = f"remount,size={size}"
        subprocess.run(["mount", "-o", options, str(place)], check=True, capture_output=True)
        return place

    yield resize
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_leaves_the_old_snapshot(
    exports: tuple[Path, Path], tmp_path: Path, disk: Callable[[str], Path]
):
    workspace = disk("64m") / "w"
    assert run_mynah("posts", "add", workspace, exports[0]).returncode == 0
    before = facts(workspace)
    used_kib = sum(path.stat().st_blocks for path in workspace.rglob("*")) // 2
    for room_kib in (40, 700, 1500):
        disk(f"{used_kib + room_kib}k")
        refused = run_mynah("posts", "add", workspace, exports[1])
        error, hint = refusal(refused.stderr)
        assert "the disk is full" in error
        assert "free some space" in hint
        assert refused.returncode == 3
        assert facts(workspace) == before
        assert not list(workspace.rglob("*.writing"))
    disk("64m")
    assert run_mynah("posts", "add", workspace, exports[1]).returncode == 0
    assert load_posts(latest(workspace)).height == NUM_POSTS * 3 // 2
