"""Writes the reference pages from the code they describe, or checks that they are current.

Reads the Typer app, and the syntax trees of the errors, the configs and the HTTP bodies; writes
``docs/reference/{cli,errors,recipes,plan,api}.md``:

    python docs/generate.py            writes them
    python docs/generate.py --check    writes nothing; exit code 1 when one is stale
"""

import ast
import copy
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

import typer
from plan_reference import (
    ACCELERATOR_HEAD,
    ADDED_COLUMNS,
    RUN_COLUMNS,
    accelerator_rows,
    hardware_example,
    real_default,
)

from mynah.cli import app
from mynah.plan.predictions import COLUMNS
from mynah.plan.published import DEFAULTS, NEEDED
from mynah.plan.ranges import Range

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "mynah"
REFERENCE = Path(__file__).parent / "reference"
PLAN = SOURCE / "plan"
NOTICE = "<!-- Written by docs/generate.py. Do not edit: run `make docs`. -->\n"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a class and what its docstring says."""

    name: str
    kind: str
    default: str
    text: str


@dataclass(frozen=True, slots=True)
class Described:
    """A class whose fields are documented one by one."""

    name: str
    module: str
    text: str
    fields: tuple[Field, ...]
    parents: tuple[str, ...] = ()
    """Classes that it inherits from, as they are called where they are defined."""


# The command line


def cli_page() -> str:
    """Every command as its ``--help`` describes it."""
    parts = [
        f"{NOTICE}\n# Command line\n",
        "Data goes to standard output, everything else to standard error. Exit codes: 0 done, "
        "1 the answer is no, 2 the caller erred, 3 we failed.\n",
    ]
    for path, command in commands(typer.main.get_command(app), "mynah"):
        context = command.make_context(path, [], resilient_parsing=True, terminal_width=92)
        help_text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        parts.append(f"## `{path}`\n\n```text\n{help_text}\n```\n")
    return "\n".join(parts)


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Walk the app: each command with its full name."""
    yield path, command
    for name, below in sorted(getattr(command, "commands", {}).items()):
        yield from commands(below, f"{path} {name}")


# Errors


def errors_page() -> str:
    """The error tree, and the codes that requests over HTTP are refused with."""
    tree = ast.parse((SOURCE / "errors.py").read_text())
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    codes = {node.name: exit_code(node) for node in classes}
    rows = []
    for node in classes:
        parent = ast.unparse(node.bases[0])
        code = codes[node.name] or codes.get(parent, "")
        rows.append((f"`{node.name}`", f"`{parent}`", code, first_paragraph(node)))
    refusals = sorted(set(request_refusals()))
    return "\n".join(
        (
            f"{NOTICE}\n# Errors\n",
            "Every failure that a person may see is one of these. A command that meets one prints "
            "`error:` and `hint:` and ends with its exit code.\n",
            table(("error", "is a", "exit code", "meaning"), rows),
            "## Codes of `RequestError`\n",
            "Over HTTP the body is OpenAI's error object, with the hint beside the message.\n",
            table(("status", "code"), [(str(status), f"`{code}`") for status, code in refusals]),
        )
    )


def exit_code(node: ast.ClassDef) -> str:
    """The exit code that a class sets, or nothing where it inherits one."""
    for statement in node.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "exit_code":
            return ast.unparse(statement.value)
    return ""


