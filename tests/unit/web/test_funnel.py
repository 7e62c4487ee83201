import pytest

from mynah.web.funnel import FunnelStep, funnel_headline, funnel_steps, since_built

POSTS = {
    "num_posts": 90,
    "num_rejected": 4,
    "num_private": 5,
    "num_duplicates": 1,
    "sources": [{"num_posts": 60}, {"num_posts": 33}],
}
CORPUS = {
    "num_posts_in": 90,
    "num_posts": 70,
    "num_documents": 60,
    "num_heldout": 2,
    "num_heldout_posts": 3,
    "excluded": {"too_short": 5, "near_duplicate": 15},
}


def names(steps: list[FunnelStep], *, losses: bool) -> list[str]:
    return [step.name for step in steps if step.is_loss == losses]


def test_nothing_is_said_before_posts_are_read() -> None:
    assert funnel_steps(None, None) == []
    assert funnel_headline([]) == ""


def test_every_row_is_accounted_for() -> None:
    steps = funnel_steps(POSTS, CORPUS)
    read, *_, learned = steps
    assert read.count == 102  # 93 posts and 9 rows that became none
    assert learned.count == 67
    assert read.count - sum(step.count for step in steps if step.is_loss) == learned.count
    assert names(steps, losses=False) == ["Came in", "Found by search", "Learned from"]


def test_kept_steps_only_get_narrower() -> None:
    counts = [step.count for step in funnel_steps(POSTS, CORPUS) if not step.is_loss]
    assert counts == sorted(counts, reverse=True)


def test_what_was_taken_back_or_deleted_is_a_loss_of_its_own() -> None:
    withheld = [s for s in funnel_steps(POSTS, None) if s.name == "Taken back or deleted"]
    assert [step.count for step in withheld] == [2]
    whole = {**POSTS, "sources": [{"num_posts": 91}]}
    assert "Taken back or deleted" not in names(funnel_steps(whole, None), losses=True)


def test_a_file_read_twice_does_not_count_below_nothing() -> None:
    again = {**POSTS, "num_duplicates": 60}
    read, *rest = funnel_steps(again, None)
    assert read.count - sum(step.count for step in rest if step.is_loss) == rest[-1].count


def test_the_biggest_reason_comes_first_in_plain_words() -> None:
    steps = funnel_steps(POSTS, CORPUS)
    losses = [step for step in steps if step.reason in ("too_short", "near_duplicate")]
    assert [step.name for step in losses] == [
        "Nearly the same as another post",
        "Too short to learn from",
    ]
    assert all(step.meaning for step in losses)


def test_a_reason_without_a_loss_is_not_shown() -> None:
    steps = funnel_steps({**POSTS, "num_private": 0}, None)
    assert not any("Private" in name for name in names(steps, losses=True))
    assert steps[-1].name == "Found by search"


def test_private_posts_cannot_be_opened() -> None:
    private = next(s for s in funnel_steps(POSTS, None) if s.name.startswith("Private"))
    assert private.count == 5
    assert not private.reason


def test_a_reason_that_is_new_keeps_its_own_word() -> None:
    steps = funnel_steps(POSTS, {**CORPUS, "excluded": {"not_a_language": 20}})
    assert "Not a language" in names(steps, losses=True)


@pytest.mark.parametrize(
    ("corpus", "words"),
    [(None, "Search finds 90 of 102 posts"), (CORPUS, "Your model learns from 67 of 102 posts")],
)
def test_one_sentence_says_it_all(corpus: dict[str, object] | None, words: str) -> None:
    assert funnel_headline(funnel_steps(POSTS, corpus)) == words


def test_a_store_that_went_on_is_said_so() -> None:
    assert since_built(POSTS, CORPUS) == ""
    assert "1 of them left since" in since_built({**POSTS, "num_posts": 89}, CORPUS)
    assert "5 came since" in since_built({**POSTS, "num_posts": 95}, CORPUS)
