"""What a query means, and what is said of one that is wrong."""

from datetime import date

import pytest

from mynah.errors import RequestError
from mynah.search import MAX_QUERY_CHARS, Query, parse_query
from mynah.search.clauses import MAX_TERMS


def test_operators_become_fields() -> None:
    query = parse_query('tax from:@Ada lang:EN since:2016-09-01 until:2016-09-30 "middle class"')
    assert query == Query(
        text='tax "middle class"',
        author="Ada",
        lang="en",
        since=date(2016, 9, 1),
        until=date(2016, 9, 30),
    )
    assert query.has_filter


def test_clauses_hold_alternatives_phrases_and_exclusions() -> None:
    query = parse_query('one OR "two words" three -four 5,000')
    shape = [[(p.terms, p.is_excluded) for p in clause.parts] for clause in query.clauses]
    assert shape == [
        [(("one",), False), (("two", "word"), False)],
        [(("three",), False)],
        [(("four",), True)],
        [(("5", "000"), False)],
    ]
    assert query.text_terms == ("one", "two", "word", "three", "5", "000")


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ('"never closed', '"never closed"'),
        ("OR a OR OR b OR", "a OR b"),
        ('"" -"" a', "a"),
        ('a"b c"d', 'a "b c" d'),
        ("-", "-"),
        ("--a", "--a"),
        ("  spaced\tout\n", "spaced out"),
        ('from:"Jo  Do" a', 'a from:"Jo Do"'),
        ('foo:"b c"', 'foo: "b c"'),
        ("FROM:ada", "from:ada"),
        ("http://a.b/c 3:30 re:port", "http://a.b/c 3:30 re:port"),
        ('"from:ada"', '"from:ada"'),
        ("since: -H", None),
    ],
)
def test_a_query_is_written_back_plainly(typed: str, written: str | None) -> None:
    if written is None:
        with pytest.raises(RequestError):
            parse_query(typed)
        return
    assert str(parse_query(typed)) == written


@pytest.mark.parametrize(
    ("text", "message", "character"),
    [
        ("jobs since:soon", "since: wants a day as YYYY-MM-DD, found 'soon'", 12),
        ("until:2016-02-30", "until: wants a day", 7),
        ("since:2016-9-1", "since: wants a day", 7),
        ("jobs from:", "from: has no author", 11),
        ("from: ada", "from: has no author", 6),
        ("from:@", "from: has no author", 6),
        ("lang:english!", "lang: wants a language code", 6),
        ("jobs form:ada", "there is no operator form:", 6),
        ("sinse:2016-01-01", "there is no operator sinse:", 1),
        ("from:a jobs from:b", "from: is there twice", 13),
        ("jobs -from:ada", "only words and phrases can be excluded", 6),
        ("from:a OR from:b", "OR joins words and phrases, not from:", 1),
        ("since:2016-02-01 until:2016-01-01", "is after", 1),
        ("a" * (MAX_QUERY_CHARS + 1), "2,000 are read", MAX_QUERY_CHARS + 1),
    ],
)
def test_a_fault_is_placed(text: str, message: str, character: int) -> None:
    with pytest.raises(RequestError) as caught:
        parse_query(text)
    assert message in caught.value.message
    assert caught.value.message.endswith(f"(at character {character})")
    assert caught.value.status == 400
    assert caught.value.hint


def test_a_typo_names_the_operator_meant() -> None:
    with pytest.raises(RequestError) as caught:
        parse_query("form:ada")
    assert "write from:" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "terms", "author"),
    [
        ("What about form:ada since:soon?", ("form", "ada", "sinc", "soon"), None),
        ("what is this about", ("what", "is", "this", "about"), None),
        ("jobs -taxes OR trade", ("job", "tax", "trade"), None),
        ("from:ada jobs", ("job",), "ada"),
        ("from:ada from:ben jobs", ("ben", "job"), "ada"),
        ('did anyone say "on the job"?', ("on", "the", "job"), None),
    ],
)
def test_a_question_is_never_wrong(text: str, terms: tuple[str, ...], author: str | None) -> None:
    query = parse_query(text, match="any")
    assert query.text_terms == terms
    assert query.author == author


def test_a_long_question_is_read_in_bounded_time() -> None:
    query = parse_query(" ".join(f"word{n}" for n in range(5_000)), match="any")
    assert len(query.clauses) == MAX_TERMS
    assert len(parse_query(f'"{"word " * 5_000}"', match="any").clauses[0].parts[0].terms) == 64
    assert parse_query("from:a " * 5_000, match="any").author == "a"


def test_a_mention_in_a_question_is_an_author_or_a_word() -> None:
    (clause,) = parse_query("What did @Ada's say?", match="any").clauses
    assert clause.parts[0].mention == "ada"
    assert clause.parts[0].terms == ("ada",)


def test_chips_take_one_part_away_each() -> None:
    query = parse_query('jobs "middle class" -tax a OR b from:"Jo Do" since:2016-01-01')
    chips = {chip.label: chip.without for chip in query.chips()}
    assert chips == {
        '"middle class"': 'jobs -tax a OR b from:"Jo Do" since:2016-01-01',
        "-tax": 'jobs "middle class" a OR b from:"Jo Do" since:2016-01-01',
        "a OR b": 'jobs "middle class" -tax from:"Jo Do" since:2016-01-01',
        'from:"Jo Do"': 'jobs "middle class" -tax a OR b since:2016-01-01',
        "since:2016-01-01": 'jobs "middle class" -tax a OR b from:"Jo Do"',
    }
    assert parse_query("plain words").chips() == ()
