"""Checkpoints as files: which are finished, whether they are whole, which are kept.

Reads and writes ``checkpoints/`` of a run. Each finished folder ``step-00000120/`` has a
``manifest.json``, written last, with size and SHA-256 of every other file; ``latest`` is a line
that names the one to go on from. Nothing here knows of tensors or of other ranks.
"""

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mynah.errors import CheckpointError
from mynah.workspace import canonical_json, file_sha256, replace_file

__all__ = [
    "COUNTERS",
    "FileFacts",
    "Manifest",
    "check_files",
    "checkpoint_digest",
    "finished_checkpoints",
    "held",
    "latest_checkpoint",
    "prune",
    "publish",
    "read_manifest",
    "refuse",
    "remove",
    "step_of",
    "sweep",
]

logger = logging.getLogger(__name__)

Json = Any
"""A value that JSON can hold."""

FORMAT = "mynah.checkpoint/1"
MANIFEST = "manifest.json"
COUNTERS = "counters.json"
LATEST = "latest"
_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What a manifest says of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a finished checkpoint holds."""

    step: int
    world_size: int
    """Ranks that wrote it; any number may read it."""
    files: Mapping[str, FileFacts]
    """By name; all but the manifest itself."""

    def encode(self) -> bytes:
        """Return the file's content: the same manifest, the same bytes."""
        files = {name: asdict(facts) for name, facts in self.files.items()}
        body = {"step": self.step, "world_size": self.world_size, "files": files}
        return canonical_json({"format": FORMAT} | body)


def step_of(checkpoint: Path) -> int:
    """Return the optimizer steps that were done when it was saved, as its name says."""
    match = _NAME.fullmatch(checkpoint.name)
    return int(match[1]) if match else -1


