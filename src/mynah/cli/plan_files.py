"""Where the files of `mynah plan` go: looked at before anything is computed, written whole.

Writes the files that a command is told to; what is there already stays, unless it is told so.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from mynah.errors import ConfigError, machine_errors
from mynah.workspace import replace_file

__all__ = ["check_file", "check_folder", "write_folder"]


def check_file(path: Path) -> None:
    """Refuse a file that could not be written, before the work that it is for.

    Raises:
        ConfigError: It is a folder, or its folder is missing or may not be written.
    """
    if path.is_dir():
        raise ConfigError(
            f"{path} is a folder, a file is to be written", hint=f"name a file: {path / 'out.csv'}"
        )
    folder = path.parent
    if not folder.is_dir():
        raise ConfigError(
            f"{path} cannot be written: {folder} is no folder",
            hint="make that folder, or name a file elsewhere",
        )
    # A device, such as /dev/null, is written in place by nobody: files are replaced.
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path} is no plain file", hint="leave --out away and redirect instead")
    _check_rights(folder)


def check_folder(folder: Path, names: Iterable[str], *, is_forced: bool) -> None:
    """Refuse a folder in which these files could not be written, or are there already.

    Raises:
        ConfigError: It is a file, may not be written, or has one of them and ``is_forced`` is not.
    """
    above = next(one for one in (folder, *folder.absolute().parents) if os.path.lexists(one))
    if not above.is_dir():
        raise ConfigError(
            f"{folder} cannot be a folder: {above} is a file", hint="name another folder"
        )
    _check_rights(above)
    there = sorted(name for name in names if os.path.lexists(folder / name))
    if there and not is_forced:
        raise ConfigError(
            f"{folder} has {', '.join(there)} already",
            hint="name another folder, or overwrite them: --force",
        )


def write_folder(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files by name; shell scripts may be executed by whoever may read them."""
    for name, text in texts.items():
        path = folder / name
        replace_file(path, text.encode())
        if path.suffix == ".sh":
            with machine_errors(path):
                mode = path.stat().st_mode
                path.chmod(mode | (mode & 0o444) >> 2)


def _check_rights(folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{folder} cannot be written: you may not", hint="name a folder that you may write to"
        )
