"""A post that is taken back leaves no words in a corpus; everything else stays where it was."""

import numpy as np
import polars as pl
import pytest

from mynah.corpus import (
    DialogueConfig,
    DocumentEncoder,
    TokenShard,
    build_corpus,
    build_dialogues,
    forget_in_corpus,
    forget_in_dialogues,
)
from mynah.corpus.dialogue_shard import DIALOGUES_KIND
from mynah.workspace import read_artifact

PLACES = tuple(
    f"{first}{last}"
    for first in ("north", "south", "west", "east", "old", "new", "upper", "lower")
    for last in ("gate", "bridge", "market", "field", "wood", "hill", "water", "stone", "port")
)


@pytest.fixture
def threaded(make_posts, tokenizer, tmp_path):
    rows = [
        {
            "author": f"writer{n % 7}",
            "text": f"{n * 7919} people came to {PLACES[n % 67]} on day {n * n} for {n} songs",
        }
        for n in range(200)
    ]
    for n in range(1, 200, 3):
        rows[n]["reply_to"] = f"{n - 1:05}"
    posts = make_posts(rows)
    return posts, build_corpus(posts, tmp_path / "corpus", tokenizer=tokenizer)


def tokens_by_post(corpus):
    """Tokens of every post, its ending included, in each part of the corpus."""
    found = {}
    for name in ("train", "heldout"):
        shard = TokenShard(corpus.folder / name)
        for row in pl.read_parquet(corpus.folder / f"{name}.meta.parquet").iter_rows(named=True):
            cuts = np.cumsum(row["post_tokens"])[:-1]
            pieces = np.split(np.array(shard[row["document"]]), cuts)
            found.update(zip(row["post_ids"], (piece.tolist() for piece in pieces), strict=True))
    return found


def test_only_its_own_tokens_go_and_every_size_stays(threaded):
    _, corpus = threaded
    before = tokens_by_post(corpus)
    taken = forget_in_corpus(corpus, ["posts:00003", "posts:never"])
    after = tokens_by_post(corpus)
    end = DocumentEncoder(corpus.folder / "tokenizer.json").end_of_text
    assert set(after.pop("posts:00003")) == {end}
    gone = before.pop("posts:00003")
    assert after == before
    assert taken is not None
    assert (taken.num_documents, taken.num_tokens) == (1, len(gone))
    table = pl.read_parquet(corpus.folder / "documents.parquet")
    assert table.filter(pl.col("post_id") == "posts:00003")["text"].to_list() == [""]
    assert (table["text"] == "").sum() == 1


def test_no_file_of_the_corpus_holds_the_words_any_more(threaded):
    _, corpus = threaded
    taken = forget_in_corpus(corpus, ["posts:00004"])
    assert taken is not None
    words = f"{4 * 7919} people"
    for path in corpus.folder.glob("*.parquet"):
        for column in pl.read_parquet(path).to_dict(as_series=False).values():
            assert words not in str(column)


def test_the_manifest_is_true_again_and_doing_it_twice_changes_nothing(threaded):
    _, corpus = threaded
    forget_in_corpus(corpus, ["posts:00003"])
    stated = read_artifact(corpus.folder, kind=corpus.kind)
    assert stated is not None
    stated.verify()
    forget_in_corpus(stated, ["posts:00003"])
    again = read_artifact(corpus.folder, kind=corpus.kind)
    assert again is not None
    assert again.digest == stated.digest != corpus.digest


def test_a_corpus_without_the_post_is_left_alone(threaded):
    _, corpus = threaded
    assert forget_in_corpus(corpus, ["posts:99999"]) is None
    corpus.verify()


def test_dialogues_that_show_it_go_whole(threaded, tmp_path):
    posts, corpus = threaded
    config = DialogueConfig(num_dialogues=60, max_shown=2)
    dialogues = build_dialogues(corpus, posts, tmp_path / "dialogues", config=config)
    meta = pl.read_parquet(dialogues.folder / "train.meta.parquet")
    post_id = meta["post_ids"].explode().drop_nulls().to_list()[0]
    holders = meta.filter(pl.col("post_ids").list.contains(post_id))["document"].to_list()
    taken = forget_in_dialogues(dialogues, [post_id])
    shard = TokenShard(dialogues.folder / "train")
    end = dialogues.counts["end_of_text"]
    blanked = [n for n in range(len(shard)) if set(shard[n].tolist()) == {end}]
    assert blanked == holders
    assert taken is not None
    assert taken.num_documents == len(holders)
    stated = read_artifact(dialogues.folder, kind=DIALOGUES_KIND)
    assert stated is not None
    stated.verify()