def finished_checkpoints(folder: Path) -> list[Path]:
    """Return the folders that have a manifest, by their steps."""
    found = [path for path in folder.glob("step-*") if step_of(path) >= 0]
    return sorted((path for path in found if (path / MANIFEST).is_file()), key=step_of)


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the finished checkpoint that ``latest`` names, else the one with the highest step."""
    finished = finished_checkpoints(folder)
    if not finished:
        return None
    path = folder / LATEST
    try:
        named = folder / path.read_text().strip()
    except FileNotFoundError:  # as a kill between two renames leaves it
        logger.info("there is no %s: going on from %s", path, finished[-1].name)
        return finished[-1]
    except (OSError, UnicodeDecodeError) as error:
        logger.warning("%s is unreadable (%s): taking %s", path, error, finished[-1].name)
        return finished[-1]
    if named in finished:
        return named
    name = named.name if named != folder else "nothing"
    logger.warning(
        "%s names %r, which is no finished checkpoint: taking %s", path, name, finished[-1].name
    )
    return finished[-1]


def read_manifest(checkpoint: Path) -> Manifest:
    """Read what a checkpoint should hold, and check that its files are there in full size.

    Raises:
        CheckpointError: The manifest is missing, damaged or of another format, or a file is
            missing or has another size.
    """
    path = checkpoint / MANIFEST
    try:
        raw: Json = json.loads(path.read_bytes())
        if raw["format"] != FORMAT:
            raise refuse(path, f"expected format {FORMAT}, found {raw['format']!r}")
        files = {str(name): FileFacts(**facts) for name, facts in raw["files"].items()}
        manifest = Manifest(step=raw["step"], world_size=raw["world_size"], files=files)
    except OSError as error:
        raise refuse(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise refuse(path, f"is damaged: {error!r}") from error
    for name, facts in manifest.files.items():
        file = checkpoint / name
        if Path(name).name != name:
            raise refuse(path, f"names {name!r}, which is no file beside it")
        if not file.is_file():
            raise refuse(file, f"expected {facts.bytes:,} bytes, found no file")
        if (found := file.stat().st_size) != facts.bytes:
            raise refuse(file, f"expected {facts.bytes:,} bytes, found {found:,}")
    return manifest


def check_files(checkpoint: Path, files: Mapping[str, FileFacts]) -> None:
    """Check the content of ``files``, of which sizes were checked before.

    Raises:
        CheckpointError: A file cannot be read, or has another hash than its manifest says.
    """
    for name, facts in files.items():
        try:
            found = file_sha256(checkpoint / name)
        except OSError as error:
            raise refuse(checkpoint / name, f"cannot be read: {error.strerror}") from error
        if found != facts.sha256:
            raise refuse(checkpoint / name, f"expected SHA-256 {facts.sha256}, found {found}")


def refuse(path: Path, problem: str) -> CheckpointError:
    """Return the error of a checkpoint that must not be gone on from, with what to do.

    Args:
        path: The file that is wrong, in the checkpoint's folder.
        problem: What was expected and what was found.
    """
    checkpoint = path.parent
    older = [p for p in finished_checkpoints(checkpoint.parent) if step_of(p) < step_of(checkpoint)]
    hint = f"delete {checkpoint} and run the same command again; the run then begins anew"
    if older:
        hint = (
            "restore that file, or run the same command again: "
            f"mynah train run goes on from {older[-1].name}, the checkpoint before it"
        )
    return CheckpointError(f"{path}: {problem}", hint=hint)


def checkpoint_digest(checkpoint: Path) -> str:
    """Return ``model_digest(checkpoint).hex`` from the hashes in the manifest.

    Only the manifest is read, in milliseconds. It is the digest of what was written: that the
    files are still that, ``check_files`` finds out.

    Raises:
        CheckpointError: As ``read_manifest``.
    """
    manifest = read_manifest(checkpoint)
    hashes = {name: facts.sha256 for name, facts in manifest.files.items()}
    hashes[MANIFEST] = file_sha256(checkpoint / MANIFEST)
    return hashlib.sha256(
        bytes.fromhex("".join(hashes[name] for name in sorted(hashes)))
    ).hexdigest()


def publish(aside: Path, final: Path, manifest: Manifest) -> None:
    """Complete ``aside`` with its manifest, rename it to ``final``, let ``latest`` name it.

    Raises:
        CheckpointError: A file of the manifest is not there as its rank wrote it.
        OSError: As the system says.
    """
    for name, facts in manifest.files.items():
        path = aside / name
        found = path.stat().st_size if path.is_file() else 0
        if found != facts.bytes:
            raise CheckpointError(
                f"{path} should have {facts.bytes:,} bytes, rank 0 sees {found:,}",
                hint="checkpoints must lie on a file system that all ranks share",
            )
    replace_file(aside / MANIFEST, manifest.encode())
    _sync(aside)
    if final.exists():  # a damaged one, that the run went back behind
        remove(final)
    aside.rename(final)
    _sync(final.parent)
    replace_file(final.parent / LATEST, f"{final.name}\n".encode())


def prune(folder: Path, *, newest: Path, keep_last: int, keep_every_steps: int) -> None:
    """Remove the checkpoints that need not be kept.

    Kept are the last ``keep_last``, and of each stretch of ``keep_every_steps`` steps the first.
    Those of more steps than ``newest`` are of a line that the run went back behind. One that is
    being exported stays until the next time.
    """
    finished = finished_checkpoints(folder)
    line = [path for path in finished if step_of(path) <= step_of(newest)]
    kept = set(line[-keep_last:])
    stretches: set[int] = set()
    for path in line:
        stretch = step_of(path) // keep_every_steps if keep_every_steps else 0
        if stretch and stretch not in stretches:
            stretches.add(stretch)
            kept.add(path)
    for path in finished:
        if path not in kept:
            with suppress(BlockingIOError), (path / MANIFEST).open("r+b") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(path)


@contextmanager
def held(checkpoint: Path) -> Generator[int]:
    """Keep ``prune`` from removing a checkpoint that is being read.

    Yields:
        The file descriptor that holds the lock; a process that inherits it holds it, too.

    Raises:
        CheckpointError: There is no finished checkpoint there.
    """
    path = checkpoint / MANIFEST
    try:
        stream = path.open("rb")
    except OSError as error:
        raise refuse(path, f"cannot be read: {error.strerror}") from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        yield stream.fileno()


def remove(checkpoint: Path) -> None:
    """Remove a checkpoint; a kill meanwhile leaves none that looks finished."""
    aside = checkpoint.with_name(f".{checkpoint.name}.old.writing")
    shutil.rmtree(aside, ignore_errors=True)
    with suppress(FileNotFoundError):
        checkpoint.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what saves that were cut short have left; each may be as large as a whole one."""
    for cut_short in folder.glob(".step-*.writing"):
        shutil.rmtree(cut_short, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
