"""Every kind of leaf has its words: short, plain, and true of what it says."""

import orjson
import pytest
from tests.fakes.record_history import run_declared
from tests.fakes.record_logs import story

from mynah.record.envelopes import read_payload
from mynah.record.site import describe, short_flop, short_time
from mynah.record.statements import (
    KINDS,
    Body,
    CheckpointSaved,
    LogFollowed,
    ModelWithdrawn,
    PauseOrdered,
    PostForgotten,
    Progress,
    Statement,
)


def bodies() -> list[Body]:
    """One log with every kind."""
    return [Statement.decode(read_payload(leaf)).body for leaf in story(40).leaves]


def test_every_kind_has_words_of_its_own() -> None:
    """No kind is forgotten; a sentence ends with a full stop and fits a phone."""
    words = {body.kind: describe(body) for body in bodies()}
    assert words.keys() == KINDS.keys()
    for sentence in words.values():
        assert sentence[0].isupper() or sentence[0].isdigit()
        assert sentence.endswith(".")
        assert ".." not in sentence
        assert len(sentence) < 300


@pytest.mark.parametrize(
    ("flop", "words"),
    [
        ("0", "0 FLOP"),
        ("999", "999 FLOP"),
        ("1000", "1e3 FLOP"),
        ("1600000000000000000000", "1.6e21 FLOP"),
        (21 * 10**24, "2.1e25 FLOP"),
        ("9999999999999999999999999999999999999999", "1e40 FLOP"),
        ("", "an unknown number of FLOP"),
        (None, "an unknown number of FLOP"),
    ],
)
def test_flop_are_short(flop: str | int | None, words: str) -> None:
    """Two digits and a power of ten; unknown stays unknown and is not zero."""
    assert short_flop(flop) == words


def test_times_are_to_the_minute_and_midnight_is_a_day() -> None:
    """Nobody reads microseconds."""
    assert short_time("2026-01-31T12:34:56.000001Z") == "2026-01-31 12:34 UTC"
    assert short_time("2027-01-01T00:00:00.000000Z") == "2027-01-01 UTC"


def test_runs_say_what_they_begin_with() -> None:
    """From scratch, from one model, or by merging several."""
    [second] = [body for body in bodies() if body.kind == "run-declared"][1:]
    assert describe(run_declared("r", parents=())) == (
        "Run r is declared: it trains corvid from scratch, with at most 3e21 FLOP on 8 x H200"
        " (pool main)."
    )
    assert "from run-1-model, with at most 1e22 FLOP" in describe(second)


def test_progress_says_how_far_and_whether_it_ends() -> None:
    """Hours once there is one; seconds before."""
    body = Progress(run="r", recipe="ab" * 32, step=1200, flop="5", device_s="7200.000", tokens=9)
    assert describe(body) == ("Run r is at step 1,200: 5 FLOP, 2.0 device-hours, 9 tokens so far.")
    body = Progress(
        run="r", recipe="ab" * 32, step=1, flop="5", device_s="9.4", tokens=9, is_final=True
    )
    assert describe(body) == "Run r ends at step 1: 5 FLOP, 9 device-s, 9 tokens so far."


def test_unknown_lineage_is_said() -> None:
    """Not zero, and not left out."""
    body = CheckpointSaved(
        run="r", step=1, name="m", digest="ab" * 32, num_files=1, num_bytes=1, lineage_flop=""
    )
    assert "an unknown number of FLOP with all it descends from" in describe(body)


def test_orders_are_read_and_a_broken_one_is_called_broken() -> None:
    """The terms come from the signed order, not from beside it."""
    body = next(one for one in bodies() if isinstance(one, PauseOrdered))
    assert "signed by heron.example, stork.example: no training above 1e21 FLOP" in describe(body)
    envelope = orjson.loads(orjson.dumps(body.envelope))
    envelope["signatures"] = envelope["signatures"][1:]
    broken = PauseOrdered(order=body.order, envelope=envelope)
    assert "does not verify: " in describe(broken)
    assert "does not verify: " in describe(PauseOrdered(order=body.order, envelope={"a": 1}))


def test_words_of_leaves_stand_as_they_are() -> None:
    """The caller escapes; a name of a log without a key is shown, not an error."""
    body = ModelWithdrawn(model="<m>", digest="ab" * 32, reason="it lied.")
    assert describe(body) == "Model <m> (abababab) answers nobody any more. Reason: it lied."
    body = ModelWithdrawn(model="m", digest="ab" * 32, reason="")
    assert describe(body) == "Model m (abababab) answers nobody any more."
    followed = LogFollowed(log="stork.example/log+ab+cd", key="ab" * 32, is_obeyed=True)
    assert describe(followed) == (
        "The log stork.example/log is followed; its pause orders bind here, too."
    )
    posts = PostForgotten(posts="ab" * 32, num_posts=1, snapshot="")
    assert describe(posts) == "1 post is taken back."
