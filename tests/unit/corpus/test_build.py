"""What a corpus holds, and that it holds the same whoever builds it."""

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from mynah.corpus import (
    CORPUS_KIND,
    CorpusConfig,
    DocumentEncoder,
    LocalEngine,
    TokenShard,
    build_corpus,
    documents,
)
from mynah.errors import DataError
from mynah.workspace import latest_artifact

FILES = {
    *(f"{part}.{ending}" for part in ("train", "heldout") for ending in ("bin", "idx")),
    "train.meta.parquet",
    "heldout.meta.parquet",
    "documents.parquet",
    "excluded.parquet",
    "threads.parquet",
    "preferences.parquet",
    "tokenizer.json",
}


def test_the_artifact_has_its_files_and_its_counts_are_true(many_posts, tokenizer, tmp_path):
    corpus = build_corpus(many_posts, tmp_path / "corpus", tokenizer=tokenizer)
    assert set(corpus.files) == FILES
    table = pl.read_parquet(corpus.folder / "documents.parquet")
    train, heldout = TokenShard(corpus.folder / "train"), TokenShard(corpus.folder / "heldout")
    counts = corpus.counts
    assert counts["num_posts_in"] == 400
    assert counts["num_documents"] == table.height == len(train) + len(heldout)
    assert counts["num_heldout"] == len(heldout) > 0
    assert counts["num_tokens"] == train.num_tokens
    assert counts["num_heldout_tokens"] == heldout.num_tokens
    assert counts["num_documents"] + sum(counts["excluded"].values()) == 400
    texts = table.filter("is_heldout")["text"]
    assert counts["num_heldout_bytes"] == sum(len(text.encode()) for text in texts)


def test_the_sidecar_leads_from_tokens_to_the_post(many_posts, tokenizer, tmp_path):
    corpus = build_corpus(many_posts, tmp_path / "corpus", tokenizer=tokenizer)
    table = pl.read_parquet(corpus.folder / "documents.parquet")
    texts = dict(table.select("post_id", "text").iter_rows())
    shard = TokenShard(corpus.folder / "train")
    encoder = DocumentEncoder(corpus.folder / "tokenizer.json")
    meta = pq.read_table(corpus.folder / "train.meta.parquet").to_pylist()
    for row in meta[::37]:
        (post_id,) = row["post_ids"]
        assert encoder.decode(shard[row["document"]].tolist()) == texts[post_id]


def test_the_same_inputs_give_the_same_bytes_on_any_number_of_cores(
    many_posts, tokenizer, tmp_path, monkeypatch
):
    monkeypatch.setattr(documents, "_CHUNK_DOCUMENTS", 37)
    digests = {
        build_corpus(
            many_posts, tmp_path / str(n), tokenizer=tokenizer, engine=LocalEngine(n)
        ).digest
        for n in (1, 2, 5)
    }
    assert len(digests) == 1


def test_a_chain_is_one_document_and_each_post_is_found_in_its_tokens(
    make_posts, tokenizer, tmp_path
):
    rows = [
        {"text": f"{n * 7919} people heard of the {n * 31} songs on day {n * n}"} for n in range(30)
    ]
    for n in (1, 2, 3, 11, 12):
        rows[n]["reply_to"] = f"{n - 1:05}"
    posts = make_posts(rows)
    config = CorpusConfig(min_similarity=1.0)
    corpus = build_corpus(posts, tmp_path / "corpus", config=config, tokenizer=tokenizer)
    encoder = DocumentEncoder(corpus.folder / "tokenizer.json")
    table = pl.read_parquet(corpus.folder / "documents.parquet")
    texts = dict(table.select("post_id", "text").iter_rows())
    seen = []
    for name in ("train", "heldout"):
        shard = TokenShard(corpus.folder / name)
        for row in pq.read_table(corpus.folder / f"{name}.meta.parquet").to_pylist():
            tokens = shard[row["document"]]
            ends = np.cumsum(row["post_tokens"])
            assert ends[-1] == len(tokens)
            for post_id, piece in zip(row["post_ids"], np.split(tokens, ends[:-1]), strict=True):
                assert encoder.decode(piece.tolist()).strip() == texts[post_id]
            whole = "\n\n".join(texts[post_id] for post_id in row["post_ids"])
            assert encoder.decode(tokens.tolist()) == whole
            seen.append(row["post_ids"])
    assert ["posts:00000", "posts:00001", "posts:00002", "posts:00003"] in seen
    assert ["posts:00010", "posts:00011", "posts:00012"] in seen
    assert corpus.counts["num_documents"] == len(seen) == 30 - 5
    assert corpus.counts["num_chains"] == 2


def test_a_corpus_can_bring_a_tokenizer_of_its_own(many_posts, tmp_path):
    corpus = build_corpus(many_posts, tmp_path / "corpus", tokenizer=400)
    assert DocumentEncoder(corpus.folder / "tokenizer.json").vocab_size <= 400
    assert corpus.counts["encoder"].startswith("kitoken")
    again = build_corpus(many_posts, tmp_path / "again", tokenizer=400)
    assert again.digest == corpus.digest


def test_a_finished_corpus_is_found_and_another_config_is_another(many_posts, tokenizer, tmp_path):
    root = tmp_path / "corpus"
    one = build_corpus(many_posts, root, tokenizer=tokenizer)
    again = build_corpus(many_posts, root, tokenizer=tokenizer)
    other = build_corpus(
        many_posts, root, tokenizer=tokenizer, config=CorpusConfig(min_similarity=0.8)
    )
    assert one.snapshot == again.snapshot != other.snapshot


class _Killed(BaseException):
    """Stands for the end of the process."""


def test_killed_halfway_leaves_no_artifact(many_posts, tokenizer, tmp_path):
    root = tmp_path / "corpus"

    def killing(done, total=None, *, note=""):
        if "encoding" in note:
            raise _Killed

    with pytest.raises(_Killed):
        build_corpus(many_posts, root, tokenizer=tokenizer, progress=killing)
    assert latest_artifact(root, kind=CORPUS_KIND) is None
    build_corpus(many_posts, root, tokenizer=tokenizer).verify()


def test_too_few_posts_say_why(make_posts, tokenizer, tmp_path):
    posts = make_posts([{"text": "only one that is long enough"}, {"text": "ok"}])
    with pytest.raises(DataError, match="1 too_short"):
        build_corpus(posts, tmp_path / "corpus", tokenizer=tokenizer)
