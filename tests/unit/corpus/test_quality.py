import polars as pl
import pytest

from mynah.corpus.language import LanguageConfig
from mynah.corpus.quality import QUALITY_REASONS, QualityConfig, judge
from mynah.corpus.repetition import repetitive_share
from mynah.corpus.spam_signs import SPAM_SIGNS, num_spam_signs


def reasons(texts, langs=None, *, quality=None, language=None):
    frame = pl.DataFrame(
        {"text": texts, "lang": langs or [None] * len(texts)},
        schema={"text": pl.String, "lang": pl.String},
    )
    found = judge(frame, quality=quality or QualityConfig(), language=language or LanguageConfig())
    return found.to_list()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("the ferry leaves at noon and takes an hour", None),
        ("\u4eca\u5929\u5929\u6c14\u5f88\u597d\u6211\u4eec\u53bb\u516c\u56ed\u8d70\u8d70", None),
        ("", "too_short"),
        ("@someone @another #rain #wind", "no_words"),
        ("example.org \U0001f600 12:30", "no_words"),
        ("\U0001f600 12:30", "too_short"),
        ("so true", "too_short"),
        ("nooooooooooooooooooooooooooooooooo", "repetitive"),
        ("hahahahahahahahahahahahahaha", "repetitive"),
        ("\u54c8" * 20, "repetitive"),
        ("vote now vote now vote now vote now vote now vote now", "repetitive"),
        ("You have won a prize of \u00a3500 cash! Call 09061234567 now to claim", "spam"),
        ("I won ten dollars at cards today", None),
        ("read this " + " ".join(f"#tag{i}" for i in range(20)), "spam"),
    ],
)
def test_each_reason(text, reason):
    assert reasons([text]) == [reason]


def test_people_addressed_many_times_are_no_repetition():
    assert reasons(["@someone " * 12 + "thank you for the tickets"]) == [None]


def test_a_long_text_is_not_repetitive_for_its_length():
    words = [
        "harbour", "lantern", "quiet", "meadow", "copper", "ticket", "winter", "violet",
        "gamble", "orchid", "jacket", "puzzle",
    ]  # fmt: skip
    text = " ".join(words[(i * i + i // 7) % 12] + str(i % 10) for i in range(800))
    assert reasons([text]) == [None]
    assert reasons([text + " " + "x" * (3 * len(text))]) == ["repetitive"]


def test_other_languages_go_only_when_asked():
    language = LanguageConfig(languages=("en",), keep_other_languages=False)
    text = "the ferry leaves at noon"
    assert reasons([text] * 3, ["en", "de", None], language=language) == [
        None,
        "wrong_language",
        None,
    ]
    assert reasons([text], ["de"], language=LanguageConfig(languages=("en",))) == [None]


def test_unknown_languages_go_only_when_asked():
    language = LanguageConfig(keep_unknown_language=False)
    assert reasons(["the ferry leaves at noon"] * 2, ["en", None], language=language) == [
        None,
        "unknown_language",
    ]


def test_every_rule_can_be_turned_off():
    off = QualityConfig(min_letters=0, min_distinct_pairs=0, min_spam_signs=8, max_hashtags=1_000)
    texts = ["ok", "a" * 50, "You won \u00a3500, call 09061234567 now to claim"]
    assert reasons(texts, quality=off) == [None, None, None]


def test_reasons_are_those_that_are_listed_and_batches_do_not_matter():
    texts = ["", "ok", "a" * 50, "the ferry leaves at noon"] * 5
    whole = reasons(texts)
    assert whole == [reasons([text])[0] for text in texts]
    assert {reason for reason in whole if reason} <= set(QUALITY_REASONS)
    assert reasons([]) == []


def test_each_sign_of_spam_has_its_text():
    texts = {
        "link": "see www.example.org", "money": "for $5 each", "prize": "a free ticket",
        "appeal": "click here", "haste": "only this week", "number": "at 09061234567",
        "terms": "T&Cs hold",
    }  # fmt: skip
    for sign, text in texts.items():
        assert pl.Series([text]).str.contains(SPAM_SIGNS[sign])[0], sign
    assert num_spam_signs(pl.Series(["a quiet day", " ".join(texts.values())])).to_list() == [0, 7]


def test_repetition_is_a_share_of_the_text():
    found = repetitive_share(
        pl.Series(["", "x", "ab" * 30, "plain words here"]), min_distinct_pairs=0.3
    )
    assert found.tolist() == [0.0, 0.0, 1.0, 0.0]
