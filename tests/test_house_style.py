"""Keeps the hard limits of the house style true: sizes, names, public lists, what may not be there.

Reads every file of the repository as text or syntax tree and imports nothing of it, so it is fast.
What ruff, pyright and import-linter check is theirs; a limit that all of them leave out is here.

A function of more than 60 lines carries its reason on the line of its ``def`` or the line above:
``# long: REASON``.
"""

import ast
import os
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "mynah"

MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 6
MAX_FOLDERS_BELOW_SOURCE = 2
CODE_FOLDERS = ("src", "tests", "docs", "benchmarks")
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "misc"}
SOURCE_SUFFIXES = {".py", ".css", ".js", ".svg", ".toml"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def repository_files() -> tuple[Path, ...]:
    """Every file that is or may be committed; a name that .gitignore lists is not looked into."""
    ignored = [".git", *(line.strip("/") for line in text_of(ROOT / ".gitignore").split())]
    found: list[Path] = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if not is_like(name, ignored)]
        found.extend(Path(folder, name) for name in names if not is_like(name, ignored))
    return tuple(sorted(found))


def is_like(name: str, patterns: list[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


@cache
def python_files(*folders: str) -> tuple[Path, ...]:
    return tuple(
        path
        for path in repository_files()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders
    )


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(text_of(path), str(path))


def shown(path: Path, line: int | None = None) -> str:
    place = path.relative_to(ROOT).as_posix()
    return f"{place}:{line}" if line else place


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree_of(path)))


