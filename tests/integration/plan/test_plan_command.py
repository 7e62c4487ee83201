"""`mynah plan run` as a person uses it: real plans of a small cluster, and every bad question."""

import json
import re
from pathlib import Path

import pytest
from tests.fakes.job_process import refusal, run_mynah
from tests.fakes.plan_commands import RECIPE, invoke, refused

from mynah.cli.plan_run import AskedPlan, config_of
from mynah.job import load_recipe
from mynah.plan.layouts import parse_candidate
from mynah.plan.ranges import Range

SMALL = ("--gpus", "16", "--set", "num_trials=20", "--set", "num_shown=3")
BUDGET = ("--days", "3")


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A plan's folder, and what was printed of it."""
    folder = tmp_path_factory.mktemp("planned") / "plan"
    done = invoke("run", *SMALL, *BUDGET, "--out", folder)
    assert str(folder / "plan.json") in done.stderr
    return folder, done.stdout.splitlines()


def test_a_plan_says_first_what_can_be_trained(planned: tuple[Path, list[str]]):
    lines = planned[1]
    assert re.match(
        r"16 H100-SXM-80GB train \S+ weights on \S+ tokens in 3 days, for about \S+ USD", lines[0]
    )
    assert max(map(len, lines)) <= 100
    assert all(line.isascii() and line == line.rstrip() for line in lines)


def test_a_plan_has_a_range_for_what_nobody_knows(planned: tuple[Path, list[str]]):
    for label in ("tokens/s", "MFU", "a step", "USD", "energy", "time with progress", "tokens"):
        (line,) = [one for one in planned[1] if one.startswith(f"  {label}  ")]
        assert " to " in line, label


def test_memory_is_a_bar_to_the_capacity(planned: tuple[Path, list[str]]):
    lines = planned[1]
    first = next(n for n, line in enumerate(lines) if line.startswith("Memory of the fullest"))
    bars = [re.search(r"[#.]*$", line) for line in lines[first + 1 : lines.index("", first)]]
    total = sum(len(found[0]) for found in bars if found is not None)
    assert abs(total - 40) <= len(bars) / 2, "rounded one by one"


def test_layouts_stand_in_a_table(planned: tuple[Path, list[str]]):
    lines = planned[1]
    first = next(n for n, line in enumerate(lines) if line.startswith("Best layouts of"))
    head, *ranked = (line.split() for line in lines[first + 1 : first + 5])
    assert head[:2] == ["#", "tok/s"]
    assert [row[0] for row in ranked] == ["1", "2", "3"]
    speeds = [float(row[1].replace(",", "").replace("k", "e3")) for row in ranked]
    assert speeds == sorted(speeds, reverse=True)


def test_the_files_of_a_plan_are_read_by_the_other_commands(planned: tuple[Path, list[str]]):
    folder, _ = planned
    found = json.loads((folder / "plan.json").read_text())
    assert found["usd"]["low"] <= found["usd"]["middle"] <= found["usd"]["high"]
    recipe = load_recipe(folder / "recipe.toml")
    assert recipe.layout.world_size == found["num_accelerators"]
    given = ("--plan", folder / "plan.json", "-w", "/shared/net", "--format", "torchrun")
    invoke("launch", *given, "--out", folder / "start")
    text = (folder / "start" / "node.sh").read_text()
    assert str(folder / "recipe.toml") in text
    assert f"layout.shard={recipe.layout.shard}" in text
    other = parse_candidate(found["search"]["layouts"][1]["layout"])
    assert other.layout.world_size == recipe.layout.world_size
    invoke("launch", *given, "--out", folder / "other", "--layout", other.name)
    assert f"layout.shard={other.layout.shard}" in (folder / "other" / "node.sh").read_text()


def test_a_plan_is_not_overwritten_unasked(planned: tuple[Path, list[str]]):
    folder, _ = planned
    before = (folder / "plan.json").read_text()
    assert "--force" in refused("run", *SMALL, *BUDGET, "--out", folder).hint
    done = invoke("run", *SMALL, *BUDGET, "--out", folder, "--force", "--json")
    assert (folder / "plan.json").read_text() == before, "the same question, the same plan"
    assert done.stdout == f"{before}\n"


def test_a_file_and_options_and_set_follow_each_other(tmp_path: Path):
    asked = tmp_path / "asked.toml"
    asked.write_text("gpus = 1024\ndays = 30\n[failures]\nrestart_s = 100\n")
    given = AskedPlan(
        given={"gpus": 64, "days": None, "gpu": "h100"},
        config=asked,
        set_value=["days=7", "storage.is_async=false"],
        why=None,
        out=None,
        is_forced=False,
    )
    config = config_of(given)
    assert (config.gpus, config.days, config.gpu) == (64, 7, "h100")
    assert config.failures.restart_s == Range.exactly(100)
    assert not config.storage.is_async


