"""What the documents' commands run on: exports of made-up posts, a small workspace, a server."""

import csv
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.tiny_house import TEXTS, served_tiny_house
from tests.fakes.tiny_model import write_tiny_checkpoint

from mynah.posts import read_posts
from mynah.search import build_index
from mynah.serve import quantise
from mynah.workspace import Workspace


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file that the documents name, and the workspace ``my-network``."""
    folder = tmp_path_factory.mktemp("documents")
    write_archive(folder / "my-archive.zip")
    with (folder / "notes.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["note", "who"], *([text, "writer0"] for text in TEXTS)])
    rows = [{"text": text, "author": "writer1"} for text in TEXTS]
    (folder / "posts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    workspace = Workspace(folder / "my-network")
    workspace.create()
    posts = read_posts([folder / "my-archive.zip"], workspace.posts)
    build_index(posts, workspace.search)
    model = write_tiny_checkpoint(workspace.models / "tiny")
    quantise(model, model / "model.q8_0.gguf")
    return folder


def write_archive(path: Path) -> None:
    """An archive as X sends it, of one made-up account."""
    account = [{"account": {"username": "writer0", "accountDisplayName": "Writer"}}]
    tweets = [
        {
            "tweet": {
                "id_str": str(number),
                "full_text": text,
                "created_at": f"Mon Jan 06 0{number}:00:00 +0000 2025",
                "lang": "en",
                "favorite_count": str(number),
                "retweet_count": "0",
            }
        }
        for number, text in enumerate(TEXTS, start=1)
    ]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data/account.js", f"window.YTD.account.part0 = {json.dumps(account)}")
        archive.writestr("data/tweets.js", f"window.YTD.tweets.part0 = {json.dumps(tweets)}")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and admin key of a real server over a tiny house."""
    with served_tiny_house(tmp_path_factory.mktemp("served")) as (house, url):
        yield url, house.keys.create("admin")