def request_refusals() -> Iterator[tuple[int, str]]:
    """Status and code of every ``RequestError`` that is raised anywhere."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "RequestError":
                given = {k.arg: k.value for k in node.keywords}
                status, code = given.get("status"), given.get("code")
                if all(
                    value is None or isinstance(value, ast.Constant) for value in (status, code)
                ):
                    yield (
                        ast.literal_eval(status) if status else 400,
                        ast.literal_eval(code) if code else "invalid_request",
                    )


# Configs and bodies


def recipes_page() -> str:
    """Every config, field by field."""
    configs = with_inherited(
        [
            found
            for path in source_files()
            if not path.is_relative_to(PLAN)
            for found in described(path, is_config)
        ]
    )
    parts = [
        f"{NOTICE}\n# Recipes and settings\n",
        "A recipe is one TOML file; `Recipe` says what it may set, and `--set key=value` reaches "
        "every field of it, as in `--set optimizer.lr=1e-4`; `mynah corpus build` takes those of "
        '`[corpus]` without that word, as in `--set language.languages=\'["en", "de"]\'`. A '
        "workspace keeps `Options` in its `mynah.toml`, where the recipe's tables begin with "
        "`recipe.`, and each run its resolved `TrainConfig` in `runs/<run>/recipe.toml`. Unknown "
        "keys are errors. The other settings belong to a stage and are not read from a file.\n",
    ]
    for config in sorted(
        configs, key=lambda config: (PAGE_ORDER.get(config.name, 99), config.name)
    ):
        title = f"`{config.name}`"
        if path := table_path(config.name, configs):
            title += f", the table `[{path}]`"
        parts.append(f"## {title}\n\n`{config.module}`. {config.text}\n")
        parts.append(fields_table(config))
    return "\n".join(parts)


def with_inherited(configs: list[Described]) -> list[Described]:
    """Add what a config inherits to its own fields.

    A parent that a class of the same name extends is told of there and not by itself.
    """
    whole: list[Described] = []
    for config in configs:
        above = [c for c in configs if c.name in config.parents and c is not config]
        above = [c for c in above if config.name not in c.parents]  # of two of one name, the upper
        text = config.text
        if above:
            sources = " and ".join(f"`{c.module}.{c.name}`" for c in above)
            text += f" Its last {sum(len(c.fields) for c in above)} fields are those of {sources}."
        fields = (*config.fields, *(field for c in above for field in c.fields))
        whole.append(replace(config, text=text, fields=fields))
    extended = {(c.name, parent) for c in configs for parent in c.parents}
    return [c for c in whole if c.parents or (c.name, c.name) not in extended]


def table_path(kind: str, configs: list[Described]) -> str:
    """The table of a recipe that holds a config, as in ``corpus.language``; empty for none."""
    for owner in configs:
        for field in owner.fields:
            if field.kind.removesuffix(" | None") == kind:
                above = "" if owner.name in ROOTS else table_path(owner.name, configs)
                return f"{above}.{field.name}".lstrip(".")
    return ""


ROOTS = ("Recipe", "Options", "TrainConfig")
"""What a whole file is."""
PAGE_ORDER = {
    name: number
    for number, name in enumerate(
        (
            "Recipe",
            "CorpusConfig",
            "LanguageConfig",
            "QualityConfig",
            "BotConfig",
            "PrivacyConfig",
            "PreferenceConfig",
            "DataConfig",
            "OptimizerConfig",
            "ScheduleConfig",
            "LayoutConfig",
            "CheckpointConfig",
            "HealthConfig",
            "DpoConfig",
            "LlamaConfig",
            "Options",
            "TrainConfig",
            "LineageConfig",
        )
    )
}
"""What a person sets comes first; the rest follows by name."""


def api_page() -> str:
    """The bodies of the HTTP API, field by field."""
    path = SOURCE / "web" / "wire.py"
    bodies = list(described(path, lambda node: "_Body" in [ast.unparse(b) for b in node.bases]))
    parts = [
        f"{NOTICE}\n# Bodies of the HTTP API\n",
        "The addresses and how to use them are in [the guide](../guides/api.md); a running server "
        "describes itself at `/openapi.json`. Types are as JSON says and are not converted; "
        "fields that are not listed are ignored.\n",
    ]
    for body in bodies:
        parts.append(f"## `{body.name}`\n\n{body.text}\n")
        parts.append(fields_table(body))
    return "\n".join(parts)


# The planner


PLAN_PAGE = ("PlanConfig", "Sparsity", "FailureConfig", "StorageConfig", "Launch", "Site")
"""Settings that a person may write, in this order."""


def plan_page() -> str:
    """What the planner reads and writes: tables of runs, accelerators, settings."""
    found = {one.name: one for path in sorted(PLAN.glob("*.py")) for one in described(path, bool)}
    settings = [with_real_defaults(found[name]) for name in PLAN_PAGE]
    columns = [
        (f"`{name}`", "needed" if name in NEEDED else DEFAULTS[name], text)
        for name, text in RUN_COLUMNS.items()
    ]
    assert {*RUN_COLUMNS} == {*NEEDED, *DEFAULTS}, "every column that is read is described"
    added = [(f"`{name}`", text) for name, text in zip(COLUMNS, ADDED_COLUMNS, strict=True)]
    parts = [
        f"{NOTICE}\n# The planner's files and settings\n",
        "How to use them is in [the guide](../guides/plan.md), the commands are in "
        "[the command line](cli.md).\n",
        "## Tables of runs\n",
        "`mynah plan predict` reads a CSV file with one run a line, in UTF-8. Only these columns "
        "are looked at; others are kept as they are, so that a table of what was measured may be "
        "given. A cell that is blank, or no number where one belongs, counts as if its column "
        "were missing.\n",
        table(("column", "where nothing is said", "meaning"), columns),
        "It adds, blank for a row that is no run:\n",
        table(("column", "meaning"), added),
        "## `hardware.toml`\n",
        "mynah's own file lies in `src/mynah/plan/hardware.toml`; `--hardware FILE` adds to it. "
        "Each accelerator is a table `[[accelerator]]`:\n",
        hardware_example(PLAN / "hardware.toml"),
        fields_table(found["Accelerator"]),
        "These are known; rates are those of the best measured 16-bit product beside the "
        "datasheet's.\n",
        table(ACCELERATOR_HEAD, accelerator_rows()),
        "## Settings\n",
        "`mynah plan run --config FILE.toml` reads `PlanConfig`, `--set key=value` reaches every "
        "field of it, as in `--set failures.restart_s=240`. `mynah plan launch --site FILE.toml` "
        "reads `Site`, and its `--set` reaches every field of `Launch`. A range is a number that "
        "is known, or a table `{ low = 120, middle = 240, high = 600 }`. Unknown keys are "
        "errors.\n",
    ]
    for one in settings:
        parts.append(f"### `{one.name}`\n\n`{one.module}`. {one.text}\n")
        parts.append(fields_table(one))
    return "\n".join(parts)


def with_real_defaults(found: Described) -> Described:
    """Put what a default comes to in the place of the constants that it is written with."""
    kind = getattr(importlib.import_module(found.module), found.name)
    values = {one.name: one.default for one in fields(kind) if one.default is not MISSING}
    return replace(
        found,
        fields=tuple(
            replace(
                field,
                kind="Range" if isinstance(values.get(field.name), Range) else field.kind,
                default=real_default(values.get(field.name), field.default),
            )
            for field in found.fields
        ),
    )


def source_files() -> list[Path]:
    """Every module of the package."""
    return sorted(SOURCE.rglob("*.py"))


def is_config(node: ast.ClassDef) -> bool:
    """Whether a class is settings: checked on load, or named so."""
    return node.name.endswith("Config") or any(
        isinstance(statement, ast.Assign)
        and ast.unparse(statement.targets[0]) == "__pydantic_config__"
        for statement in node.body
    )


def described(path: Path, is_wanted: Callable[[ast.ClassDef], bool]) -> Iterator[Described]:
    """The wanted classes of a module."""
    module = ".".join(("mynah", *path.relative_to(SOURCE).with_suffix("").parts))
    source = path.read_text()
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and is_wanted(node):
            fields = tuple(fields_of(node, source, tree))
            parents = tuple(parents_of(node, tree))
            yield Described(node.name, module, first_paragraph(node), fields, parents)


def parents_of(node: ast.ClassDef, tree: ast.Module) -> Iterator[str]:
    """The classes that a class inherits from, by the names that they were imported under."""
    imported = {
        alias.asname: alias.name
        for statement in tree.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
        if alias.asname
    }
    for parent in map(ast.unparse, node.bases):
        yield imported.get(parent, parent)


def fields_of(node: ast.ClassDef, source: str, tree: ast.Module) -> Iterator[Field]:
    """The fields of a class, each with the string that follows it."""
    for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(statement, ast.AnnAssign):
            continue
        text = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            text = inspect.cleandoc(str(following.value.value))
        kind, bounds = plain_kind(statement.annotation, tree)
        default, more = plain_default(statement.value, source)
        limits = with_constants(", ".join(part for part in (bounds, more) if part), tree)
        notes = " ".join(part for part in (text, f"({limits})" if limits else "") if part)
        yield Field(ast.unparse(statement.target), kind, default, notes)


def plain_kind(annotation: ast.expr, tree: ast.Module) -> tuple[str, str]:
    """A type without what ``Annotated`` adds, and that as bounds; names of types spelt out."""
    names = {
        ast.unparse(node.targets[0]): node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and "Annotated" in ast.unparse(node.value)
    }
    annotation = names.get(ast.unparse(annotation), annotation)
    bounds = ""
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Annotated":
        assert isinstance(annotation.slice, ast.Tuple)
        bounds = ", ".join(filter(None, map(bounds_of, annotation.slice.elts[1:])))
    return ast.unparse(WithoutNotes(names).visit(copy.deepcopy(annotation))), bounds


class WithoutNotes(ast.NodeTransformer):
    """Puts a type in the place of each ``Annotated``, also inside another type."""

    def __init__(self, names: dict[str, ast.expr]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Spell out a name that the module gives to a type."""
        named = self.names.get(node.id)
        return node if named is None else self.visit(copy.deepcopy(named))

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """Keep only the type."""
        if ast.unparse(node.value) == "Annotated" and isinstance(node.slice, ast.Tuple):
            return self.visit(node.slice.elts[0])
        return self.generic_visit(node)


