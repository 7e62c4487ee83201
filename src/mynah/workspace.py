"""The workspace: one folder, one network. Reads and writes artifacts that are whole or absent.

An artifact is a folder ``<room>/<snapshot>/`` with a ``manifest.json`` that is written last.
The snapshot's name is a hash of the kind and the inputs, so the same inputs find the same folder
and a stage whose artifact is there is skipped. ``<room>/latest`` names the one in use.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from mynah.errors import ConfigError, DataError, machine_errors

__all__ = [
    "SETTINGS",
    "Artifact",
    "ArtifactWriter",
    "Workspace",
    "canonical_json",
    "file_sha256",
    "find_artifact",
    "latest_artifact",
    "locked",
    "replace_file",
    "restate_artifact",
    "set_latest",
    "writing_artifact",
]

SETTINGS = "mynah.toml"
"""The file that makes a folder a workspace."""

Json = Any
"""A value that JSON can hold."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where each room keeps its artifacts."""

    root: Path

    @property
    def posts(self) -> Path:
        """Snapshots of the post store."""
        return self.root / "posts"

    @property
    def corpus(self) -> Path:
        """Snapshots of the corpus."""
        return self.root / "corpus"

    @property
    def search(self) -> Path:
        """Snapshots of the search index."""
        return self.root / "search"

    @property
    def runs(self) -> Path:
        """One folder a training run."""
        return self.root / "runs"

    @property
    def models(self) -> Path:
        """One folder a model, in Hugging Face layout, ready to serve."""
        return self.root / "models"

    @property
    def record(self) -> Path:
        """The log of what was trained, paused, shared and taken back."""
        return self.root / "record"

    @property
    def state_db(self) -> Path:
        """SQLite database of keys and campaigns."""
        return self.root / "state.db"

    @property
    def settings(self) -> Path:
        """The settings of this workspace."""
        return self.root / SETTINGS

    def create(self) -> None:
        """Make the folder if it is not there; refuse one that holds something else."""
        if self.root.exists() and not self.root.is_dir():
            raise ConfigError(
                f"the workspace {self.root} is a file", hint="name a folder: mynah up my-network"
            )
        if self.root.is_dir() and not self.settings.exists() and any(self.root.iterdir()):
            # A kill, or a full disk, may have come before the settings were there.
            ours = re.compile(r"\.lock|\.mynah\.toml\.\d+\.writing")
            foreign = [p.name for p in self.root.iterdir() if not ours.fullmatch(p.name)]
            if foreign:
                raise ConfigError(
                    f"{self.root} is not empty and is no workspace: it holds {foreign[0]!r}",
                    hint="name a new or empty folder: mynah up my-network",
                )
        with machine_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            if not self.settings.exists():
                replace_file(self.settings, b"# Settings of this mynah workspace.\n")

    def sweep(self) -> None:
        """Remove what killed processes left half written; kills never add up to a full disk.

        Only for the process that holds the workspace's lock. A trainer that has not yet noticed
        that its parent is gone keeps what it is writing. Writers of the post store sweep under
        a lock of their own: one may be at work now.
        """
        for folder in self.root.glob("*/.*.writing"):
            if folder.is_dir() and folder.parent != self.posts:
                shutil.rmtree(folder, ignore_errors=True)
        for pattern in (".*.writing", "*/.*.writing", "*/*/.*.writing"):
            for path in self.root.glob(pattern):
                pid = path.name.split(".")[-2]
                if path.is_file() and pid.isdecimal() and not Path("/proc", pid).exists():
                    path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A finished folder and what its manifest says."""

    folder: Path
    kind: str
    inputs: Mapping[str, Json]
    counts: Mapping[str, Json]
    files: Mapping[str, Mapping[str, Json]]

    @property
    def snapshot(self) -> str:
        """The folder's name: a hash of kind and inputs."""
        return self.folder.name

    @property
    def digest(self) -> str:
        """Hash over the kind, the inputs and every file's hash: equal content, equal digest."""
        body = {"kind": self.kind, "inputs": self.inputs, "files": self.files}
        return hashlib.sha256(canonical_json(body)).hexdigest()

    def verify(self) -> None:
        """Check every file against its hash in the manifest.

        Raises:
            DataError: A file is missing or differs.
        """
        for name, facts in self.files.items():
            path = self.folder / name
            found = file_sha256(path) if path.is_file() else "no file"
            if found != facts["sha256"]:
                raise DataError(
                    f"{path} is damaged: it has hash {found}, its manifest says {facts['sha256']}",
                    hint=f"delete {self.folder} and run the same command again to rebuild it",
                )


@dataclass(slots=True)
class ArtifactWriter:
    """A folder being written; fill ``counts`` before the block ends."""

    folder: Path
    counts: dict[str, Json] = field(default_factory=lambda: {})
    hashes: dict[str, str] = field(default_factory=lambda: {})
    """SHA-256 of files that are known and on disk already: links to those of another artifact."""
    result: Artifact | None = None

    @property
    def artifact(self) -> Artifact:
        """The finished artifact, once the block has ended."""
        assert self.result is not None, "the artifact is not finished yet"
        return self.result


