"""What breaks while checkpoints are saved and read: kills, full disks, damaged files."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakes.tiny_model import tiny_config
from torch import Tensor

from mynah.errors import CheckpointError, MachineError
from mynah.model import load_checkpoint, weight_shapes
from mynah.train.checkpoint_files import finished_checkpoints
from mynah.train.checkpoints import CheckpointConfig, Checkpoints
from mynah.train.exporting import BackgroundExport
from mynah.train.world import World


def state(step: int, *, num_rows: int = 200) -> dict[str, Tensor]:
    return {
        f"{kind}.layers.{n}.weight": torch.full((num_rows, 100), float(step * 10 + n))
        for kind in ("model", "optimizer")
        for n in range(4)
    }


def checkpoints_in(folder: Path, **changes: Any) -> Checkpoints:
    return Checkpoints(folder, CheckpointConfig(**changes), world=World())


def assert_holds(folder: Path, step: int, **changes: Any) -> None:
    """Another process would go on from ``step``, with the tensors of that step."""
    tensors = {name: torch.zeros_like(tensor) for name, tensor in state(0, **changes).items()}
    found = checkpoints_in(folder).load_best(tensors)
    assert found == (folder / f"step-{step:08d}", {"step": step})
    for name, tensor in state(step, **changes).items():
        assert torch.equal(tensors[name], tensor)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


FILES = ("__0_0.distcp", "__0_1.distcp", ".metadata", "counters.json", "manifest.json")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [cut, flip, os.unlink])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_taken(
    tmp_path: Path,
    name: str,
    damage: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
):
    checkpoints = checkpoints_in(tmp_path, keep_last=2)
    for step in (1, 2):
        checkpoints.save(step, state(step), {"step": step})
    newest = tmp_path / "step-00000002"
    damage(newest / name)
    with caplog.at_level(logging.WARNING):
        assert_holds(tmp_path, 1)
    assert "step-00000001" in caplog.text or "is refused" in caplog.text
    if name != "manifest.json":
        with pytest.raises(CheckpointError) as refused:
            checkpoints_in(tmp_path).load(newest, state(2))
        assert str(newest / name) in refused.value.message
        assert "step-00000001" in refused.value.hint
    # Another run of the same steps ends where it would have.
    again = checkpoints_in(tmp_path, keep_last=2)
    assert again.load_best(state(0)) is not None
    again.save(2, state(2), {"step": 2})
    assert_holds(tmp_path, 2)


SAVE_ON_AND_ON = """
import os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[2])
from mynah.train.checkpoint_files import latest_checkpoint, step_of
from tests.integration.train.test_checkpoint_faults import *

def save_on(folder):
    checkpoints = checkpoints_in(folder, is_async=bool(seed % 2))
    found = checkpoints.load_best(state(0, num_rows=1_000))
    step = found[1]["step"] if found else 0
    while os.getppid() == parent:
        step += 1
        checkpoints.save(step, state(step, num_rows=1_000), {"step": step})

folder, choose, parent = Path(sys.argv[1]), random.Random(7), os.getpid()
seen = 0
for seed in range(8):
    begun_s = time.monotonic()
    pid = os.fork()
    if pid == 0:
        save_on(folder)
        os._exit(1)
    # By the pointer: a save that was killed may have finished all but that.
    while (found := latest_checkpoint(folder)) is None or step_of(found) <= seen:
        time.sleep(0.001)
    time.sleep(choose.uniform(0, time.monotonic() - begun_s))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    step = int(checkpoints_in(folder).latest().name[5:])
    assert step >= seen, (step, seen)
    assert_holds(folder, step, num_rows=1_000)
    seen = step
    assert len(list(folder.glob(".*.writing"))) <= 2, list(folder.iterdir())
