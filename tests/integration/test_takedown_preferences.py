"""A post that is one of a preference pair: taken back from the pairs, and named in the receipt."""

import csv
from pathlib import Path

import polars as pl
from tests.fakes.tiny_model import write_tiny_checkpoint
from tokenizers import Tokenizer

from mynah.config import dump_toml
from mynah.corpus import (
    CorpusConfig,
    PreferenceShardConfig,
    TokenShard,
    build_corpus,
    build_preferences,
)
from mynah.job import take_back
from mynah.posts import read_posts
from mynah.record.record import Record
from mynah.train import DataConfig, ScheduleConfig, TrainConfig, run_training
from mynah.workspace import Workspace


def test_a_post_of_a_pair_is_blanked_and_every_step_that_compared_it_is_named(tmp_path: Path):
    place = Workspace(tmp_path / "network")
    place.create()
    with (tmp_path / "posts.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "author", "created_at", "text", "reply_to", "likes"])
        for n in range(40):
            question, words = f"who has the hours of street {n * 7919}?", f"they open at {n * 31}"
            table.writerow([f"q{n}", "asker", "2020-01-01 10:00:00", question, "", 1])
            table.writerow([f"b{n}", "b", "2020-01-01 10:01:00", f"never, {words}", f"q{n}", 2])
            table.writerow([f"a{n}", "a", "2020-01-01 10:02:00", f"gladly, {words}", f"q{n}", 40])
    posts = read_posts([tmp_path / "posts.csv"], place.posts)
    config = CorpusConfig(heldout_fraction=0.1, min_similarity=1.0)
    corpus = build_corpus(posts, place.corpus, config=config, tokenizer=400)
    shares = PreferenceShardConfig(heldout_share=0.2)
    pairs = build_preferences(corpus, place.root / "preferences", config=shares)
    tokenizer = Tokenizer.from_file(str(corpus.folder / "tokenizer.json"))
    write_tiny_checkpoint(place.models / "base", tokenizer=tokenizer)
    recipe = TrainConfig(
        base="../../models/base",
        corpus=f"../../corpus/{corpus.snapshot}",
        dialogues="",
        preferences=f"../../preferences/{pairs.snapshot}",
        objective="dpo",
        data=DataConfig(tokens_per_step=400, batch_tokens=400),
        schedule=ScheduleConfig(num_steps=12, max_minutes=1e6),
        num_threads=1,
    )
    run = place.runs / "abcdef"
    run.mkdir(parents=True)
    (run / "recipe.toml").write_text(dump_toml(recipe))
    record = Record.open(place.root)
    assert run_training(run, place.models / "mynah-abcdef", record=record) is not None
    meta = pl.read_parquet(pairs.folder / "train.meta.parquet")
    document, ids = meta.select("document", "post_ids").row(4)

    receipt = take_back(place, ids=[ids[2]], record=record)
    (taken,) = receipt.preferences
    assert (taken.snapshot, taken.num_documents) == (pairs.snapshot, 1)
    filler = pairs.counts["end_of_text"]
    assert set(TokenShard(pairs.folder / "train")[document].tolist()) == {filler}
    (exposure,) = receipt.exposures
    assert (exposure.source, exposure.document) == ("preferences", document)
    assert exposure.num_steps_run == 12
    assert 1 <= len(exposure.steps) < 12
    assert receipt.models == ("mynah-abcdef",)
