"""From the flags of `mynah up` to its options: flags first, then what the workspace remembers."""

from dataclasses import dataclass, replace
from pathlib import Path

from mynah.cli.columns import parse_columns
from mynah.config import load_config, override_config
from mynah.job import Options, Recipe, read_options, run_up
from mynah.workspace import Workspace

__all__ = ["Asked", "merge_options", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Flags as they were given; ``None`` was not given."""

    posts: list[Path] | None
    base: str | None
    train_minutes: float | None
    column: list[str]
    network: str | None
    set_value: list[str]
    recipe: Path | None


def run(workspace: Path, asked: Asked, *, host: str, port: int, exit_when_done: bool) -> None:
    """Merge, remember, do the main job."""
    place = Workspace(workspace.expanduser().absolute())
    options = merge_options(read_options(place), asked)
    run_up(place.root, options, host=host, port=port, exit_when_done=exit_when_done)


def merge_options(options: Options, asked: Asked) -> Options:
    """Return ``options`` with what was asked for; ``--set`` has the last word."""
    recipe, base = options.recipe, options.base
    if asked.recipe is not None:
        recipe = load_config(Recipe, asked.recipe)
        base = recipe.base or base
    if asked.train_minutes is not None:
        recipe = replace(recipe, schedule=replace(recipe.schedule, max_minutes=asked.train_minutes))
    recipe = override_config(recipe, asked.set_value)
    return replace(
        options,
        posts=[str(p) for p in asked.posts] if asked.posts else options.posts,
        base=asked.base if asked.base is not None else base,
        network=asked.network if asked.network is not None else options.network,
        columns=parse_columns(asked.column) or options.columns,
        recipe=recipe,
    )
