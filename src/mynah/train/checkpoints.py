"""Checkpoints of a run: what it needs to go on as if it had never stopped, on any number of ranks.

Writes ``checkpoints/step-00000120/`` and reads it back: the tensors as torch's distributed
checkpoint (see ``resharding``), ``counters.json``, and ``manifest.json``, written last (see
``checkpoint_files``). A kill or a full disk leaves the checkpoint before as it was.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
from pydantic import ConfigDict, Field
from torch import Tensor
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from mynah.errors import CheckpointError
from mynah.train.checkpoint_exchange import Exchange, Place
from mynah.train.checkpoint_files import (
    COUNTERS,
    FileFacts,
    Manifest,
    check_files,
    checkpoint_digest,
    finished_checkpoints,
    latest_checkpoint,
    prune,
    publish,
    read_manifest,
    step_of,
    sweep,
)
from mynah.train.resharding import TensorWriter, read_metadata, read_tensors
from mynah.workspace import canonical_json, replace_file

__all__ = ["CheckpointConfig", "Checkpoints", "checkpoint_digest", "latest_checkpoint"]

logger = logging.getLogger(__name__)

Json = Any
"""A value that JSON can hold."""

OPTIMIZER = "optimizer."
"""Begins the names of what an optimizer keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointConfig:
    """When checkpoints are saved, and which are kept."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    every_s: Annotated[float, Field(ge=0)] = 60.0
    """Seconds of training between checkpoints; a kill loses at most these."""
    keep_last: Annotated[int, Field(ge=1)] = 1
    """Newest checkpoints that stay."""
    keep_every_steps: Annotated[int, Field(ge=0)] = 0
    """Steps; of each stretch of so many the first checkpoint stays, too. 0 keeps none besides."""
    is_async: bool = False
    """Whether steps go on while a checkpoint is written. The copy that it is written from takes
    as much memory again as weights and optimizer do."""
    export_every_steps: Annotated[int, Field(ge=0)] = 0
    """Steps between exports in Hugging Face layout on the way; 0 for none."""


class Checkpoints:
    """The checkpoints of one run, as each of its ranks sees them; ranks make the same calls.

    Args:
        folder: ``checkpoints/`` of the run, on a file system that all ranks share.
        config: When to save, and what to keep.
        world: This process among those that train together. More than one: torch's process
            group is up, and all of them make this object at the same point.
    """

    def __init__(self, folder: Path, config: CheckpointConfig, *, world: Place) -> None:
        self.folder = folder
        self.config = config
        self._exchange = Exchange(world)
        self._writer = TensorWriter(self._exchange)
        self._stager: DefaultStager | None = None
        self._pending: Future[Path] | None = None
        self._step: int | None = None

    def save(
        self, step: int, tensors: Mapping[str, Tensor], counters: Mapping[str, Json]
    ) -> Path | None:
        """Write a checkpoint; of a step that was loaded or saved last, nothing is written again.

        Args:
            step: Optimizer steps done.
            tensors: By names that do not depend on the number of ranks: ``model.<name>``,
                ``optimizer.<name>.<key>``. Each rank passes what it has.
            counters: What else the run must remember; of rank 0.

        Returns:
            The finished folder; ``None`` when it is written in the background (see ``wait``).

        Raises:
            MachineError: The disk is full; the checkpoints before stay good.
            CheckpointError: The save before, in the background, failed; or the ranks' slices do
                not make up whole tensors.
        """
        self.wait()
        text = canonical_json(dict(counters))
        if not self.config.is_async:
            return self._finished(self._save(step, tensors, text))
        if self._stager is None:
            is_pinned = torch.cuda.is_available()
            self._stager = DefaultStager(StagingOptions(is_pinned, False, False, False))
        staged = cast("dict[str, Tensor]", self._stager.stage(dict(tensors)))
        executor = ThreadPoolExecutor(1, "checkpoint")
        self._pending = executor.submit(self._save, step, staged, text)
        executor.shutdown(wait=False)
        return None

    @property
    def is_busy(self) -> bool:
        """Whether a checkpoint is being written in the background on this rank."""
        return self._pending is not None and not self._pending.done()

    def wait(self) -> Path | None:
        """Wait for the checkpoint that is written in the background; return its folder.

        Raises:
            MachineError: The disk was full; the checkpoints before stay good.
            CheckpointError: As ``save``.
        """
        if self._pending is None:
            return None
        pending, self._pending = self._pending, None
        return self._finished(pending.result())

    def _finished(self, checkpoint: Path) -> Path:
        self._step = step_of(checkpoint)
        return checkpoint

    def _save(self, step: int, tensors: Mapping[str, Tensor], counters: bytes) -> Path:
        final = self.folder / f"step-{step:08d}"
        aside = self.folder / f".{final.name}.writing"

        def prepare() -> bool:
            if self._exchange.rank != 0:
                return False
            if step == self._step and final in finished_checkpoints(self.folder):
                return True
            sweep(self.folder)
            aside.mkdir(parents=True)
            return False

        if self._exchange.agree(prepare, any, folder=self.folder):
            return final

        def complete(files: dict[str, FileFacts]) -> None:
            replace_file(aside / COUNTERS, counters)
            files[COUNTERS] = FileFacts(bytes=len(counters), sha256=sha256(counters).hexdigest())
            world_size = self._exchange.size
            publish(aside, final, Manifest(step=step, world_size=world_size, files=files))
            prune(
                self.folder,
                newest=final,
                keep_last=self.config.keep_last,
                keep_every_steps=self.config.keep_every_steps,
            )

        try:
            self._writer.write(tensors, aside, complete=complete)
        finally:
            if self._exchange.rank == 0:
                shutil.rmtree(aside, ignore_errors=True)
        return final

    def latest(self) -> Path | None:
        """Return the checkpoint to go on from, the same on every rank; ``None`` without any."""

        def find() -> Path | None:
            return latest_checkpoint(self.folder) if self._exchange.rank == 0 else None

        return self._exchange.agree(find, lambda found: found[0], folder=self.folder)

    def load(self, checkpoint: Path, tensors: Mapping[str, Tensor]) -> dict[str, Json]:
        """Fill ``tensors`` bit for bit, whichever ranks wrote them; return the counters.

        Every file is checked before: sizes on rank 0, hashes on one rank each. Only then is
        ``.metadata`` read, which is a pickle, and of that nothing is made but descriptions of
        tensors. A checkpoint from before the first step may hold nothing of the optimizer: then
        what ``tensors`` has of it stays.

        Args:
            checkpoint: A finished one.
            tensors: What this rank has; all ranks together, all that the checkpoint holds.

        Raises:
            CheckpointError: A file is missing, cut short or changed, or the checkpoint is of
                another model. ``tensors`` are as they were.
        """
        rank, size = self._exchange.rank, self._exchange.size

        def read() -> tuple[Manifest, bytes] | None:
            if rank != 0:
                return None
            return read_manifest(checkpoint), (checkpoint / COUNTERS).read_bytes()

        told = self._exchange.agree(read, lambda parts: parts[0], folder=checkpoint)
        assert told is not None, "rank 0 has read it"
        manifest, counters = told
        names = sorted(manifest.files, key=lambda name: -manifest.files[name].bytes)
        own = {name: manifest.files[name] for name in names[rank::size]}
        self._exchange.agree(
            lambda: check_files(checkpoint, own), lambda _: None, folder=checkpoint
        )
        self._fill(checkpoint, manifest, tensors)
        self._finished(checkpoint)
        return json.loads(counters)

    def _fill(self, checkpoint: Path, manifest: Manifest, tensors: Mapping[str, Tensor]) -> None:
        placed: dict[str, Tensor] = {}
        metadata: Metadata | None = None

        def place() -> bytes:
            nonlocal metadata
            metadata = read_metadata(checkpoint, files=manifest.files)
            names = sorted(metadata.state_dict_metadata)
            has_optimizer = any(name.startswith(OPTIMIZER) for name in names)
            placed.update(
                (name, tensor)
                for name, tensor in tensors.items()
                if has_optimizer or not name.startswith(OPTIMIZER)
            )
            _check_shapes(checkpoint, metadata, placed)
            return np.packbits([name in placed for name in names]).tobytes()

        def check(parts: list[bytes]) -> None:
            assert metadata is not None, "rank 0 has read it"
            names = sorted(metadata.state_dict_metadata)
            masks = np.stack([np.frombuffer(part, np.uint8) for part in parts])
            has_place = np.unpackbits(np.bitwise_or.reduce(masks), count=len(names))
            for name, is_placed in zip(names, has_place, strict=True):
                if not is_placed:
                    raise _another_model(checkpoint, f"holds {name}, which this model has not")

        def fill() -> None:
            assert metadata is not None, "it was just read"
            read_tensors(checkpoint, metadata, placed)

        self._exchange.agree(place, check, folder=checkpoint)
        self._exchange.agree(fill, lambda _: None, folder=checkpoint)

    def load_best(self, tensors: Mapping[str, Tensor]) -> tuple[Path, dict[str, Json]] | None:
        """Load the latest checkpoint, or the newest older one that is whole.

        Returns:
            The checkpoint and its counters; ``None`` when there is none.

        Raises:
            CheckpointError: There are checkpoints and none can be loaded; tells of the newest.
        """

        def find() -> list[Path]:
            latest = latest_checkpoint(self.folder) if self._exchange.rank == 0 else None
            if latest is None:
                return []
            found = reversed(finished_checkpoints(self.folder))
            return [latest, *(path for path in found if step_of(path) < step_of(latest))]

        candidates = self._exchange.agree(find, lambda found: found[0], folder=self.folder)
        first: CheckpointError | None = None
        for checkpoint in candidates:
            try:
                return checkpoint, self.load(checkpoint, tensors)
            except CheckpointError as error:
                logger.warning("%s is refused: %s", checkpoint.name, error.message)
                first = first or error
        if first is not None:
            raise first
        return None


def _check_shapes(checkpoint: Path, metadata: Metadata, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a checkpoint that lacks a tensor, or has it in another shape or dtype."""
    for name, tensor in tensors.items():
        stored = metadata.state_dict_metadata.get(name)
        if not isinstance(stored, TensorStorageMetadata):
            raise _another_model(checkpoint, f"has no {name}, which this model needs")
        found = (list(stored.size), stored.properties.dtype)
        expected = (list(tensor.shape), tensor.dtype)
        if found != expected:
            raise _another_model(
                checkpoint,
                f"{name} is {found[0]} in {found[1]}, this model needs {expected[0]} in "
                f"{expected[1]}",
            )


def _another_model(checkpoint: Path, problem: str) -> CheckpointError:
    return CheckpointError(
        f"{checkpoint} is of another model or optimizer: {problem}",
        hint="run it with the recipe that it was saved with, or train into a new folder",
    )