def plain_default(value: ast.expr | None, source: str) -> tuple[str, str]:
    """A default as it is written, and the bounds of a pydantic field."""
    if value is None:
        return "required", ""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "Field":
        default = f"`{ast.unparse(value.args[0])}`" if value.args else "required"
        return default, bounds_of(value)
    if isinstance(value, ast.Call):
        factory = next(k.value for k in value.keywords if k.arg == "default_factory")
        if isinstance(factory, ast.Lambda):
            return "empty", ""
        name = ast.unparse(factory)
        return ("its own defaults" if name[0].isupper() else f"`{name}()`"), ""
    return f"`{ast.get_source_segment(source, value)}`", ""


def bounds_of(call: ast.expr) -> str:
    """The keywords of ``Field(...)``, as a reader would write them."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    names = {"min_length": "length >=", "max_length": "length <="}
    return ", ".join(
        f"{(signs | names)[keyword.arg]} {ast.unparse(keyword.value)}"
        for keyword in (call.keywords if isinstance(call, ast.Call) else ())
        if keyword.arg in signs | names
    )


def with_constants(text: str, tree: ast.Module) -> str:
    """Put the numbers of a module in place of their names."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            text = text.replace(ast.unparse(node.targets[0]), f"{node.value.value}")
    return text


# Markdown


