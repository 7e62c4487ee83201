"""Dialogues made of posts: what is asked, shown and quoted."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mynah.corpus import NO_ANSWER, Dialogue, DialogueConfig, ShownPost, make_dialogues, quotation

CONFIG = DialogueConfig(num_dialogues=300)
SUBJECTS = ("harbour", "ferry", "market", "library", "station", "garden", "bridge", "museum")
LONG = "It began in spring and nobody knows how it will end, as far as anyone can tell. "
LINE = re.compile(r"\[(\d+)\] (?:@(\S+) )?\(2024-\d\d-\d\d\): (.*)")
REPLY = re.compile(r'(?:@(\S+)|A post) writes: "([^"]+)" \[(\d+)\]')


def made_up_posts() -> list[ShownPost]:
    return [
        ShownPost(
            author="" if n % 17 == 0 else f"writer{n % 7}",
            created_at=datetime(2024, 1 + n % 12, 1, tzinfo=UTC),
            text=(LONG * (2 if n % 5 == 0 else 0))
            + f"Word{n} about the {SUBJECTS[n % 8]}{n // 40}, "
            + f"the {SUBJECTS[(n * 3 + 1) % 8]}x{n % 60} and {n} others.",
        )
        for n in range(400)
    ]


POSTS = made_up_posts()


@pytest.fixture(scope="module")
def dialogues() -> list[Dialogue]:
    return make_dialogues(POSTS, config=CONFIG)


def shown_of(dialogue: Dialogue) -> dict[int, tuple[str, str]]:
    head, _, _ = dialogue.question.partition("\n\nQuestion: ")
    lines = head.removeprefix("Posts:\n").splitlines()
    found = [LINE.fullmatch(line) for line in lines]
    return {int(m[1]): (m[2] or "", m[3]) for m in found if m is not None}


def question_of(dialogue: Dialogue) -> str:
    return dialogue.question.partition("\n\nQuestion: ")[2]


def topic_of(dialogue: Dialogue) -> str:
    """The word that the question and at least three posts share."""
    words = re.findall(r"\w*\d\w*", question_of(dialogue).lower())
    return next((word for word in words if not word.startswith("writer")), "")


def grounded(dialogues: list[Dialogue]) -> list[Dialogue]:
    return [dialogue for dialogue in dialogues if dialogue.is_grounded]


def test_there_are_enough_of_each_kind(dialogues: list[Dialogue]):
    assert len(dialogues) == 300
    declined = sum(dialogue.reply == NO_ANSWER for dialogue in dialogues)
    written = sum(not dialogue.is_grounded for dialogue in dialogues)
    by_one = sum("writer" in question_of(dialogue) for dialogue in dialogues)
    assert 20 < declined < 70
    assert 15 < written < 50
    assert 60 < by_one < 150


def test_replies_are_the_words_shown_under_their_number(dialogues: list[Dialogue]):
    num_cut = 0
    for dialogue in grounded(dialogues):
        shown = shown_of(dialogue)
        assert 1 <= len(shown) <= CONFIG.max_shown
        if dialogue.reply == NO_ANSWER:
            continue
        lines = dialogue.reply.splitlines()
        assert 1 <= len(lines) <= CONFIG.max_quoted
        for line in lines:
            found = REPLY.fullmatch(line)
            assert found is not None, line
            author, words = shown[int(found[3])]
            assert found[1] == (author or None)
            assert found[2] in words
            num_cut += found[2] != words
            assert line == quotation(int(found[3]), author, found[2])
            assert topic_of(dialogue) in found[2].lower()
    assert num_cut > 0


def test_every_shown_post_with_the_topic_is_quoted_unless_others_wrote_it(
    dialogues: list[Dialogue],
):
    for dialogue in grounded(dialogues):
        named = re.search(r"writer\d", question_of(dialogue))
        quoted = {int(found[3]) for found in REPLY.finditer(dialogue.reply)}
        for number, (author, words) in shown_of(dialogue).items():
            has_topic = re.search(rf"\b{topic_of(dialogue)}\b", words.lower()) is not None
            is_right = has_topic and (named is None or author == named[0])
            assert (number in quoted) == is_right, dialogue


def test_a_question_about_one_author_quotes_nobody_else(dialogues: list[Dialogue]):
    asked = [d for d in grounded(dialogues) if "writer" in question_of(d)]
    has_others = 0
    for dialogue in asked:
        named = re.search(r"writer\d", question_of(dialogue))
        assert named is not None
        assert {found[1] for found in REPLY.finditer(dialogue.reply)} == {named[0]}
        others = [a for a, words in shown_of(dialogue).values() if a != named[0]]
        has_others += bool(others)
    assert has_others > len(asked) // 2


def test_unanswerable_questions_show_no_post_with_the_topic(dialogues: list[Dialogue]):
    declined = [dialogue for dialogue in dialogues if dialogue.reply == NO_ANSWER]
    for dialogue in declined:
        topic = topic_of(dialogue)
        assert topic
        assert not any(topic in words.lower() for _, words in shown_of(dialogue).values())


def test_a_written_post_is_one_of_the_network(dialogues: list[Dialogue]):
    words = {post.words for post in POSTS}
    for dialogue in dialogues:
        if not dialogue.is_grounded:
            assert dialogue.reply in words
            assert topic_of(dialogue) in dialogue.reply.lower()


def test_same_posts_and_config_same_dialogues(dialogues: list[Dialogue]):
    assert make_dialogues(made_up_posts(), config=CONFIG) == dialogues
    other = make_dialogues(POSTS, config=replace(CONFIG, seed=1))
    assert other != dialogues


def test_no_question_is_asked_twice(dialogues: list[Dialogue]):
    assert len({dialogue.question for dialogue in dialogues}) == len(dialogues)


@pytest.mark.parametrize("num_posts", [0, 1, 2, 3, 5])
def test_few_posts_make_few_dialogues_or_none(num_posts: int):
    posts = [ShownPost(author="ann", created_at=None, text="the same harbour")] * num_posts
    for dialogue in make_dialogues(posts, config=DialogueConfig(num_dialogues=20)):
        assert dialogue.reply == NO_ANSWER or "harbour" in dialogue.reply


def test_shares_at_their_ends():
    none = replace(CONFIG, unanswerable_share=0.0, written_share=0.0, one_author_share=0.0)
    assert all(REPLY.match(dialogue.reply) for dialogue in make_dialogues(POSTS, config=none))
    only = replace(CONFIG, unanswerable_share=1.0, written_share=0.0)
    assert {dialogue.reply for dialogue in make_dialogues(POSTS, config=only)} == {NO_ANSWER}
