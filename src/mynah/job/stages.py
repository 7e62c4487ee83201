"""The stages of the main job as a person follows them: on the terminal and on the pages."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mynah.errors import MynahError, PausedError
from mynah.web.house import Stage

__all__ = ["STAGES", "Reporter", "StageHandle"]

STAGES = {
    "read": "Read the posts",
    "index": "Index them for search",
    "base": "Load the base model",
    "corpus": "Clean and tokenise",
    "train": "Train",
    "export": "Quantise the new model",
    "swap": "Put it to work",
}
"""Name and title of every stage, in order."""


@dataclass(slots=True)
class StageHandle:
    """Given to the code of a stage: call it with progress, set ``result`` at the end."""

    stage: Stage
    show: Callable[[Stage], None]
    result: str = ""
    is_skipped: bool = False
    started_at: float = field(default_factory=time.time)
    """Unix time; what is older was there before the stage."""

    def __call__(self, done: float, total: float | None = None, *, note: str = "") -> None:
        """Take a report of progress; see ``mynah.progress.Progress``."""
        self.stage.done = done
        self.stage.total = total
        self.stage.note = note or self.stage.note
        self.show(self.stage)

    def skip(self, result: str) -> None:
        """Say that the artifact was there already."""
        self.is_skipped = True
        self.result = result


class Reporter:
    """Runs stages one after another and shows them.

    Args:
        stages: What the pages show; one a name in ``STAGES``.
        console: Where the terminal's bars and lines go; standard error by default.
    """

    def __init__(self, stages: list[Stage], *, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.stages = {stage.name: stage for stage in stages}

    @contextmanager
    def stage(self, name: str) -> Generator[StageHandle]:
        """Show one stage while its block runs; an error of the tree marks it failed."""
        stage = self.stages[name]
        stage.state = "running"
        stage.started_s = time.monotonic()
        stage.done, stage.total, stage.note = 0.0, None, ""
        try:
            with self._bar(stage) as show:
                handle = StageHandle(stage, show)
                yield handle
        except MynahError as error:
            stage.state = "failed"
            stage.note = error.message if isinstance(error, PausedError) else str(error)
            raise
        finally:
            stage.seconds = time.monotonic() - stage.started_s
        stage.state = "skipped" if handle.is_skipped else "done"
        stage.note = handle.result
        took = "kept" if handle.is_skipped else f"{stage.seconds:.1f} s"
        line = f"  {stage.title:<22} {escape(handle.result)} [dim]({took})[/dim]"
        self.console.print(line, soft_wrap=True)

    @contextmanager
    def _bar(self, stage: Stage) -> Generator[Callable[[Stage], None]]:
        if not self.console.is_terminal:
            self.console.print(f"  {stage.title} ...")
            yield lambda _: None
            return
        columns = (
            TextColumn("  {task.description:<22}"),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[note]}", markup=False),  # a file's name, as it is
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as bars:
            task = bars.add_task(stage.title, total=None, note="")
            yield lambda now: bars.update(task, completed=now.done, total=now.total, note=now.note)