def test_a_layout_is_told_why_it_is_out_or_behind():
    out = invoke("run", *SMALL, *BUDGET, "--set", "spares=0", "--why", "shard=3 tensor=8")
    assert out.stdout.splitlines()[0].endswith("is out:")
    assert "24 ranks, there are 16" in out.stdout
    done = invoke("run", *SMALL, *BUDGET, "--set", "spares=0", "--why", "tensor=16", "--json")
    found = json.loads(done.stdout)
    assert found["layout"].startswith("tensor=16")
    assert found["is_in"] == (not found["reasons"])


OWN = ("--recipe", str(RECIPE))
BAD_PLANS = {
    "no accelerators": (["--gpus", "0", *BUDGET], "--gpus is 0"),
    "fewer than none": (["--gpus", "-8", *BUDGET], "--gpus is -8"),
    "absurdly many": (["--gpus", "1e9", *BUDGET], "from 1 to 10,000,000"),
    "half a one": (["--gpus", "2.5", *BUDGET], "not a whole number"),
    "none said": (["--days", "3"], "how many accelerators there are"),
    "unknown kind": ([*SMALL, *BUDGET, "--gpu", "H1000"], "did you mean H100-SXM-80GB"),
    "too old": ([*SMALL, *BUDGET, "--gpu", "V100"], "has no bfloat16"),
    "no limit": ([*SMALL], "nothing that says for how long"),
    "no time": ([*SMALL, "--days", "0"], "--days is 0"),
    "too much time": ([*SMALL, "--days", "1e9"], "--days is 1,000,000,000"),
    "minutes": (["--gpus", "512", "--days", "0.001"], "the smallest useful plan needs"),
    "cents": (["--gpus", "512", "--budget", "0.5"], "the smallest useful plan needs"),
    "a debt": ([*SMALL, "--budget", "-3"], "--budget is -3"),
    "too many tokens": ([*SMALL, *BUDGET, "--tokens", "100T"], "the smallest useful plan needs"),
    "no tokens": ([*SMALL, "--tokens", "0"], "--tokens is 0"),
    "served": ([*SMALL, *BUDGET, "--serve-tokens", "-1"], "--serve-tokens is -1"),
    "no recipe": ([*SMALL, *BUDGET, "--recipe", "none.toml"], "none.toml"),
    "two models": ([*SMALL, *BUDGET, *OWN, "--model", "Llama 3.1 8B"], "give one of them"),
    "unknown model": ([*SMALL, *BUDGET, "--model", "Lama 3.1 8B"], "did you mean Llama"),
    "too large": (["--gpus", "8", *BUDGET, "--model", "Llama 3.1 405B"], "none of"),
    "no network": ([*SMALL, *BUDGET, "--network", "fast"], "no rate"),
    "free": ([*SMALL, *BUDGET, "--usd-per-gpu-hour", "0"], "price"),
    "no hardware": ([*SMALL, *BUDGET, "--hardware", "none.toml"], "No such file"),
    "unknown field": ([*SMALL, *BUDGET, "--set", "gpuz=3"], "gpuz"),
    "a range upside down": (
        [*SMALL, *BUDGET, "--set", "failures.restart_s={low=3,middle=2,high=1}"],
        "rises from low",
    ),
    "no file": ([*SMALL, "--config", "none.toml"], "no file none.toml"),
    "why": ([*SMALL, *BUDGET, "--why", "tensr=8"], "did you mean tensor?"),
    "why nothing": ([*SMALL, *BUDGET, "--why", ""], "the layout is empty"),
}


@pytest.mark.parametrize("name", BAD_PLANS)
def test_a_plan_that_cannot_be_is_refused(name: str, tmp_path: Path):
    given, words = BAD_PLANS[name]
    assert words in str(refused("run", *given, "--out", tmp_path / "plan"))
    assert not (tmp_path / "plan").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict"],
        ["predict", "--runs", "none.csv"],
        ["launch", "--format", "pbs", "--out", "x", "-w", "/shared/net"],
        ["run", "--gpus", "many"],
        ["run", "--gpus", "8", "--gpu", "H1000", "--days", "3"],
    ],
)
def test_a_shell_sees_one_error_one_hint_and_exit_code_2(arguments: list[str]):
    done = run_mynah("plan", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    refusal(done.stderr)
