"""Fixtures of the tests of the job."""

import io
from pathlib import Path

import pytest
from rich.console import Console


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Two posts in a table."""
    path = tmp_path / "posts.csv"
    path.write_text("id,author,text\n1,ada,the harbour went well\n2,bob,the market did too\n")
    return path


@pytest.fixture
def console() -> Console:
    """A console that writes into memory."""
    return Console(file=io.StringIO(), width=300)
