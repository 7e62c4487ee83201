import polars as pl
import pyarrow.parquet as pq
import pytest

from mynah.corpus import (
    CORPUS_KIND,
    CorpusConfig,
    DocumentEncoder,
    TokenShard,
    build_corpus,
    train_tokenizer,
)
from mynah.errors import DataError
from mynah.posts import read_posts
from mynah.workspace import latest_artifact

FILES = {
    *(f"{part}.{ending}" for part in ("train", "heldout") for ending in ("bin", "idx")),
    "train.meta.parquet",
    "heldout.meta.parquet",
    "documents.parquet",
    "excluded.parquet",
    "tokenizer.json",
}


def test_the_artifact_has_its_files_and_its_counts_are_true(many_posts, tokenizer, tmp_path):
    corpus = build_corpus(many_posts, tmp_path / "corpus", tokenizer=tokenizer)
    assert set(corpus.files) == FILES
    documents = pl.read_parquet(corpus.folder / "documents.parquet")
    train, heldout = TokenShard(corpus.folder / "train"), TokenShard(corpus.folder / "heldout")
    counts = corpus.counts
    assert counts["num_posts_in"] == 400
    assert counts["num_documents"] == documents.height == len(train) + len(heldout)
    assert counts["num_heldout"] == len(heldout) > 0
    assert counts["num_tokens"] == train.num_tokens
    assert counts["num_heldout_tokens"] == heldout.num_tokens
    assert counts["num_documents"] + sum(counts["excluded"].values()) == 400
    texts = documents.filter("is_heldout")["text"]
    assert counts["num_heldout_bytes"] == sum(len(text.encode()) for text in texts)


def test_the_sidecar_leads_from_tokens_to_the_post(many_posts, tokenizer, tmp_path):
    corpus = build_corpus(many_posts, tmp_path / "corpus", tokenizer=tokenizer)
    documents = pl.read_parquet(corpus.folder / "documents.parquet")
    texts = dict(documents.select("post_id", "text").iter_rows())
    shard = TokenShard(corpus.folder / "train")
    encoder = DocumentEncoder(corpus.folder / "tokenizer.json")
    meta = pq.read_table(corpus.folder / "train.meta.parquet").to_pylist()
    for row in meta[::37]:
        (post_id,) = row["post_ids"]
        assert encoder.decode(shard[row["document"]].tolist()) == texts[post_id]


def test_the_same_inputs_give_the_same_bytes(many_posts, tokenizer, tmp_path):
    one = build_corpus(many_posts, tmp_path / "one", tokenizer=tokenizer)
    two = build_corpus(many_posts, tmp_path / "two", tokenizer=tokenizer)
    assert one.digest == two.digest


def test_a_finished_corpus_is_found_and_another_config_is_another(many_posts, tokenizer, tmp_path):
    root = tmp_path / "corpus"
    one = build_corpus(many_posts, root, tokenizer=tokenizer)
    again = build_corpus(many_posts, root, tokenizer=tokenizer)
    other = build_corpus(many_posts, root, tokenizer=tokenizer, config=CorpusConfig(min_letters=11))
    assert one.snapshot == again.snapshot != other.snapshot


class _Killed(BaseException):
    """Stands for the end of the process."""


def test_killed_halfway_leaves_no_artifact(many_posts, tokenizer, tmp_path):
    root = tmp_path / "corpus"

    def killing(done, total=None, *, note=""):
        if "written" in note:
            raise _Killed

    with pytest.raises(_Killed):
        build_corpus(many_posts, root, tokenizer=tokenizer, progress=killing)
    assert latest_artifact(root, kind=CORPUS_KIND) is None
    build_corpus(many_posts, root, tokenizer=tokenizer).verify()


def test_too_few_posts_say_why(make_posts, tokenizer, tmp_path):
    posts = make_posts([{"text": "only one that is long enough"}, {"text": "ok"}])
    with pytest.raises(DataError, match="1 too_short"):
        build_corpus(posts, tmp_path / "corpus", tokenizer=tokenizer)


def test_the_real_sample_becomes_a_corpus(sample_tab, tmp_path):
    posts = read_posts([sample_tab], tmp_path / "posts")
    train_tokenizer(posts, tmp_path / "t.json", vocab_size=2048)
    corpus = build_corpus(posts, tmp_path / "corpus", tokenizer=tmp_path / "t.json")
    assert corpus.counts["num_documents"] > 6000
    assert 90 < corpus.counts["num_heldout"] < 160
    assert "t.co" not in "".join(pl.read_parquet(corpus.folder / "documents.parquet")["text"])
