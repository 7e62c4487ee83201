"""What `mynah plan launch` is told, as a launch: from a plan, or from a recipe and a layout.

Reads ``plan.json``, a recipe that lies on this machine and a file that describes a site; writes
nothing.
"""

import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mynah.cli.plan_files import check_folder, write_folder
from mynah.config import override_config, parse_config
from mynah.errors import ConfigError
from mynah.plan.launch import launch_files
from mynah.plan.launch_config import Launch, Site
from mynah.plan.layouts import parse_candidate

if TYPE_CHECKING:
    from mynah.job import Recipe

__all__ = ["EXPLAINED", "PLANNED", "AskedLaunch", "launch_of", "read_site", "write_launch"]

ACCELERATORS_PER_NODE = 8
PLANNED = (
    "num_accelerators_per_node",
    "num_spare_nodes",
    "replicas",
    "max_restarts",
    "grace_s",
)
"""Fields of a launch that ``plan.json`` has; its layout stands in the recipe beside it."""
EXPLAINED = {
    "torchrun": "node.sh",
    "slurm": "submit.sh",
    "jobset": "jobset.yaml",
    "trainjob": "trainjob.yaml",
    "skypilot": "task.yaml",
}
"""File of each format whose first lines say how to start it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedLaunch:
    """The options of the command; ``None`` is what was not said."""

    plan: Path | None
    recipe: Path | None
    layout: str | None
    workspace: str
    num_nodes: int | None
    num_spare_nodes: int | None
    accelerators_per_node: int | None
    replicas: str | None
    site: Path | None
    set_value: Sequence[str]


def launch_of(asked: AskedLaunch) -> Launch:
    """Return the launch that was asked for.

    Raises:
        ConfigError: Something is missing, contradicts itself or cannot be read.
    """
    told = _from_plan(asked) if asked.plan is not None else _from_recipe(asked)
    told |= _said(asked)
    told |= {"workspace": asked.workspace, "site": read_site(asked.site)}
    layout = told["layout"]
    if told.get("num_nodes") is None:
        told["num_nodes"] = _whole_nodes(layout.world_size, told["num_accelerators_per_node"])
    if not asked.workspace.startswith("/"):
        raise ConfigError(
            f"--workspace is {asked.workspace!r}: nodes need the whole path",
            hint="name it as every node sees it, such as /shared/my-network",
        )
    return override_config(Launch(**told), asked.set_value) if asked.set_value else Launch(**told)


def read_site(path: Path | None) -> Site:
    """Read a TOML file with the fields of ``Site``; without one, what they are by themselves.

    Raises:
        ConfigError: There is no such file, or a field of it is wrong.
    """
    if path is None:
        return Site()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror or error}", hint="name a TOML file with the fields of a site"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint="mend that line") from error
    return parse_config(Site, values, source=str(path))


def write_launch(launch: Launch, file_format: str, folder: Path, *, is_forced: bool) -> list[Path]:
    """Write the files of a launch and return where they are.

    Raises:
        ConfigError: The launch cannot be, or files are there and ``is_forced`` is not.
    """
    texts = launch_files(launch, file_format)
    check_folder(folder, texts, is_forced=is_forced)
    # A list that is made empty is the cluster's to fill: what it has found out is kept.
    kept = {name for name, text in texts.items() if not text and (folder / name).exists()}
    write_folder(folder, {name: text for name, text in texts.items() if name not in kept})
    return [folder / name for name in texts]


def _said(asked: AskedLaunch) -> dict[str, Any]:
    """What options say goes before what a plan or a recipe says."""
    given = {
        "num_nodes": asked.num_nodes,
        "num_accelerators_per_node": asked.accelerators_per_node,
        "num_spare_nodes": asked.num_spare_nodes,
        "replicas": asked.replicas,
    }
    return {name: value for name, value in given.items() if value is not None}


def _whole_nodes(num_ranks: int, per_node: int) -> int:
    if num_ranks % per_node:
        raise ConfigError(
            f"the layout has {num_ranks:,} ranks, which do not fill machines of {per_node}",
            hint="set --gpus-per-node, or a degree of the layout",
        )
    return num_ranks // per_node


def _from_plan(asked: AskedLaunch) -> dict[str, Any]:
    """What a plan says, and its recipe, which lies beside it unless another is named."""
    assert asked.plan is not None, "the caller has looked"
    plan = _read_plan(asked.plan)
    recipe = asked.recipe or asked.plan.with_name("recipe.toml")
    told = _from_recipe(replace(asked, recipe=recipe))
    return {**told, **plan}


def _read_plan(path: Path) -> dict[str, Any]:
    """Nodes of a plan, and how they die."""
    try:
        launch = json.loads(path.read_text(encoding="utf-8"))["launch"]
        return {name: launch[name] for name in PLANNED}
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror or error}", hint="make one: mynah plan run --out FOLDER"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is no plan: {error}", hint="make one: mynah plan run --out FOLDER"
        ) from error


def _from_recipe(asked: AskedLaunch) -> dict[str, Any]:
    if asked.recipe is None:
        raise ConfigError(
            "nothing says what to start", hint="give --plan, or --recipe and --layout"
        )
    recipe, sets = _read_recipe(asked.recipe), dict[str, str]()
    if asked.layout is not None:
        sets = _sets_of(asked.layout, recipe)
        layout = parse_candidate(asked.layout).layout
    elif recipe is not None:
        layout = recipe.layout
    else:
        raise ConfigError(
            f"{asked.recipe} is not on this machine, so nobody knows its layout",
            hint='say it: --layout "replicate=4 shard=16 tensor=8"',
        )
    overrides = tuple(f"{name}={value}" for name, value in sets.items())
    if recipe is not None:
        _check(override_config(replace(recipe, layout=layout), overrides))
    return {
        "recipe": str(asked.recipe.expanduser().absolute()),
        "layout": layout,
        "overrides": overrides,
        "num_accelerators_per_node": ACCELERATORS_PER_NODE,
    }


def _read_recipe(path: Path) -> "Recipe | None":
    """The recipe, where it lies on this machine; nodes may see it in a place that this one has not.

    Raises:
        ConfigError: It is there and wrong, or not there by a name that means nothing elsewhere.
    """
    from mynah.job import load_recipe

    if path.expanduser().exists() or not path.is_absolute():
        return load_recipe(path.expanduser())
    return None


def _sets_of(text: str, recipe: "Recipe | None") -> dict[str, str]:
    """What a layout says beyond its degrees, as fields of the recipe; nothing of what it omits."""
    candidate, sets = parse_candidate(text), dict[str, str]()
    words = set(re.split(r"[\s,]+", text.casefold()))
    if words & {"bf16", "bfloat16", "fp8", "float8"}:
        sets["precision"] = candidate.precision
    if "compiled" in words:
        sets["is_compiled"] = "true"
    if any(word.startswith("micro") for word in words):
        if recipe is None:
            raise ConfigError(
                "micro counts rows of the recipe's length, and the recipe is not on this machine",
                hint="leave it out, and set data.batch_tokens in the recipe",
            )
        rows = candidate.micro_rows * recipe.data.max_document_tokens
        sets["data.batch_tokens"] = str(rows)
    return sets


def _check(recipe: "Recipe") -> None:
    """Refuse a layout that the trainer would, as far as the recipe says which model it is for."""
    if recipe.shape is None:
        return
    from mynah.train.layout import check_layout

    check_layout(
        recipe.layout,
        recipe.shape,
        world_size=recipe.layout.world_size,
        row_tokens=recipe.data.batch_tokens,
        is_compiled=recipe.is_compiled,
        is_float8=recipe.precision == "float8",
    )
