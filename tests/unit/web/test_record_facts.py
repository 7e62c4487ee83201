"""The facts of the Record page, read from a record with every kind of leaf."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mynah.record.identity import Identity
from mynah.record.record import Record
from mynah.record.statements import KINDS, PostForgotten
from mynah.web.pages.record_pauses import pause_line, runs_line
from mynah.web.pages.record_register import drawn_runs, register_options, register_words
from mynah.web.pages.record_timeline import address_of, kind_words
from mynah.web.record_facts import RecordFacts, RunFacts, read_facts, read_keepers
from mynah.web.record_leaves import GROUPS, Leaf, LeafIndex, group_named
from mynah.web.record_reading import RecordReading
from mynah.web.wording import flop_exact, flop_words

EVERYTHING = GROUPS[0]


@pytest.fixture(scope="module")
def facts(record: Record) -> RecordFacts:
    return read_facts(record, now_us=time.time_ns() // 1000)


def run_named(facts: RecordFacts, name: str) -> RunFacts:
    return next(run for run in facts.runs if run.name == name)


def test_runs_have_their_compute_and_state(facts: RecordFacts) -> None:
    assert [run.name for run in facts.runs] == [
        "tern-2-pre", "tern-chat-3", "tern-probe", "tern-base-1"
    ]  # fmt: skip
    assert [run.state for run in facts.runs] == ["paused", "running", "ended", "ended"]
    tuned = run_named(facts, "tern-chat-3")
    assert tuned.counted == 24 * 10**21
    assert tuned.lineage == 312 * 10**22 + 24 * 10**21
    assert tuned.most == 312 * 10**22 + 50 * 10**21


def test_a_run_of_unknown_lineage_is_drawn_first(facts: RecordFacts) -> None:
    unknown = replace(facts.runs[-1], name="unknown", lineage=None)
    drawn = drawn_runs((*facts.runs, unknown))
    assert drawn[0].name == "unknown"
    assert drawn[0].least == unknown.counted


def test_the_pause_in_force_names_what_it_covers(facts: RecordFacts) -> None:
    (pause,) = facts.in_force
    assert [run.name for run in pause.covered] == ["tern-2-pre"]
    assert [key.name for key in pause.signed.signers] == [
        "heron.example", "stork.example", "crane.example"
    ]  # fmt: skip
    assert pause_line(pause).startswith("Pause in force: nothing above 2.1e25 FLOP until ")
    assert runs_line(pause.covered) == "It covers 1 run here; paused: tern-2-pre."
    assert facts.pauses[1].state == "lifted"
    assert facts.pauses[1].lifted is not None


def test_a_pause_that_begins_later_does_not_bind_yet(record: Record) -> None:
    begins = min(entry.order.begins_us for entry in record.register().orders.values())
    before = read_facts(record, now_us=begins - 1)
    assert before.in_force == ()
    assert {pause.state for pause in before.pauses} == {"not begun", "lifted"}


def test_each_party_has_its_verdict(record: Record, facts: RecordFacts) -> None:
    kept = {one.id: one for one in read_keepers(record)}
    rows = {row.name: row for row in kept[facts.in_force[0].signed.id].parties}
    assert {name: row.verdict for name, row in rows.items()} == {
        "heron.example": "kept", "stork.example": "broken", "crane.example": "stale"
    }  # fmt: skip
    assert rows["heron.example"].is_own
    assert "wader-1" in rows["stork.example"].words
    assert rows["stork.example"].evidence is not None


def test_only_a_witness_whose_key_is_known_is_checked(facts: RecordFacts) -> None:
    assert {one.name: one.is_checked for one in facts.head.witnesses} == {
        "witness.stork.example": True, "witness.ibis.example": False
    }  # fmt: skip


def test_the_chart_has_a_line_for_each_threshold_and_order(facts: RecordFacts) -> None:
    options = register_options(drawn_runs(facts.runs), facts.limits)
    lines = [one for one in options["series"] if one["type"] == "line" and one["z"] == 1]
    assert len(lines) == len(facts.limits) == 5
    xs = [one["data"][0]["value"][0] for one in lines]
    assert xs == sorted(xs, reverse=True)
    assert "tern-2-pre: 2.6e25 FLOP" in register_words(facts.runs, facts.limits)


def test_a_record_without_runs_can_be_drawn(facts: RecordFacts) -> None:
    assert register_options((), facts.limits)["xAxis"]["max"] == 27
    assert register_words((), facts.limits) == "no run yet"


def test_every_kind_stands_in_one_group() -> None:
    kinds = [kind for group in GROUPS[1:] for kind in group.kinds]
    assert sorted(kinds) == sorted(KINDS)
    assert all(kind_words(kind) for kind in KINDS)


def all_leaves(index: LeafIndex, record: Record, key: str) -> Iterator[Leaf]:
    size = before = record.log.head().size
    while before is not None:
        page = index.page(record.log, group_named(key), before=before, size=size)
        yield from page.leaves
        before = page.older


def test_the_timeline_says_every_leaf_once(record: Record) -> None:
    index, size = LeafIndex(), record.log.head().size
    leaves = list(all_leaves(index, record, ""))
    said = [i for leaf in leaves for i in range(leaf.index - leaf.num_before, leaf.index + 1)]
    assert sorted(said) == list(range(size))
    assert [leaf.index for leaf in leaves] == sorted((one.index for one in leaves), reverse=True)
    stretch = next(leaf for leaf in leaves if leaf.num_before)
    assert stretch.body.kind == "progress"


@pytest.mark.parametrize("key", [group.key for group in GROUPS[1:]])
def test_a_group_has_its_kinds_and_no_others(record: Record, key: str) -> None:
    wanted = [
        index for index, one in record.statements() if one.body.kind in group_named(key).kinds
    ]
    assert [leaf.index for leaf in all_leaves(LeafIndex(), record, key)] == wanted[::-1]
    assert wanted


def test_a_page_looks_past_so_many_leaves_and_says_so(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mynah.web.record_leaves.LOOKED_AT", 8)
    monkeypatch.setattr("mynah.web.record_leaves.BUNDLE", 4)
    index, size = LeafIndex(), record.log.head().size
    page = index.page(record.log, group_named("forgotten"), before=size, size=size)
    assert page.leaves == ()
    assert page.older == size - page.num_passed
    assert 8 <= page.num_passed < 12
    again = index.page(record.log, group_named("forgotten"), before=size, size=size)
    assert again.num_passed > page.num_passed  # what was read is known now
    assert len(list(all_leaves(LeafIndex(), record, "forgotten"))) == 1


def test_addresses_of_the_timeline() -> None:
    assert address_of(EVERYTHING) == "/record#timeline"
    assert address_of(group_named("runs"), 7) == "/record?show=runs&before=7#timeline"
    assert group_named("nonsense") is EVERYTHING


def test_flop_are_worded_as_the_command_line_takes_them() -> None:
    assert [flop_words(n) for n in (0, 9_999, 10_000, 21 * 10**24, 10**26)] == [
        "0", "9,999", "1e4", "2.1e25", "1e26"
    ]  # fmt: skip
    assert flop_exact(10**6) == "1,000,000 floating-point operations"


def test_what_is_read_is_kept_until_the_log_grows(tmp_path: Path) -> None:
    record = Record.open(tmp_path / "town", identity=Identity.open(tmp_path / "keys"))
    record.write(PostForgotten(posts="a" * 64, num_posts=1, snapshot=""))
    reading = RecordReading(record)
    first = reading.facts()
    assert reading.facts() is first
    assert reading.keepers() == ()
    record.write(PostForgotten(posts="b" * 64, num_posts=1, snapshot=""))
    assert reading.facts().head.size == 2
    page = reading.page(EVERYTHING, None)
    assert [leaf.index for leaf in page.leaves] == [1, 0]
