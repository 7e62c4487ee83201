"""How the training's process is followed: real processes, small ones."""

import subprocess
import sys

import pytest

from mynah.errors import ConfigError, MachineError
from mynah.job.training import Training, stop_process


@pytest.fixture
def training(tmp_path) -> Training:
    run = tmp_path / "run"
    run.mkdir()
    return Training(run, "mynah-test", tmp_path / "model")


def follow(training, script, *, until=lambda: False):
    seen = []
    with (training.run / "worker.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-c", script], stdout=log, stderr=log)
    try:
        training.follow(process, train=lambda *a, **k: seen.append((a, k)), until=until)
    finally:
        process.kill()
        process.wait()
    return seen


ROW = '{"step": %d, "loss": 2.5, "tokens_per_s": 180.0, "elapsed_s": %d.0, "remaining_s": 30.0}\\n'


def test_steps_are_passed_on(training):
    done = training.run / "done"
    script = f"""
import pathlib, time
run = pathlib.Path({str(training.run)!r})
(run / "metrics.jsonl").write_text('{ROW % (1, 10)}' + '{ROW % (2, 20)}' + '{{"st')
time.sleep(0.5)
(run / "done").touch()
time.sleep(60)
"""
    assert follow(training, script, until=done.exists) == [
        ((20.0, 50.0), {"note": "step 2, loss 2.50, 180 tokens/s, 30 s left"})
    ]


def test_a_run_that_takes_steps_back_is_followed_on(training):
    """A resumed run rewrites the file up to its checkpoint; no line is read from its middle."""
    (training.run / "metrics.jsonl").write_text((ROW % (1, 10)).replace("\\n", "\n") * 9)
    done = training.run / "done"
    script = f"""
import os, pathlib, time
run = pathlib.Path({str(training.run)!r})
time.sleep(0.5)
(run / "new").write_text('{ROW % (1, 7)}' * 4 + '   ' + '{ROW % (2, 40)}' * 8)
os.replace(run / "new", run / "metrics.jsonl")
time.sleep(0.5)
(run / "done").touch()
time.sleep(60)
"""
    seen = follow(training, script, until=done.exists)
    assert [arguments[0] for arguments, _ in seen] == [10.0, 40.0]


@pytest.mark.parametrize(("code", "kind"), [(2, ConfigError), (3, MachineError)])
def test_what_the_process_said_last_is_the_error(training, code, kind):
    (training.run / "worker.log").write_text("error: of yesterday\nhint: forget it\n")
    script = f"print('error: the disk is full\\nhint: free some space'); raise SystemExit({code})"
    with pytest.raises(kind) as failed:
        follow(training, script)
    assert failed.value.message == "training: the disk is full"
    assert failed.value.hint == "free some space"


def test_an_old_error_is_not_told_again(training):
    (training.run / "worker.log").write_text("error: of yesterday\nhint: forget it\n")
    with pytest.raises(MachineError, match="exit code 1"):
        follow(training, "raise ValueError('new')")


def test_a_killed_process_is_told(training):
    with pytest.raises(MachineError, match="killed by signal 9") as failed:
        follow(training, "import os; os.kill(os.getpid(), 9)")
    assert "goes on from the last checkpoint" in failed.value.hint


def test_a_process_is_asked_to_stop_and_waited_for():
    script = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(7)); print(1)"
    script += "; sys.stdout.flush(); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        stop_process(process)
        assert process.returncode == 7
