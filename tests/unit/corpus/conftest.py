"""Fixtures of the tests of corpora."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mynah.corpus import train_tokenizer
from mynah.posts import read_posts
from mynah.workspace import Artifact

FIELDS = ("id", "author", "created_at", "text", "reply_to", "opt_out")
PLACES = ("river", "market", "station", "harbour", "library", "stadium", "bridge", "garden")


@pytest.fixture
def make_posts(tmp_path: Path) -> Callable[[Sequence[dict[str, str]]], Artifact]:
    """Read rows of a table into a post store; the n-th is post n unless it says otherwise."""

    def make(rows: Sequence[dict[str, str]]) -> Artifact:
        path = tmp_path / "posts.csv"
        with path.open("w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, FIELDS, restval="")
            table.writeheader()
            for number, row in enumerate(rows):
                minute = f"2020-01-01 {number // 60 % 24:02}:{number % 60:02}:00"
                table.writerow({"id": f"{number:05}", "created_at": minute, **row})
        return read_posts([path], tmp_path / "workspace" / "posts")

    return make


@pytest.fixture
def many_posts(make_posts: Callable[[Sequence[dict[str, str]]], Artifact]) -> Artifact:
    """Four hundred posts, each with words of its own."""
    rows = [
        {"text": f"{n * 7919} people came to the {PLACES[n % 8]} on day {n * n} for {n * 31} songs"}
        for n in range(400)
    ]
    return make_posts(rows)


@pytest.fixture
def tokenizer(many_posts: Artifact, tmp_path: Path) -> Path:
    path = tmp_path / "tokenizer.json"
    train_tokenizer(many_posts, path, vocab_size=400)
    return path
