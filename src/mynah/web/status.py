"""What the top line and the banner say of the house: which model answers, what is being done.

Reads the house's stages and pool; writes nothing.
"""

import time
from dataclasses import dataclass
from datetime import datetime

from mynah.web.house import House, Stage
from mynah.web.wording import duration

__all__ = ["Status", "failed_stage", "model_status", "stage_line"]

_DOING = {
    "read": "reading posts",
    "index": "indexing posts",
    "base": "loading",
    "corpus": "preparing posts",
    "train": "training",
    "export": "packing the trained model",
    "swap": "switching models",
}
"""What each stage is doing, in two words."""


@dataclass(frozen=True, slots=True)
class Status:
    """The right end of the top line."""

    model: str
    """Which model answers now, or that none does yet."""
    doing: str = ""
    """What goes on; empty when all is quiet."""
    exact: str = ""
    """The model's name and the exact time, for hovering."""
    is_live: bool = False
    """Whether something is running, which lights the dot."""

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"{self.model} \u00b7 {self.doing}" if self.doing else self.model


def model_status(house: House) -> Status:
    """Say which model answers and what the job is doing."""
    current = house.pool.current if house.pool.models else ""
    running = next((s for s in house.stages if s.state == "running"), None)
    if house.trained_at is not None:
        when = datetime.fromtimestamp(house.trained_at).astimezone()
        same_day = when.date() == datetime.now().astimezone().date()
        at = f"{when:%H:%M}" if same_day else f"{when:%d %b, %H:%M}"
        return Status(f"trained {at}", exact=f"{current}, answering since {when:%d %b %Y, %H:%M}")
    model = "base model" if current else "no model yet"
    doing = "" if running is None else _doing(running)
    return Status(model, doing, exact=current or "Search works before a model is loaded",
                  is_live=running is not None)  # fmt: skip


def _doing(stage: Stage) -> str:
    words = _DOING.get(stage.name, stage.title.lower())
    if stage.eta_s is not None and stage.eta_s >= 2:
        return f"{words}, {duration(stage.eta_s)} left"
    return words


def failed_stage(house: House) -> Stage | None:
    """Return the stage that stopped the job, if one did."""
    return next((s for s in house.stages if s.state == "failed"), None)


def stage_line(stage: Stage) -> str:
    """How far a stage is, in a few words."""
    if stage.state == "waiting":
        return "waits for its turn"
    if stage.state == "running":
        elapsed = time.monotonic() - stage.started_s if stage.started_s is not None else 0.0
        left = f", {duration(stage.eta_s)} left" if stage.eta_s is not None else ""
        return f"{stage.note or 'running'} \u00b7 {duration(elapsed)}{left}"
    if stage.state == "skipped":
        return stage.note or "already there"
    if stage.state == "failed":
        return "stopped"
    return stage.note or f"done in {duration(stage.seconds)}"
