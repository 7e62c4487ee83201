import polars as pl
import pytest

from mynah.corpus.fertility import fertility
from mynah.corpus.tokens import DocumentEncoder


@pytest.fixture
def encoder(tokenizer):
    return DocumentEncoder(tokenizer)


def test_tokens_by_language(encoder):
    posts = pl.DataFrame(
        {
            "lang": ["en", "en", "ja", None],
            "text": ["the ships came", "to the harbour", "\u65e5\u672c", "a"],
        }
    )
    found = {row["lang"]: row for row in fertility(encoder, posts).iter_rows(named=True)}
    num_tokens = sum(len(tokens) - 1 for tokens in encoder.encode(posts["text"][:2]))
    assert list(found) == ["en", "ja", "unknown"]
    assert found["en"]["num_posts"] == found["en"]["num_sampled"] == 2
    assert found["en"]["tokens_per_word"] == pytest.approx(num_tokens / 6)
    assert found["en"]["tokens_per_character"] == pytest.approx(num_tokens / 28)
    assert found["en"]["bytes_per_token"] == pytest.approx(28 / num_tokens)
    assert found["ja"]["tokens_per_character"] == pytest.approx(3)
    assert found["ja"]["bytes_per_token"] == pytest.approx(1)


def test_the_sample_is_bounded_and_always_the_same(encoder):
    posts = pl.DataFrame({"lang": ["en"] * 1000, "text": [f"post {n}" for n in range(1000)]})
    found = fertility(encoder, posts, posts_per_language=100)
    assert found["num_posts"].to_list() == [1000]
    assert found["num_sampled"].to_list() == [100]
    assert found.equals(fertility(encoder, posts, posts_per_language=100))


def test_nothing_has_no_languages_and_spaces_no_infinite_ratio(encoder):
    schema = {"lang": pl.String, "text": pl.String}
    assert fertility(encoder, pl.DataFrame(schema=schema)).is_empty()
    (row,) = fertility(encoder, pl.DataFrame([{"lang": "en", "text": " "}], schema=schema)).rows()
    assert row[3] == 1.0
    (row,) = fertility(encoder, pl.DataFrame([{"lang": "en", "text": ""}], schema=schema)).rows()
    assert row[3:] == (0.0, 0.0, 0.0)
