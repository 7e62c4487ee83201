from mynah.chat import CitedPost, Finished, Retrieved, Sentence
from mynah.posts import Post
from mynah.serve import Message
from mynah.web.pages.turns import Turn, messages_of, split_marks


def sentence(words: str, *citations: int) -> Sentence:
    return Sentence(text=words, citations=citations)


def test_marks_are_split_from_words() -> None:
    found = split_marks(sentence("Ferries run late. [2] [3] ", 2, 3))
    assert found == ["Ferries run late. ", 2, " ", 3, " "]


def test_brackets_that_cite_nothing_stay_words() -> None:
    assert split_marks(sentence("It says [sic] and [9]. [1]", 1)) == ["It says [sic] and [9]. ", 1]
    assert split_marks(sentence("Nothing at all.")) == ["Nothing at all."]


def test_a_later_turn_is_told_the_earlier_ones_without_marks() -> None:
    finished = Finished(
        model="town",
        finish_reason="stop",
        num_prompt_tokens=1,
        num_completion_tokens=1,
        is_answered=True,
    )
    turn = Turn("When do ferries run?")
    turn.events = [
        Retrieved(()),
        sentence("Late. [1] ", 1),
        sentence("Very late. [2]", 2),
        finished,
    ]
    assert messages_of([turn], "Why?") == [
        Message("user", "When do ferries run?"),
        Message("assistant", "Late. Very late."),
        Message("user", "Why?"),
    ]


def test_a_turn_that_was_never_answered_is_not_told() -> None:
    assert messages_of([Turn("Hello?")], "Anyone?") == [Message("user", "Anyone?")]


def test_a_turn_knows_which_posts_it_shows() -> None:
    post = Post(id="x:1", author="ada", created_at=None, text="The ferry leaves late")
    turn = Turn("When?", [Retrieved((CitedPost(number=1, post=post, score=2.0),))])
    assert turn.shows({"x:1", "x:2"})
    assert not turn.shows({"x:2"})
    assert not Turn("When?").shows({"x:1"})
