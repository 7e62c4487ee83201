"""Who reads what the command prints may stop early, as head does: that is no failure of ours."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MYNAH = "from mynah.cli import main; main()"


def piped(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command into head, in a shell that says so when the command fails."""
    script = 'set -o pipefail; "$0" -c "$1" "${@:2}" | head -n 1'
    words = ["bash", "-c", script, sys.executable, MYNAH, *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)


def test_the_first_line_of_a_help_page():
    ran = piped("plan", "run", "--help")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("Usage: mynah plan run")


def test_the_first_line_of_more_than_a_pipe_holds(tmp_path: Path):
    path = tmp_path / "posts.csv"
    rows = (f"{number},the harbour went well on day {number * 7919}" for number in range(20_000))
    path.write_text("id,text\n" + "\n".join(rows) + "\n")
    ran = piped("posts", "read", str(path), "--json")
    assert ran.returncode == 0, ran.stderr
    assert "20,000 posts" in ran.stderr  # what it read, and nothing of the pipe
    assert "pipe" not in ran.stderr
    assert len(ran.stdout.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["plan", "run", "--help"], ["--version"]])
def test_nobody_reads_at_all(arguments: list[str]):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        words = [sys.executable, "-c", MYNAH, *arguments]
        ran = subprocess.run(
            words, stdout=closed, stderr=subprocess.PIPE, text=True, timeout=100, check=False
        )
    assert (ran.returncode, ran.stderr) == (0, "")
