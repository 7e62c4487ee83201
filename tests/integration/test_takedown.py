"""A takedown by the command line: no file holds the words, the receipt is true, it stays so."""

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.fakes.tiny_network import make_tiny_network

from mynah.corpus import CORPUS_KIND, DIALOGUES_KIND, TokenShard
from mynah.job import take_back
from mynah.posts import POSTS_KIND, forgotten_ids, load_posts
from mynah.record.record import Record
from mynah.record.statements import PostForgotten
from mynah.search import SEARCH_KIND, SearchIndex, build_index, parse_query
from mynah.train import DataOrder, TrainResult, run_training
from mynah.workspace import Workspace, latest_artifact, read_artifact

WORDS = "heliotrope barometer sandcastle"


def mynah(*arguments: object, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from mynah.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def export(path: Path, *, num_posts: int = 300) -> Path:
    """A table in which one post, and a repost of it, hold ``WORDS``."""
    with path.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "author", "created_at", "text", "reply_to", "repost_of"])
        for n in range(num_posts):
            text = f"{n * 7919 % 1009} people came by on day {n * n % 365} for {n * 31 % 97} songs"
            row = [f"{n:05}", f"writer{n % 9}", "2024-01-01 10:00", text, "", ""]
            if n == 42:
                row[3] = f"a dozen of us sang of the {WORDS}"
            if n == 77:
                row[3:] = [f"RT @writer6: a dozen of us sang of the {WORDS}", "", "00042"]
            table.writerow(row)
    return path


def train(
    place: Workspace, run: Path, *, keep_going: Callable[[], bool] = lambda: True
) -> TrainResult | None:
    record = Record.open(place.root)
    return run_training(run, place.models / "mynah-abcdef", record=record, keep_going=keep_going)


def holders(root: Path) -> list[str]:
    """Files under ``root`` that hold the words, in whatever way they are packed."""
    found: list[str] = []
    for path in root.rglob("*"):
        if not path.is_file():
            continue
        if path.suffix == ".parquet":
            content = str(pl.read_parquet(path, glob=False).to_dict(as_series=False))
        else:
            content = path.read_bytes().decode("utf-8", "replace")
        if "heliotrope" in content:
            found.append(path.relative_to(root).as_posix())
    return found


def test_the_words_are_nowhere_and_never_come_back(tmp_path: Path):
    path, root = export(tmp_path / "posts.csv"), tmp_path / "network"
    mynah("posts", "add", root, path)
    mynah("corpus", "build", root, "--vocab-size", "500")
    more = tmp_path / "more.csv"
    more.write_text("id,author,text\n90000,ada,a later post about the weather in the hills\n")
    mynah("posts", "add", root, more)
    place = Workspace(root)
    posts = latest_artifact(place.posts, kind=POSTS_KIND)
    assert posts is not None
    index = SearchIndex(
        build_index(posts, place.search), forgotten=lambda: forgotten_ids(place.posts)
    )
    assert index.search(parse_query("heliotrope")).num_matches == 2
    assert holders(root)

    receipt = json.loads(mynah("posts", "forget", root, "posts:00042", "--json"))
    assert receipt["store"]["found"] == ["posts:00042", "posts:00077"]
    assert receipt["store"]["reposts"] == ["posts:00077"]
    assert [taken["num_documents"] for taken in receipt["corpora"]] == [1]
    assert holders(root) == []
    # A server that has the old index open leaves it out from the next search on.
    assert index.search(parse_query("heliotrope")).num_matches == 0
    assert index.get("posts:00042") is None
    rebuilt = latest_artifact(place.search, kind=SEARCH_KIND)
    assert rebuilt is not None
    assert SearchIndex(rebuilt).num_posts == 299

    mynah("posts", "add", root, path)
    mynah("corpus", "build", root, "--vocab-size", "500")
    assert holders(root) == []
    corpus = latest_artifact(place.corpus, kind=CORPUS_KIND)
    assert corpus is not None
    assert "posts:00042" not in pl.read_parquet(corpus.folder / "documents.parquet")["post_id"]
    kept = json.loads((root / receipt["path"]).read_text())
    assert kept["record"].pop("salt") == ""
    salt = bytes.fromhex(receipt["record"].pop("salt"))
    assert kept == receipt
    posts = hashlib.sha256(salt + b"posts:00042\nposts:00077").hexdigest()
    assert receipt["record"]["posts"] == posts
    record = Record.open(root)
    leaf = dict(record.statements())[receipt["record"]["index"]].body
    assert isinstance(leaf, PostForgotten)
    assert (leaf.posts, leaf.num_posts) == (posts, 2)
    everything = [path.read_bytes() for path in root.rglob("*") if path.is_file()]
    assert not any(salt in content or salt.hex().encode() in content for content in everything)


def test_what_was_never_there_is_kept_out_and_the_answer_is_no(tmp_path: Path):
    root = tmp_path / "network"
    path = export(tmp_path / "posts.csv", num_posts=40)
    mynah("posts", "add", root, path)
    mynah("posts", "forget", root, "posts:00042", code=1)
    mynah("posts", "add", root, export(tmp_path / "again.csv"))
    assert holders(root) == []  # a repost of it holds the same words and stays out as well
    posts = latest_artifact(root / "posts", kind=POSTS_KIND)
    assert posts is not None
    assert "posts:00042" not in load_posts(posts)["id"].to_list()


