from dataclasses import replace

import pytest

from mynah.config import parse_config
from mynah.errors import ConfigError
from mynah.job import Options, Recipe, read_options, resolve_options, save_options
from mynah.train import ScheduleConfig
from mynah.workspace import Workspace


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    place = Workspace(tmp_path / "network")
    place.create()
    return place


def test_what_was_asked_for_is_remembered(workspace, export):
    asked = Options(
        posts=[str(export)],
        columns={"text": "body", "author": "who wrote it"},
        network='the "old" town',
        base="scratch",
        recipe=Recipe(depth=2, schedule=ScheduleConfig(max_minutes=float("inf"))),
    )
    save_options(workspace, asked)
    assert read_options(workspace) == asked


@pytest.mark.parametrize("name", ["\U0001f426.csv", "a\x7fb.csv", 'a"b\\c.csv', "tab\there.csv"])
def test_any_name_of_a_file_is_remembered(workspace, tmp_path, name):
    (tmp_path / name).touch()
    asked = resolve_options(Options(posts=[str(tmp_path / name)]))
    save_options(workspace, asked)
    assert read_options(workspace).posts == [str(tmp_path / name)]


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "\udcff.csv"
    path.touch()
    with pytest.raises(ConfigError, match="not UTF-8"):
        resolve_options(Options(posts=[str(path)]))


def test_relative_paths_become_absolute(tmp_path, export, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    resolved = resolve_options(Options(posts=["posts.csv"], base="model"))
    assert (resolved.posts, resolved.base) == ([str(export)], str(tmp_path / "model"))


@pytest.mark.parametrize("base", ["smollm2", "scratch", "", "no-such-model"])
def test_a_base_that_is_no_path_stays_as_it_is(base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_options(Options(base=base)).base == base


def test_an_export_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no file or folder .*gone\.csv"):
        resolve_options(Options(posts=[str(tmp_path / "gone.csv")]))


def test_a_new_workspace_has_the_defaults(workspace):
    assert read_options(workspace) == Options()
    workspace.settings.write_text("")
    assert read_options(workspace) == Options()


@pytest.mark.parametrize(
    "wrong",
    [{"depth": 0}, {"vocab_size": 259}, {"num_threads": 0}, {"checkpoint": {"keep_last": 0}}],
)
def test_a_recipe_has_bounds(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        parse_config(Recipe, wrong, source="test")


def test_a_recipe_changes_nothing_it_does_not_name():
    assert parse_config(Recipe, {"depth": 3}, source="test") == replace(Recipe(), depth=3)
