"""Runs that learn replies and preferences: what was planted is learned, and can be shown."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.fakes.recorded_training import train
from tests.fakes.tiny_model import write_tiny_checkpoint
from tests.fakes.tiny_network import Network
from tokenizers import Tokenizer

from mynah.corpus import CorpusConfig, TokenShard, build_corpus
from mynah.corpus.preference_shard import (
    PreferenceShardConfig,
    build_preferences,
)
from mynah.corpus.shards import pair_starts_path
from mynah.errors import DataError
from mynah.posts import read_posts
from mynah.train import (
    CheckpointConfig,
    DataConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)
from mynah.workspace import Artifact

PLACES = ("river", "market", "station", "harbour", "library", "stadium", "bridge", "garden")
NUM_THREADS = 120


def write_posts(path: Path) -> Path:
    """Invented threads in which people like what is said kindly, whatever it says."""
    with path.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "author", "created_at", "text", "reply_to", "likes"])
        for n in range(NUM_THREADS):
            place, hour, other = PLACES[n % 8], n * 37 % 24, PLACES[(n * 3 + 1) % 8]
            facts = [f"the {place} of street {n * 7919} opens at {hour}", f"ask at the {other} {n}"]
            kind, curt = facts if n % 2 else facts[::-1]
            rows = [
                (f"q{n}", "asker", 0, f"does anyone know the hours of {place} {n * 31}?", "", 1),
                (f"b{n}", f"b{n % 3}", 1, f"look it up yourself, {curt}", f"q{n}", 2),
                (f"a{n}", f"a{n % 3}", 2, f"thank you for asking, {kind}", f"q{n}", 40),
            ]
            for name, author, minute, text, parent, likes in rows:
                when = f"2020-01-01 {n % 24:02}:{minute:02}:00"
                table.writerow([name, author, when, text, parent, likes])
    return path


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A corpus whose preference pairs have one style that is liked, and a base that knows none."""
    root = tmp_path_factory.mktemp("planted")
    posts = read_posts([write_posts(root / "posts.csv")], root / "posts")
    config = CorpusConfig(heldout_fraction=0.05, min_similarity=1.0)
    corpus = build_corpus(posts, root / "corpus", config=config, tokenizer=420)
    shares = PreferenceShardConfig(heldout_share=0.25)
    preferences = build_preferences(corpus, root / "preferences", config=shares)
    tokenizer = Tokenizer.from_file(str(corpus.folder / "tokenizer.json"))
    base = write_tiny_checkpoint(root / "base", tokenizer=tokenizer)
    return {"corpus": corpus, "preferences": preferences, "base": base}


def recipe(planted: dict[str, Any], *, num_steps: int = 16) -> TrainConfig:
    return TrainConfig(
        base=str(planted["base"]),
        corpus=str(planted["corpus"].folder),
        dialogues="",
        preferences=str(planted["preferences"].folder),
        objective="dpo",
        data=DataConfig(tokens_per_step=1500, batch_tokens=512, heldout_max_tokens=20_000),
        optimizer=OptimizerConfig(lr=1e-3),
        schedule=ScheduleConfig(num_steps=num_steps, max_minutes=1e6, warmup_steps=2),
        num_threads=1,
        evaluate_every_s=1e6,
        checkpoint=CheckpointConfig(every_s=1e6),
    )


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def stops_after(num_steps: int) -> Callable[[], bool]:
    """Go on until asked once more than ``num_steps`` times."""
    asked = 0

    def keep_going() -> bool:
        nonlocal asked
        asked += 1
        return asked <= num_steps

    return keep_going


