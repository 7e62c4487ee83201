"""`mynah train` as a person uses it: real processes on a small workspace of invented posts."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.fakes.job_process import MYNAH, refusal, run_mynah
from tests.fakes.varied_posts import write_varied_posts
from typer.testing import CliRunner

from mynah.cli import app
from mynah.errors import ConfigError, MynahError
from mynah.job import load_recipe, train_workspace
from mynah.workspace import Workspace

RECIPE = Path(__file__).parents[3] / "recipes" / "scratch_cpu.toml"
SMALL = {
    "depth": 2,
    "vocab_size": 500,
    "num_threads": 1,
    "data.tokens_per_step": 512,
    "data.batch_tokens": 512,
    "data.heldout_max_tokens": 800,
    "schedule.max_minutes": 1000,
    "evaluate_every_s": 1000,
}
Settings = dict[str, object]


def invoke(*arguments: str | Path) -> str:
    """Run a command in this process, whose imports are done; return what it prints."""
    done = CliRunner().invoke(app, [str(one) for one in arguments], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.stdout


def options(settings: Settings) -> list[str]:
    return [f"--set={name}={value}" for name, value in (SMALL | settings).items()]


def train(workspace: Path, settings: Settings, *more: str) -> "subprocess.CompletedProcess[str]":
    return run_mynah("train", "run", RECIPE, "-w", workspace, *options(settings), *more)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    posts = write_varied_posts(folder / "posts.csv", num_posts=500)
    added = run_mynah("posts", "add", folder / "network", posts)
    assert added.returncode == 0, added.stderr
    return folder / "network"


@pytest.fixture(scope="module")
def unbroken(workspace: Path) -> dict[str, object]:
    """A run of twelve steps from a workspace that has posts and nothing else."""
    done = train(workspace, {"schedule.num_steps": 12}, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def losses(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if row["step"]]


def test_a_run_builds_what_is_missing_and_learns(unbroken: dict[str, object]):
    assert unbroken["steps"] == 12
    assert unbroken["bits_per_byte"] < unbroken["base_bits_per_byte"]  # pyright: ignore[reportOperatorIssue]
    model = Path(str(unbroken["model"]))
    assert {"config.json", "model.safetensors", "tokenizer.json", "model.sig"} <= {
        path.name for path in model.iterdir()
    }


def test_the_same_command_again_repeats_nothing(workspace: Path, unbroken: dict[str, object]):
    before = (Path(str(unbroken["run"])) / "metrics.jsonl").stat().st_mtime_ns
    again = train(workspace, {"schedule.num_steps": 12}, "--json")
    assert json.loads(again.stdout) == unbroken
    assert (Path(str(unbroken["run"])) / "metrics.jsonl").stat().st_mtime_ns == before


def test_a_run_is_shown(workspace: Path, unbroken: dict[str, object]):
    name = Path(str(unbroken["run"])).name
    shown = invoke("train", "show", name[:5], "-w", workspace)
    for word in ("done", "one process", "tokens/s", "heldout_bits_per_byte", name):
        assert word in shown
    assert json.loads(invoke("train", "show", name, "-w", workspace, "--json"))["is_done"]
    with pytest.raises(ConfigError, match="names 0 runs") as refused:
        invoke("train", "show", "zz", "-w", workspace)
    assert name in refused.value.hint


def start(workspace: Path, settings: Settings) -> "subprocess.Popen[str]":
    command = [str(MYNAH), "train", "run", str(RECIPE), "-w", str(workspace)]
    return subprocess.Popen(
        [*command, *options(settings)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def new_run(workspace: Path, before: Sequence[str], num_lines: int) -> Path:
    """The run that was begun since, once it has written so many lines."""
    deadline_s = time.monotonic() + 100
    while time.monotonic() < deadline_s:
        for path in (workspace / "runs").glob("*/metrics.jsonl"):
            is_new = path.parent.name not in before
            if is_new and path.read_bytes().count(b"\n") >= num_lines:
                return path.parent
        time.sleep(0.05)
    raise AssertionError("no run has begun")


def runs(workspace: Path) -> list[str]:
    return [path.name for path in (workspace / "runs").iterdir()]


def test_sigterm_saves_and_ends_well(workspace: Path, unbroken: dict[str, object]):
    settings: Settings = {"schedule.num_steps": 300, "layout.shard": 2}
    before = runs(workspace)
    process = start(workspace, settings)
    run = new_run(workspace, before, 4)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 0, said
    done = len(losses(run))
    assert 0 < done < 300
    saved = json.loads((run / "checkpoints" / f"step-{done:08}" / "counters.json").read_bytes())
    assert saved["step"] == done
    model = workspace.parent / "exported"
    assert invoke("train", "export", run, model)
    assert (model / "tokenizer.json").is_file()


def test_torchrun_starts_it_as_well(workspace: Path, unbroken: dict[str, object]):
    """As on a cluster: every process is this command, and one of them prepares for all."""
    settings: Settings = {"schedule.num_steps": 6, "layout.replicate": 2, "data.seed": 5}
    command = [str(MYNAH.with_name("torchrun")), "--nproc-per-node", "2", "--no-python"]
    command += [str(MYNAH), "train", "run", str(RECIPE), "-w", str(workspace)]
    done = subprocess.run(
        [*command, *options(settings), "--json"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 6


@pytest.mark.parametrize(
    ("settings", "error", "hint"),
    [
        ({"optimizer.lrr": 1}, "optimizer.lrr", "recipes.md"),
        ({"layout.tensor": 3}, "layout.tensor", "divisor"),
        ({"layout.shard": 4, "layout.expert": 2}, "layout.expert", "layout.expert"),
        ({"layout.pipeline": 2}, "tie_word_embeddings", "not tied"),
        ({"layout.shard": 64}, "64 processes", "srun"),
        ({"objective": "dpo"}, "preference", "replies"),
    ],
)
def test_what_cannot_be_is_refused_before_a_process_starts(
    workspace: Path, unbroken: dict[str, object], settings: Settings, error: str, hint: str
):
    overrides = [
        one.removeprefix("--set=") for one in options({"schedule.num_steps": 2, **settings})
    ]
    with pytest.raises(MynahError) as refused:
        train_workspace(Workspace(workspace), load_recipe(RECIPE, overrides=overrides))
    assert refused.value.exit_code == 2
    assert error in refused.value.message
    assert hint in refused.value.hint


def test_what_a_process_refuses_is_said_in_two_lines(workspace: Path, unbroken: dict[str, object]):
    settings: Settings = {"layout.shard": 2, "data.max_document_tokens": 4096}
    refused = train(workspace, {"schedule.num_steps": 2, **settings})
    assert refused.returncode == 2, refused.stderr
    error, hint = refusal(refused.stderr)
    assert "data.max_document_tokens is 4096" in error
    assert "data.batch_tokens" in hint


def test_a_rehearsal_needs_no_workspace():
    told = invoke("train", "rehearse", RECIPE, "--set=layout.shard=8", "--rank=3", "--json")
    found = json.loads(told)
    assert found["world_size"] == 8
    assert found["place"]["shard"] == 3
    assert found["flop"] > 0
    assert {message["name"] for message in found["messages"]} >= {"all_gather", "reduce_scatter"}
    assert "all_gather" not in invoke("train", "rehearse", RECIPE)
    with pytest.raises(ConfigError, match="there are 7"):
        invoke("train", "rehearse", RECIPE, "--world=7")
