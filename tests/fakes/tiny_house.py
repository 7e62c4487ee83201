"""A house with every room open and real, over a handful of made-up posts and the tiny model."""

import csv
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from tests.fakes.tiny_model import write_tiny_checkpoint

from mynah.ads import AdServer, AdStore
from mynah.chat import Assistant
from mynah.posts import ReadOptions, read_posts
from mynah.search import SearchIndex, build_index
from mynah.serve import EnginePool, LlamaCppConfig, LlamaCppEngine, quantise
from mynah.web.api import add_error_handlers, api_router
from mynah.web.house import House, Stage
from mynah.web.keys import KeyStore
from mynah.workspace import Workspace

TEXTS = (
    "The harbour ferry leaves at seven past nine, bring a coat for the ferry deck",
    "Fresh bread at the market square, the bakery sold forty loaves before nine",
    "The night bus skipped our stop again, so I walked home along the canal",
    "Our library opens three new reading rooms, the library garden is open too",
    "Nobody repairs the harbour clock, it has shown noon since the storm",
)


def load_tiny_engine(folder: Path, *, model: str = "tiny", seed: int = 0) -> LlamaCppEngine:
    """Make and load a tiny model under ``folder``."""
    gguf = folder / f"{model}.gguf"
    quantise(write_tiny_checkpoint(folder / model, seed=seed), gguf)
    config = LlamaCppConfig(num_threads=1, max_context_tokens=2048, num_slots=2)
    return LlamaCppEngine(gguf, config=config, model=model)


def open_tiny_house(folder: Path, *, has_model: bool = True) -> House:
    """Read, index and serve; the caller closes ``pool``, ``keys`` and ``ad_store``."""
    workspace = Workspace(folder / "harbourtown")
    workspace.create()
    with (folder / "posts.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "author", "created_at", "text", "lang", "likes", "reposts"])
        for number, text in enumerate(TEXTS):
            when = datetime(2025, 1, 6, 8, tzinfo=UTC) + timedelta(days=number)
            row = [number, f"writer{number % 2}", when.isoformat(), text, "en", 10 * number, number]
            table.writerow(row)
    posts = read_posts([folder / "posts.csv"], workspace.posts, options=ReadOptions())
    index = SearchIndex(build_index(posts, workspace.search))
    pool = EnginePool()
    if has_model:
        pool.add(load_tiny_engine(folder))
    store = AdStore(workspace.state_db)
    return House(
        workspace=workspace,
        pool=pool,
        ad_store=store,
        ad_server=AdServer(store),
        keys=KeyStore(workspace.state_db),
        assistant=Assistant(pool, lambda: index),
        network="Harbourtown",
        stages=[Stage("train", "Train", "running")],
        posts=posts,
        index=index,
    )


def close_house(house: House) -> None:
    """Give everything back, so that no warning about it is left."""
    house.pool.close()
    house.keys.close()
    house.ad_store.close()


def api_app(house: House) -> FastAPI:
    """The API alone, without pages."""
    app = FastAPI()
    app.include_router(api_router(house))
    add_error_handlers(app)
    return app


@contextmanager
def served_tiny_house(folder: Path) -> Iterator[tuple[House, str]]:
    """Serve the API of a tiny house on a loopback port, with its address, until the block ends."""
    house = open_tiny_house(folder)
    config = uvicorn.Config(api_app(house), port=0, log_level="warning", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield house, f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()
    close_house(house)
