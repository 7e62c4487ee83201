"""A run's recipe stays what it was; the manner in which it is carried out may change."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
from tests.fakes.tiny_network import Network

from mynah.errors import ConfigError
from mynah.train import MANNER, CheckpointConfig, LayoutConfig, TrainConfig, read_run, write_run


def test_a_run_goes_on_in_another_manner(network: Network, tmp_path: Path):
    first = replace(network.config(), layout=LayoutConfig(shard=4), num_threads=1)
    write_run(tmp_path, first)
    recipe = (tmp_path / "recipe.toml").read_bytes()
    assert read_run(tmp_path) == first
    second = replace(
        first,
        layout=LayoutConfig(context=2),
        num_threads=7,
        checkpoint=CheckpointConfig(every_s=3.0, keep_last=2),
        schedule=replace(first.schedule, num_steps=99),  # is no manner: it makes another run
    )
    write_run(tmp_path, second)
    assert read_run(tmp_path) == replace(second, schedule=first.schedule)
    assert (tmp_path / "recipe.toml").read_bytes() == recipe


def test_a_recipe_alone_will_do(network: Network, tmp_path: Path):
    write_run(tmp_path, network.config())
    (tmp_path / "manner.toml").unlink()
    assert read_run(tmp_path) == network.config()


def test_a_wrong_manner_is_named(network: Network, tmp_path: Path):
    write_run(tmp_path, network.config())
    (tmp_path / "manner.toml").write_text("num_threads = 0\n")
    with pytest.raises(ConfigError, match=r"manner\.toml: num_threads"):
        read_run(tmp_path)


def test_what_a_run_computes_is_no_manner():
    rest = {one.name for one in fields(TrainConfig)} - set(MANNER)
    assert rest >= {"base", "corpus", "data", "optimizer", "schedule", "objective", "precision"}
