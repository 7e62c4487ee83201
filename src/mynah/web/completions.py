"""Chat completions: an answer's events become OpenAI's objects, whole or as a stream.

Reads the assistant's events, or an engine's text where no posts are asked for; writes nothing.
"""

import asyncio
import json
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any, cast

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from mynah.ads import Impression
from mynah.chat import AnswerEvent, Finished, Retrieved, Sentence
from mynah.errors import MachineError, MynahError, RequestError
from mynah.serve import Delta, Message, Sampling
from mynah.web.answering import AnswerStream
from mynah.web.house import House
from mynah.web.metrics import Metrics
from mynah.web.refusals import as_request_error
from mynah.web.wire import (
    ChatBody,
    cited_object,
    error_object,
    impression_object,
    sentence_object,
    sentences_text,
)

__all__ = ["MAX_ANSWERS", "Completions"]

Json = Any
"""A value that JSON can hold."""

MAX_ANSWERS = 64
"""Answers made or waiting at once; each is a thread, and the last would wait for minutes."""


class Completions:
    """Answers ``POST /v1/chat/completions``."""

    def __init__(self, house: House, metrics: Metrics) -> None:
        self._house = house
        self._metrics = metrics
        self._num_answers = 0
        self._lock = threading.Lock()

    async def answer(self, body: ChatBody, request: Request) -> Response:
        """Answer whole or as a stream; a client that goes away stops the model.

        Raises:
            MynahError: Whatever is known before the first piece of the answer.
        """
        messages, sampling = body.as_messages(), await run_in_threadpool(self._sampling, body)
        answer = _Answer(body=body, question=_question(messages))
        stream = AnswerStream(lambda: self._counted(lambda: self._events(body, messages, sampling)))
        events = stream.events()
        if not body.stream:
            watcher = asyncio.create_task(_cancel_on_disconnect(request, stream))
            try:
                async for event in events:
                    self._note(answer, event)
            finally:
                watcher.cancel()
            return JSONResponse(await self._completion(answer, is_cancelled=stream.is_cancelled))
        first = await anext(events, None)  # a refusal is still a plain answer with its status
        chunks = self._chunks(answer, first, events, stream)
        return StreamingResponse(chunks, media_type="text/event-stream", headers=STREAM_HEADERS)

    def _sampling(self, body: ChatBody) -> Sampling:
        with self._house.pool.lease(body.model) as engine:
            return body.as_sampling(max_context_tokens=engine.max_context_tokens)

    def _events(
        self, body: ChatBody, messages: list[Message], sampling: Sampling
    ) -> Iterator[AnswerEvent]:
        if body.grounded:
            return self._house.assistant.answer(messages, sampling=sampling, model=body.model)
        return self._plain(body, messages, sampling)

    def _plain(
        self, body: ChatBody, messages: list[Message], sampling: Sampling
    ) -> Iterator[AnswerEvent]:
        """What the model alone says, each piece as a sentence that rests on nothing."""
        with self._house.pool.lease(body.model) as engine:
            stream = cast("Generator[Delta]", engine.generate(messages, sampling=sampling))
            last = Delta()
            with closing(stream):
                for last in stream:
                    if last.text:
                        yield Sentence(text=last.text)
            yield Finished(
                model=engine.model,
                finish_reason=last.finish_reason or "stop",
                num_prompt_tokens=last.num_prompt_tokens,
                num_completion_tokens=last.num_completion_tokens,
                is_answered=True,
            )

    def _counted(self, start: Callable[[], Iterator[AnswerEvent]]) -> Iterator[AnswerEvent]:
        """Hold one of the places for answers from the first event to the last."""
        with self._lock:
            if self._num_answers >= MAX_ANSWERS:
                raise RequestError(
                    f"{MAX_ANSWERS} answers are being made already",
                    hint="wait a moment and ask again",
                    status=429,
                    code="too_many_requests",
                )
            self._num_answers += 1
        try:
            with closing(cast("Generator[AnswerEvent]", start())) as events:
                yield from events
        finally:
            with self._lock:
                self._num_answers -= 1

    def _note(self, answer: "_Answer", event: AnswerEvent) -> None:
        if isinstance(event, Sentence) and not answer.sentences:
            self._metrics.first_sentence_s.observe(time.monotonic() - answer.started_s)
        if isinstance(event, Finished):
            self._metrics.prompt_tokens.inc(event.num_prompt_tokens)
            self._metrics.completion_tokens.inc(event.num_completion_tokens)
        answer.take(event)

    async def _select(self, answer: "_Answer") -> Impression | None:
        """Pick the creative that stands beside an answer from posts, never in it."""
        if not answer.body.grounded:
            return None
        select = self._house.ad_server.select
        return await run_in_threadpool(select, answer.question, placement="chat")

    async def _completion(self, answer: "_Answer", *, is_cancelled: bool) -> dict[str, Json]:
        """The whole answer as one object."""
        if is_cancelled:
            return {}  # nobody is there to read it
        impression = await self._select(answer)
        message = {"role": "assistant", "content": sentences_text(answer.sentences)}
        choice = {
            "index": 0,
            "message": {**message, "refusal": None},
            "logprobs": None,
            "finish_reason": answer.finished.finish_reason,
        }
        body = answer.envelope("chat.completion", answer.finished.model)
        facts = answer.posts_facts() | answer.closing_facts(impression)
        return body | {"choices": [choice], "usage": answer.usage(), "mynah": facts}

    async def _chunks(
        self,
        answer: "_Answer",
        first: AnswerEvent | None,
        events: AsyncIterator[AnswerEvent],
        stream: AnswerStream,
    ) -> AsyncIterator[str]:
        """Server-sent events, one a sentence; closing this stops the model."""
        model = answer.body.model or self._house.pool.current
        try:
            opening = answer.take_opening(first)
            yield answer.chunk(model, {"role": "assistant", "content": ""}, facts=opening)
            if first is not None and not isinstance(first, Retrieved):
                self._note(answer, first)
                if isinstance(first, Sentence):
                    yield answer.sentence_chunk(model, first)
            async for event in events:
                self._note(answer, event)
                if isinstance(event, Sentence):
                    yield answer.sentence_chunk(model, event)
            facts = answer.closing_facts(await self._select(answer))
            model, reason = answer.finished.model, answer.finished.finish_reason
            yield answer.chunk(model, {}, finish_reason=reason, facts=facts)
            if answer.body.has_usage:
                yield answer.usage_chunk(model, facts)
        except MynahError as error:
            yield _sse(error_object(as_request_error(error)))
        finally:
            stream.cancel()
        yield "data: [DONE]\n\n"


STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@dataclass(slots=True, kw_only=True)
class _Answer:
    """One answer as far as it has come."""

    body: ChatBody
    question: str
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_urlsafe(18)}")
    created: int = field(default_factory=lambda: int(time.time()))
    started_s: float = field(default_factory=time.monotonic)
    posts: list[Json] = field(default_factory=lambda: [])
    sentences: list[Sentence] = field(default_factory=lambda: [])
    end: Finished | None = None

    @property
    def finished(self) -> Finished:
        """How it ended."""
        if self.end is None:
            raise MachineError("the answer broke off", hint="ask again")
        return self.end

    def take(self, event: AnswerEvent) -> None:
        if isinstance(event, Retrieved):
            self.posts = [cited_object(cited) for cited in event.posts]
        elif isinstance(event, Sentence):
            self.sentences.append(event)
        else:
            self.end = event

    def take_opening(self, first: AnswerEvent | None) -> dict[str, Json]:
        """The posts, if the answer begins with them as one from posts does."""
        if isinstance(first, Retrieved):
            self.take(first)
        return self.posts_facts()

    def posts_facts(self) -> dict[str, Json]:
        return {"posts": self.posts}

    def closing_facts(self, impression: Impression | None) -> dict[str, Json]:
        return {
            "sentences": [sentence_object(sentence) for sentence in self.sentences]
            if self.body.grounded
            else [],
            "is_answered": self.finished.is_answered,
            "ad": impression_object(impression),
        }

    def usage(self) -> dict[str, int]:
        read, written = self.finished.num_prompt_tokens, self.finished.num_completion_tokens
        return {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
        }

    def envelope(self, kind: str, model: str) -> dict[str, Json]:
        return {"id": self.id, "object": kind, "created": self.created, "model": model}

    def chunk(
        self,
        model: str,
        delta: dict[str, Json],
        *,
        finish_reason: str | None = None,
        facts: dict[str, Json] | None = None,
    ) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        body = self.envelope("chat.completion.chunk", model) | {"choices": [choice]}
        if self.body.has_usage:
            body["usage"] = None
        return _sse(body | ({"mynah": facts} if facts is not None else {}))

    def sentence_chunk(self, model: str, sentence: Sentence) -> str:
        facts = {"sentences": [sentence_object(sentence)]} if self.body.grounded else None
        return self.chunk(model, {"content": sentence.text}, facts=facts)

    def usage_chunk(self, model: str, facts: dict[str, Json]) -> str:
        body = self.envelope("chat.completion.chunk", model)
        return _sse(body | {"choices": [], "usage": self.usage(), "mynah": facts})


def _question(messages: list[Message]) -> str:
    """The person's last turn: the context that a creative is picked for."""
    return next((m.content for m in reversed(messages) if m.role == "user"), "")


async def _cancel_on_disconnect(request: Request, stream: AnswerStream) -> None:
    """Stop an answer that nobody waits for any more."""
    with suppress(asyncio.CancelledError):
        while (await request.receive())["type"] != "http.disconnect":
            pass  # an empty rest of the body
        stream.cancel()


def _sse(body: dict[str, Json]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
