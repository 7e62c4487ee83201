"""What kills, full disks and other processes leave in a workspace."""

import errno
import os
import subprocess
import threading
import time

import pytest

from mynah.errors import ConfigError, MachineError
from mynah.workspace import (
    Workspace,
    find_artifact,
    latest_artifact,
    locked,
    replace_file,
    writing_artifact,
)

BUSY = ConfigError("busy", hint="wait")


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace(tmp_path / "network")


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_workspace_killed_before_its_settings_were_there_is_taken(workspace, dead_pid):
    workspace.root.mkdir()
    (workspace.root / f".mynah.toml.{dead_pid}.writing").write_text("# Set")
    (workspace.root / ".lock").touch()
    workspace.create()
    assert workspace.settings.is_file()


def test_a_sweep_takes_what_the_dead_left_and_nothing_else(workspace, dead_pid):
    workspace.create()
    left = (
        workspace.root / f".mynah.toml.{dead_pid}.writing",
        workspace.posts / f".latest.{dead_pid}.writing",
        workspace.models / "m" / f".model.safetensors.{dead_pid}.writing",
        workspace.corpus / ".0123456789ab.writing" / "train.bin",
    )
    stays = (
        workspace.models / "m" / f".model.q8_0.gguf.{os.getpid()}.writing",
        workspace.models / "m" / "model.safetensors",
        workspace.runs / "r" / "checkpoints" / ".step-00000004.writing" / "model.safetensors",
    )
    for path in (*left, *stays):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    workspace.sweep()
    assert [path for path in left if path.exists()] == []
    assert not (workspace.corpus / ".0123456789ab.writing").exists()
    assert all(path.exists() for path in stays)


def test_a_write_that_fails_leaves_the_old_file_and_no_half_of_the_new(tmp_path):
    target = tmp_path / "file"
    target.mkdir()  # renaming a file over a folder fails
    with pytest.raises(OSError, match="directory"):
        replace_file(target, b"new")
    assert list(tmp_path.iterdir()) == [target]


def test_an_artifact_that_fails_gives_its_space_back(tmp_path):
    def write():
        with writing_artifact(tmp_path / "room", kind="test/1", inputs={}) as writer:
            (writer.folder / "large").write_bytes(bytes(1000))
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(MachineError, match="the disk is full"):
        write()
    assert list((tmp_path / "room").iterdir()) == []
    assert find_artifact(tmp_path / "room", kind="test/1", inputs={}) is None


def test_a_latest_that_is_not_text_names_nothing(tmp_path):
    (tmp_path / "latest").write_bytes(b"\xff\xfe")
    assert latest_artifact(tmp_path, kind="test/1") is None


def test_a_lock_is_waited_for_as_long_as_asked(tmp_path):
    path = tmp_path / ".lock"
    is_held = threading.Event()

    def hold():
        with locked(path, busy=BUSY):
            is_held.set()
            time.sleep(0.3)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait()
    with pytest.raises(ConfigError, match="busy"), locked(path, busy=BUSY):
        pass
    with locked(path, busy=BUSY, wait_s=30.0):
        assert is_held.is_set()
    thread.join()
