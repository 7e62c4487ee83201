"""What the documents' commands run on: exports of made-up posts, a small workspace, a server."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.exports import write_exports
from tests.docs.snippets import ROOT
from tests.fakes.tiny_house import served_tiny_house
from tests.fakes.tiny_model import write_tiny_checkpoint

from mynah.job import Options, save_options
from mynah.posts import read_posts
from mynah.record.record import Record
from mynah.record.statements import RunDeclared
from mynah.search import build_index
from mynah.serve import quantise
from mynah.workspace import Workspace


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file that the documents name, and the workspace ``my-network``."""
    folder = tmp_path_factory.mktemp("documents")
    write_exports(folder)
    workspace = Workspace(folder / "my-network")
    workspace.create()
    posts = read_posts([folder / "my-archive.zip"], workspace.posts)
    build_index(posts, workspace.search)
    model = write_tiny_checkpoint(workspace.models / "tiny")
    quantise(model, model / "model.q8_0.gguf")
    save_options(workspace, Options(base=str(model)))
    write_recipes(folder / "recipes")
    return folder


def write_recipes(folder: Path) -> None:
    """The shipped recipes, but that nobody waits for four minutes: one layer, two seconds."""
    shutil.copytree(ROOT / "recipes", folder)
    path = folder / "scratch_cpu.toml"
    quick = {
        "max_minutes = 4.0": "max_minutes = 0.03",
        "tokens_per_step = 4096": "tokens_per_step = 512",
        "batch_tokens = 2048": "batch_tokens = 512",
        'base = "scratch"': 'base = "scratch"\ndepth = 1\nvocab_size = 300',
    }
    text = path.read_text()
    for shipped, short in quick.items():
        assert text.count(shipped) == 1, shipped
        text = text.replace(shipped, short)
    path.write_text(text)


@pytest.fixture
def reader(prepared: Path, tmp_path: Path) -> Path:
    """The same folder as one reader of one document has it: commands may change it."""
    return Path(shutil.copytree(prepared, tmp_path / "reader"))


@pytest.fixture
def recorded_reader(reader: Path) -> Path:
    """The same, after a `mynah up` that nobody waits for: its record says that a run began."""
    Record.open(reader / "my-network").write(
        RunDeclared(
            run="first",
            model="first",
            recipe="0" * 64,
            corpus="0" * 64,
            objective="sft",
            parents=(),
            planned_flop="1000000",
            planned_basis="steps",
            pool="local",
            device="cpu",
            num_devices=1,
            peak_flop_per_s="1000000000",
        )
    )
    return reader


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and admin key of a real server over a tiny house."""
    with served_tiny_house(tmp_path_factory.mktemp("served")) as (house, url):
        yield url, house.keys.create("admin")
