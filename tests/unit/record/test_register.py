from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest
from tests.fakes.record_logs import (
    START_US,
    checkpoint_of,
    digest,
    order_envelope,
    order_id,
    progress_of,
    release_envelope,
    run_declared,
    signing_key,
    story,
)

from mynah.errors import PausedError, RecordError
from mynah.record.envelopes import read_payload
from mynah.record.register import Register
from mynah.record.statements import (
    Body,
    LogFollowed,
    ModelServed,
    ModelWithdrawn,
    ParentModel,
    Paused,
    PauseLifted,
    PauseOrdered,
    Resumed,
    RunDeclared,
    ShareCut,
    Statement,
    format_time,
)

HERON = signing_key("heron.example", 1)
STORK = signing_key("stork.example", 2)
SECOND_US = 1_000_000
NOW, LATER = format_time(START_US), format_time(START_US + 10_000 * SECOND_US)


class Folding:
    """A register that is fed a leaf a second, and looked at for traces of what it refused."""

    def __init__(self) -> None:
        self.register = Register("heron.example/log")

    def add(self, *bodies: Body) -> "Folding":
        for body in bodies:
            time = format_time(START_US + (self.register.size + 1) * SECOND_US)
            self.register.apply(self.register.size, replace(body, time=body.time or time))
        return self

    def refuses(self, body: Body, fault: str, *, kind: type[RecordError] = RecordError) -> None:
        before = orjson.dumps(self.register.to_json())
        with pytest.raises(kind, match=fault):
            self.add(body)
        assert orjson.dumps(self.register.to_json()) == before


def outside(name: str, flop: str = "100") -> ParentModel:
    return ParentModel(name=name, digest=digest(name), flop=flop, basis="its card")


def inside(run: str, flop: int | str) -> ParentModel:
    return ParentModel(name=run, digest=digest(f"model of {run}"), flop=str(flop), basis="record")


def made(run: str, flop: int, parents: Sequence[ParentModel] = (), *, lineage: int = 0):
    """A whole run, with its model."""
    return (
        run_declared(run, planned=1000, parents=tuple(parents)),
        progress_of(run, 1, flop),
        checkpoint_of(run, 1, lineage + flop),
    )


def ordered(envelope: bytes) -> PauseOrdered:
    return PauseOrdered(order=order_id(envelope), envelope=orjson.loads(envelope))


def pause_order(above: int = 1000, **more: Any) -> bytes:
    return order_envelope([HERON], above=above, **{"begins": NOW, "until": LATER, **more})


def paused(run: str, envelope: bytes, flop: int, checkpoint: str = "five") -> Paused:
    return Paused(
        run=run, order=order_id(envelope), step=5, flop=str(flop), checkpoint=digest(checkpoint)
    )


def released(envelope: bytes) -> PauseLifted:
    release = orjson.loads(release_envelope(order_id(envelope), [HERON]))
    return PauseLifted(order=order_id(envelope), basis="parties", release=release)


# Counting


def test_a_run_adds_up():
    folding = Folding().add(
        run_declared("a", planned=70, parents=(outside("base"),)),
        progress_of("a", 3, 40, device_s="12.345", tokens=7),
        progress_of("a", 2, 50, device_s="12.345", tokens=9, is_final=True),
    )
    run = folding.register.runs["a"]
    assert (run.flop, run.tokens, run.step, run.is_final) == (50, 9, 2, True)
    assert (run.lineage_flop, run.total_flop, run.planned_total) == (100, 150, 170)
    assert (run.device_ms, run.device_s) == (12_345, Decimal("12.345"))
    assert folding.register.last_time_us == START_US + 3 * SECOND_US
    assert folding.register.counts == {"run-declared": 1, "progress": 2}


def test_a_restart_counts_what_a_kill_undid():
    folding = Folding().add(run_declared("a"), progress_of("a", 9, 90))
    used = {"device_s": "20.000", "tokens": 20_000}
    folding.add(progress_of("a", 5, 90, **used), progress_of("a", 9, 130, **used))
    assert folding.register.runs["a"].flop == 130


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"flop": 49}, "49 FLOP, fewer than the 50"),
        ({"device_s": "4.999"}, "4999 device-milliseconds, fewer than the 5000"),
        ({"tokens": 4999}, "4999 tokens, fewer than the 5000"),
    ],
)
def test_what_is_counted_never_shrinks(more: dict[str, Any], what: str):
    folding = Folding().add(run_declared("a"), progress_of("a", 5, 50))
    facts = {"step": 5, "flop": 50, **more}
    folding.refuses(progress_of("a", facts.pop("step"), facts.pop("flop"), **facts), what)


