"""Engines in use, by name, and the change from one to the next without dropping a request.

A lease holds an engine open; an engine that was replaced is closed when its last lease ends.
"""

import logging
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from mynah.errors import RequestError
from mynah.serve.engine import Engine

__all__ = ["EnginePool"]

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Place:
    """An engine and the leases on it."""

    engine: Engine
    num_leases: int = 0


class EnginePool:
    """Thread-safe. The current engine answers whoever names no model."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}
        self._current = ""
        self._changed = threading.Condition()
        self._num_swaps = 0

    @property
    def models(self) -> tuple[str, ...]:
        """Names that a request may ask for, the current one first."""
        with self._changed:
            return tuple(sorted(self._places, key=lambda name: name != self._current))

    @property
    def current(self) -> str:
        """Name of the engine that answers by default; empty while there is none."""
        return self._current

    @property
    def num_swaps(self) -> int:
        """How often the current engine was replaced by another."""
        return self._num_swaps

    @contextmanager
    def lease(self, model: str | None = None) -> Generator[Engine]:
        """Hold an engine open for one request.

        Args:
            model: Name of the engine; ``None`` takes the current one.

        Raises:
            RequestError: No model is loaded yet (503), or none has this name (404).
        """
        with self._changed:
            place = self._find(model)
            place.num_leases += 1
        try:
            yield place.engine
        finally:
            with self._changed:
                place.num_leases -= 1
                self._changed.notify_all()

    def add(self, engine: Engine) -> None:
        """Serve ``engine`` beside the others; the first one added becomes the current one.

        One of the same name is replaced, and closed when its last request has ended.
        """
        with self._changed:
            replaced = self._places.get(engine.model)
            self._places[engine.model] = _Place(engine)
            self._current = self._current or engine.model
        if replaced is not None:
            self._drain(replaced)

    def swap(self, new: Engine) -> None:
        """Make ``new`` the current engine at once; return when the one it replaces is closed.

        Requests in flight finish on the old engine.
        """
        with self._changed:
            olds = {self._places.pop(name, None) for name in (self._current, new.model)}
            self._places[new.model] = _Place(new)
            self._current = new.model
            drained = [place for place in olds if place is not None]
            self._num_swaps += bool(drained)
        logger.info("model %s takes over", new.model)
        for place in drained:
            self._drain(place)

    def close(self) -> None:
        """Take no more requests, wait for those in flight, close every engine."""
        with self._changed:
            places = list(self._places.values())
            self._places.clear()
            self._current = ""
        for place in places:
            self._drain(place)

    def _find(self, model: str | None) -> _Place:
        if not self._places:
            raise RequestError(
                "no model is loaded yet",
                hint="search answers already; ask again in a minute, when the base model is loaded",
                status=503,
                code="model_loading",
            )
        place = self._places.get(self._current if model is None else model)
        if place is None:
            raise RequestError(
                f"there is no model {model!r}; loaded: {', '.join(sorted(self._places))}",
                hint="leave the model out to get the current one, or see /v1/models",
                status=404,
                code="model_not_found",
            )
        return place

    def _drain(self, place: _Place) -> None:
        """Wait for the last lease of an engine that nobody can lease any more, then close it."""
        with self._changed:
            self._changed.wait_for(lambda: place.num_leases == 0)
        place.engine.close()
