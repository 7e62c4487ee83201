"""The reference pages are current and complete, links lead somewhere, recipes and pins hold."""

import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from tests.docs.snippets import DOCUMENTS, ROOT

import mynah.errors
from mynah.cli import app
from mynah.config import load_config
from mynah.errors import MynahError
from mynah.job import Recipe
from mynah.workspace import snapshot_name

REFERENCE = ROOT / "docs" / "reference"
PROJECT = ROOT / "pyproject.toml"
LINK = re.compile(r"\]\(([^)\s]+)\)|^\s*click \w+ \"([^\"]+)\"", re.MULTILINE)
FENCED = re.compile(r"^```(?!mermaid).*?^```$", re.MULTILINE | re.DOTALL)


def test_reference_pages_are_current():
    command = [sys.executable, "docs/generate.py", "--check"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def command_names() -> list[tuple[str, list[str]]]:
    """Every command's full name with its options."""
    found: list[tuple[str, list[str]]] = []
    waiting = [("mynah", typer.main.get_command(app))]
    while waiting:
        name, command = waiting.pop()
        found.append((name, [option for p in command.params for option in p.opts]))
        below = getattr(command, "commands", {})
        waiting.extend((f"{name} {verb}", part) for verb, part in below.items())
    return sorted(found)


@pytest.mark.parametrize(("name", "options"), command_names())
def test_a_command_and_its_options_are_documented(name: str, options: list[str]):
    page = (REFERENCE / "cli.md").read_text()
    section = page.partition(f"\n## `{name}`\n")[2].partition("\n## ")[0]
    assert section, f"{name} is not in cli.md"
    for option in options:
        assert option in section


def error_classes() -> list[str]:
    found = inspect.getmembers(mynah.errors, inspect.isclass)
    return [name for name, kind in found if issubclass(kind, MynahError)]


@pytest.mark.parametrize("name", error_classes())
def test_an_error_is_documented_and_drawn_in_its_tree(name: str):
    assert f"| `{name}` |" in (REFERENCE / "errors.md").read_text()
    assert name in str(mynah.errors.__doc__)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(document: Path):
    broken: list[str] = []
    for found in LINK.finditer(FENCED.sub("", document.read_text())):
        target = (found[1] or found[2]).partition("#")[0]
        if not target or target.startswith(("http://", "https://", "mailto:")):
            continue
        if not (document.parent / target).exists():
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").iterdir()), ids=lambda path: path.name)
def test_a_recipe_loads_and_is_named_for_model_and_hardware(path: Path):
    assert re.fullmatch(r"[a-z0-9]+(_moe)?_[a-z0-9]+\.toml", path.name)
    assert isinstance(load_config(Recipe, path), Recipe)


def test_the_vector_of_the_artifact_format_holds():
    text = (ROOT / "docs" / "spec" / "artifacts.md").read_text()
    assert (
        '{"inputs":{"limit":2,"sources":["b","a"]},"kind":"mynah.example/1"}\n423a81a8ebf3' in text
    )
    inputs = {"limit": 2, "sources": ["b", "a"]}
    assert snapshot_name("mynah.example/1", inputs) == "423a81a8ebf3"


# Dependencies


def plain(name: str) -> str:
    """A distribution's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {plain(name): version for name, version in pairs}


def requirements() -> list[str]:
    project = tomllib.loads(PROJECT.read_text())["project"]
    extras = project["optional-dependencies"]
    return [*project["dependencies"], *(name for extra in extras.values() for name in extra)]


@pytest.mark.parametrize("requirement", requirements())
def test_a_dependency_is_pinned_and_explained(requirement: str):
    name = re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]
    assert plain(name) in pinned()
    line = next(line for line in PROJECT.read_text().splitlines() if f'"{requirement}"' in line)
    assert re.search(r"#\s*\S+", line), f"{name} has no word on what it is for"


def test_pins_are_plain_versions_and_torch_is_the_one_make_installs():
    for name, version in pinned().items():
        assert re.fullmatch(r"\d[\w.]*", version), name
    assert f'"torch=={pinned()["torch"]}"' in (ROOT / "Makefile").read_text()