def test_flop_beyond_53_bits_are_exact():
    flop = 10**39 + 1
    folding = Folding().add(run_declared("a", planned=flop), progress_of("a", 1, flop))
    again = Register.from_json(orjson.loads(orjson.dumps(folding.register.to_json())))
    assert again.runs["a"].total_flop == flop


def test_a_run_is_declared_before_it_counts_and_once():
    folding = Folding()
    folding.refuses(progress_of("a", 1, 1), "the run a is not declared")
    folding.refuses(checkpoint_of("a", 1, 1), "not declared")
    folding.add(run_declared("a"), run_declared("a"))
    folding.refuses(run_declared("a", planned=5), "already, with other facts")
    other = replace(progress_of("a", 1, 1), recipe=digest("another"))
    folding.refuses(other, "another recipe")
    assert folding.register.runs["a"].index == 0


def test_leaves_come_in_order_of_place_and_time():
    register = Register()
    body = replace(run_declared("a"), time=NOW)
    register.apply(0, body)
    for index, time in ((0, LATER), (2, LATER), (1, NOW), (1, ""), (1, "2026-99-01T00:00:00.0Z")):
        with pytest.raises(RecordError):
            register.apply(index, replace(body, time=time))
    register.apply(1, replace(body, time=format_time(START_US + 1)))


# Lineage


def test_a_child_carries_all_it_descends_from():
    folding = Folding().add(*made("a", 10, [outside("base")], lineage=100))
    folding.add(*made("b", 7, [inside("a", 110)], lineage=110))
    folding.add(run_declared("c", planned=5, parents=(inside("b", 117),)))
    assert folding.register.runs["c"].lineage_flop == 117
    assert folding.register.runs["c"].planned_total == 122


def test_a_diamond_is_counted_once():
    folding = Folding().add(*made("a", 10, [outside("base")], lineage=100))
    folding.add(*made("b", 3, [inside("a", 110)], lineage=110))
    folding.add(*made("c", 4, [inside("a", 110)], lineage=110))
    merge = run_declared("d", parents=(inside("b", 113), inside("c", 114), outside("base")))
    folding.add(merge)
    assert folding.register.runs["d"].lineage_flop == 100 + 10 + 3 + 4


def test_of_two_claims_about_an_outside_model_the_larger_counts():
    folding = Folding().add(*made("a", 10, [outside("base", "5")], lineage=5))
    folding.add(run_declared("b", parents=(inside("a", 15), outside("base", "8"))))
    assert folding.register.runs["b"].lineage_flop == 18


def test_an_unknown_parent_makes_all_that_follow_unknown():
    folding = Folding().add(run_declared("a", parents=(outside("base", ""),)))
    folding.add(progress_of("a", 1, 10), checkpoint_of("a", 1, None))
    folding.add(run_declared("b", parents=(inside("a", ""), outside("other"))))
    assert folding.register.runs["b"].lineage_flop is folding.register.runs["b"].total_flop is None
    folding.refuses(run_declared("c", parents=(inside("a", 10),)), "counts unknown")


def test_a_parent_is_what_the_record_knows_of_it():
    folding = Folding().add(*made("a", 10))
    folding.refuses(run_declared("b", parents=(inside("a", 9),)), "9 FLOP; the record counts 10")
    folding.refuses(run_declared("b", parents=(inside("x", 9),)), "does not know")
    ours = replace(inside("a", 0), basis="its card")
    folding.refuses(run_declared("b", parents=(ours,)), "knows as its own")
    twice = (inside("a", 10), inside("a", 10))
    folding.refuses(run_declared("b", parents=twice), "one parent twice")


def test_a_model_bears_what_its_run_has_counted():
    folding = Folding().add(run_declared("a"), progress_of("a", 1, 10))
    folding.refuses(checkpoint_of("a", 1, 9), "claims 9 FLOP; the record counts 10")
    folding.refuses(checkpoint_of("a", 1, None), "claims unknown FLOP")


def test_equal_weights_count_as_the_larger_run():
    folding = Folding().add(*made("dear", 500))
    copy = replace(checkpoint_of("cheap", 1, 1), digest=digest("model of dear"))
    folding.add(run_declared("cheap"), progress_of("cheap", 1, 1), copy)
    assert folding.register.models[digest("model of dear")].run == "dear"