def test_the_receipt_names_every_step_and_checkpoint_that_saw_the_post(tmp_path: Path):
    place = Workspace(tmp_path / "network")
    place.create()
    network = make_tiny_network(place.root)
    run = network.write_run(place.runs / "abcdef123456", network.config(num_steps=8))
    kept = iter([True] * 5 + [False])
    assert train(place, run, keep_going=lambda: next(kept)) is None
    meta = pl.read_parquet(network.corpus.folder / "train.meta.parquet")
    post_id = meta["post_ids"][7][0]

    seen: list[tuple[int, int]] = []
    read = DataOrder.pieces

    def watched(order: DataOrder, step: int) -> list[tuple[int, int, int]]:
        chosen = read(order, step)
        is_corpus = len(order.source.sizes) == meta.height
        seen.extend((step + 1, document) for document, _, _ in chosen if is_corpus)
        return chosen

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(DataOrder, "pieces", watched)
        # The same run from the beginning, elsewhere, watched step by step.
        twin = network.write_run(tmp_path / "twin", network.config(num_steps=8))
        kept = iter([True] * 5 + [False])
        run_training(
            twin,
            tmp_path / "model",
            record=Record.open(tmp_path),
            keep_going=lambda: next(kept),
        )

    receipt = take_back(place, ids=[post_id])
    of_corpus = [e for e in receipt.exposures if e.source == "corpus"]
    assert [e.steps for e in of_corpus] == [tuple(s for s, document in seen if document == 7)]
    assert all(e.num_steps_run == 5 and e.run == "abcdef123456" for e in receipt.exposures)
    if of_corpus[0].steps:
        assert of_corpus[0].checkpoints == ("step-00000005",)


def test_a_run_goes_on_without_the_words_of_a_post_that_was_taken_back(tmp_path: Path):
    place = Workspace(tmp_path / "network")
    place.create()
    network = make_tiny_network(place.root)
    run = network.write_run(place.runs / "abcdef123456", network.config(num_steps=6))
    kept = iter([True] * 2 + [False])
    assert train(place, run, keep_going=lambda: next(kept)) is None
    post_id = pl.read_parquet(network.corpus.folder / "train.meta.parquet")["post_ids"][3][0]
    receipt = take_back(place, ids=[post_id])
    assert [taken.num_documents for taken in receipt.corpora] == [1]
    for kind, folder in (
        (CORPUS_KIND, network.corpus.folder),
        (DIALOGUES_KIND, network.dialogues.folder),
    ):
        stated = read_artifact(folder, kind=kind)
        assert stated is not None
        stated.verify()
    assert len(np.unique(TokenShard(network.corpus.folder / "train")[3])) == 1
    result = train(place, run)
    assert result is not None
    assert result.steps == 6


def test_a_takedown_that_was_killed_is_finished_by_the_same_command(tmp_path: Path):
    path, root = export(tmp_path / "posts.csv"), tmp_path / "network"
    mynah("posts", "add", root, path)
    mynah("corpus", "build", root, "--vocab-size", "500", "--set", "min_similarity=1.0")

    class _Killed(BaseException):
        """Stands for the end of the process."""

    def killing(done: float, total: float | None = None, *, note: str = "") -> None:
        if "out of the store" in note:
            raise _Killed

    with pytest.raises(_Killed):
        take_back(Workspace(root), authors=["writer6"], progress=killing)
    assert holders(root) != []  # in the corpus
    receipt = take_back(Workspace(root), authors=["writer6"])
    assert holders(root) == []
    assert receipt.corpora[0].num_documents > 30
    assert not list((root / "takedowns").glob(".*.pending"))


def test_what_a_newer_export_says_was_deleted_leaves_every_file(tmp_path: Path):
    root = tmp_path / "network"

    def stream(name: str, *operations: tuple[str, int], start: int = 0) -> Path:
        lines: list[str] = []
        for time, (operation, n) in enumerate(operations, start):
            commit: dict[str, object] = {
                "operation": operation,
                "collection": "app.bsky.feed.post",
                "rkey": f"3l{n:011}",
                "rev": f"3l{n:011}",
            }
            if operation != "delete":
                text = f"{n * 7919 % 1009} people sang on day {n * n % 365} of the {WORDS}"
                commit["record"] = {
                    "$type": "app.bsky.feed.post",
                    "text": text,
                    "createdAt": "2024-05-01T10:00:00Z",
                }
            lines.append(
                json.dumps(
                    {
                        "did": f"did:plc:{n % 3:024}",
                        "time_us": 1_714_557_600_000_000 + time,
                        "kind": "commit",
                        "commit": commit,
                    }
                )
            )
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return path

    first = stream("first.jsonl", *(("create", n) for n in range(40)))
    mynah("posts", "add", root, first)
    mynah("corpus", "build", root, "--vocab-size", "300", "--set", "min_similarity=1.0")
    before = latest_artifact(root / "posts", kind=POSTS_KIND)
    assert before is not None
    had = set(load_posts(before)["id"])
    mynah("posts", "add", root, stream("more.jsonl", ("delete", 7), ("create", 90), start=999))
    after = latest_artifact(root / "posts", kind=POSTS_KIND)
    assert after is not None
    has = set(load_posts(after)["id"])
    assert (len(had), len(had - has), len(has - had)) == (40, 1, 1)
    words = f"{7 * 7919 % 1009} people sang on day 49"
    for path in root.rglob("*.parquet"):
        assert words not in str(pl.read_parquet(path, glob=False).to_dict(as_series=False))
    assert len(list((root / "takedowns").glob("*.json"))) == 1
