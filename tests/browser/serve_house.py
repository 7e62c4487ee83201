"""Serves the pages over a small made-up town, with every room real, for the browser's tests.

Run as ``python -m tests.browser.serve_house FOLDER PORT [--public]``; prints the admin key.
"""

import argparse
import csv
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn
from tests.fakes.tiny_model import write_tiny_checkpoint

from mynah.ads import AdServer, AdStore
from mynah.chat import Assistant
from mynah.corpus import CorpusConfig, build_corpus
from mynah.posts import ReadOptions, load_posts, read_posts
from mynah.search import SearchIndex, build_index, suggest_questions
from mynah.serve import EnginePool, LlamaCppConfig, LlamaCppEngine, quantise
from mynah.web import House, KeyStore, Stage, create_app
from mynah.workspace import Workspace

TOPICS = (
    ("ada", "The harbour ferry leaves at {n} past seven, bring a coat for the ferry deck"),
    ("lin", "Fresh bread at the market square, the bakery sold {n} loaves before nine"),
    ("sol", "The night bus skipped stop {n} again, so I walked home along the canal"),
    ("ada", "Our library opens {n} new reading rooms, the library garden is open too"),
)
HOSTILE = (
    "<script>document.title = 'stolen'</script> <img src=x onerror=\"document.title='stolen'\"> "
    "**bold** [click](javascript:alert(1)) {{ 7 * 7 }} the lighthouse keeper"
)
SOON_S = 2.0
"""How long the pages wait for their model, so that tests see them without one."""


def write_posts(path: Path) -> None:
    """Write a table of posts, spread over a year."""
    start = datetime(2025, 1, 6, 8, tzinfo=UTC)
    with path.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "author", "created_at", "text", "lang", "likes", "reposts", "url"])
        for number in range(160):
            author, words = TOPICS[number % len(TOPICS)]
            when = start + timedelta(days=2 * number, hours=number % 9)
            row = [number, author, when.isoformat(), words.format(n=number), "en", number * 17, 3]
            table.writerow([*row, f"https://example.org/{author}/{number}"])
        when = start + timedelta(days=3)
        table.writerow([900, "mal", when.isoformat(), HOSTILE, "en", 1, 0, "javascript:alert(1)"])


def build_house(folder: Path, *, is_local: bool) -> House:
    """Open every room but the assistant's model."""
    workspace = Workspace(folder / "harbourtown")
    workspace.create()
    write_posts(folder / "posts.csv")
    posts = read_posts([folder / "posts.csv"], workspace.posts, options=ReadOptions())
    checkpoint = write_tiny_checkpoint(folder / "tiny")
    store = AdStore(workspace.state_db)
    pool = EnginePool()
    index = SearchIndex(build_index(posts, workspace.search))
    tokenizer = checkpoint / "tokenizer.json"
    return House(
        workspace=workspace,
        pool=pool,
        ad_store=store,
        ad_server=AdServer(store),
        keys=KeyStore(workspace.state_db),
        assistant=Assistant(pool, lambda: index),
        network="Harbourtown",
        is_local=is_local,
        stages=[Stage("read", "Read the posts", "done", note="161 posts"),
                Stage("base", "Load the base model", "running"),
                Stage("train", "Train")],
        posts=posts,
        corpus=build_corpus(posts, workspace.corpus, config=CorpusConfig(), tokenizer=tokenizer),
        index=index,
        run=write_run(workspace.runs / "run-1"),
        questions=suggest_questions(load_posts(posts)),
    )  # fmt: skip


def write_run(run: Path) -> Path:
    """Write the files of a training run that has gone ten steps."""
    run.mkdir(parents=True)
    rows = [{"step": 0, "heldout_bits_per_byte": 1.62, "elapsed_s": 0}]
    for step in range(1, 11):
        row = {"step": step, "loss": 4 - step / 5, "lr": 1e-4, "tokens": 2048 * step,
               "tokens_per_s": 190.0, "step_time_s": 10.8, "elapsed_s": 10.8 * step,
               "remaining_s": 240 - 10.8 * step, "mfu": None}  # fmt: skip
        rows.append(row | ({"heldout_bits_per_byte": 1.62 - step / 50} if step % 5 == 0 else {}))
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    samples = [{"prompt": "The ferry", "before": "is a kind of boat.", "after": None}]
    (run / "samples.json").write_text(json.dumps(samples))
    return run


def load_model(house: House, folder: Path) -> None:
    """Put the tiny model to work, as the job does while the pages are open."""
    quantise(folder / "tiny", folder / "tiny.gguf")
    config = LlamaCppConfig(num_threads=1, max_context_tokens=2048, num_slots=2)
    engine = LlamaCppEngine(folder / "tiny.gguf", config=config, model="tiny")
    time.sleep(SOON_S)
    house.pool.add(engine)
    house.stages[1].state = "done"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--public", action="store_true")
    wanted = parser.parse_args()
    house = build_house(wanted.folder, is_local=not wanted.public)
    (wanted.folder / "key").write_text(house.keys.create())
    threading.Thread(target=load_model, args=(house, wanted.folder), daemon=True).start()
    uvicorn.run(create_app(house), host="127.0.0.1", port=wanted.port, log_level="warning")


if __name__ == "__main__":
    main()
