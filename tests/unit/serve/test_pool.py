import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.fakes.tiny_model import write_tiny_checkpoint

from mynah.errors import RequestError
from mynah.serve import (
    Delta,
    EnginePool,
    LlamaCppConfig,
    LlamaCppEngine,
    Message,
    Sampling,
    quantise,
)

QUESTION = [Message("user", "Did the ferries leave?")]


class WatchedEngine(LlamaCppEngine):
    """A real engine that counts its uses and says if it is closed while in use, or twice."""

    def __init__(self, gguf: Path, *, model: str) -> None:
        self.num_closed = 0
        self.num_open = 0
        self.faults: list[str] = []
        config = LlamaCppConfig(num_threads=1, max_context_tokens=256, num_slots=4)
        super().__init__(gguf, config=config, model=model)

    def generate(self, messages: Sequence[Message], *, sampling: Sampling) -> Iterator[Delta]:
        if self.num_closed:
            self.faults.append("used after close")
        self.num_open += 1
        try:
            yield from super().generate(messages, sampling=sampling)
        finally:
            self.num_open -= 1

    def close(self) -> None:
        if self.num_open:
            self.faults.append("closed in use")
        self.num_closed += 1
        super().close()


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    quantise(write_tiny_checkpoint(folder / "tiny"), folder / "tiny.gguf")
    return folder / "tiny.gguf"


def test_an_empty_pool_says_when_to_come_back():
    pool = EnginePool()
    assert (pool.models, pool.current) == ((), "")
    with pytest.raises(RequestError, match="no model is loaded") as caught, pool.lease():
        pass
    assert (caught.value.status, caught.value.code) == (503, "model_loading")


def test_several_engines_are_found_by_name(gguf: Path):
    pool = EnginePool()
    first, second = (WatchedEngine(gguf, model=name) for name in ("first", "second"))
    pool.add(first)
    pool.add(second)
    assert (pool.models, pool.current) == (("first", "second"), "first")
    with pool.lease() as default, pool.lease("second") as named:
        assert (default, named) == (first, second)
    with pytest.raises(RequestError, match="'third'") as caught, pool.lease("third"):
        pass
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
    pool.close()
    assert (first.num_closed, second.num_closed, pool.models) == (1, 1, ())


def test_a_swap_takes_effect_at_once_and_waits_for_the_old(gguf: Path):
    pool = EnginePool()
    old, new = WatchedEngine(gguf, model="old"), WatchedEngine(gguf, model="new")
    pool.add(old)
    with pool.lease() as held:
        swapping = threading.Thread(target=pool.swap, args=(new,))
        swapping.start()
        while pool.current != "new":
            time.sleep(0.001)
        with pool.lease() as fresh:
            assert fresh is new
        assert held is old
        assert (swapping.is_alive(), old.num_closed) == (True, 0)
        assert list(held.generate(QUESTION, sampling=Sampling(max_tokens=3)))[-1].finish_reason
    swapping.join(timeout=5)
    assert (swapping.is_alive(), old.num_closed, pool.num_swaps) == (False, 1, 1)
    pool.close()


def test_a_lease_that_fails_ends(gguf: Path):
    pool = EnginePool()
    engine = WatchedEngine(gguf, model="only")
    pool.add(engine)
    with pytest.raises(ZeroDivisionError), pool.lease():
        raise ZeroDivisionError
    pool.close()
    assert engine.num_closed == 1


def test_swaps_under_load_drop_no_request(gguf: Path):
    pool = EnginePool()
    engines = [WatchedEngine(gguf, model=f"model-{number}") for number in range(6)]
    pool.add(engines[0])
    stop = threading.Event()
    answered: list[str] = []
    failures: list[str] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                with pool.lease() as engine:
                    sampling = Sampling(max_tokens=8, temperature=1.0)
                    *_, last = engine.generate(QUESTION, sampling=sampling)
                    assert last.finish_reason
                    answered.append(engine.model)
            except (RequestError, AssertionError, RuntimeError) as error:
                failures.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for engine in engines[1:]:
        num_before = len(answered)
        while len(answered) < num_before + 12:
            time.sleep(0.005)
        pool.swap(engine)
    stop.set()
    for thread in threads:
        thread.join()
    pool.close()
    assert failures == []
    assert set(answered) >= {engine.model for engine in engines[:-1]}
    assert [engine.num_closed for engine in engines] == [1] * 6
    assert [engine.faults for engine in engines] == [[]] * 6
