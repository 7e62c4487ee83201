"""What a run must remember to go on as if it had never stopped; whole on disk or absent.

Writes ``checkpoints/step-00000120/``: weights and optimizer moments as safetensors, the counters
as JSON, written last. ``latest`` is whichever finished folder has the highest step.
"""

import errno
import json
import os
import re
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from mynah.errors import CheckpointError, machine_errors
from mynah.record.runs import Spent
from mynah.workspace import replace_file

__all__ = ["Counters", "latest_checkpoint", "load_state", "save_state"]


@dataclass(slots=True, kw_only=True)
class Counters:
    """Where a run is."""

    step: int = 0
    """Optimizer steps done."""
    tokens: int = 0
    """Tokens read so far."""
    elapsed_s: float = 0.0
    """Seconds of training so far; pauses, evaluations and checkpoints not counted."""
    skipped_steps: int = 0
    """Steps whose loss or gradient was not finite."""
    base_bits_per_byte: float = 0.0
    """Of the base model, before the first step."""
    bits_per_byte: float = 0.0
    """Of the model at its last evaluation."""
    flop: int = 0
    """Counted so far, work that a kill undid included; so are the next two. See ``spent``."""
    device_s: float = 0.0
    """Devices times seconds."""
    spent_tokens: int = 0
    """Tokens trained on."""

    @property
    def spent(self) -> Spent:
        """What the run has used."""
        return Spent(flop=self.flop, device_s=self.device_s, tokens=self.spent_tokens)

    @spent.setter
    def spent(self, value: Spent) -> None:
        self.flop, self.device_s = value.flop, value.device_s
        self.spent_tokens = value.tokens


def _moments(model: nn.Module, optimizer: torch.optim.AdamW) -> dict[str, torch.Tensor]:
    names = {id(weight): name for name, weight in model.named_parameters()}
    return {
        f"{names[id(weight)]}.{key}": value
        for weight, state in optimizer.state.items()
        for key, value in state.items()
    }


def save_state(
    folder: Path, model: nn.Module, optimizer: torch.optim.AdamW, counters: Counters
) -> Path:
    """Write a checkpoint aside, rename it into ``folder``, then drop the older ones.

    Raises:
        MachineError: The disk is full; the checkpoint before stays good.
    """
    final = folder / f"step-{counters.step:08d}"
    aside = folder / f".{final.name}.writing"
    if (final / "counters.json").is_file():  # stopped again before a step: nothing has changed
        return final
    with machine_errors(folder):
        for cut_short in folder.glob(".step-*.writing"):  # by a kill; as large as a whole one
            shutil.rmtree(cut_short, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            save_file(dict(model.state_dict()), aside / "model.safetensors")
            save_file(_moments(model, optimizer), aside / "optimizer.safetensors")
            for name in ("model.safetensors", "optimizer.safetensors"):
                with (aside / name).open("rb") as stream:
                    os.fsync(stream.fileno())
            replace_file(aside / "counters.json", json.dumps(asdict(counters)).encode())
        except SafetensorError as error:
            # It wraps the system's error in its own, and says which only in words.
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]) if number else errno.ENOSPC, str(error)) from error
        finally:
            if sys.exception() is not None:
                shutil.rmtree(aside, ignore_errors=True)
        if final.exists():
            shutil.rmtree(final)
        aside.rename(final)
    for old in _finished(folder)[:-1]:
        shutil.rmtree(old)
    return final


def _finished(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("step-*") if (p / "counters.json").is_file())


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the finished checkpoint with the highest step, if there is one."""
    finished = _finished(folder)
    return finished[-1] if finished else None


def load_state(checkpoint: Path, model: nn.Module, optimizer: torch.optim.AdamW) -> Counters:
    """Put weights and moments back, bit for bit.

    Raises:
        CheckpointError: A file is cut short, or belongs to another model.
    """
    try:
        weights = load_file(checkpoint / "model.safetensors")
        moments = load_file(checkpoint / "optimizer.safetensors")
        counters = Counters(**json.loads((checkpoint / "counters.json").read_bytes()))
        model.load_state_dict(weights, strict=True)
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{checkpoint} cannot be read: {error}".splitlines()[0],
            hint="delete that folder and run the same command again; the run then begins anew",
        ) from error
    for name, weight in model.named_parameters():
        keys = ("step", "exp_avg", "exp_avg_sq")
        if f"{name}.step" in moments:
            # Copied: what is loaded is a map of the file, which would stay on the disk with it.
            optimizer.state[weight] = {key: moments[f"{name}.{key}"].clone() for key in keys}
    return counters
