"""The real sample becomes a corpus: as many documents as there are posts worth reading."""

import polars as pl

from mynah.corpus import build_corpus, train_tokenizer
from mynah.posts import read_posts


def test_the_real_sample_becomes_a_corpus(sample_tab, tmp_path):
    posts = read_posts([sample_tab], tmp_path / "posts")
    train_tokenizer(posts, tmp_path / "t.json", vocab_size=2048)
    corpus = build_corpus(posts, tmp_path / "corpus", tokenizer=tmp_path / "t.json")
    assert corpus.counts["num_documents"] > 6000
    assert 90 < corpus.counts["num_heldout"] < 160
    assert "t.co" not in "".join(pl.read_parquet(corpus.folder / "documents.parquet")["text"])
