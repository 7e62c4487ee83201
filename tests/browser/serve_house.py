"""Serves the pages over a small made-up town, with every room real, for the browser's tests.

Run as ``python -m tests.browser.serve_house FOLDER PORT [--public] [--unrecorded]``; leaves the
admin key in ``FOLDER/key``.
"""

import argparse
import csv
import json
import threading
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn
from tests.fakes.tiny_model import write_tiny_checkpoint
from tests.fakes.tiny_record import write_tiny_record

from mynah.ads import AdServer, AdStore
from mynah.chat import Assistant
from mynah.corpus import CorpusConfig, build_corpus
from mynah.job import take_back
from mynah.posts import ReadOptions, forgotten_ids, load_posts, read_posts
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
LEFT_OUT = (
    "WIN a FREE prize now, click https://example.org/prize or call 0900 555 012 to claim $500",
    "hahahahahahahahahahahahahahahahahahahahahahahaha",
    "https://example.org/a https://example.org/b",
    "ok then",
)
"""Each has its own reason to stay out of the corpus."""
GERMAN = (
    "Der alte Leuchtturm am Hafen wird im Sommer endlich neu gestrichen, sagt die Gemeinde",
    "Heute gab es auf dem Markt so viele Erdbeeren, dass alle nach Hause getragen haben",
    "Wer hat den Schirm in der Bibliothek vergessen? Er steht noch neben der Garderobe",
    "Die Orgel in der kleinen Kirche klingt wieder, das Konzert am Sonntag war wunderbar",
)
"""Posts that the network tags as English."""
REPLIES = (
    ("tom", "Does anybody know whether the swimming pool is heated again this winter?"),
    ("mia", "It is, I went yesterday evening; write to pool@example.org for the opening hours"),
    ("tom", "Thank you, then I will take the children on Saturday morning before the crowd"),
)
"""A thread: each answers the one before."""
SECRET = "The spare key lies under the third flower pot"
"""A direct message: no page may ever show it."""
COLUMNS: str = "id,author,created_at,text,lang,likes,reposts,url,reply_to,visibility"
NUM_ROWS = 174
"""Rows of the table that somebody meant as a post."""
SOON_S = 2.0
"""How long the pages wait for their model, so that tests see them without one."""


def write_posts(path: Path) -> None:
    """Write a table of posts, spread over a year."""
    start = datetime(2025, 1, 6, 8, tzinfo=UTC)
    when = (start + timedelta(days=3)).isoformat()
    with path.open("w", newline="") as stream:
        table: csv.DictWriter[str] = csv.DictWriter(stream, COLUMNS.split(","), restval="")
        table.writeheader()
        for number in range(160):
            author, words = TOPICS[number % len(TOPICS)]
            at = start + timedelta(days=2 * number, hours=number % 9)
            row = {"created_at": at.isoformat(), "text": words.format(n=number), "lang": "en",
                   "likes": number * 17, "reposts": 3}  # fmt: skip
            link = f"https://example.org/{author}/{number}"
            table.writerow({"id": number, "author": author, "url": link} | row)
        table.writerow({"id": 900, "author": "mal", "created_at": when, "text": HOSTILE,
                        "lang": "en", "likes": 1, "url": "javascript:alert(1)"})  # fmt: skip
        for number, text in enumerate((*LEFT_OUT, *GERMAN), start=910):
            table.writerow({"id": number, "author": f"writer{number}", "created_at": when,
                            "text": text, "lang": "en"})  # fmt: skip
        for number, (author, text) in enumerate(REPLIES, start=950):
            answers = str(number - 1) if number > 950 else ""
            table.writerow({"id": number, "author": author, "created_at": when, "text": text,
                            "lang": "en", "reply_to": answers})  # fmt: skip
        table.writerow({"id": 980, "author": "pub", "created_at": when, "text": SECRET,
                        "visibility": "direct"})  # fmt: skip
        table.writerow({"id": 990, "author": "pub", "created_at": "some day", "text": "Undated"})


def build_house(folder: Path, *, is_local: bool, is_recorded: bool) -> House:
    """Open every room but the assistant's model."""
    workspace = Workspace(folder / "harbourtown")
    workspace.create()
    write_posts(folder / "posts.csv")
    posts = read_posts([folder / "posts.csv"], workspace.posts, options=ReadOptions())
    checkpoint = write_tiny_checkpoint(folder / "tiny")
    store = AdStore(workspace.state_db)
    pool = EnginePool()
    index = SearchIndex(
        build_index(posts, workspace.search), forgotten=lambda: forgotten_ids(workspace.posts)
    )
    tokenizer = checkpoint / "tokenizer.json"
    record = write_tiny_record(folder, workspace.root) if is_recorded else None
    return House(
        workspace=workspace,
        pool=pool,
        ad_store=store,
        ad_server=AdServer(store),
        keys=KeyStore(workspace.state_db),
        assistant=Assistant(pool, lambda: index),
        network="Harbourtown",
        is_local=is_local,
        stages=[Stage("read", "Read the posts", "done", note=f"{NUM_ROWS} rows"),
                Stage("base", "Load the base model", "running"),
                Stage("train", "Train")],
        posts=posts,
        corpus=build_corpus(posts, workspace.corpus, config=CorpusConfig(), tokenizer=tokenizer),
        index=index,
        run=write_run(workspace.runs / "run-1"),
        questions=suggest_questions(load_posts(posts)),
        take_back=lambda post_id: asdict(
            take_back(workspace, ids=[post_id], record=record)
        ),
        record=record,
    )  # fmt: skip


def write_run(run: Path) -> Path:
    """Write the files of a training run that has gone ten steps."""
    run.mkdir(parents=True)
    rows: list[dict[str, float | None]] = [
        {"step": 0, "heldout_bits_per_byte": 1.62, "elapsed_s": 0}
    ]
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
    parser.add_argument("--unrecorded", action="store_true")
    wanted = parser.parse_args()
    house = build_house(
        wanted.folder, is_local=not wanted.public, is_recorded=not wanted.unrecorded
    )
    (wanted.folder / "key").write_text(house.keys.create())
    threading.Thread(target=load_model, args=(house, wanted.folder), daemon=True).start()
    uvicorn.run(create_app(house), host="127.0.0.1", port=wanted.port, log_level="warning")


if __name__ == "__main__":
    main()
