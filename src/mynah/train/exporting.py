"""A checkpoint of any layout to a model in Hugging Face layout, tensor by tensor, in one process.

Reads a finished folder of ``checkpoints/``; writes ``config.json``, ``model.safetensors`` and what
is to lie beside them. Needs no process group, no accelerator and no more memory than the largest
tensor twice. As a program (``python -m mynah.train.exporting``) it exports beside a training that
goes on.
"""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from mynah.errors import CheckpointError, MynahError, machine_errors
from mynah.model import LlamaConfig, weight_shapes, write_checkpoint
from mynah.train.checkpoint_files import check_files, held, read_manifest
from mynah.train.resharding import read_metadata, read_tensors
from mynah.workspace import replace_file

__all__ = ["BackgroundExport", "export"]

logger = logging.getLogger(__name__)

NICENESS = 10
"""The export has time until the next one; the steps have not."""


def export(
    checkpoint: Path,
    config: LlamaConfig,
    folder: Path,
    *,
    dtype: torch.dtype = torch.bfloat16,
    beside: Sequence[Path] = (),
) -> None:
    """Write the weights of a checkpoint as a model folder, whole or not at all.

    Args:
        checkpoint: A finished one; it is not removed meanwhile.
        config: Shape of the model.
        folder: Replaced if it is there.
        dtype: What to store the weights in; routers' biases stay in float32.
        beside: Files that are copied in unchanged, such as the tokenizer's.

    Raises:
        CheckpointError: The checkpoint is damaged, or of another model.
        MachineError: The disk is full; ``folder`` is as it was.
    """
    aside = folder.with_name(f".{folder.name}.writing")
    with held(checkpoint), machine_errors(folder):
        manifest = read_manifest(checkpoint)
        check_files(checkpoint, manifest.files)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            weights = _weights(checkpoint, config, files=manifest.files)
            write_checkpoint(aside, config, weights, dtype=dtype)
            for path in beside:
                replace_file(aside / path.name, path.read_bytes())
            if folder.exists():
                old = aside.with_suffix(".old.writing")
                shutil.rmtree(old, ignore_errors=True)
                folder.rename(old)
                aside.rename(folder)
                shutil.rmtree(old)
            else:
                aside.rename(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _weights(
    checkpoint: Path, config: LlamaConfig, *, files: Collection[str]
) -> Iterator[tuple[str, Tensor]]:
    """Each weight in full; all shapes are checked before the first is read."""
    metadata = read_metadata(checkpoint, files)
    shapes = weight_shapes(config)
    for name, shape in shapes.items():
        stored = metadata.state_dict_metadata.get(f"model.{name}")
        found = list(stored.size) if isinstance(stored, TensorStorageMetadata) else "nothing"
        if found != list(shape):
            raise CheckpointError(
                f"cannot export {checkpoint}: {name} should be {list(shape)}, found {found}",
                hint="export it with the recipe that it was trained with",
            )
    for name, shape in shapes.items():
        stored = metadata.state_dict_metadata[f"model.{name}"]
        assert isinstance(stored, TensorStorageMetadata), "checked above"
        weight = torch.empty(shape, dtype=stored.properties.dtype)
        read_tensors(checkpoint, metadata, {f"model.{name}": weight})
        yield name, weight


class BackgroundExport:
    """Exports on the way: one at a time, in a process of low priority. Of rank 0."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path()

    def start(
        self,
        checkpoint: Path,
        config: LlamaConfig,
        folder: Path,
        *,
        dtype: torch.dtype = torch.bfloat16,
        beside: Sequence[Path] = (),
    ) -> bool:
        """Begin an export, as ``export`` does it.

        Returns:
            False when the export before is not done yet: then this one is left out.
        """
        if self._process is not None and self._process.poll() is None:
            logger.warning("%s is not exported: %s still is", checkpoint.name, self._folder)
            return False
        self.poll()
        shape = json.dumps(config.to_hf(dtype=str(dtype).removeprefix("torch.")))
        command = [sys.executable, "-m", "mynah.train.exporting", str(checkpoint), shape]
        with held(checkpoint) as descriptor:  # the lock is the process's from here on
            self._process = subprocess.Popen(
                [*command, str(folder), *(str(path) for path in beside)],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[descriptor],
            )
        self._folder = folder
        return True

    def poll(self) -> Path | None:
        """Return the folder of an export that is done, once; say what went wrong with another."""
        if self._process is None or self._process.poll() is None:
            return None
        return self.wait()

    def wait(self) -> Path | None:
        """Wait for the export that is under way; return its folder if it went well."""
        if self._process is None:
            return None
        process, self._process = self._process, None
        said = process.communicate()[1].decode(errors="replace").strip()
        if process.returncode == 0:
            logger.info("model written to %s", self._folder)
            return self._folder
        last = said.splitlines()[-2:] or [f"exit code {process.returncode}"]
        logger.warning("%s is not written, training goes on: %s", self._folder, "; ".join(last))
        return None

    def stop(self) -> None:
        """End the export that is under way; its folder stays as it was."""
        if self._process is not None:
            self._process.terminate()
            self._process.communicate()
            self._process = None


def main(arguments: list[str]) -> int:
    """Run ``CHECKPOINT CONFIG_JSON FOLDER [FILE_BESIDE ...]``; return the exit code."""
    os.nice(NICENESS)
    torch.set_num_threads(1)
    shape = json.loads(arguments[1])
    try:
        export(
            Path(arguments[0]),
            LlamaConfig.from_hf(shape),
            Path(arguments[2]),
            dtype=getattr(torch, shape["dtype"]),
            beside=[Path(path) for path in arguments[3:]],
        )
    except MynahError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