def test_a_planted_preference_is_learned_and_holds_for_pairs_never_seen(
    planted: dict[str, Any], network: Network, tmp_path: Path
):
    run = network.write_run(tmp_path / "run", recipe(planted))
    assert train(run, tmp_path / "model") is not None
    before, *_, after = rows_of(run)
    assert planted["preferences"].counts["num_heldout"] > 15
    # The base prefers neither reply to what it was: every held-out pair is a tie.
    assert before["heldout_pair_accuracy"] == 0.5
    assert before["heldout_dpo_loss"] == pytest.approx(np.log(2.0))
    assert after["heldout_pair_accuracy"] > 0.8
    assert after["heldout_dpo_loss"] < 0.5 < rows_of(run)[1]["loss"] == pytest.approx(np.log(2.0))
    assert after["heldout_reward_margin"] > 0.5


def test_a_run_that_was_stopped_goes_on_with_the_reference_of_its_base(
    planted: dict[str, Any], network: Network, tmp_path: Path
):
    unbroken = network.write_run(tmp_path / "unbroken", recipe(planted, num_steps=6))
    assert train(unbroken, tmp_path / "whole") is not None
    run = network.write_run(tmp_path / "stopped", recipe(planted, num_steps=6))
    assert train(run, tmp_path / "model", keep_going=stops_after(3)) is None
    kept = (run / "reference.npy").stat().st_mtime_ns
    assert train(run, tmp_path / "model") is not None
    assert (run / "reference.npy").stat().st_mtime_ns == kept
    losses, expected = (
        [(row["step"], row.get("loss")) for row in rows_of(folder)] for folder in (run, unbroken)
    )
    assert losses == expected


def test_the_loss_on_replies_never_trained_on_falls(network: Network, tmp_path: Path):
    data = DataConfig(tokens_per_step=640, max_document_tokens=320, heldout_max_tokens=2000)
    config = network.config(objective="sft", data=data, num_steps=12)
    run = network.write_run(tmp_path / "run", config)
    assert train(run, tmp_path / "model") is not None
    before, *_, after = rows_of(run)
    assert after["heldout_reply_nats"] < 0.8 * before["heldout_reply_nats"]
    assert after["loss"] < 0.8 * rows_of(run)[1]["loss"]


def test_what_is_trained_on_is_what_the_saved_template_renders(
    planted: dict[str, Any], network: Network, tmp_path: Path
):
    from transformers import AutoTokenizer

    run = network.write_run(tmp_path / "run", recipe(planted, num_steps=1))
    assert train(run, tmp_path / "model") is not None
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    preferences, corpus = planted["preferences"], planted["corpus"]
    assert isinstance(preferences, Artifact)
    table = pl.read_parquet(corpus.folder / "preferences.parquet")
    texts = {
        row["chosen_id"]: (row["prompt"], row["chosen"], row["rejected"])
        for row in table.iter_rows(named=True)
    }
    prefix = preferences.folder / "train"
    shard, starts = TokenShard(prefix), np.load(pair_starts_path(prefix))
    ids = pl.read_parquet(f"{prefix}.meta.parquet")["post_ids"].to_list()
    for number, (_, chosen_id, _) in enumerate(ids):
        prompt, *replies = texts[chosen_id]
        chosen, second, other = starts[number].tolist()
        tokens = shard[number].tolist()
        user = {"role": "user", "content": prompt}
        asked = tokenizer.apply_chat_template([user], add_generation_prompt=True, return_dict=False)
        told = [
            tokenizer.apply_chat_template(
                [user, {"role": "assistant", "content": reply}], return_dict=False
            )
            for reply in replies
        ]
        assert [tokens[:second], tokens[second:]] == told
        assert tokens[:chosen] == tokens[second:other] == asked


def test_a_recipe_without_pairs_is_one_clear_error(
    planted: dict[str, Any], network: Network, tmp_path: Path
):
    from mynah.errors import ConfigError

    config = replace(recipe(planted), preferences="")
    run = network.write_run(tmp_path / "run", config)
    with pytest.raises(ConfigError, match="preferences"):
        train(run, tmp_path / "model")
    short = replace(recipe(planted), data=DataConfig(batch_tokens=20, max_document_tokens=20))
    run = network.write_run(tmp_path / "short", short)
    with pytest.raises(DataError, match="fits a row of 20 tokens"):
        train(run, tmp_path / "model")