def nodes(path: Path, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
    return (node for node in nodes_of(path) if isinstance(node, kinds))


def functions(path: Path) -> Iterator[Function]:
    for node in nodes(path, ast.FunctionDef, ast.AsyncFunctionDef):
        assert isinstance(node, Function)
        yield node


def is_docstring(node: ast.stmt | None) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def assert_none(faults: list[str], rule: str) -> None:
    assert not faults, f"{rule}:\n" + "\n".join(faults)


# Sizes


def test_files_have_at_most_600_lines():
    counts = {path: len(text_of(path).splitlines()) for path in python_files(*CODE_FOLDERS)}
    faults = [f"{shown(path)} has {n}" for path, n in counts.items() if n > MAX_FILE_LINES]
    assert_none(faults, f"a file has at most {MAX_FILE_LINES} lines")


def test_functions_have_at_most_60_lines_or_a_reason():
    faults: list[str] = []
    for path in python_files(*CODE_FOLDERS):
        lines = text_of(path).splitlines()
        for function in functions(path):
            assert function.end_lineno is not None
            num_lines = function.end_lineno - function.lineno + 1
            first = min([function.lineno, *(d.lineno for d in function.decorator_list)])
            marked = (lines[function.lineno - 1], lines[first - 2] if first > 1 else "")
            has_reason = any(re.search(r"# long: \w+ \w+", line) for line in marked)
            if num_lines > MAX_FUNCTION_LINES and not has_reason:
                place = shown(path, function.lineno)
                faults.append(f"{place} {function.name} has {num_lines}")
    assert_none(faults, f"a function has at most {MAX_FUNCTION_LINES} lines, or '# long: REASON'")


def test_functions_take_at_most_six_parameters():
    faults: list[str] = []
    for path in python_files("src"):
        if path.is_relative_to(SOURCE / "cli"):
            continue  # a command's options are its parameters
        for function in functions(path):
            arguments = function.args
            taken = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            names = [argument.arg for argument in taken if argument.arg not in ("self", "cls")]
            if len(names) > MAX_PARAMETERS:
                faults.append(f"{shown(path, function.lineno)} {function.name} takes {len(names)}")
    assert_none(faults, f"over {MAX_PARAMETERS} parameters a dataclass is missing")


# Names


def test_no_file_or_folder_has_a_name_that_says_nothing():
    faults = [
        shown(path)
        for path in repository_files()
        for part in path.relative_to(ROOT).with_suffix("").parts
        if part.lower() in FORBIDDEN_NAMES or re.fullmatch(r"v\d+", part)
    ]
    assert_none(faults, "name what it does")


def test_at_most_two_folders_below_the_package():
    faults = [
        shown(path)
        for path in repository_files()
        if path.is_relative_to(SOURCE)
        and len(path.relative_to(SOURCE).parent.parts) > MAX_FOLDERS_BELOW_SOURCE
    ]
    assert_none(faults, f"at most {MAX_FOLDERS_BELOW_SOURCE} folders lie below src/mynah")


# Public names


def listed_names(path: Path) -> list[str] | None:
    """The ``__all__`` of a module, which is a plain list of strings."""
    for node in tree_of(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return None


def statements(path: Path) -> Iterator[ast.stmt]:
    """Those of a module itself, and what it imports for the type checker alone."""
    for node in tree_of(path).body:
        is_for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        yield from node.body if is_for_types else [node]


def imported_names(path: Path) -> dict[str, ast.ImportFrom]:
    """Names that a module imports from mynah, and the line that does it."""
    found: dict[str, ast.ImportFrom] = {}
    for node in statements(path):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mynah":
            found |= {alias.asname or alias.name: node for alias in node.names}
    return found


def defined_names(path: Path) -> set[str]:
    found = set(imported_names(path))
    for node in statements(path):
        if isinstance(node, Function | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
    return found


def module_path(name: str) -> Path:
    place = ROOT / "src" / Path(*name.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def test_every_listed_name_exists():
    faults = [
        f"{shown(path)} lists {name}"
        for path in python_files("src")
        for name in listed_names(path) or []
        if name not in defined_names(path)
    ]
    assert_none(faults, "a name in __all__ is defined in its module")


def packages() -> list[Path]:
    return [path for path in python_files("src") if path.name == "__init__.py"]


@pytest.mark.parametrize("path", packages(), ids=shown)
def test_a_package_lists_its_public_names(path: Path):
    """Imports from its own modules are the public ones; what it defines itself may be."""
    package = ".".join(path.parent.relative_to(ROOT / "src").parts)
    imported = imported_names(path)
    own = {
        name
        for name, node in imported.items()
        if (node.module or "").startswith(package) and not name.startswith("_")
    }
    defined = defined_names(path) - set(imported)
    listed = listed_names(path)
    assert listed is not None, f"{shown(path)} has no __all__"
    if path.parent.parent != SOURCE:  # inside a package, a folder may import for itself
        assert set(listed) <= own | defined
        return
    assert own <= set(listed) <= own | defined


def test_a_package_re_exports_what_the_module_itself_lists():
    faults: list[str] = []
    for path in packages():
        for name, node in imported_names(path).items():
            assert node.module is not None
            listed = listed_names(module_path(node.module))
            if listed is not None and name not in listed:
                faults.append(f"{shown(path)} imports {name}, {node.module} does not list it")
    assert_none(faults, "what a package imports for others is in its module's __all__")


# What is written, and what is not


def test_every_module_says_what_it_is_for():
    told = (*python_files("src", "docs", "benchmarks"), *python_files("tests"))
    faults = [
        shown(path)
        for path in told
        if not ast.get_docstring(tree_of(path)) and not path.is_relative_to(ROOT / "tests" / "unit")
    ]
    assert_none(faults, "every module has a docstring (unit tests have their names)")


def test_source_is_plain_ascii():
    faults = [
        shown(path, number)
        for path in repository_files()
        if path.is_relative_to(SOURCE) and path.suffix in SOURCE_SUFFIXES
        for number, line in enumerate(text_of(path).splitlines(), start=1)
        if not line.isascii()
    ]
    assert_none(faults, "source is plain ASCII")


def test_a_todo_names_its_issue():
    marks = re.compile(r"\b(?:TO" + r"DO(?!\(#\d+\))|FIX" + r"ME|XX" + r"X)\b")
    faults = [
        shown(path, number)
        for path in python_files(*CODE_FOLDERS)
        for number, line in enumerate(text_of(path).splitlines(), start=1)
        if marks.search(line)
    ]
    assert_none(faults, "a thing left to do names its issue, or is not there")


def test_only_the_command_line_prints():
    faults = [
        shown(path, node.lineno)
        for path in python_files("src")
        if not path.is_relative_to(SOURCE / "cli")
        for node in nodes(path, ast.Call)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("print", "pprint")
    ]
    assert_none(faults, "only mynah.cli prints")


def test_nothing_catches_everything():
    broad = {"Exception", "BaseException"}
    faults: list[str] = []
    for path in python_files("src"):
        for node in nodes(path, ast.ExceptHandler):
            assert isinstance(node, ast.ExceptHandler)
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            line = path.read_text().splitlines()[node.lineno - 1]
            is_broad = any(kind is None or ast.unparse(kind) in broad for kind in caught)
            if is_broad and "  # broad: " not in line:  # a reason: a library raises no other
                faults.append(shown(path, node.lineno))
    assert_none(faults, "an except names what it expects")


# Configs


def is_config(node: ast.ClassDef) -> bool:
    marks = [ast.unparse(s.targets[0]) for s in node.body if isinstance(s, ast.Assign)]
    return node.name.endswith("Config") or "__pydantic_config__" in marks


def config_classes() -> Iterator[tuple[Path, ast.ClassDef, ast.Call]]:
    """Dataclasses that are checked on load or named so, and their decorator."""
    for path in python_files("src"):
        for node in nodes(path, ast.ClassDef):
            assert isinstance(node, ast.ClassDef)
            for decorator in node.decorator_list:
                is_call = isinstance(decorator, ast.Call)
                made = decorator.func if isinstance(decorator, ast.Call) else decorator
                if is_config(node) and ast.unparse(made) == "dataclass":
                    assert is_call, f"{shown(path, node.lineno)} {node.name} is not frozen"
                    assert isinstance(decorator, ast.Call)
                    yield path, node, decorator


def test_configs_are_frozen_dataclasses():
    wanted = {"frozen", "slots", "kw_only"}
    faults = [
        f"{shown(path, node.lineno)} {node.name}"
        for path, node, decorator in config_classes()
        if not wanted <= {k.arg for k in decorator.keywords if ast.unparse(k.value) == "True"}
    ]
    assert_none(faults, "a config is dataclass(frozen=True, slots=True, kw_only=True)")


def test_config_fields_have_docstrings():
    faults: list[str] = []
    for path, node, _ in config_classes():
        for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(statement, ast.AnnAssign) and not is_docstring(following):
                field = f"{node.name}.{ast.unparse(statement.target)}"
                faults.append(f"{shown(path, statement.lineno)} {field}")
    assert_none(faults, "every field of a config has a docstring with its unit")


# The repository


def test_no_file_names_a_registry_host_or_a_path_of_one_machine():
    """Joined here from halves, so that this file is searched as well."""
    hosts = ("py" + "pi.org", "python" + "hosted", "hugging" + "face.co", "--index" + "-url")
    places = ("/wo" + "rk/", "/tmp/" + "lab", "/ro" + "ot/", "/fa" + "rm/")
    host = re.compile("|".join(map(re.escape, hosts)), re.IGNORECASE)
    place = re.compile(r"(?<![\w.~])(?:" + "|".join(map(re.escape, places)) + ")")
    faults: list[str] = []
    for path in repository_files():
        try:
            text = text_of(path)
        except UnicodeDecodeError:
            continue  # a picture
        for number, line in enumerate(text.splitlines(), start=1):
            if host.search(line) or place.search(line):
                faults.append(shown(path, number))
    assert_none(faults, "no registry's host and no path of one machine is in the repository")


def test_decisions_are_numbered_without_gaps():
    names = sorted(path.name for path in (ROOT / "docs" / "decisions").iterdir())
    wrong = [name for name in names if not re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", name)]
    assert_none(wrong, "a decision is docs/decisions/NNNN-title.md")
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


def test_decisions_have_their_four_parts():
    parts = ("## Context", "## Choice", "## Cost", "## What would change our mind")
    faults = [
        f"{shown(path)} lacks {part}"
        for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))
        for part in parts
        if f"\n{part}\n" not in text_of(path)
    ]
    assert_none(faults, "a decision has context, choice, cost, what would change our mind")


def test_the_changelog_begins_with_what_is_unreleased():
    headings = re.findall(r"^## (.+)$", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert headings[:1] == ["[Unreleased]"]


def test_documents_use_plain_words():
    faults = [
        shown(path, number)
        for path in repository_files()
        if path.suffix == ".md"
        for number, line in enumerate(text_of(path).splitlines(), start=1)
        if re.search(r"\bsimp" + r"ly\b", line, re.IGNORECASE)
    ]
    assert_none(faults, "what is simple needs no word that says so")
