"""What the pages and the API are given: the rooms that are open so far, and how the job goes.

The job (package above) fills a ``House`` stage by stage while the pages already show it.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mynah.ads import AdServer, AdStore
from mynah.chat import Assistant
from mynah.record.record import Record
from mynah.record.thresholds import THRESHOLDS, Threshold
from mynah.search import SearchIndex
from mynah.serve import EnginePool
from mynah.web.keys import KeyStore
from mynah.workspace import Artifact, Workspace

__all__ = ["House", "Stage", "StageState"]

StageState = Literal["waiting", "running", "done", "skipped", "failed"]


@dataclass(slots=True)
class Stage:
    """One stage of the main job, as a person follows it."""

    name: str
    """``read``, ``index``, ``base``, ``corpus``, ``train``, ``export`` or ``swap``."""
    title: str
    """What it does, in a few words."""
    state: StageState = "waiting"
    done: float = 0.0
    total: float | None = None
    """In the stage's own unit; ``None`` while unknown."""
    note: str = ""
    """What is going on right now, or the one-line result, or the error."""
    started_s: float | None = None
    """``time.monotonic`` of its start."""
    seconds: float = 0.0
    """How long it took, once it ended."""

    @property
    def eta_s(self) -> float | None:
        """Seconds left if it goes on as so far; ``None`` while unknown."""
        if self.state != "running" or self.started_s is None or not self.total or not self.done:
            return None
        elapsed = time.monotonic() - self.started_s
        return max(0.0, elapsed * (self.total - self.done) / self.done)


@dataclass(slots=True)
class House:
    """Everything behind the pages. Fields that are ``None`` are rooms not open yet."""

    workspace: Workspace
    pool: EnginePool
    ad_store: AdStore
    ad_server: AdServer
    keys: KeyStore
    assistant: Assistant
    network: str = ""
    """Name of the network whose posts these are."""
    is_local: bool = True
    """True when bound to loopback: pages need no login then."""
    stages: list[Stage] = field(default_factory=lambda: [])
    posts: Artifact | None = None
    corpus: Artifact | None = None
    index: SearchIndex | None = None
    run: Path | None = None
    """Folder of the training run that the Train page shows."""
    questions: tuple[str, ...] = ()
    """Four questions made from what the network talks about."""
    trained_at: float | None = None
    """Unix time at which the trained model took over; ``None`` while the base answers."""
    take_back: Callable[[str], Mapping[str, Any]] | None = None
    """Takes the post of an id back everywhere and returns the receipt as plain data. Set by the
    job; ``None`` while no post can be taken back. May take seconds and raise a ``MynahError``."""
    record: Record | None = None
    """What was trained, paused, shared and taken back; open from the first start on."""
    thresholds: tuple[Threshold, ...] = THRESHOLDS
    """Amounts of compute that the Record page draws a line at."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def current_stage(self) -> Stage | None:
        """The stage that runs now, or failed, if any."""
        return next((s for s in self.stages if s.state in ("running", "failed")), None)
