"""An answer of the API is what its specification says, whatever is asked of it."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from tests.fakes.tiny_house import api_app, close_house, load_tiny_engine, open_tiny_house

from mynah.web.house import House

QUESTION = [{"role": "user", "content": "When does the harbour ferry leave?"}]
CAMPAIGN = {
    "title": "Coats for the deck",
    "text": "Warm ones, at the pier.",
    "link": "https://example.org/coats",
    "keywords": ["ferry"],
    "bid_micros": 500_000,
    "budget_micros": 2_000_000,
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    opened = open_tiny_house(tmp_path_factory.mktemp("house"))
    yield opened
    close_house(opened)


@pytest.fixture(scope="module")
def client(house: House) -> Iterator[TestClient]:
    headers = {"Authorization": f"Bearer {house.keys.create('admin')}"}
    with TestClient(api_app(house), headers=headers, raise_server_exceptions=False) as opened:
        yield opened


def ask(client: TestClient, **fields: object) -> Any:
    return client.post("/v1/chat/completions", json={"messages": QUESTION, **fields})


def sse(text: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_an_answer_has_openais_fields_and_the_posts_behind_it(client: TestClient):
    body = ask(client, max_tokens=48).json()
    assert body["object"] == "chat.completion"
    assert body["model"] == "tiny"
    assert body["id"].startswith("chatcmpl-")
    (choice,) = body["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] in ("stop", "length")
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    facts = body["mynah"]
    numbers = [post["number"] for post in facts["posts"]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert any("ferry" in post["text"] for post in facts["posts"])
    assert set(facts["posts"][0]) >= {
        *("number", "id", "author", "created_at", "text", "url", "likes", "reposts", "score")
    }
    assert "".join(s["text"] for s in facts["sentences"]) == choice["message"]["content"]
    assert all(set(s["citations"]) <= set(numbers) for s in facts["sentences"])
    assert facts["is_answered"] is True


def test_a_question_no_post_answers_says_so(client: TestClient):
    messages = [{"role": "user", "content": "zygote quasar?"}]
    facts = ask(client, messages=messages).json()["mynah"]
    assert (facts["posts"], facts["is_answered"]) == ([], False)


def test_a_stream_gives_the_posts_first_and_the_rest_last(client: TestClient):
    whole = ask(client, max_tokens=48).json()
    response = ask(client, max_tokens=48, stream=True, stream_options={"include_usage": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    first, *middle, last, usage = sse(response.text)
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert first["mynah"]["posts"] == whole["mynah"]["posts"]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in middle)
    assert text == whole["choices"][0]["message"]["content"]
    assert last["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert last["mynah"]["sentences"] == whole["mynah"]["sentences"]
    assert (usage["choices"], usage["usage"]) == ([], whole["usage"])
    assert usage["mynah"] == last["mynah"]
    assert {chunk["id"] for chunk in (first, *middle, last, usage)} == {first["id"]}


def test_a_stream_without_usage_asked_has_none(client: TestClient):
    chunks = sse(ask(client, max_tokens=8, stream=True).text)
    assert all("usage" not in chunk and chunk["choices"] for chunk in chunks)


@pytest.mark.parametrize("is_streamed", [False, True])
def test_the_model_alone_answers_when_not_grounded(client: TestClient, is_streamed: bool):
    response = ask(client, grounded=False, max_tokens=12, stream=is_streamed)
    assert response.status_code == 200
    if is_streamed:
        chunks = sse(response.text)
        assert chunks[0]["mynah"] == {"posts": []}
        assert chunks[-1]["mynah"] == {"sentences": [], "is_answered": True, "ad": None}
    else:
        body = response.json()
        assert body["usage"]["completion_tokens"] == 12
        assert body["choices"][0]["finish_reason"] == "length"
        assert body["mynah"]["posts"] == []


def test_parts_and_unknown_fields_are_understood(client: TestClient):
    parts = [{"type": "text", "text": "When does the "}, {"type": "text", "text": "ferry leave?"}]
    messages = [{"role": "developer", "content": "Be short."}, {"role": "user", "content": parts}]
    response = ask(client, messages=messages, max_tokens=8, user="me", logit_bias={}, n=1)
    assert response.status_code == 200
    assert response.json()["mynah"]["posts"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "alien", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": "x" * 200_001}]}, "messages"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"n": 2}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stop": 3}, "stop"),
        ({"seed": "x"}, "seed"),
        ({"model": 1}, "model"),
    ],
)
def test_a_wrong_field_is_named(client: TestClient, fields: dict[str, object], param: str):
    response = ask(client, **fields)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"].startswith(param)
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_value")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"[" * 100_000, b'{"messages": NaN}']
)
def test_a_body_that_is_no_object_is_refused(client: TestClient, content: bytes):
    response = client.post(
        "/v1/chat/completions", content=content, headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 400
    assert response.json()["error"]["message"]


@pytest.mark.parametrize("is_streamed", [False, True])
def test_refusals_come_before_a_stream_begins(client: TestClient, is_streamed: bool):
    unknown = ask(client, model="nope", stream=is_streamed)
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    unasked = ask(client, messages=[{"role": "system", "content": "x"}], stream=is_streamed)
    assert unasked.status_code == 400
    too_long = [{"role": "user", "content": "ferry " * 20_000}]
    refused = ask(client, messages=too_long, stream=is_streamed, grounded=False)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "context_length_exceeded"


def test_a_prompt_that_does_not_fit_is_refused_before_the_stream(client: TestClient):
    too_long = [{"role": "user", "content": "ferry " * 20_000}]
    for is_stream in (False, True):
        refused = ask(client, messages=too_long, stream=is_stream)
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "context_length_exceeded"


def test_more_tokens_than_the_context_holds_is_no_error(client: TestClient):
    assert ask(client, max_tokens=10**9, stop=["."]).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/tiny"),
        ("GET", "/v1/search?q=ferry"),
        ("GET", "/v1/ads/campaigns"),
        ("POST", "/v1/ads/campaigns"),
    ],
)
def test_v1_needs_a_key(house: House, client: TestClient, method: str, path: str):
    body = {"messages": QUESTION} if "chat" in path else CAMPAIGN
    for value in ("", "Bearer", "Bearer mk_wrong", "Basic abc", "Bearer \x00"):
        response = client.request(method, path, json=body, headers={"Authorization": value})
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "invalid_api_key"
    api = {"Authorization": f"bearer {house.keys.create('api')}"}
    expected = 403 if "campaigns" in path else 200
    assert client.request(method, path, json=body, headers=api).status_code == expected


def test_models_are_listed_and_found(client: TestClient):
    body = client.get("/v1/models").json()
    assert [entry["id"] for entry in body["data"]] == ["tiny"]
    assert client.get("/v1/models/tiny").json() == body["data"][0]
    assert client.get("/v1/models/a/b").status_code == 404


def test_search_gives_candidates_with_highlights(client: TestClient):
    body = client.get("/v1/search", params={"q": "harbour", "limit": 1}).json()
    assert body["num_matches"] == 2
    (first,) = body["data"]
    assert first["position"] == 1
    start, end = first["highlights"][0]
    assert first["text"][start:end] == "harbour"
    second = client.get("/v1/search", params={"q": "harbour", "limit": 1, "offset": 1}).json()
    assert second["data"][0]["id"] != first["id"]
    assert second["data"][0]["position"] == 2


@pytest.mark.parametrize(
    "params",
    [{}, {"q": "x", "limit": 0}, {"q": "x", "limit": "many"}, {"q": "x", "offset": -1},
     {"q": "since:yesterdayish"}],
)  # fmt: skip
def test_a_wrong_search_is_a_400(client: TestClient, params: dict[str, object]):
    response = client.get("/v1/search", params=params)
    assert response.status_code == 400
    assert response.json()["error"]["message"]


def test_a_creative_stands_beside_results_and_answers_and_a_click_counts_once(
    client: TestClient,
):
    added = client.post("/v1/ads/campaigns", json=CAMPAIGN)
    assert added.status_code == 201
    ad = client.get("/v1/search", params={"q": "ferry"}).json()["ad"]
    assert (ad["label"], ad["title"]) == ("Ad", CAMPAIGN["title"])
    answer = ask(client, max_tokens=8).json()
    assert answer["mynah"]["ad"]["title"] == CAMPAIGN["title"]
    assert CAMPAIGN["title"] not in answer["choices"][0]["message"]["content"]
    assert ask(client, max_tokens=8, grounded=False).json()["mynah"]["ad"] is None
    for _ in range(2):
        clicked = client.get(ad["click_url"], headers={"Authorization": ""}, follow_redirects=False)
        assert (clicked.status_code, clicked.headers["location"]) == (302, CAMPAIGN["link"])
    (campaign,) = client.get("/v1/ads/campaigns").json()["data"]
    assert (campaign["num_impressions"], campaign["num_clicks"]) == (2, 1)
    assert client.get("/v1/ads/unknown/click").status_code == 404


@pytest.mark.parametrize(
    "change",
    [{"bid_micros": "5"}, {"bid_micros": -1}, {"link": "javascript:alert(1)"}, {"keywords": []},
     {"title": ""}, {"budget_micros": 10**30}],
)  # fmt: skip
def test_a_wrong_campaign_is_a_400(client: TestClient, change: dict[str, object]):
    response = client.post("/v1/ads/campaigns", json=CAMPAIGN | change)
    assert response.status_code == 400
    assert response.json()["error"]["message"]


def test_health_and_metrics_are_open(house: House):
    with TestClient(api_app(house)) as client:
        expected = {"status": "ok", "search": True, "model": "tiny", "stage": "train"}
        assert client.get("/healthz").json() == expected
        key = house.keys.create("api")
        client.get("/v1/search?q=ferry", headers={"Authorization": f"Bearer {key}"})
        client.get("/v1/search?q=ferry")
        text = client.get("/metrics").text
    assert 'mynah_requests_total{route="/v1/search",status="200"} 1.0' in text
    assert 'mynah_requests_total{route="/v1/search",status="401"} 1.0' in text
    for name in ("mynah_request_seconds", "mynah_first_sentence_seconds", "mynah_search_seconds",
                 "mynah_prompt_tokens_total", "mynah_completion_tokens_total",
                 "mynah_engine_swaps_total", "mynah_impressions_total",
                 "mynah_clicks_total"):  # fmt: skip
        assert name in text


def test_an_address_that_is_not_there_is_a_404_in_the_same_shape(client: TestClient):
    for method in ("GET", "POST", "DELETE"):
        response = client.request(method, "/v1/nothing/here")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


def test_rooms_that_are_not_open_yet_say_so(house: House, tmp_path: Path):
    empty = open_tiny_house(tmp_path, has_model=False)
    early = replace(empty, index=None)
    headers = {"Authorization": f"Bearer {early.keys.create('api')}"}
    with TestClient(api_app(early), headers=headers) as client:
        searched, asked = client.get("/v1/search?q=x"), ask(client)
        assert (searched.status_code, searched.json()["error"]["code"]) == (503, "index_not_ready")
        assert (asked.status_code, asked.json()["error"]["code"]) == (503, "model_loading")
        assert asked.headers["retry-after"]
        assert client.get("/healthz").json()["model"] is None
        early.pool.add(load_tiny_engine(tmp_path))
        assert ask(client, grounded=False, max_tokens=2).status_code == 200
    close_house(early)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
FIELDS = ("messages", "model", "max_tokens", "temperature", "top_p", "seed", "stop", "stream", "n")


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(fields=st.dictionaries(st.sampled_from(FIELDS), JSON, min_size=1), text=st.text())
def test_no_body_makes_the_server_fail(client: TestClient, fields: dict[str, Any], text: str):
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 2, **fields}
    response = client.post(
        "/v1/chat/completions",
        content=json.dumps(body),
        headers={"Content-Type": "application/json"},
    )
    assert response.status_code < 500
    assert "mynah" in response.text or "error" in response.json()


@settings(max_examples=80, deadline=None)
@given(query=st.text(max_size=60))
def test_no_query_makes_search_fail(client: TestClient, query: str):
    assert client.get("/v1/search", params={"q": query}).status_code < 500


def test_answers_leave_no_thread_or_slot_behind(house: House, client: TestClient):
    for _ in range(3):
        ask(client, max_tokens=8)
    with house.pool.lease() as engine:
        deadline = time.monotonic() + 5
        while engine.num_running and time.monotonic() < deadline:  # pyright: ignore
            time.sleep(0.01)
        assert engine.num_running == 0  # pyright: ignore
