"""The worker of the main job under another clock, with keys and a log file of its own.

For a forked process that has imported all of it already. The machine's peak, which no pause
depends on, is not measured: half of a start would go into it.
"""

import os
import sys
import time
from pathlib import Path

import gguf
import model_signing
import torch

import mynah.serve
import mynah.train.run
from mynah.job.worker import main

__all__ = ["run_worker"]

_PRELOADED = (gguf, model_signing, mynah.serve)
torch.set_num_threads(1)


def run_worker(workspace: Path, run: str, keys: Path, log: Path, shift_s: float) -> None:
    """Train a run as the main job's process does; exit as it does."""
    os.environ["MYNAH_KEYS"] = str(keys)
    with log.open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    mynah.train.run.measure_peak_flop_per_s = lambda device: 1e11
    true_s, true_ns = time.time, time.time_ns
    time.time = lambda: true_s() + shift_s
    time.time_ns = lambda: true_ns() + int(shift_s * 1e9)
    model = workspace / "models" / f"mynah-{run[:6]}"
    arguments = [workspace / "runs" / run, model, os.getppid(), workspace]
    code = main([str(argument) for argument in arguments])
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)
