"""What a run says of itself as it goes: a line a step in ``metrics.jsonl``, and curves on request.

Writes ``metrics.jsonl`` and, when asked, ``tensorboard/`` of a run's folder; rank 0 alone does.
"""

import json
from pathlib import Path
from typing import Any

from mynah.errors import ConfigError, machine_errors
from mynah.workspace import replace_file

__all__ = ["MetricsFile", "progress_of"]

Row = dict[str, Any]
"""Names with units, to numbers; ``step`` is always there."""


class MetricsFile:
    """The rows of a run, in the order of its steps.

    Args:
        folder: The run's.
        is_tensorboard: Whether every number also goes to ``tensorboard/``.

    Raises:
        ConfigError: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, *, is_tensorboard: bool = False) -> None:
        self.path = folder / "metrics.jsonl"
        self._curves = _Curves(folder / "tensorboard") if is_tensorboard else None

    def write(self, row: Row) -> None:
        """Append a row.

        Raises:
            MachineError: The disk is full.
        """
        with machine_errors(self.path), self.path.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        if self._curves is not None:
            self._curves.write(row)

    def drop_after(self, step: int) -> None:
        """Take back rows that a killed process wrote past its last checkpoint, or cut in half.

        Args:
            step: The checkpoint's; -1 takes all rows back.
        """
        kept: list[bytes] = []
        lines = self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []
        for line in lines:
            try:
                if line.endswith(b"\n") and json.loads(line)["step"] <= step:
                    kept.append(line)
            except (ValueError, KeyError, TypeError):
                continue
        replace_file(self.path, b"".join(kept))
        if self._curves is not None:
            self._curves.drop_after(step)

    def close(self) -> None:
        """Let go of TensorBoard's files."""
        if self._curves is not None:
            self._curves.close()


class _Curves:
    """Every number of the rows, for TensorBoard; no file before the first row."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "is_tensorboard is true, and TensorBoard is not installed",
                hint='pip install "mynah[tensorboard]", or --set is_tensorboard=false',
            ) from error
        self._folder = folder
        self._open = SummaryWriter
        self._writer: SummaryWriter | None = None
        self._forgotten_from: int | None = None

    def write(self, row: Row) -> None:
        with machine_errors(self._folder):
            if self._writer is None:
                self._writer = self._open(str(self._folder), purge_step=self._forgotten_from)
            for name, value in row.items():
                if name != "step" and value is not None:
                    self._writer.add_scalar(name, float(value), int(row["step"]))
            self._writer.flush()

    def drop_after(self, step: int) -> None:
        """Have viewers forget, once the next row is written, what stands past ``step``."""
        self.close()
        self._forgotten_from = step + 1

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None


def progress_of(row: Row) -> tuple[float, float, str] | None:
    """What a progress line shows of a step: seconds done, seconds in all, and a note.

    Returns:
        Nothing for a row that is not a step's, such as the evaluation before the first.
    """
    if "remaining_s" not in row:
        return None
    is_skipped = row["loss"] is None or row.get("is_skipped", False)
    loss = "skipped" if is_skipped else f"loss {row['loss']:.2f}"
    note = f"step {row['step']:,}, {loss}, {row['tokens_per_s']:,.0f} tokens/s"
    left_s = float(row["remaining_s"])
    return row["elapsed_s"], row["elapsed_s"] + left_s, f"{note}, {_duration(left_s)} left"


def _duration(seconds: float) -> str:
    """Two units at the most: ``42 s``, ``3 min 05 s``, ``2 h 07 min``, ``12 d 03 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600:02} h"
