"""How files come into the folder of a log: aside, synced, renamed; and which ones go again.

Writes ``tile/``, ``checkpoint`` and ``vkey`` of a log, by way of ``.writing/`` beside them. Only
for who holds the writer's lock.
"""

import shutil
from contextlib import suppress
from pathlib import Path

from mynah.record.guard import sync_folder, write_synced
from mynah.record.tiles import TILE_HEIGHT
from mynah.record.tree import TILE_WIDTH, tile_path

__all__ = ["ASIDE", "drop_filled", "publish", "stage", "sweep"]

ASIDE = ".writing"
"""Folder of what is being written; there after a kill only."""
LEVELS = ("entries", *map(str, range(TILE_HEIGHT)))


def stage(folder: Path, files: dict[str, bytes]) -> None:
    """Write files aside, so that they survive a power cut."""
    aside = folder / ASIDE
    try:
        aside.mkdir(parents=True, exist_ok=True)
        for path, content in files.items():
            write_synced(aside / path.replace("/", "+"), content)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)  # a full disk must not be kept full
        raise


def publish(folder: Path, paths: list[str]) -> None:
    """Rename what was staged to where it belongs, so that it survives a power cut."""
    changed: set[Path] = set()
    for name in paths:
        path = folder / name
        if path.parent not in changed:
            changed.update(p.parent for p in (path.parent, *path.parent.parents) if not p.exists())
            path.parent.mkdir(parents=True, exist_ok=True)
            changed.add(path.parent)
        (folder / ASIDE / name.replace("/", "+")).replace(path)
    for parent in changed:
        sync_folder(parent)
    with suppress(OSError):  # what a kill left in it is swept
        (folder / ASIDE).rmdir()


def sweep(folder: Path, size: int) -> None:
    """Remove partial tiles of older trees, and what a kill left of one that nobody signed.

    Those of the tree before the last commit go now, so that who was reading it could finish.
    """
    shutil.rmtree(folder / ASIDE, ignore_errors=True)
    for level in LEVELS:
        if not (folder / "tile" / level).exists():
            continue
        number, width = divmod(_num_hashes(level, size), TILE_WIDTH)
        if number:
            shutil.rmtree(_partial(folder, level, number - 1), ignore_errors=True)
        for path in _partial(folder, level, number).glob("*"):
            if path.name != str(width):
                path.unlink()
        while (full := folder / tile_path(level, number)).exists():
            full.unlink()
            number += 1
            shutil.rmtree(_partial(folder, level, number), ignore_errors=True)


def drop_filled(folder: Path, old: int, new: int) -> None:
    """Delete the partial tiles of a tree where that of ``new`` leaves has the full tile."""
    for level in LEVELS:
        number = _num_hashes(level, old) // TILE_WIDTH
        if number < _num_hashes(level, new) // TILE_WIDTH:
            shutil.rmtree(_partial(folder, level, number), ignore_errors=True)


def _num_hashes(level: str, size: int) -> int:
    return size >> (0 if level == "entries" else TILE_HEIGHT * int(level))


def _partial(folder: Path, level: str, number: int) -> Path:
    full = folder / tile_path(level, number)
    return full.with_name(f"{full.name}.p")
