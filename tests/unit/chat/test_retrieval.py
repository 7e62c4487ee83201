"""From a question to posts, over a real index."""

from collections.abc import Callable

import pytest
from tests.fakes.stored_posts import store_posts

from mynah.chat import Retrieval, retrieve
from mynah.posts import Post
from mynah.search import SearchIndex, build_index
from mynah.serve import Message

TEXTS = (
    ("ann_may", "The harbour ferry leaves at seven past nine, bring a coat"),
    ("ann_may", "Taxes on bread are too high this year"),
    ("BenMarlow", "The ferry to the island sank in the harbour, says the mayor"),
    ("BenMarlow", "Chess on the market square every evening"),
    ("whatsup_doc", "The market sells bread and chess boards"),
    ("ParisNight", "I walked home along the canal, quiet streets everywhere"),
    ("cleo", "Three days in Paris: rain, museums and a lost umbrella"),
    ("cleo", "Art is what remains when the museums close"),
    ("theo", "Theatre tickets are sold out again"),
    ("bartholomew", "Nobody asked for my view on opera"),
    ("dov@far.example", "Glaciers retreat faster than the models said"),
)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> SearchIndex:
    folder = tmp_path_factory.mktemp("chat")
    posts = [Post(id=f"t:{n}", author=a, text=t) for n, (a, t) in enumerate(TEXTS)]
    posts += [
        Post(id="t:90", author="cleo", text="my secret harbour ferry", visibility="direct"),
        Post(id="t:91", author="cleo", text="for friends: the zeppelin", visibility="followers"),
        Post(
            id="t:92",
            author="eve",
            text="The harbour ferry leaves at seven past nine, bring a coat!",
        ),
    ]
    stored = store_posts(posts, folder / "posts")
    return SearchIndex(build_index(stored, folder / "search"))


@pytest.fixture
def ask(index: SearchIndex) -> Callable[..., Retrieval]:
    def asked(*questions: str) -> Retrieval:
        messages: list[Message] = []
        for question in questions:
            messages += [Message("user", question), Message("assistant", "Well.")]
        return retrieve(index, messages[:-1])

    return asked


Ask = Callable[..., Retrieval]


def authors(found: Retrieval) -> list[str]:
    return [cited.post.author for cited in found.posts]


def ids(found: Retrieval) -> list[str]:
    return sorted(cited.post.id for cited in found.posts)


def test_posts_are_found_by_words_and_numbered(ask: Ask):
    found = ask("What do people say about the harbour ferry?")
    assert found.author is None
    assert [cited.number for cited in found.posts] == [1, 2]
    assert all("ferry" in cited.post.text for cited in found.posts)
    assert found.posts[0].score >= found.posts[1].score > 0


def test_near_duplicates_are_shown_once(ask: Ask):
    texts = [cited.post.text for cited in ask("harbour ferry coat").posts]
    assert sum("seven past nine" in text for text in texts) == 1


@pytest.mark.parametrize(
    ("question", "author"),
    [
        ("What did @ann_may say about the ferry?", "ann_may"),
        ("what did @ANN_MAY say about the ferry", "ann_may"),
        ("What does Marlow think about the ferry?", "BenMarlow"),
        ("Did BenMarlow write about the ferry?", "BenMarlow"),
        ("from:ann_may ferry", "ann_may"),
        ("What does @BenMarlow say about chess?", "BenMarlow"),
        ("What did @dov@far.example say about glaciers?", "dov@far.example"),
    ],
)
def test_a_question_about_an_author_finds_only_theirs(ask: Ask, question: str, author: str):
    found = ask(question)
    assert found.author == author
    assert set(authors(found)) == {author}


def test_a_topic_that_is_part_of_the_handle_stays_a_topic(ask: Ask):
    assert ask("What did @bartholomew say about art?").posts == ()
    assert ids(ask("What did @cleo say about art?")) == ["t:7"]


def test_a_name_that_is_the_topic_is_no_author(ask: Ask):
    found = ask("What do people say about Paris?")
    assert found.author is None
    assert ids(found) == ["t:6"]


def test_a_word_of_the_question_is_no_author(ask: Ask):
    assert ask("What did people say about bread?").author is None


def test_an_author_alone_gives_what_they_wrote(ask: Ask):
    found = ask("What does @cleo say?")
    assert (found.author, found.terms) == ("cleo", ())
    assert ids(found) == ["t:6", "t:7"]


@pytest.mark.parametrize(
    "question",
    [
        "What do people say about zebras?",
        "What did @ann_may say about opera?",
        "Who won the zeppelin race?",
        "What did @nobody_here say about zebras?",
    ],
)
def test_an_unknown_topic_finds_nothing(ask: Ask, question: str):
    found = ask(question)
    assert found.posts == ()
    assert found.terms or found.author


@pytest.mark.parametrize("question", ["hello", "Hi!", "thanks", "ok", "?", "What is it?"])
def test_small_talk_has_no_topic(ask: Ask, question: str):
    found = ask(question)
    assert (found.terms, found.author, found.posts) == ((), None, ())


@pytest.mark.parametrize("thanks", ["thanks", "Thank you!", "ok", "Hello", "good morning"])
def test_small_talk_after_an_answer_asks_nothing_again(ask: Ask, thanks: str):
    found = ask("What do people say about the harbour ferry?", thanks)
    assert (found.terms, found.posts) == ((), ())


def test_a_follow_up_keeps_the_topic(ask: Ask):
    first = ask("What do people say about the ferry?")
    for question in ("Why is that?", "What do they say?", "tell me more", "and why?"):
        assert ids(ask("What do people say about the ferry?", question)) == ids(first)


def test_a_follow_up_may_name_the_author(ask: Ask):
    found = ask("What do people say about the ferry?", "And what did @BenMarlow say about it?")
    assert (found.author, ids(found)) == ("BenMarlow", ["t:2"])


def test_a_follow_up_keeps_the_author(ask: Ask):
    found = ask("What did @ann_may say about the ferry?", "And what about taxes?")
    assert found.author == "ann_may"
    assert set(authors(found)) == {"ann_may"}
    assert "t:1" in ids(found)


def test_a_new_question_forgets_the_old_one(ask: Ask):
    found = ask("What do people say about the ferry?", "Who plays chess on the market square?")
    assert "t:3" in ids(found)
    assert not any("ferry" in cited.post.text for cited in found.posts)


@pytest.mark.parametrize("question", ["secret harbour ferry", "zeppelin friends", "@cleo zeppelin"])
def test_what_is_private_is_never_found(ask: Ask, question: str):
    assert not {"t:90", "t:91"} & set(ids(ask(question)))


@pytest.mark.parametrize(
    "question", ['"', "from:", "-", "a" * 5000, "\ud83d", "from:x since:bad", "@", "OR OR", "\x00"]
)
def test_any_question_is_a_question(ask: Ask, question: str):
    assert ask(question).posts == ()


def test_the_words_of_a_handle_nobody_has_are_not_replaced_by_others(ask: Ask):
    assert ask("What did @zed_nobody say about the harbour ferry?").posts == ()


def test_a_small_word_is_no_name(ask: Ask):
    """The word "the" begins no author's name, although "theo" does."""
    assert ask("What did the mayor say about the ferry?").author is None
