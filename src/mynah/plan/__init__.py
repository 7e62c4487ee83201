"""Plan: what a number of accelerators can train, in which layout, at what cost.

Reads a recipe, a budget and facts of hardware; writes tables and launch files.
"""

from mynah.plan.goodput import run_goodput
from mynah.plan.hardware import accelerators, find_accelerator
from mynah.plan.launch import launch_files
from mynah.plan.predict import predict
from mynah.plan.published import read_table

__all__ = [
    "accelerators",
    "find_accelerator",
    "launch_files",
    "predict",
    "read_table",
    "run_goodput",
]
