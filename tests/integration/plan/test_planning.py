"""Whole plans: their figures agree with each other, and the trainer takes what they write."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mynah.job import load_recipe
from mynah.model import num_weights
from mynah.plan.failures import FailureConfig
from mynah.plan.launch import launch_files
from mynah.plan.planning import Plan, PlanConfig, make_plan
from mynah.plan.ranges import Range
from mynah.plan.shapes import PUBLISHED, Sparsity
from mynah.plan.verdicts import why
from mynah.train.layout import check_layout

RECIPES = Path(__file__).parents[3] / "recipes"
ASKED = PlanConfig(gpus=20, days=10.0, num_trials=100, num_shown=4)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(ASKED)


# Figures


def test_figures_of_a_plan_agree_with_each_other(plan: Plan):
    found, best = plan.outline, plan.best
    assert best.fits
    assert best.num_accelerators == plan.cluster.num_accelerators
    assert best.num_accelerators + 8 * plan.num_spare_nodes + plan.num_idle == 20
    assert plan.num_idle == 4
    assert found.costs.days == Range.exactly(10.0)
    assert found.costs.gpu_hours.middle == pytest.approx(20 * 10 * 24)
    seconds = plan.training_days.middle * 86_400
    assert found.tokens.middle == pytest.approx(plan.tokens_per_s.middle * seconds, rel=0.01)
    assert plan.training_days.middle == pytest.approx(10 * plan.goodput.goodput.middle)
    assert plan.num_steps.middle == pytest.approx(found.tokens.middle / best.batch_tokens)
    assert plan.tokens_per_s.middle == pytest.approx(
        best.tokens_per_s.middle * best.num_accelerators
    )
    assert best.batch_tokens <= found.batch_tokens.middle * 1.03
    assert plan.checkpoint.size_bytes == 12 * num_weights(found.shape)
    assert plan.goodput.num_spare_nodes == plan.num_spare_nodes
    assert plan.goodput.interval_s == plan.checkpoint_interval_s
    assert any("4 accelerators make no whole node" in note for note in plan.notes)


def test_every_figure_has_a_range(plan: Plan):
    for figure in (
        plan.outline.tokens,
        plan.outline.flop,
        plan.outline.loss,
        plan.outline.costs.usd,
        plan.outline.costs.energy_mwh,
        plan.tokens_per_s,
        plan.best.step_s,
        plan.best.mfu,
        plan.training_days,
        plan.num_steps,
        plan.goodput.goodput,
    ):
        assert figure.low < figure.middle < figure.high


def test_a_plan_is_json_without_infinities(plan: Plan):
    text = json.dumps(plan.to_json(), allow_nan=False)
    found: dict[str, Any] = json.loads(text)
    assert found["asked"]["storage"]["storage_gb_per_s"] is None
    assert found["best"]["layout"] == plan.best.candidate.name
    assert found["weights"] == num_weights(plan.outline.shape)


def test_the_same_question_has_the_same_answer(plan: Plan):
    assert make_plan(ASKED).to_json() == plan.to_json()


def test_progress_rises_to_the_end():
    seen: list[float] = []
    make_plan(ASKED, on_progress=lambda what, share: seen.append(share))
    assert seen == sorted(seen)
    assert 0 <= seen[0] < seen[-1] <= 1


def test_why_asks_the_question_that_the_plan_answered(plan: Plan):
    best = plan.best.candidate
    said = why(plan.outline.shape, plan.cluster, plan.wanted, best, found=plan.search)
    assert said.is_in
    assert said.behind == pytest.approx(0)


# What is given


def test_tokens_and_a_published_shape_are_kept():
    plan = make_plan(
        PlanConfig(gpus=64, model="llama 3.1 8b", tokens=2e11, num_trials=50, spares=1)
    )
    assert plan.outline.shape == PUBLISHED[2].config
    assert plan.outline.tokens == Range.exactly(2e11)
    assert plan.num_spare_nodes == 1
    days = 2e11 / plan.tokens_per_s.middle / 86_400
    assert plan.training_days.middle == pytest.approx(days)
    assert plan.outline.costs.days.middle == pytest.approx(
        days / plan.goodput.goodput.middle, rel=0.01
    )


def test_a_recipes_shape_step_and_optimizer_are_kept():
    recipe = RECIPES / "8b_8gpu.toml"
    plan = make_plan(PlanConfig(gpus=32, recipe=str(recipe), tokens=1e11, num_trials=50))
    own = load_recipe(recipe)
    assert plan.outline.shape == own.shape
    assert plan.best.batch_tokens <= own.data.tokens_per_step
    values = plan.recipe_toml()
    assert f"lr = {own.optimizer.lr!r}" in values


def test_money_is_a_limit():
    plan = make_plan(PlanConfig(gpus=16, usd=10_000, usd_per_gpu_hour=2.0, num_trials=50))
    assert plan.outline.costs.usd.middle == pytest.approx(10_000, rel=0.01)


def test_where_the_best_size_has_no_room_the_largest_that_has_is_taken():
    plan = make_plan(PlanConfig(gpus=1, days=200, num_trials=50))
    assert plan.best.fits
    assert plan.num_spare_nodes == 0
    assert any("has no layout here" in note for note in plan.notes)


def test_experts_are_planned_for():
    plan = make_plan(
        PlanConfig(gpus=16, days=10, sparsity=Sparsity(num_experts=16, num_chosen=2), num_trials=50)
    )
    assert plan.outline.shape.num_experts == 16
    assert plan.best.candidate.layout.tensor == 1
    assert plan.best.fits


def test_replica_groups_are_whole_machines_and_lose_less():
    failures = FailureConfig(failures_per_accelerator_hour=Range.exactly(1e-3))
    asked = replace(ASKED, gpus=32, replicas="torchft", failures=failures)
    parted, whole = make_plan(asked), make_plan(replace(asked, replicas="mesh"))
    layout = parted.best.candidate.layout
    assert layout.replicate > 1
    assert layout.world_size // layout.replicate % 8 == 0
    assert parted.goodput.run.num_groups == layout.replicate
    assert parted.goodput.goodput.middle > whole.goodput.goodput.middle
    assert 'replicas = "torchft"' in parted.recipe_toml()


def test_carbon_is_stated_where_the_grid_is_known(plan: Plan):
    assert plan.co2_tonnes is None
    known = make_plan(replace(ASKED, kg_co2_per_kwh=0.4))
    assert known.co2_tonnes is not None
    mwh = known.outline.costs.energy_mwh.middle
    assert known.co2_tonnes.middle == pytest.approx(0.4 * mwh)


# What is written


def test_the_recipe_is_one_that_the_trainer_takes(plan: Plan, tmp_path: Path):
    path = tmp_path / "planned.toml"
    path.write_text(plan.recipe_toml())
    recipe, best = load_recipe(path), plan.best
    assert recipe.base == "scratch"
    assert recipe.shape == plan.outline.shape
    assert recipe.layout == best.candidate.layout
    assert recipe.is_compiled == best.candidate.is_compiled
    assert recipe.precision == best.candidate.precision
    assert recipe.data.tokens_per_step == best.batch_tokens
    assert recipe.data.batch_tokens == best.candidate.micro_rows * ASKED.row_tokens
    assert recipe.schedule.num_steps == math.ceil(plan.num_steps.middle)
    assert recipe.checkpoint.every_s == pytest.approx(plan.checkpoint_interval_s, abs=0.1)
    check_layout(
        recipe.layout,
        plan.outline.shape,
        world_size=best.num_accelerators,
        row_tokens=recipe.data.batch_tokens,
        is_compiled=recipe.is_compiled,
        is_float8=recipe.precision == "float8",
    )


@pytest.mark.parametrize("file_format", ["torchrun", "slurm"])
def test_the_launch_has_files(plan: Plan, file_format: str):
    launch = plan.launch(recipe="/shared/planned.toml", workspace="/shared/network")
    assert launch.layout == plan.best.candidate.layout
    assert launch.num_nodes * 8 == plan.best.num_accelerators
    assert launch.num_spare_nodes == plan.num_spare_nodes
    assert launch_files(launch, file_format)