def test_a_parent_s_weights_saved_again_keep_their_lineage():
    """A run of one FLOP that saves what it began with does not shed what that has cost."""
    folding = Folding().add(*made("dear", 500))
    same = replace(checkpoint_of("cheap", 1, 501), digest=digest("model of dear"))
    folding.add(run_declared("cheap", parents=(inside("dear", 500),)))
    folding.add(progress_of("cheap", 1, 1), same)
    assert folding.register.models[digest("model of dear")].run == "cheap"
    assert folding.register.lineage([inside("dear", 501)]) == 501


def test_a_long_line_of_descent_is_walked_without_recursion():
    folding = Folding()
    parents: list[ParentModel] = []
    for number in range(1050):
        folding.add(*made(f"r{number}", 1, parents, lineage=number))
        parents = [inside(f"r{number}", number + 1)]
    assert folding.register.lineage(parents) == 1050


def test_pools_add_up_over_runs():
    other = run_declared("c")
    assert isinstance(other, RunDeclared)
    folding = Folding().add(run_declared("a"), run_declared("b"), replace(other, pool="hall-b"))
    folding.add(progress_of("a", 1, 10), progress_of("b", 2, 20), progress_of("c", 3, 99))
    found = [(p.pool, p.runs, p.flop, p.device_s) for p in folding.register.pools()]
    assert found == [("hall-b", ["c"], 99, Decimal(3)), ("hall-a", ["a", "b"], 30, Decimal(3))]


# Pauses


def test_nothing_goes_on_inside_a_pause():
    order = pause_order(above=100)
    folding = Folding().add(run_declared("big", planned=200), run_declared("small", planned=90))
    folding.add(progress_of("big", 1, 5), ordered(order))
    folding.refuses(progress_of("big", 2, 6), "inside the pause", kind=PausedError)
    tokens = progress_of("big", 2, 5, tokens=99_999)
    folding.refuses(tokens, "inside the pause", kind=PausedError)
    folding.refuses(run_declared("new", planned=101), "inside the pause", kind=PausedError)
    folding.add(progress_of("big", 2, 5, tokens=1000), run_declared("tiny", planned=100))
    folding.add(progress_of("small", 1, 90))
    folding.refuses(progress_of("small", 2, 101), "inside the pause", kind=PausedError)


def test_a_lineage_of_unknown_size_is_covered_by_every_order():
    folding = Folding().add(run_declared("a", parents=(outside("base", ""),)))
    folding.add(ordered(pause_order(above=10**38)))
    folding.refuses(progress_of("a", 1, 1), "inside the pause", kind=PausedError)


def test_a_run_pauses_and_goes_on_from_the_same_checkpoint():
    order = pause_order(above=100)
    folding = Folding().add(run_declared("a"), progress_of("a", 4, 40), ordered(order))
    folding.refuses(paused("a", order, 39), "39 FLOP, fewer")
    folding.add(paused("a", order, 50), paused("a", order, 50))
    folding.refuses(paused("a", order, 51), "paused already")
    folding.refuses(paused("a", order, 50, "six"), "paused already")
    resumed = Resumed(run="a", step=5, checkpoint=digest("five"))
    folding.refuses(resumed, "in force until", kind=PausedError)
    folding.add(released(order))
    folding.refuses(progress_of("a", 5, 51), "is paused at checkpoint", kind=PausedError)
    folding.refuses(replace(resumed, checkpoint=digest("six")), "not at")
    run = folding.register.runs["a"]
    assert (run.flop, run.paused_by) == (50, order_id(order))
    folding.add(resumed, progress_of("a", 5, 51))
    assert (run.flop, run.paused_by, run.paused_checkpoint) == (51, "", "")
    folding.refuses(resumed, "is not paused")


def test_a_pause_needs_an_order_that_covers_the_run():
    low, future = pause_order(above=100), pause_order(above=1, begins=format_time(START_US * 2))
    assert future != low
    folding = Folding().add(run_declared("a", planned=90))
    folding.refuses(paused("a", low, 1), "no order")
    folding.add(ordered(low))
    folding.refuses(paused("a", low, 100), "does not cover the run a of 100")
    folding.refuses(Resumed(run="a", step=1, checkpoint=digest("five")), "is not paused")
    folding.add(paused("a", low, 101))


def test_an_order_binds_from_its_begin_on():
    begins = format_time(START_US + 4 * SECOND_US)
    folding = Folding().add(run_declared("a"), ordered(pause_order(above=1, begins=begins)))
    folding.add(progress_of("a", 1, 10))
    folding.refuses(progress_of("a", 2, 20), "inside the pause", kind=PausedError)
    register = folding.register
    at_us = START_US + 4 * SECOND_US
    assert register.orders_in_force(at_us - 1) == []
    assert [one.order.above for one in register.orders_in_force(at_us)] == [1]


