"""The real ``openai`` client and plain HTTP against a real server on a loopback port."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx
import openai
import pytest
from tests.fakes.tiny_house import load_tiny_engine, served_tiny_house

from mynah.serve import Delta, LlamaCppConfig, LlamaCppEngine, Message, Sampling
from mynah.web.house import House

QUESTION: list[Any] = [{"role": "user", "content": "When does the harbour ferry leave?"}]
ALONE = {"grounded": False}


@dataclass(frozen=True, slots=True)
class Running:
    house: House
    url: str
    key: str


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with served_tiny_house(tmp_path_factory.mktemp("house")) as (house, url):
        yield Running(house, url, house.keys.create("api"))


@pytest.fixture(scope="module")
def client(running: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{running.url}/v1", api_key=running.key, max_retries=0, timeout=30
    ) as opened:
        yield opened


def test_models_are_listed(client: openai.OpenAI):
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "mynah"


def test_an_answer_from_posts(client: openai.OpenAI):
    answer = client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=32)
    facts = (answer.model_extra or {})["mynah"]
    assert answer.choices[0].message.content
    assert any("ferry" in post["text"] for post in facts["posts"])
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0


def test_the_model_alone(client: openai.OpenAI):
    answer = client.chat.completions.create(
        model="tiny", messages=QUESTION, max_tokens=6, temperature=1, seed=1, extra_body=ALONE
    )
    assert answer.usage is not None
    assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (6, "length")


def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI):
    whole = client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=32)
    text, reasons = "", []
    for chunk in client.chat.completions.create(
        model="tiny", messages=QUESTION, max_tokens=32, stream=True
    ):
        text += chunk.choices[0].delta.content or ""
        reasons.append(chunk.choices[0].finish_reason)
        assert chunk.usage is None
    assert text == whole.choices[0].message.content
    assert [reason for reason in reasons if reason] == [whole.choices[0].finish_reason]


def test_a_stream_with_usage(client: openai.OpenAI):
    chunks = list(
        client.chat.completions.create(
            model="tiny",
            messages=QUESTION,
            max_tokens=7,
            stream=True,
            stream_options={"include_usage": True},
            extra_body=ALONE,
        )
    )
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 7


def test_errors_are_the_clients_own_kinds(running: Running, client: openai.OpenAI):
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-nope", messages=QUESTION)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model="tiny", messages=QUESTION, temperature=9)
    assert wrong.value.param == "temperature"
    with (
        openai.OpenAI(base_url=f"{running.url}/v1", api_key="mk_wrong") as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()


def test_an_error_inside_a_stream_is_raised(client: openai.OpenAI):
    too_long: list[Any] = [{"role": "user", "content": "ferry " * 20_000}]
    with pytest.raises(openai.APIError, match="does not fit"):
        list(client.chat.completions.create(model="tiny", messages=too_long, stream=True))


class CountingEngine(LlamaCppEngine):
    """A real engine that counts the pieces it was asked for."""

    num_deltas = 0

    def generate(self, messages: Sequence[Message], *, sampling: Sampling) -> Iterator[Delta]:
        for delta in super().generate(messages, sampling=sampling):
            self.num_deltas += 1
            yield delta


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_client_that_leaves_stops_the_model(running: Running, is_streamed: bool):
    gguf = running.house.workspace.root.parent / "tiny.gguf"
    config = LlamaCppConfig(num_threads=1, num_slots=2)
    engine = CountingEngine(gguf, config=config, model="counting")
    running.house.pool.add(engine)
    long = Sampling(max_tokens=1000, temperature=1)
    question = [Message("user", QUESTION[0]["content"])]
    for seed in range(20):  # a random model may end at any token: find an answer that is long
        engine.num_deltas = 0
        list(engine.generate(question, sampling=replace(long, seed=seed)))
        if engine.num_deltas > 400:
            break
    num_whole, engine.num_deltas = engine.num_deltas, 0
    fields = {"model": "counting", "max_tokens": 1000, "temperature": 1, "seed": seed, **ALONE}
    request: dict[str, Any] = {
        "url": f"{running.url}/v1/chat/completions",
        "json": {"messages": QUESTION, "stream": is_streamed, **fields},
        "headers": {"Authorization": f"Bearer {running.key}"},
    }
    for _ in range(4):  # more than there are slots
        if is_streamed:
            with httpx.stream("POST", **request) as response:
                next(response.iter_lines())
        else:
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(**request, timeout=httpx.Timeout(5, read=0.05))
    deadline = time.monotonic() + 5
    while engine.num_running and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.num_running == 0
    assert engine.num_deltas < 2 * num_whole  # of four times as many, had it gone on


def test_many_ask_while_the_model_changes(running: Running, client: openai.OpenAI):
    """Streams that began on the old model end on it; nobody sees an error."""
    results: list[str | None] = []
    failures: list[Exception] = []

    def ask(number: int) -> None:
        try:
            for _ in range(4):
                stream = client.chat.completions.create(
                    model=None,  # pyright: ignore - ours: the model in use
                    messages=QUESTION,
                    max_tokens=24,
                    temperature=1,
                    seed=number,
                    stream=True,
                    extra_body=ALONE,
                )
                results.append(list(stream)[-1].choices[0].finish_reason)
        except openai.OpenAIError as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    new = load_tiny_engine(running.house.workspace.root, model="trained", seed=1)
    running.house.pool.swap(new)
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(results) == 24
    assert set(results) <= {"stop", "length"}
    names = [model.id for model in client.models.list()]
    assert names[0] == "trained"
    assert "tiny" not in names
    assert httpx.get(f"{running.url}/healthz").json()["model"] == "trained"


def test_the_loop_answers_while_models_work(running: Running, client: openai.OpenAI):
    """Health answers at once with every slot busy and more waiting."""
    threads = [
        threading.Thread(
            target=lambda: client.chat.completions.create(
                model="trained", messages=QUESTION, max_tokens=400, extra_body=ALONE
            )
        )
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    times_s: list[float] = []
    while any(thread.is_alive() for thread in threads):
        started_s = time.monotonic()
        assert httpx.get(f"{running.url}/healthz").status_code == 200
        times_s.append(time.monotonic() - started_s)
    for thread in threads:
        thread.join()
    assert sorted(times_s)[len(times_s) // 2] < 0.5
