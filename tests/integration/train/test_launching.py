"""Processes of a layout: where each stands, how they end, and that none is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mynah.errors import ConfigError, MachineError, PausedError
from mynah.train import launching
from mynah.train.launching import Processes, launch, log_of_rank

SHOWS_PLACE = """
import os
print(*(os.environ[name] for name in
    ("RANK", "LOCAL_RANK", "WORLD_SIZE", "REPLICA_GROUP_ID", "TORCHELASTIC_RESTART_COUNT")))
"""
DIES_ONCE = """
import os, signal, time
from pathlib import Path
Path(FOLDER, os.environ["RANK"] + "." + os.environ["TORCHELASTIC_RESTART_COUNT"]).touch()
if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
"""
SAVES_WHEN_ASKED = """
import os, signal, sys, time
from pathlib import Path
def save(number, frame):
    Path(FOLDER, "saved" + os.environ["RANK"]).touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
Path(FOLDER, "ready" + os.environ["RANK"]).write_text(str(os.getpid()))
time.sleep(60)
"""
ONE_SAYS_ITS_CASE = """
import os, sys, time
from pathlib import Path
if os.environ["RANK"] == "1":
    sys.stderr.write("error: {what}\\nhint: {hint}\\n")
    sys.exit({code})
time.sleep(0.5)
Path(FOLDER, "written").touch()
"""


def command(script: str, folder: Path) -> list[str]:
    return [sys.executable, "-c", f"FOLDER = {str(folder)!r}\n{script}"]


def said_by(folder: Path, rank: int) -> list[str]:
    return log_of_rank(folder, rank).read_text().splitlines()


def appears(path: Path) -> None:
    deadline_s = time.monotonic() + 20
    while not path.exists() or not path.read_bytes():
        assert time.monotonic() < deadline_s, f"{path} did not appear"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_each_process_knows_its_place_and_keeps_its_own_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RANK", "7")  # of a world that is no longer meant
    launch(command(SHOWS_PLACE, tmp_path), Processes(group_size=2), logs=tmp_path / "ranks")
    assert said_by(tmp_path / "ranks", 0) == ["-- start 0", "0 0 2 0 0"]
    assert said_by(tmp_path / "ranks", 1) == ["-- start 0", "1 1 2 0 0"]


def test_all_start_again_when_one_is_killed(tmp_path: Path):
    began_s = time.monotonic()
    launch(command(DIES_ONCE, tmp_path), Processes(group_size=2), logs=tmp_path / "ranks")
    assert time.monotonic() - began_s < 30, "the one that sleeps was waited for"
    assert {path.name for path in tmp_path.iterdir()} == {"ranks", "0.0", "1.0", "0.1", "1.1"}
    assert said_by(tmp_path / "ranks", 0) == ["-- start 0", "-- start 1"]


def test_the_restarts_have_an_end(tmp_path: Path):
    processes = Processes(group_size=1, max_restarts=2)
    with pytest.raises(MachineError) as caught:
        launch(command("import sys; sys.exit(5)", tmp_path), processes, logs=tmp_path)
    assert "process 0 ended with exit code 5" in caught.value.message
    assert "started again 2 times" in caught.value.message
    assert len(said_by(tmp_path, 0)) == 3


@pytest.mark.parametrize(
    ("code", "kind"), [(1, PausedError), (2, ConfigError)], ids=["paused", "wrong"]
)
def test_an_answer_is_passed_on_and_not_asked_for_again(
    tmp_path: Path, code: int, kind: type[PausedError | ConfigError]
):
    script = ONE_SAYS_ITS_CASE.format(what="no", hint="ask", code=code)
    with pytest.raises(kind) as caught:
        launch(command(script, tmp_path), Processes(group_size=2), logs=tmp_path / "ranks")
    assert (caught.value.message, caught.value.hint) == ("no", "ask")
    assert (tmp_path / "written").exists(), "the others may end what they write"
    assert len(said_by(tmp_path / "ranks", 1)) == 3


def test_a_traceback_is_no_answer(tmp_path: Path):
    with pytest.raises(MachineError, match="exit code 1"):
        launch(
            command("raise RuntimeError('connection reset')", tmp_path),
            Processes(group_size=1, max_restarts=0),
            logs=tmp_path,
        )


def test_a_failure_of_ours_is_tried_again_then_told_in_its_own_words(tmp_path: Path):
    script = (
        "import sys; sys.stderr.write('error: the disk is full\\nhint: free it\\n'); sys.exit(3)"
    )
    processes = Processes(group_size=1, max_restarts=1)
    with pytest.raises(MachineError, match="the disk is full"):
        launch(command(script, tmp_path), processes, logs=tmp_path)
    assert said_by(tmp_path, 0).count("error: the disk is full") == 2


def asks_when_ready(folder: Path, number: signal.Signals, size: int) -> threading.Thread:
    def ask() -> None:
        for rank in range(size):
            appears(folder / f"ready{rank}")
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_is_passed_on(tmp_path: Path, number: signal.Signals):
    thread = asks_when_ready(tmp_path, number, 2)
    launch(command(SAVES_WHEN_ASKED, tmp_path), Processes(group_size=2), logs=tmp_path / "ranks")
    thread.join()
    assert {"saved0", "saved1"} <= {path.name for path in tmp_path.iterdir()}
    assert signal.getsignal(number) is not None


def test_who_does_not_stop_in_time_is_killed_and_named(tmp_path: Path):
    script = SAVES_WHEN_ASKED.replace("sys.exit(0)", "time.sleep(60)")
    thread = asks_when_ready(tmp_path, signal.SIGTERM, 1)
    processes = Processes(group_size=1, grace_s=0.5)
    with pytest.raises(MachineError, match=r"did not stop within 0\.5 s"):
        launch(command(script, tmp_path), processes, logs=tmp_path / "ranks")
    thread.join()
    assert not is_alive(int((tmp_path / "ready0").read_text()))


def test_who_is_too_young_to_listen_has_nothing_to_save(tmp_path: Path):
    script = f"from pathlib import Path; import time\nPath({str(tmp_path / 'ready0')!r})"
    script += ".write_text('x'); time.sleep(60)"
    thread = asks_when_ready(tmp_path, signal.SIGTERM, 1)
    launch(command(script, tmp_path), Processes(group_size=2), logs=tmp_path / "ranks")
    thread.join()


def test_workers_end_when_the_launcher_is_killed(tmp_path: Path):
    """They save first, as when they are asked to; the launcher has no time to ask."""
    watches = SAVES_WHEN_ASKED.replace(
        'Path(FOLDER, "ready"', 'from mynah.train.launching import stop_with_parent\n'
        'stop_with_parent(grace_s=5.0)\nPath(FOLDER, "ready"'
    )  # fmt: skip
    launcher = (
        "from pathlib import Path; import sys; from mynah.train.launching import *\n"
        f"launch([sys.executable, '-c', {command(watches, tmp_path)[2]!r}], "
        f"Processes(group_size=1), logs=Path({str(tmp_path / 'ranks')!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", launcher])
    appears(tmp_path / "ready0")
    process.kill()
    process.wait()
    deadline_s = time.monotonic() + 20
    while is_alive(int((tmp_path / "ready0").read_text())):
        assert time.monotonic() < deadline_s, "the worker goes on without its launcher"
        time.sleep(0.05)
    assert (tmp_path / "saved0").exists()


def test_more_processes_than_fit_are_told_how_to_start_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(launching.torch.cuda, "device_count", lambda: 8)
    worker = [sys.executable, "-m", "mynah.train.worker", "runs/a", "models/a", "."]
    with pytest.raises(ConfigError) as caught:
        launch(worker, Processes(group_size=512), logs=tmp_path)
    assert "512 processes, this machine has 8 GPUs" in caught.value.message
    assert caught.value.hint.endswith(
        "srun --nodes 64 --ntasks-per-node 1 torchrun --nnodes 64 --nproc-per-node 8 "
        "--max-restarts 3 --rdzv-backend c10d --rdzv-endpoint FIRST_MACHINE:29400 "
        "-m mynah.train.worker runs/a models/a ."
    )


def test_replica_groups_beyond_one_machine_are_worlds_of_their_own():
    line = Processes(group_size=16, num_groups=2).cluster_line(["python", "-m", "worker"])
    assert "torchft_lighthouse" in line
    assert "0..1" in line
    assert "REPLICA_GROUP_ID=G TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 srun --nodes 2 " in line
