"""A progress bar for commands that may take a while, on a terminal only."""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from mynah.progress import NO_PROGRESS, Progress

__all__ = ["progress_bar"]

_SHOWN_AFTER_S = 2.0


@contextmanager
def progress_bar(title: str) -> Generator[Progress]:
    """Give something to report progress to; it shows once the work has taken two seconds."""
    if not sys.stderr.isatty():
        yield NO_PROGRESS
        return
    started_s = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bars = Bars(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
    task = bars.add_task(title, total=None)

    def report(done: float, total: float | None = None, *, note: str = "") -> None:
        if not bars.live.is_started and time.monotonic() - started_s > _SHOWN_AFTER_S:
            bars.start()
        bars.update(task, completed=done, total=total, description=f"{title} {note}".rstrip())

    try:
        yield report
    finally:
        bars.stop()