def canonical_json(value: Json) -> bytes:
    """JSON with sorted keys and no spaces: equal values, equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def file_sha256(path: Path) -> str:
    """Hash a file in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def snapshot_name(kind: str, inputs: Mapping[str, Json]) -> str:
    """Twelve hex digits that stand for ``kind`` and ``inputs``."""
    return hashlib.sha256(canonical_json({"kind": kind, "inputs": inputs})).hexdigest()[:12]


def read_artifact(folder: Path, *, kind: str) -> Artifact | None:
    """Read a folder's manifest; ``None`` when it is absent, cut short or of another kind."""
    try:
        raw: Json = json.loads((folder / "manifest.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    if not isinstance(raw, dict):
        return None
    manifest = cast("dict[str, Json]", raw)
    if manifest.get("kind") != kind or not {"inputs", "counts", "files"} <= manifest.keys():
        return None
    return Artifact(folder, kind, manifest["inputs"], manifest["counts"], manifest["files"])


def find_artifact(parent: Path, *, kind: str, inputs: Mapping[str, Json]) -> Artifact | None:
    """Return the artifact that ``inputs`` name, if it is finished and its files have their size."""
    found = read_artifact(parent / snapshot_name(kind, inputs), kind=kind)
    if found is None:
        return None
    for name, facts in found.files.items():
        path = found.folder / name
        if not path.is_file() or path.stat().st_size != facts["bytes"]:
            return None
    return found


def latest_artifact(parent: Path, *, kind: str) -> Artifact | None:
    """Return the artifact in use, or ``None`` when the room has none yet."""
    try:
        name = (parent / "latest").read_text().strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return read_artifact(parent / name, kind=kind) if name else None


def set_latest(artifact: Artifact) -> None:
    """Make ``artifact`` the one in use, in one rename."""
    replace_file(artifact.folder.parent / "latest", artifact.snapshot.encode() + b"\n")


@contextmanager
def writing_artifact(
    parent: Path, *, kind: str, inputs: Mapping[str, Json]
) -> Generator[ArtifactWriter]:
    """Write an artifact aside; on success hash its files, write the manifest, rename, set latest.

    A block that raises leaves nothing; a process that is killed, only a ``.writing`` folder that
    the next writer of the same inputs removes.

    Args:
        parent: The room's folder.
        kind: Name and version of the format, as in ``mynah.posts/1``.
        inputs: What the artifact is a function of; plain JSON.
    """
    final = parent / snapshot_name(kind, inputs)
    aside = parent / f".{final.name}.writing"
    with machine_errors(parent):
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            writer = ArtifactWriter(aside)
            yield writer
            files = {
                str(path.relative_to(aside)): {
                    "bytes": path.stat().st_size,
                    "sha256": writer.hashes.get(path.name) or file_sha256(path),
                }
                for path in sorted(aside.rglob("*"))
                if path.is_file()
            }
            manifest = {"kind": kind, "inputs": inputs, "counts": writer.counts, "files": files}
            for name in files.keys() - writer.hashes.keys():
                _sync(aside / name)
            replace_file(aside / "manifest.json", canonical_json(manifest))
            if final.exists():  # half a folder of an earlier kill: never a finished one
                shutil.rmtree(final)
            aside.rename(final)
            _sync(parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)  # a full disk must not be kept full
    found = read_artifact(final, kind=kind)
    assert found is not None, "an artifact just written must be readable"
    writer.result = found
    set_latest(found)


def restate_artifact(artifact: Artifact) -> Artifact:
    """Hash every file of an artifact again and say so in its manifest.

    Only for taking something back: an artifact is otherwise never changed. Its name, which
    stands for its inputs, stays.
    """
    with machine_errors(artifact.folder):
        files = {
            name: {
                "bytes": (artifact.folder / name).stat().st_size,
                "sha256": file_sha256(artifact.folder / name),
            }
            for name in artifact.files
            if (artifact.folder / name).is_file()
        }
        manifest = {
            "kind": artifact.kind,
            "inputs": artifact.inputs,
            "counts": artifact.counts,
            "files": files,
        }
        replace_file(artifact.folder / "manifest.json", canonical_json(manifest))
    return Artifact(artifact.folder, artifact.kind, artifact.inputs, artifact.counts, files)


def replace_file(path: Path, content: bytes) -> None:
    """Write aside, sync, rename: a reader sees the old bytes or the new ones, never half."""
    with machine_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}.writing")
        try:
            with aside.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)  # a full disk must not be kept full


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, *, busy: ConfigError, wait_s: float = 0.0) -> Generator[IO[str]]:
    """Hold an exclusive lock that the system frees when this process ends, however it ends.

    Raises:
        ConfigError: ``busy``, when another process still holds it after ``wait_s``.
    """
    deadline_s = time.monotonic() + wait_s
    with machine_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+")
    with stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline_s:
                    raise busy from error
                time.sleep(0.1)
        yield stream
