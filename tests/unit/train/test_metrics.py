"""Rows go to the file, come off it again after a kill, and make a line that says how long."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from mynah.errors import ConfigError, MachineError
from mynah.train.metrics import MetricsFile, progress_of

HAS_TENSORBOARD = importlib.util.find_spec("tensorboard") is not None


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_rows_past_the_checkpoint_and_half_rows_are_taken_back(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path)
    for step in range(5):
        metrics.write({"step": step, "loss": 2.0 / (1 + step)})
    assert steps(metrics.path) == [0, 1, 2, 3, 4]
    with metrics.path.open("a") as stream:
        stream.write('[1]\n"step"\n{"loss": 1}\n{"step": 2, "lo')
    metrics.drop_after(2)
    assert steps(metrics.path) == [0, 1, 2]
    metrics.write({"step": 3})
    assert steps(metrics.path) == [0, 1, 2, 3]
    metrics.drop_after(-1)
    assert metrics.path.read_bytes() == b""


def test_no_file_yet_is_an_empty_file(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path)
    metrics.drop_after(9)
    assert metrics.path.read_bytes() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(MachineError, match="the disk is full"):
        MetricsFile(tmp_path).write({"step": 1})


def test_tensorboard_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match="not installed") as error:
        MetricsFile(tmp_path, is_tensorboard=True)
    assert 'pip install "mynah[tensorboard]"' in error.value.hint


@pytest.mark.skipif(not HAS_TENSORBOARD, reason="the extra mynah[tensorboard] is not installed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_curves_forget_what_was_taken_back(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path, is_tensorboard=True)
    assert not list(tmp_path.iterdir())  # ranks that never write leave nothing
    for step in range(4):
        metrics.write({"step": step, "loss": None if step == 1 else 1.0 + step})
    metrics.drop_after(2)
    metrics.write({"step": 3, "loss": 9.0})
    metrics.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events: Any = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    scalars = events.Scalars("loss")
    assert [(one.step, one.value) for one in scalars] == [(0, 1.0), (2, 3.0), (3, 9.0)]


@pytest.mark.parametrize(
    ("left_s", "said"),
    [
        (0.4, "0 s left"),
        (59.4, "59 s left"),
        (59.6, "1 min 00 s left"),
        (3_725.0, "1 h 02 min left"),
        (93_600.0, "1 d 02 h left"),
    ],
)
def test_the_line_says_how_long_it_will_take(left_s: float, said: str) -> None:
    row = {
        "step": 1200,
        "loss": 3.214,
        "tokens_per_s": 12_345.6,
        "elapsed_s": 10.0,
        "remaining_s": left_s,
    }
    done_s, total_s, note = progress_of(row) or (0.0, 0.0, "")
    assert (done_s, total_s) == (10.0, 10.0 + left_s)
    assert note == f"step 1,200, loss 3.21, 12,346 tokens/s, {said}"
    for skipped in ({"loss": None}, {"is_skipped": True}):
        assert "step 1,200, skipped, " in (progress_of(row | skipped) or ("", "", ""))[2]


def test_a_row_of_no_step_has_no_line() -> None:
    assert progress_of({"step": 0, "heldout_bits_per_byte": 1.0}) is None
