from mynah.web.funnel import funnel_steps

POSTS = {"num_posts": 90, "num_rejected": 4, "num_private": 5, "num_duplicates": 1}
CORPUS = {
    "num_posts_in": 90,
    "num_documents": 70,
    "num_heldout": 2,
    "excluded": {"too_short": 5, "duplicate": 15},
}


def test_nothing_is_said_before_posts_are_read() -> None:
    assert funnel_steps(None, None) == []


def test_every_row_is_accounted_for() -> None:
    steps = funnel_steps(POSTS, CORPUS)
    read, *_, learned = steps
    assert read.count == 100
    assert learned.count == 68
    assert read.count - sum(step.count for step in steps if step.is_loss) == learned.count


def test_the_biggest_reason_comes_first_in_plain_words() -> None:
    losses = [step for step in funnel_steps(POSTS, CORPUS) if step.reason in CORPUS["excluded"]]
    assert [step.name for step in losses] == [
        "Same words as another post",
        "Too short to learn from",
    ]


def test_a_reason_without_a_loss_is_not_shown() -> None:
    names = [step.name for step in funnel_steps({**POSTS, "num_private": 0}, None)]
    assert not any("Private" in name for name in names)
    assert names[-1] == "Found by search"


def test_a_reason_that_is_new_keeps_its_own_word() -> None:
    steps = funnel_steps(POSTS, {**CORPUS, "excluded": {"not_a_language": 3}})
    assert "Not a language" in [step.name for step in steps]
