"""From the assistant's thread to the page's event loop: an answer as an async stream.

The assistant is a blocking generator. It runs in a thread of its own, and its events come over a
queue. Cancelling takes effect for the reader at once; the thread closes the generator, which
stops the engine, as soon as it has its next event.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import suppress
from typing import cast

from mynah.chat import AnswerEvent
from mynah.errors import MynahError

__all__ = ["AnswerStream"]


class AnswerStream:
    """One answer on its way. Made in the event loop; iterate it once."""

    def __init__(self, start: Callable[[], Iterator[AnswerEvent]]) -> None:
        self._start = start
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[AnswerEvent | MynahError | None] = asyncio.Queue()
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mynah-answer", daemon=True)

    @property
    def is_cancelled(self) -> bool:
        """Whether someone stopped it before its end."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Stop: the reader gets no more events, the generator is closed. Twice is harmless."""
        self._cancelled.set()
        self._queue.put_nowait(None)

    async def events(self) -> AsyncIterator[AnswerEvent]:
        """Events as they come.

        Raises:
            MynahError: What the assistant or its engine raised.
        """
        self._thread.start()
        while (event := await self._queue.get()) is not None and not self.is_cancelled:
            if isinstance(event, MynahError):
                raise event
            yield event

    def _work(self) -> None:
        try:
            events = self._start()
            try:
                for event in events:
                    if self.is_cancelled:
                        break
                    self._put(event)
            finally:
                cast("Generator[AnswerEvent]", events).close()
        except MynahError as error:
            self._put(error)
        finally:
            self._put(None)

    def _put(self, event: AnswerEvent | MynahError | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: the server is going down
            self._loop.call_soon_threadsafe(self._queue.put_nowait, event)
