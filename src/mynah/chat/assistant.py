"""The assistant: find posts, let the model answer from them, let through what they support."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

from mynah.chat.events import AnswerEvent, Finished, Retrieved, Sentence
from mynah.chat.grounding import Grounding, shown_post
from mynah.chat.retrieval import Retrieval, retrieve, stop_terms
from mynah.chat.sentences import SentenceSplitter
from mynah.corpus import NO_ANSWER, SYSTEM, grounded_question
from mynah.errors import RequestError
from mynah.search import SearchIndex
from mynah.serve import Delta, Engine, EnginePool, Message, Sampling

__all__ = ["GREETING", "Assistant"]

GREETING = "Ask me something about what people write here."
"""Said to a message that asks about nothing in particular."""

MAX_SENTENCES = 5
"""Supported sentences of an answer at the most; what follows is repetition."""
MAX_DROPPED = 4
"""Unsupported sentences after which the model is stopped and the posts speak for themselves."""
NUM_QUOTATIONS = 2
"""Posts quoted when nothing that the model says is supported."""
SURE_COVERAGE = 0.99
"""Share of the question's telling words from which a post does say something about it."""
RESERVED_TOKENS = 64
"""For the template around the turns."""


class Assistant:
    """Answers from posts. Thread-safe: each answer has its own state.

    Args:
        pool: The engines; an answer keeps the one it started with to its end.
        index: Gives the search index in use, or ``None`` while there is none.
    """

    def __init__(self, pool: EnginePool, index: Callable[[], SearchIndex | None]) -> None:
        self._pool = pool
        self._index = index

    def answer(
        self, messages: Sequence[Message], *, sampling: Sampling, model: str | None = None
    ) -> Iterator[AnswerEvent]:
        """Answer the last question of a conversation from posts.

        Args:
            messages: The conversation; the last turn is the person's.
            sampling: How tokens are drawn; ``max_tokens`` bounds what the model says.
            model: Name of the engine; ``None`` is the one in use.

        Raises:
            RequestError: No question, an unknown model, or nothing to answer with yet.
        """
        if not messages or messages[-1].role != "user" or not messages[-1].content.strip():
            raise RequestError(
                "the conversation has no question: its last turn must be the user's, with text",
                hint='send {"role": "user", "content": "..."} last',
            )
        index = self._index()
        if index is None:
            raise RequestError(
                "the posts are not indexed yet",
                hint="the pages show how far it is; try again in a few seconds",
                status=503,
                code="index_not_ready",
            )
        retrieval = retrieve(index, messages)
        with self._pool.lease(model) as engine:
            # A prompt that does not fit is refused before the first event: a stream has no status.
            prompt = _prompt(engine, retrieval, messages[-1].content, sampling)
            yield Retrieved(retrieval.posts)
            if retrieval.posts:
                yield from _grounded(engine, index, retrieval, prompt, sampling)
                return
            has_topic = bool(retrieval.terms or retrieval.author)
            yield Sentence(text=NO_ANSWER if has_topic else GREETING)
            yield _finished(engine, Delta(finish_reason="stop"), is_answered=False)


def _finished(engine: Engine, last: Delta, *, is_answered: bool) -> Finished:
    return Finished(
        model=engine.model,
        finish_reason=last.finish_reason or "stop",
        num_prompt_tokens=last.num_prompt_tokens,
        num_completion_tokens=last.num_completion_tokens,
        is_answered=is_answered,
    )


def _grounded(
    engine: Engine,
    index: SearchIndex,
    retrieval: Retrieval,
    prompt: Sequence[Message],
    sampling: Sampling,
) -> Iterator[AnswerEvent]:
    grounding = Grounding(
        retrieval.posts,
        analyse=index.analyse,
        weight=index.idf,
        stop_terms=stop_terms(index),
    )
    num_supported = num_dropped = 0
    is_declined = False
    said: list[str] = []
    last: Delta | None = None
    with closing(_spoken(engine, prompt, sampling)) as spoken:
        for item in spoken:
            if isinstance(item, Delta):
                last = item
                continue
            said.append(item)
            if item.startswith(NO_ANSWER):
                # Posts with every telling word of the question outweigh a small model's "no".
                is_declined = not num_supported and retrieval.coverage < SURE_COVERAGE
                break
            sentence = grounding.check(item) or grounding.quote_meant(item)
            if sentence is None:
                num_dropped += 1
            else:
                num_supported += 1
                yield replace(sentence, text=sentence.text + "\n")
            if num_supported == MAX_SENTENCES or num_dropped == MAX_DROPPED:
                break
    if is_declined:
        yield Sentence(text=NO_ANSWER)
    elif num_supported == 0:
        for _ in range(NUM_QUOTATIONS):
            quoted = grounding.quote_next()
            if quoted is not None:
                num_supported += 1
                yield replace(quoted, text=quoted.text + "\n")
        if num_supported == 0:  # posts of nothing but links have no words to quote
            yield Sentence(text=NO_ANSWER)
    last = last or _counted(engine, prompt, said)
    yield _finished(engine, last, is_answered=num_supported > 0)


def _counted(engine: Engine, prompt: Sequence[Message], said: Sequence[str]) -> Delta:
    """Count the tokens of an answer that was stopped early; the template's own are left out."""
    return Delta(
        finish_reason="stop",
        num_prompt_tokens=sum(engine.count_tokens(message.content) for message in prompt),
        num_completion_tokens=engine.count_tokens("\n".join(said)),
    )


def _prompt(
    engine: Engine, retrieval: Retrieval, question: str, sampling: Sampling
) -> list[Message]:
    """Show as many posts as fit beside the question and the answer, the best first."""
    room = engine.max_context_tokens - sampling.max_tokens - RESERVED_TOKENS
    shown = [shown_post(cited) for cited in retrieval.posts]
    while True:
        turn = grounded_question(question, shown)
        if engine.count_tokens(SYSTEM) + engine.count_tokens(turn) <= room:
            return [Message("system", SYSTEM), Message("user", turn)]
        if not shown:
            raise RequestError(
                f"the question does not fit: {room:,} tokens are left for it",
                hint="ask a shorter question, or ask for fewer max_tokens",
                code="context_length_exceeded",
            )
        shown.pop()


def _spoken(
    engine: Engine, prompt: Sequence[Message], sampling: Sampling
) -> Generator[str | Delta]:
    """Yield each sentence as it is finished, then the last delta with the counts."""
    splitter = SentenceSplitter()
    stream = engine.generate(prompt, sampling=sampling)
    last = Delta(finish_reason="stop")
    try:
        for delta in stream:
            last = delta
            yield from splitter.feed(delta.text)
        yield from splitter.flush()
        yield last
    finally:
        close = getattr(stream, "close", None)
        if close is not None:
            close()