def test_the_strictest_order_comes_first():
    low, high = pause_order(above=1), pause_order(above=10)
    folding = Folding().add(ordered(high), ordered(low))
    assert [one.order.above for one in folding.register.orders_in_force(START_US)] == [1, 10]


def test_a_second_order_holds_when_the_first_is_lifted():
    low, high = pause_order(above=100), pause_order(above=100, nonce="77" * 16)
    folding = Folding().add(run_declared("a"), ordered(low), ordered(high), paused("a", low, 1))
    folding.add(released(low))
    resumed = Resumed(run="a", step=5, checkpoint=digest("five"))
    folding.refuses(resumed, order_id(high)[:12], kind=PausedError)
    folding.add(released(high), resumed)


def test_an_order_gathers_the_signatures_of_all_its_leaves():
    parties = [HERON, STORK]
    terms = {"above": 1, "begins": NOW, "until": LATER}
    alone = order_envelope(parties, signers=[HERON], **terms)
    both = order_envelope(parties, **terms)
    folding = Folding().add(ordered(both), ordered(alone))
    assert len(folding.register.orders[order_id(both)].signed.signers) == 2
    folding.refuses(released(both), r"not signed by stork\.example")


def test_an_order_is_lifted_once_and_by_its_terms():
    order = pause_order()
    folding = Folding()
    folding.refuses(released(order), "no order")
    folding.add(ordered(order))
    lift = PauseLifted(order=order_id(order), basis="until")
    folding.refuses(lift, "stands until")
    folding.add(replace(lift, time=LATER))
    entry = folding.register.orders[order_id(order)]
    assert (entry.is_lifted, entry.lifted_index, entry.is_in_force(START_US)) == (True, 1, False)
    after = format_time(START_US + 10**12)
    folding.refuses(replace(released(order), time=after), "lifted already")
    folding.refuses(replace(ordered(order), time=after), "lifted already")


def test_an_order_is_checked_before_it_counts():
    order = orjson.loads(pause_order())
    folding = Folding()
    folding.refuses(PauseOrdered(order=digest("x"), envelope=order), "names order")
    order["signatures"][0]["sig"] = order["signatures"][0]["sig"][::-1]
    folding.refuses(PauseOrdered(order=digest("x"), envelope=order), "DSSE|signature")


# The rest


def test_models_are_served_and_withdrawn():
    folding = Folding().add(*made("a", 10))
    served = ModelServed(model="m", digest=digest("gguf"), made_from=digest("model of a"))
    folding.refuses(replace(served, made_from=digest("x")), "no run has made")
    folding.add(served)
    assert set(folding.register.served) == {digest("gguf")}
    folding.add(ModelWithdrawn(model="m", digest=digest("gguf"), reason="old"))
    assert (folding.register.served, set(folding.register.withdrawn)) == ({}, {digest("gguf")})
    folding.add(served)
    assert folding.register.withdrawn == {}


def test_what_takes_back_is_never_refused():
    Folding().add(
        ModelWithdrawn(model="m", digest=digest("never served"), reason="asked"),
        ShareCut(grant=digest("never granted"), reason="asked"),
    )


def test_a_followed_log_is_known_by_its_key():
    vkey = str(STORK.verifier())
    follow = LogFollowed(log=vkey, key=digest(vkey), is_obeyed=True)
    folding = Folding()
    folding.refuses(replace(follow, log="stork.example"), "vkey")
    folding.refuses(replace(follow, key=digest("x")), "hash")
    folding.add(follow, replace(follow, is_obeyed=False))
    assert folding.register.followed[vkey].is_obeyed is False


def test_a_register_goes_through_a_file_unchanged():
    log = story(120)
    register = Register(log.origin)
    for index, leaf in enumerate(log.leaves):
        if index % 10 == 0:
            register = Register.from_json(orjson.loads(orjson.dumps(register.to_json())))
        register.apply(index, Statement.decode(read_payload(leaf)).body)
    again = Register.from_json(orjson.loads(orjson.dumps(register.to_json())))
    assert again.to_json() == register.to_json()
    assert (again.runs, again.models, again.orders) == (
        *(register.runs, register.models, register.orders),
    )
    assert (again.served, again.withdrawn, again.followed, again.counts) == (
        *(register.served, register.withdrawn, register.followed, register.counts),
    )


@pytest.mark.parametrize("raw", [None, [], {}, {"format": "mynah.register/9"}, "x"])
def test_a_damaged_file_is_refused(raw: object):
    with pytest.raises(RecordError, match="register's file"):
        Register.from_json(raw)
