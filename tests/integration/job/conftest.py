"""Fixtures of the tests of the main job: a small export and the job over it, without pages."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from mynah.job import MainJob, Options, Recipe
from mynah.workspace import Workspace

PLACES = ("river", "market", "station", "harbour", "library", "stadium", "bridge", "garden")

Open = Callable[..., MainJob]


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Eighty posts in a table."""
    path = tmp_path / "posts.csv"
    rows = [f"{n},writer{n % 3},Day {n * 7919} at the {PLACES[n % 8]} went well" for n in range(80)]
    path.write_text("id,author,text\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def console() -> Console:
    """A console that writes into memory."""
    return Console(file=io.StringIO(), width=300)


@pytest.fixture
def open_job(tmp_path: Path, export: Path, console: Console) -> Iterator[Open]:
    """Open the job on the one workspace of the test, again and again; all are closed at its end."""
    opened: list[MainJob] = []

    def open_one(*, posts: list[Path] | None = None, base: str = "scratch") -> MainJob:
        workspace = Workspace(tmp_path / "network")
        workspace.create()
        names = [str(path) for path in posts or [export]]
        options = Options(posts=names, base=base, recipe=Recipe(depth=1, vocab_size=300))
        job = MainJob.open(workspace, options, host="127.0.0.1", console=console)
        opened.append(job)
        return job

    yield open_one
    for job in opened:
        job.close()
