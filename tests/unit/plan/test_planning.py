"""What a plan is asked: read from a file, refused where it cannot be; spare nodes."""

from pathlib import Path
from typing import Any

import pytest

from mynah.errors import ConfigError
from mynah.plan.checkpointing import StorageConfig
from mynah.plan.failures import FailureConfig
from mynah.plan.plan_failures import Machines
from mynah.plan.planning import PlanConfig, load_plan_config, make_plan
from mynah.plan.ranges import Range
from mynah.plan.shapes import Sparsity


def test_spare_nodes_are_as_many_as_let_the_cluster_train_most():
    def chosen(rate: float, **given: Any) -> int:
        failures = FailureConfig(failures_per_accelerator_hour=Range.exactly(rate))
        config = PlanConfig(gpus=512, days=30.0, failures=failures, **given)
        return Machines(config=config, num_nodes=64, per_node=8).choose_spares(30.0)

    assert chosen(0.0) == 0
    assert 0 < chosen(2e-5) < chosen(2e-4) < 32
    assert chosen(2e-4, spares=3) == 3


# Files and bad input


def test_a_plan_can_be_asked_in_a_file(tmp_path: Path):
    path = tmp_path / "ask.toml"
    path.write_text(
        "gpus = 64\ndays = 3\nprecisions = ['bfloat16', 'float8']\n"
        "[failures]\nfailures_per_accelerator_hour = 2e-5\n"
        "[storage]\nis_async = false\n"
    )
    found = load_plan_config(path, overrides=("gpus=128",))
    assert (found.gpus, found.days, found.precisions) == (128, 3, ("bfloat16", "float8"))
    assert found.failures.failures_per_accelerator_hour == Range.exactly(2e-5)
    assert found.storage == StorageConfig(is_async=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpus = 64", "for how long"),
        ("gpus = 64\ndays = 1\nspeed = 3", "speed"),
        ("gpus = 'many'\ndays = 1", "gpus"),
        ("gpus = ", "not TOML"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path: Path, text: str, message: str):
    path = tmp_path / "ask.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_plan_config(path)


NAN = float("nan")


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"gpus": 0}, "--gpus is 0", "from 1"),
        ({"gpus": -8}, "--gpus is -8", "from 1"),
        ({"gpus": 10**9}, "--gpus is 1,000,000,000", "10,000,000"),
        ({"days": 0.0}, "--days is 0", "give from"),
        ({"days": NAN}, "--days is nan", "give from"),
        ({"days": -1.0}, "--days is -1", "give from"),
        ({"days": 1e9}, "--days is 1,000,000,000", "3,650"),
        ({"days": 1e-4}, "too little", "raise --days"),
        ({"usd": 0.0}, "--budget is 0", "give from"),
        ({"usd": 1.0}, "the smallest useful plan needs", "raise --budget"),
        ({"tokens": 5.0}, "--tokens is 5", "give from"),
        ({"gpu": "H1000"}, "'H1000'", "H100"),
        ({"gpu": "V100"}, "no bfloat16", "Ampere"),
        ({"model": "Lama 3.1 70B"}, "'Lama 3.1 70B'", "Llama 3.1 70B"),
        ({"recipe": "nowhere.toml"}, "nowhere.toml", "name a recipe"),
        ({"model": "Llama 3.1 8B", "recipe": "r.toml"}, "each say what", "one of them"),
        ({"model": "Llama 3.1 8B", "sparsity": Sparsity()}, "experts", "--set sparsity"),
        ({"usd_per_gpu_hour": 2.0, "is_reserved": True}, "discount", "--set is_reserved=true"),
        ({"usd_per_gpu_hour": -2.0}, "price of an hour", "2.5"),
        ({"spares": 8}, "none is left to train", "--set spares=NUMBER, at most 7"),
        ({"spares": -1}, "spares is -1", "--set spares="),
        ({"batch_tokens": 100.0}, "batch_tokens is 100", "from 8,192"),
        ({"row_tokens": 0}, "row_tokens is 0", "--set row_tokens="),
        ({"accelerators_per_node": 0}, "accelerators_per_node is 0", "from 1"),
        ({"precisions": ()}, "no precision", "bfloat16"),
        ({"precisions": ("float16",)}, "precisions", "plan.md"),
        ({"oversubscription": 0.5}, "oversubscription", "field"),
        ({"network_gb_per_s": 0.0}, "network_gb_per_s", "field"),
        ({"model": "Llama 3.1 405B"}, "the leanest needs", "more accelerators"),
        ({"days": 0.5, "tokens": 1e14}, "100T tokens", "lower --tokens"),
        ({"days": 1.0, "tokens": 1e13, "model": "Llama 3.1 8B"}, "10T tokens", "raise --days"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(given: dict[str, Any], message: str, hint: str):
    asked = {"gpus": 64, "days": 5.0} | given
    if "usd" in given:
        asked["days"] = None
    with pytest.raises(ConfigError) as caught:
        make_plan(PlanConfig(**asked))
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_recipe_without_a_shape_is_refused(tmp_path: Path):
    path = tmp_path / "recipe.toml"
    path.write_text("base = 'scratch'\ndepth = 6\n")
    with pytest.raises(ConfigError, match=r"no table \[shape\]"):
        make_plan(PlanConfig(gpus=8, recipe=str(path)))
