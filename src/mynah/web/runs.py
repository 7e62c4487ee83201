"""Training runs as the Train page follows them: a curve that grows, samples, a result.

Reads ``runs/<run>/metrics.jsonl`` from where it last stopped, ``samples.json`` and
``result.json``; writes nothing.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

__all__ = ["Curve", "MetricsTail", "RunResult", "Sample", "list_runs", "read_samples", "thinned"]

Point = tuple[int, float]
"""A step and a value."""


class MetricsTail:
    """Reads what was added to a ``metrics.jsonl`` since the last time, whole lines only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._inode = 0

    def read(self) -> list[dict[str, Any]]:
        """Return new rows. A file that was cut or replaced is read from its start."""
        try:
            with self.path.open("rb") as stream:
                facts = self.path.stat()
                if facts.st_ino != self._inode or facts.st_size < self._offset:
                    self._inode, self._offset = facts.st_ino, 0
                stream.seek(self._offset)
                fresh = stream.read()
        except FileNotFoundError:
            return []
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [row for line in whole.splitlines() if (row := _as_row(line)) is not None]


def _as_row(line: bytes) -> dict[str, Any] | None:
    try:
        row: Any = json.loads(line)
    except ValueError:  # torn by a kill; the resumed run writes that step again
        return None
    return cast("dict[str, Any]", row) if isinstance(row, dict) and "step" in row else None


@dataclass(slots=True)
class Curve:
    """What a run's metrics say so far."""

    heldout: list[Point] = field(default_factory=lambda: [])
    """Bits per byte on held-out posts, at evaluated steps; the base model's at step 0."""
    loss: list[Point] = field(default_factory=lambda: [])
    last: dict[str, Any] = field(default_factory=lambda: {})
    """The latest row of a training step."""

    @property
    def base(self) -> float | None:
        """Bits per byte of the base model."""
        return self.heldout[0][1] if self.heldout and self.heldout[0][0] == 0 else None

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Take in new rows; a step that comes again, after a resume, replaces what followed it."""
        for row in rows:
            step = int(row["step"])
            for points in (self.heldout, self.loss):
                while points and points[-1][0] >= step:
                    points.pop()
            for points, name in ((self.heldout, "heldout_bits_per_byte"), (self.loss, "loss")):
                value = row.get(name)
                if isinstance(value, int | float) and math.isfinite(value):
                    points.append((step, float(value)))
            if "tokens" in row:
                self.last = row


def thinned(points: Sequence[Point], *, limit: int) -> list[Point]:
    """At most about ``limit`` points, each the mean of its stretch, the last as it is."""
    width = math.ceil(len(points) / limit)
    if width <= 1:
        return list(points)
    stretches = [points[at : at + width] for at in range(0, len(points) - 1, width)]
    means = [(s[len(s) // 2][0], sum(value for _, value in s) / len(s)) for s in stretches]
    return [*means, points[-1]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One prompt, answered by the base model and by the trained one."""

    prompt: str
    before: str
    after: str | None


def read_samples(run: Path) -> tuple[Sample, ...]:
    """The samples of a run; none until the run has made them."""
    rows = _read_json(run / "samples.json")
    if not isinstance(rows, list):
        return ()
    return tuple(
        Sample(prompt=str(row["prompt"]), before=str(row["before"]), after=row.get("after"))
        for row in cast("list[dict[str, Any]]", rows)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended."""

    name: str
    base_bits_per_byte: float
    bits_per_byte: float
    steps: int
    tokens: int
    seconds: float
    tokens_per_s: float
    peak_memory_bytes: int

    @property
    def headline(self) -> str:
        """The result in one line, as in ``1.62 \u2192 1.31 bits per byte, 19 % fewer``."""
        change = 1 - self.bits_per_byte / self.base_bits_per_byte
        word = "fewer" if change >= 0 else "more"
        return (
            f"{self.base_bits_per_byte:.2f} \u2192 {self.bits_per_byte:.2f} bits per byte, "
            f"{abs(change):.0%} {word}".replace("%", " %")
        )

    @classmethod
    def read(cls, run: Path) -> "RunResult | None":
        """Read ``result.json``; ``None`` while the run goes on."""
        raw = _read_json(run / "result.json")
        if not isinstance(raw, dict):
            return None
        facts = cast("dict[str, Any]", raw)
        numbers = {name: facts[name] for name in cls.__dataclass_fields__ if name != "name"}
        return cls(name=run.name, **numbers)


def list_runs(runs: Path) -> list[tuple[str, RunResult | None]]:
    """Every run of a workspace, the newest first, with its result if it has one."""
    if not runs.is_dir():
        return []
    folders = [f for f in runs.iterdir() if f.is_dir() and (f / "metrics.jsonl").exists()]
    folders.sort(key=lambda folder: (folder / "metrics.jsonl").stat().st_mtime, reverse=True)
    return [(folder.name, RunResult.read(folder)) for folder in folders]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
