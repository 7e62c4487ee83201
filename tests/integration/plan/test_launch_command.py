"""`mynah plan launch`: files for every format, and every kind of launch that could not start."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.fakes.plan_commands import RECIPE, invoke, refused
from typer.testing import Result


def launch(folder: Path, *more: str | Path, file_format: str = "torchrun") -> Result:
    given = ("--recipe", RECIPE, "-w", "/shared/net", "--format", file_format, "--out", folder)
    return invoke("launch", *given, *more)


def test_a_recipe_is_launched_in_its_own_layout(tmp_path: Path):
    done = launch(tmp_path / "made")
    names = ["node.sh", "health_check.sh"]
    assert done.stdout.splitlines() == [str(tmp_path / "made" / name) for name in names]
    assert "node.sh" in done.stderr
    for name in names:
        assert os.access(tmp_path / "made" / name, os.X_OK)
        subprocess.run(["bash", "-n", tmp_path / "made" / name], check=True)
    text = (tmp_path / "made" / "node.sh").read_text()
    assert str(RECIPE) in text
    assert "layout.shard=64" in text.replace(" ", "") or "--set layout.shard=" in text


def test_a_layout_goes_before_that_of_the_recipe(tmp_path: Path):
    layout = "shard=16 pipeline=4 stages=2 schedule=interleaved tensor=8 micro=2 bf16"
    launch(tmp_path, "--layout", layout, "--set", "max_restarts=3")
    text = (tmp_path / "node.sh").read_text()
    for words in (
        *("layout.shard=16", "layout.pipeline=4", "layout.stages_per_rank=2"),
        *("layout.schedule=interleaved", "precision=bfloat16", "data.batch_tokens=16384"),
        "--max-restarts=3",
    ):
        assert words in text.replace("--max-restarts 3", "--max-restarts=3"), words


def test_files_are_not_overwritten_unasked(tmp_path: Path):
    launch(tmp_path, file_format="slurm")
    (tmp_path / "train.sbatch").write_text("mine")
    (tmp_path / "excluded_nodes.txt").write_text("node7\n")
    given = ("--recipe", RECIPE, "-w", "/shared/net", "--format", "slurm", "--out", tmp_path)
    assert "--force" in refused("launch", *given).hint
    assert (tmp_path / "train.sbatch").read_text() == "mine"
    launch(tmp_path, "--force", file_format="slurm")
    assert "#SBATCH" in (tmp_path / "train.sbatch").read_text()
    assert (tmp_path / "excluded_nodes.txt").read_text() == "node7\n", "what the cluster found out"


@pytest.mark.parametrize("file_format", ["torchrun", "slurm", "jobset", "trainjob", "skypilot"])
def test_every_format_is_written_for_a_site(file_format: str, tmp_path: Path):
    site = tmp_path / "site.toml"
    site.write_text(
        'image = "registry.example/mynah:1"\nvolume_claim = "disk"\nkeys = "/shared/keys"\n'
        'accelerator = "H100"\n'
    )
    done = launch(tmp_path / "made", "--site", site, file_format=file_format)
    explained = Path(done.stderr.split()[-1])
    assert explained.is_file()
    assert all(Path(line).is_file() for line in done.stdout.splitlines())
    shown = launch(tmp_path / "made", "--site", site, "--json", "--force", file_format=file_format)
    assert json.loads(shown.stdout) == done.stdout.splitlines()


BAD_LAUNCHES = {
    "no recipe": (["--recipe", "none.toml"], "no recipe at none.toml"),
    "recipe elsewhere": (["--recipe", "/elsewhere/r.toml"], "nobody knows its layout"),
    "rows of a recipe elsewhere": (
        ["--recipe", "/elsewhere/r.toml", "--layout", "shard=8 micro=2"],
        "micro counts rows",
    ),
    "unknown degree": (["--layout", "tensr=8"], "did you mean tensor?"),
    "empty layout": (["--layout", " "], "the layout is empty"),
    "heads": (["--layout", "shard=16 tensor=3"], "does not divide by it"),
    "compiled": (["--layout", "shard=16 tensor=8 compiled"], "is_compiled is true"),
    "schedule": (["--layout", "shard=64 stages=2"], "nothing to schedule"),
    "part of a node": (["--layout", "shard=15"], "do not fill machines of 8"),
    "nodes": (["--nodes", "3"], "3 nodes of 8 accelerators have 24"),
    "workspace": (["-w", "net"], "nodes need the whole path"),
    "not shared": (["-w", "/data/net"], "the nodes share /shared"),
    "one group": (["--replicas", "torchft"], "there is one group"),
    "unknown field": (["--set", "max_restart=3"], "max_restart"),
    "negative": (["--set", "max_restarts=-1"], "max_restarts"),
    "no value": (["--set", "max_restarts"], "has no '='"),
    "no site": (["--site", "none.toml"], "No such file"),
    "no plan": (["--plan", "none.json"], "No such file"),
}


@pytest.mark.parametrize("name", BAD_LAUNCHES)
def test_a_launch_that_could_not_start_is_refused(name: str, tmp_path: Path):
    more, words = BAD_LAUNCHES[name]
    given = ("--recipe", RECIPE, "-w", "/shared/net", "--format", "slurm", "--out", tmp_path / "x")
    assert words in str(refused("launch", *given, *more))
    assert not (tmp_path / "x").exists()


def test_a_site_or_plan_that_cannot_be_read_is_refused(tmp_path: Path):
    given = ("-w", "/shared/net", "--format", "slurm", "--out", tmp_path / "x")
    broken = tmp_path / "broken"
    for text, words in (
        ('moutn = "/x"', "moutn"),
        ('mount = "/x', "not TOML"),
        ("mount=3", "mount"),
    ):
        broken.write_text(text)
        assert words in str(refused("launch", *given, "--recipe", RECIPE, "--site", broken))
    for text in ("", "[1]", '{"config": 3}', '{"config": {}}'):
        broken.write_text(text)
        assert "is no plan" in refused("launch", *given, "--plan", broken).message
    assert "nothing says what to start" in refused("launch", *given).message


def test_a_file_where_the_folder_should_be_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    given = ("--recipe", RECIPE, "-w", "/shared/net", "--format", "slurm")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        assert "is a file" in refused("launch", *given, "--out", place).message
    assert (tmp_path / "file").read_text() == "mine"
