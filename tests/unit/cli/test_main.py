"""The executable as a shell sees it: what it prints where, and its exit code."""

import signal

import pytest

import mynah
from mynah.cli import main
from mynah.job import Options, save_options
from mynah.workspace import Workspace


@pytest.fixture
def run(monkeypatch, capsys):
    before = signal.getsignal(signal.SIGTERM)

    def run_main(*arguments):
        monkeypatch.setattr("sys.argv", ["mynah", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    yield run_main
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    place = Workspace(tmp_path / "network")
    place.create()
    save_options(place, Options())
    return place


def test_the_version_is_printed(run):
    assert run("--version") == (0, f"mynah {mynah.__version__}\n", "")


@pytest.mark.parametrize("noun", ["posts", "search", "chat", "ads", "keys", "up"])
def test_every_command_explains_itself(run, noun):
    code, out, _ = run(noun, "--help")
    assert code == 0
    assert f"mynah {noun}" in out


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["fly"], "mynah --help"),
        (["up"], "mynah up --help"),
        (["search", "run", "x"], "mynah search run --help"),
        (["keys", "add", "x", "--scope", "king"], "mynah keys add --help"),
    ],
)
def test_a_wrong_command_is_an_error_and_a_hint(run, arguments, hint):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    error, told = err.splitlines()
    assert error.startswith("error: ")
    assert told == f"hint: {hint}"


@pytest.mark.parametrize(
    "arguments",
    [["search", "run", "{}", "x"], ["chat", "run", "{}", "x"], ["ads", "show", "{}"]],
)
def test_a_folder_that_is_no_workspace_is_refused(run, tmp_path, arguments):
    code, out, err = run(*[part.format(tmp_path / "gone") for part in arguments])
    assert (code, out) == (2, "")
    assert "is no workspace" in err
    assert not (tmp_path / "gone").exists()


def test_a_workspace_that_is_not_built_says_what_is_missing(run, workspace):
    assert "has no search index" in run("search", "run", workspace.root, "x")[2]


def test_keys_are_made(run, workspace):
    code, out, err = run("keys", "add", workspace.root, "--scope", "admin")
    assert (code, err) == (0, "")
    assert out.startswith("mk_")


def test_campaigns_are_added_shown_and_paused(run, workspace):
    about = ["--title", "Bread", "--text", "Fresh bread", "--link", "https://example.org/"]
    money = ["--bid", "0.20", "--budget", "5"]
    code, out, _ = run("ads", "add", workspace.root, *about, "--keyword", "bakery", *money)
    assert code == 0
    assert out.startswith("campaign 1 runs")
    assert run("ads", "pause", workspace.root, "1")[1] == "campaign 1 is paused\n"
    assert "1 paused  Bread" in run("ads", "show", workspace.root)[1]
    assert run("ads", "pause", workspace.root, "9")[0] == 2


def test_posts_are_read_without_a_workspace(run, tmp_path):
    path = tmp_path / "posts.csv"
    path.write_text("id,body\n1,hello there\n2,good morning\n")
    code, out, _ = run("posts", "read", path, "--column", "text=body", "--json")
    assert code == 0
    assert len(out.splitlines()) == 2
    assert run("posts", "read", path, "--column", "text")[0] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["posts.csv"]


def test_what_the_system_refuses_is_two_lines(run):
    code, _, err = run("search", "run", "a" * 300, "x")
    assert code == 3
    assert err.startswith("error: ")
    assert "too long" in err
    assert err.splitlines()[1].startswith("hint: ")