def fields_table(found: Described) -> str:
    """The fields of a class as a table."""
    rows = [(f"`{f.name}`", f"`{f.kind}`", f.default, f.text) for f in found.fields]
    return table(("field", "type", "default", "meaning"), rows)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table; a bar inside a cell is escaped, a line break becomes a space."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(map(cell, line))} |\n" for line in lines)


def cell(text: str) -> str:
    """Text as one cell."""
    return " ".join(text.replace("``", "`").split()).replace("|", "\\|")


def paragraphs(text: str | None) -> str:
    """Help as Markdown: its paragraphs, each on one line."""
    blocks = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(" ".join(block.split()) for block in blocks) + "\n"


def first_paragraph(node: ast.ClassDef) -> str:
    """What a docstring says first."""
    return paragraphs(ast.get_docstring(node)).split("\n\n")[0].strip().replace("``", "`")


PAGES = {
    "api.md": api_page,
    "cli.md": cli_page,
    "errors.md": errors_page,
    "plan.md": plan_page,
    "recipes.md": recipes_page,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or compare them with what would be written."""
    stale: list[str] = []
    for name, make in PAGES.items():
        path, text = REFERENCE / name, make()
        if path.is_file() and path.read_text() == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    if "--check" in arguments and stale:
        sys.stderr.write(f"error: docs/reference is stale: {', '.join(stale)}\n")
        sys.stderr.write("hint: make docs\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