checkpoints = checkpoints_in(folder)
checkpoints.save(seen + 1, state(seen + 1, num_rows=1_000), {"step": seen + 1})
print(seen, *sorted(path.name for path in folder.iterdir()))
"""


def test_a_kill_in_the_middle_of_a_save_leaves_a_whole_checkpoint(tmp_path: Path):
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", SAVE_ON_AND_ON, str(tmp_path / "checkpoints"), str(root)],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    seen, *left = done.stdout.split()
    assert int(seen) >= 4
    assert left == ["latest", f"step-{int(seen) + 1:08d}"]


@contextmanager
def small_disk(folder: Path, *, size: str) -> Iterator[None]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if os.getuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs to be root and to mount a small file system")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, is_async: bool):
    folder = tmp_path / "checkpoints"
    with small_disk(folder, size="1m"):
        assert checkpoints_in(folder).save(1, state(1), {"step": 1})  # 640 kB
        checkpoints = checkpoints_in(folder, is_async=is_async)
        assert checkpoints.load_best(state(0)) is not None
        if is_async:
            assert checkpoints.save(2, state(2), {"step": 2}) is None
        with pytest.raises(MachineError, match="disk is full") as caught:
            checkpoints.save(3, state(3), {"step": 3})
        assert str(folder) in caught.value.message
        assert caught.value.hint
        assert sorted(path.name for path in folder.iterdir()) == ["latest", "step-00000001"]
        assert_holds(folder, 1)
        # The same object saves again when there is room.
        subprocess.run(["mount", "-o", "remount,size=8m", str(folder)], check=True)
        checkpoints.save(2, state(2), {"step": 2})
        checkpoints.wait()
        assert_holds(folder, 2)


def test_a_disk_that_is_full_before_the_first_byte(tmp_path: Path):
    folder = tmp_path / "checkpoints"
    with small_disk(folder, size="16k"):
        with pytest.raises(MachineError, match="disk is full"):
            checkpoints_in(folder).save(1, state(1), {"step": 1})
        assert not list(folder.iterdir())
        assert checkpoints_in(folder).load_best(state(0)) is None


def test_a_save_removes_what_killed_ones_left(tmp_path: Path):
    for name in (".step-00000001.writing", ".step-00000002.old.writing"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__0_0.distcp").write_bytes(b"half")
    (tmp_path / "step-00000009").mkdir()  # without a manifest it is none
    checkpoints = checkpoints_in(tmp_path)
    assert checkpoints.latest() is None
    checkpoints.save(1, state(1), {"step": 1})
    assert finished_checkpoints(tmp_path) == [tmp_path / "step-00000001"]
    assert not list(tmp_path.glob(".*"))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    shapes = weight_shapes(tiny_config(96))
    tensors = {f"model.{name}": torch.randn(shape) for name, shape in shapes.items()}
    path = checkpoints_in(tmp_path / "checkpoints").save(1, tensors, {"step": 1})
    assert path is not None
    return path


def test_an_export_on_the_way_outlives_its_checkpoint(tmp_path: Path, checkpoint: Path):
    """The run goes on, saves, and would remove what is still being read."""
    (tmp_path / "tokenizer.json").write_text("{}")
    background = BackgroundExport()
    assert background.poll() is None
    begun = background.start(
        checkpoint, tiny_config(96), tmp_path / "model", beside=[tmp_path / "tokenizer.json"]
    )
    assert begun
    assert not background.start(checkpoint, tiny_config(96), tmp_path / "other")
    checkpoints = checkpoints_in(tmp_path / "checkpoints")
    checkpoints.save(2, state(2), {"step": 2})
    assert len(finished_checkpoints(tmp_path / "checkpoints")) == 2
    assert background.wait() == tmp_path / "model"
    assert background.wait() is None
    config, weights = load_checkpoint(tmp_path / "model")
    assert config == tiny_config(96)
    assert all(weight.dtype == torch.bfloat16 for weight in weights.values())
    assert (tmp_path / "model" / "tokenizer.json").is_file()
    checkpoints.save(3, state(3), {"step": 3})
    assert len(finished_checkpoints(tmp_path / "checkpoints")) == 1


def test_an_export_that_fails_or_is_stopped_stops_nothing(
    tmp_path: Path, checkpoint: Path, caplog: pytest.LogCaptureFixture
):
    flip(checkpoint / "__0_0.distcp")
    background = BackgroundExport()
    assert background.start(checkpoint, tiny_config(96), tmp_path / "model")
    deadline = time.monotonic() + 60
    with caplog.at_level(logging.WARNING):
        while not caplog.text:
            assert background.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert "expected SHA-256" in caplog.text
    assert background.start(checkpoint, tiny_config(96), tmp_path / "model")
    background.stop()
    assert not (tmp_path / "model").exists()
    checkpoints_in(tmp_path / "checkpoints").save(2, state(2), {"step": 2})
    assert not checkpoint.exists()  # nobody holds it any more
