import asyncio
import threading
from collections.abc import Iterator

import pytest

from mynah.chat import AnswerEvent, Finished, Retrieved, Sentence
from mynah.errors import MachineError
from mynah.web.answering import AnswerStream

FINISHED = Finished(
    model="town",
    finish_reason="stop",
    num_prompt_tokens=1,
    num_completion_tokens=1,
    is_answered=True,
)
EVENTS: tuple[AnswerEvent, ...] = (Retrieved(()), Sentence(text="Yes. "), FINISHED)


async def collect(stream: AnswerStream) -> list[AnswerEvent]:
    return [event async for event in stream.events()]


def test_events_come_in_their_order() -> None:
    async def ask() -> list[AnswerEvent]:
        return await collect(AnswerStream(lambda: (event for event in EVENTS)))

    assert asyncio.run(ask()) == list(EVENTS)


def test_an_error_of_the_engine_reaches_the_page() -> None:
    def broken() -> Iterator[AnswerEvent]:
        yield Retrieved(())
        raise MachineError("the engine died", hint="start it again")

    async def ask() -> None:
        await collect(AnswerStream(broken))

    with pytest.raises(MachineError, match="the engine died"):
        asyncio.run(ask())


def test_cancelling_ends_the_stream_and_closes_the_generator() -> None:
    closed = threading.Event()
    go_on = threading.Event()

    def endless() -> Iterator[AnswerEvent]:
        try:
            yield Retrieved(())
            while True:
                go_on.wait(5)
                yield Sentence(text="And on. ")
        finally:
            closed.set()

    async def ask() -> list[AnswerEvent]:
        stream = AnswerStream(endless)
        events: list[AnswerEvent] = []
        async for event in stream.events():
            events.append(event)
            stream.cancel()
            stream.cancel()
        assert stream.is_cancelled
        go_on.set()
        await asyncio.to_thread(closed.wait, 5)
        return events

    assert asyncio.run(ask()) == [Retrieved(())]
    assert closed.is_set()
