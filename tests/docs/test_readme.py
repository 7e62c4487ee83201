"""Every command and program that a document shows is run, or is checked where it would install."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from tests.docs.snippets import ROOT, Snippet, blocks, commands

from mynah.cli import app

ADDRESS = "http://127.0.0.1:8400"
RUN_MYNAH = [sys.executable, "-c", "from mynah.cli import main; main()"]
TIMEOUT_S = 240

COMMANDS = list(commands())
KINDS = ("make", "mynah", "curl")


def first_word(snippet: Snippet) -> str:
    return snippet.text.split()[0]


def of_kind(kind: str) -> list[Snippet]:
    return [snippet for snippet in COMMANDS if first_word(snippet) == kind]


LONG = ("up", "train rehearse recipes/405b_10240gpu.toml")
"""Commands that take minutes, or most of one: they are read here, other tests run them."""


def is_long(snippet: Snippet) -> bool:
    words = " ".join(shlex.split(snippet.text)[1:]) + " "
    return any(words.startswith(f"{beginning} ") for beginning in LONG)


def mynah_commands(*, is_quick: bool) -> list[Snippet]:
    return [snippet for snippet in of_kind("mynah") if is_long(snippet) != is_quick]


def test_every_command_is_of_a_kind_that_is_tested():
    unknown = [str(snippet) for snippet in COMMANDS if first_word(snippet) not in KINDS]
    assert not unknown, f"only {', '.join(KINDS)} are tested: {unknown}"


@pytest.mark.parametrize("snippet", of_kind("make"), ids=str)
def test_make_knows_the_target_and_its_settings(snippet: Snippet):
    makefile = (ROOT / "Makefile").read_text()
    _, target, *settings = shlex.split(snippet.text)
    assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE)
    for setting in settings:
        assert f"$({setting.partition('=')[0]})" in makefile


def test_continuous_integration_runs_the_test_command_of_the_readme():
    shown = [s.text for s in of_kind("make") if s.document == "README.md"]
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert [line for line in script if line.startswith("make")] == ["make test"]
    assert shown[0] == "make up"
    assert "make test" in shown


@pytest.mark.parametrize("snippet", mynah_commands(is_quick=False), ids=str)
def test_a_long_command_understands_its_flags(snippet: Snippet, prepared: Path):
    """It would take minutes: tests/integration runs it. Here it is read, and its files."""
    arguments = shlex.split(snippet.text)[1:]
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]
    given = command.make_context("mynah", arguments).params
    for path in given.get("posts_paths") or ():
        assert (prepared / path).exists()
    if given["recipe"] is not None:
        assert (ROOT / given["recipe"]).is_file()


@pytest.mark.parametrize("document", sorted({s.document for s in mynah_commands(is_quick=True)}))
def test_the_commands_of_a_document_run_as_shown(document: str, recorded_reader: Path):
    """One after the other, as who follows it would."""
    for snippet in mynah_commands(is_quick=True):
        if snippet.document != document:
            continue
        ran = subprocess.run(
            [*RUN_MYNAH, *shlex.split(snippet.text)[1:]],
            cwd=recorded_reader,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert ran.returncode == 0, f"{snippet}: {ran.stderr}"
        assert ran.stdout.strip(), snippet


@pytest.mark.parametrize("snippet", of_kind("curl"), ids=str)
def test_a_request_is_answered_as_shown(snippet: Snippet, served: tuple[str, str]):
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    address, key = served
    command = snippet.text.replace(ADDRESS, address).replace("curl -s", "curl -s --fail-with-body")
    ran = subprocess.run(
        ["bash", "-c", command],
        env=os.environ | {"MYNAH_KEY": key, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ran.returncode == 0, f"{snippet}: {ran.stdout} {ran.stderr}"
    assert ran.stdout.strip()


@pytest.mark.parametrize("snippet", list(blocks("python")), ids=str)
def test_a_program_runs_as_shown(snippet: Snippet, served: tuple[str, str], tmp_path: Path):
    address, key = served
    program = tmp_path / "program.py"
    program.write_text(snippet.text.replace(ADDRESS, address))
    ran = subprocess.run(
        [sys.executable, str(program)],
        env=os.environ | {"MYNAH_KEY": key, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ran.returncode == 0, f"{snippet}: {ran.stderr}"
    assert "ferry" in ran.stdout
