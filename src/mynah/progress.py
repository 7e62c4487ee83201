"""Progress of a stage: counted work, shown as a bar on a terminal and as numbers on the pages."""

from typing import Protocol

__all__ = ["NO_PROGRESS", "Progress"]


class Progress(Protocol):
    """Told by a stage how far it is."""

    def __call__(self, done: float, total: float | None = None, *, note: str = "") -> None:
        """Report ``done`` of ``total`` units; ``total`` is ``None`` while it is unknown."""
        ...


def _ignore(done: float, total: float | None = None, *, note: str = "") -> None:
    """Report to nobody."""


NO_PROGRESS: Progress = _ignore
"""For callers that show nothing."""
