from pathlib import Path

import pytest

from mynah.cli.up_options import Asked, merge_options
from mynah.errors import ConfigError
from mynah.job import Options, Recipe
from mynah.train import ScheduleConfig

REMEMBERED = Options(
    posts=["/data/old.csv"],
    columns={"text": "body"},
    network="old",
    base="scratch",
    recipe=Recipe(depth=3, schedule=ScheduleConfig(max_minutes=7.0)),
)


def asked(**changes):
    nothing = {
        "posts": None,
        "base": None,
        "train_minutes": None,
        "column": [],
        "network": None,
        "set_value": [],
        "recipe": None,
    }
    return Asked(**{**nothing, **changes})


def test_nothing_asked_is_what_was_remembered():
    assert merge_options(REMEMBERED, asked()) == REMEMBERED


def test_a_flag_comes_before_what_was_remembered():
    merged = merge_options(
        REMEMBERED, asked(posts=[Path("new.csv")], base="smollm2", train_minutes=2.0, network="")
    )
    assert (merged.posts, merged.base, merged.network) == (["new.csv"], "smollm2", "")
    assert merged.recipe.schedule.max_minutes == 2.0
    assert merged.recipe.depth == 3


def test_columns_replace_those_remembered():
    """Or a wrong one could never be taken back."""
    assert merge_options(REMEMBERED, asked(column=["author=who"])).columns == {"author": "who"}


def test_a_recipe_comes_first_then_minutes_then_single_values(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("depth = 5\n[schedule]\nmax_minutes = 9.0\nwarmup_steps = 2\n")
    merged = merge_options(
        REMEMBERED,
        asked(recipe=recipe, train_minutes=3.0, set_value=["schedule.max_minutes=1", "depth=4"]),
    ).recipe
    assert (merged.depth, merged.schedule.max_minutes, merged.schedule.warmup_steps) == (4, 1.0, 2)


@pytest.mark.parametrize("value", ["depth", "depth=deep", "deep=1", "schedule.num_steps=0"])
def test_a_wrong_value_is_refused(value):
    with pytest.raises(ConfigError, match="--set"):
        merge_options(REMEMBERED, asked(set_value=[value]))
