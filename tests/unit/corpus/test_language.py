import polars as pl
import pytest

from mynah.config import parse_config
from mynah.corpus.fasttext_model import FasttextModel
from mynah.corpus.language import LanguageConfig, detect_languages, language_prior
from mynah.corpus.language_evidence import (
    NGramModel,
    declared_languages,
    plain_words,
    spoken_languages,
    spoken_model,
    spoken_path,
)
from mynah.errors import ConfigError, DataError

ENGLISH = "the train to the coast was late again and nobody told us why"
GERMAN = "der Zug an die Nordsee war wieder zu spaet und niemand sagte uns warum"
HAUSA = "ina kwana yaya aiki mutanen gari sun taru a kasuwa yau da safe"
AMHARIC = "\u1230\u120b\u121d \u1208\u12d3\u1208\u121d \u12ed\u1201\u1295 \u12db\u122c"


def detect(texts, tagged=None, *, counts=None, **settings):
    config = LanguageConfig(**settings)
    tags = pl.Series(tagged or [None] * len(texts), dtype=pl.String)
    prior = language_prior(counts or {}, config=config)
    column = pl.Series(texts, dtype=pl.String)
    return detect_languages(column, tags, config=config, prior=prior)


def test_plain_sentences_are_recognised_without_any_hint():
    found = detect([ENGLISH, GERMAN])
    assert found["lang"].to_list() == ["en", "de"]
    assert found.schema == {"lang": pl.String, "lang_score": pl.Float32}
    assert (found["lang_score"] > 0.5).all()


def test_a_language_that_fasttext_lacks_is_recognised_when_it_is_expected():
    assert "ha" not in spoken_languages()
    assert "ha" in declared_languages()
    assert detect([HAUSA, ENGLISH], languages=("ha", "en"))["lang"].to_list() == ["ha", "en"]


def test_script_tells_languages_apart():
    languages = ("am", "en", "ha")
    assert detect([AMHARIC], languages=languages)["lang"].to_list() == ["am"]


@pytest.mark.parametrize(
    "text", ["", "12:30", "https://example.org/a", "@someone", "\U0001f600", "ok"]
)
def test_a_post_without_words_has_no_language(text):
    found = detect([text], languages=("en", "de"))
    assert found["lang"].to_list() == [None]


def test_a_tag_is_the_answer_where_there_are_no_words():
    assert detect(["\U0001f600"], ["de"], languages=("en", "de"))["lang"].to_list() == ["de"]


def test_a_wrong_tag_does_not_outweigh_a_clear_text():
    assert detect([ENGLISH], ["de"], languages=("en", "de"))["lang"].to_list() == ["en"]


def test_languages_outside_the_configured_ones_are_still_named():
    assert detect([GERMAN], languages=("en", "fr"))["lang"].to_list() == ["de"]


def test_varieties_that_nobody_can_tell_apart_are_unknown_until_one_is_configured():
    text = "\u0645\u0631\u062d\u0628\u0627 \u0628\u0643\u0645 \u0647\u0646\u0627"
    assert detect([text], languages=("ary", "arq"))["lang"].to_list() == [None]
    assert detect([text], languages=("ary", "fr"))["lang"].to_list() == ["ary"]


def test_min_score_turns_doubt_into_unknown():
    assert detect(["hola"], languages=("en", "es"), min_score=0.999999)["lang"].to_list() == [None]


def test_batches_of_any_size_give_the_same():
    texts = [ENGLISH, "", GERMAN, HAUSA, "ok", AMHARIC] * 3
    whole = detect(texts, languages=("en", "ha"))
    parts = [detect([text], languages=("en", "ha")) for text in texts]
    assert whole.equals(pl.concat(parts))


def test_no_rows_are_no_rows():
    assert detect([]).height == 0


def test_the_prior_mixes_tags_with_an_even_share():
    config = LanguageConfig(languages=("en", "de"), other_share=0.1)
    prior = language_prior({"en": 900, "xx": 100}, config=config)
    assert prior == pytest.approx({"de": 0.225, "en": 0.675})


def test_without_configured_languages_the_frequent_tags_are_expected():
    prior = language_prior(
        {"en": 9_990, "de": 9, "fr": 1}, config=LanguageConfig(min_tag_share=0.001)
    )
    assert set(prior) == {"en"}
    assert language_prior({}, config=LanguageConfig()) == {}


def test_words_are_what_is_left_without_links_mentions_and_signs():
    text = pl.Series(
        ["RT @someone: Look, #BigNews at https://example.org/x?y=1 \U0001f600 42 it's"]
    )
    assert plain_words(text).to_list() == ["look bignews at it's"]


def test_an_n_gram_model_likes_its_own_language_best():
    model = NGramModel(["de", "en"])
    columns = pl.Series([[0, 1]] * 2).list.to_array(2).to_numpy()
    found = model.log_likelihoods(plain_words(pl.Series([GERMAN, ENGLISH])), columns)
    assert found[0, 0] > found[0, 1]
    assert found[1, 1] > found[1, 0]


def test_a_code_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="languages"):
        parse_config(LanguageConfig, {"languages": ["English"]}, source="mynah.toml")


def test_probabilities_are_those_of_the_library_itself():
    import fasttext

    texts = pl.Series(
        [ENGLISH, GERMAN.lower(), HAUSA, AMHARIC, "a", "", "x" * 300, "\u4f60\u597d caf\u00e9"]
    )
    library = fasttext.load_model(str(spoken_path()))
    found = spoken_model().probabilities(texts)
    labels = [f"__label__{label}" for label in spoken_model().labels]
    for row, text in enumerate(texts):
        names, probabilities = library.predict(text, len(labels), -1e-5)
        expected = dict(zip(names, probabilities, strict=True))
        assert found[row] == pytest.approx([expected.get(label, 0.0) for label in labels], abs=1e-5)


def test_a_file_that_is_no_model_is_refused(tmp_path):
    path = tmp_path / "broken.ftz"
    whole = spoken_path().read_bytes()
    for content in (b"", b"nonsense" * 100, whole[:1000], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="fasttext"):
            FasttextModel.load(path)


def test_nothing_known_and_nothing_clear_is_unknown():
    assert detect(["zx qv"])["lang"].to_list() == [None]
