"""What `mynah plan run` was asked for, worked out and said: a plan, or why a layout is not in it.

Reads a config file; writes ``plan.json`` and ``recipe.toml`` where it is told to.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mynah.cli.bars import progress_bar
from mynah.cli.plan_files import check_folder, write_folder
from mynah.cli.plan_launch import PLANNED
from mynah.cli.plan_shown import plan_lines, verdict_lines
from mynah.config import override_config
from mynah.errors import ConfigError
from mynah.plan.layouts import parse_candidate
from mynah.plan.planning import Plan, PlanConfig, load_plan_config, make_plan
from mynah.plan.verdicts import Verdict, why

__all__ = ["AskedPlan", "config_of", "run_plan"]

NOWHERE = "/"
"""Place of what a plan does not know: the recipe and the workspace of its launch."""
FILES = ("plan.json", "recipe.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedPlan:
    """The options of the command."""

    given: Mapping[str, object]
    """Fields of ``PlanConfig`` that have options of their own; ``None`` is what was not said."""
    config: Path | None
    set_value: Sequence[str]
    why: str | None
    out: Path | None
    is_forced: bool


def run_plan(asked: AskedPlan, *, as_json: bool) -> list[str]:
    """Make the plan, write its files, and return what is to be printed.

    Raises:
        ConfigError: As ``make_plan``; or a layout cannot be read, or files are there already.
    """
    config = config_of(asked)
    candidate = None if asked.why is None else parse_candidate(asked.why)
    if asked.out is not None:
        check_folder(asked.out, FILES, is_forced=asked.is_forced)
    with progress_bar("Planning") as progress:

        def report(what: str, share: float) -> None:
            progress(round(100 * share), 100, note=what)

        plan = make_plan(config, on_progress=report)
        verdict = None
        if candidate is not None:
            shape = plan.outline.shape
            verdict = why(shape, plan.cluster, plan.wanted, candidate, found=plan.search)
    if asked.out is not None:
        texts = (_json_text(_plan_json(plan)), plan.recipe_toml())
        write_folder(asked.out, dict(zip(FILES, texts, strict=True)))
    return _answer(plan, verdict, as_json=as_json)


def config_of(asked: AskedPlan) -> PlanConfig:
    """Return what is asked: the file, before it the options, before them ``--set``.

    Raises:
        ConfigError: A field is wrong, or nothing says how many accelerators there are.
    """
    given = {name: value for name, value in asked.given.items() if value is not None}
    # JSON's text and numbers are TOML's.
    sets = [f"{name}={json.dumps(value)}" for name, value in given.items()]
    overrides = (*sets, *asked.set_value)
    if asked.config is not None:
        if not asked.config.is_file():
            raise ConfigError(
                f"there is no file {asked.config}", hint="name a TOML file of PlanConfig's fields"
            )
        return load_plan_config(asked.config, overrides=overrides)
    gpus = given.get("gpus")
    if not isinstance(gpus, int):
        raise ConfigError(
            "nothing says how many accelerators there are", hint="give --gpus, such as --gpus 512"
        )
    return override_config(PlanConfig(gpus=gpus), overrides)


def _answer(plan: Plan, verdict: Verdict | None, *, as_json: bool) -> list[str]:
    if verdict is not None:
        return [_json_text(verdict.to_json())] if as_json else verdict_lines(verdict.text)
    return [_json_text(_plan_json(plan))] if as_json else plan_lines(plan)


def _plan_json(plan: Plan) -> dict[str, Any]:
    """A plan for machines, with what `mynah plan launch` takes from it."""
    launch = asdict(plan.launch(recipe=NOWHERE, workspace=NOWHERE))
    return {**plan.to_json(), "launch": {name: launch[name] for name in PLANNED}}


def _json_text(value: object) -> str:
    return json.dumps(value, indent=2)
