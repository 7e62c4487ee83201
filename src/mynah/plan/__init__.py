"""Plan: what a number of accelerators can train, in which layout, at what cost.

Reads a recipe, a budget and facts of hardware; writes tables and launch files.
"""

from typing import TYPE_CHECKING

from mynah.loading import on_first_use

if TYPE_CHECKING:
    from mynah.plan.goodput import run_goodput
    from mynah.plan.hardware import accelerators, find_accelerator
    from mynah.plan.launch import launch_files
    from mynah.plan.planning import make_plan
    from mynah.plan.predictions import predict
    from mynah.plan.published import read_table
    from mynah.plan.search import search_layouts

__all__ = [
    "accelerators",
    "find_accelerator",
    "launch_files",
    "make_plan",
    "predict",
    "read_table",
    "run_goodput",
    "search_layouts",
]

__getattr__ = on_first_use(
    __name__,
    {
        "accelerators": "hardware",
        "find_accelerator": "hardware",
        "launch_files": "launch",
        "make_plan": "planning",
        "predict": "predictions",
        "read_table": "published",
        "run_goodput": "goodput",
        "search_layouts": "search",
    },
)
