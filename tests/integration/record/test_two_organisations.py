"""Organisations that follow and cosign one another over HTTP, and a pause that they order together.

Each has its own keys, workspace, web server and witness, all on this machine; nothing is mocked.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.fakes.record_party import HOUR_US, Party
from tests.fakes.web_servers import publishing, serving

from mynah.record.cosigning import WitnessAddress, collect
from mynah.record.envelopes import seal
from mynah.record.following import follow, refresh
from mynah.record.log import LogReader, RecordLog
from mynah.record.notes import parse_note, verify_note
from mynah.record.pausing import cosign_pause
from mynah.record.statements import Statement, format_time
from mynah.record.status import PartyStatus, pause_status
from mynah.record.witness import Witness
from mynah.record.witness_app import create_witness_app


@dataclass
class Online(Party):
    """A party whose log and witness are on the web."""

    url: str = ""
    witness: Witness | None = None
    witness_url: str = ""
    stack: ExitStack = field(default_factory=ExitStack)

    def publish(self, folder: Path | None = None) -> None:
        self.url = self.stack.enter_context(publishing(folder or self.log))

    def cosign_for(self, others: list["Online"]) -> None:
        logs = {other.key.name: other.key for other in others}
        self.witness = Witness.create(self.folder / "witness", f"{self.name}/witness", logs=logs)
        self.witness_url = self.stack.enter_context(serving(create_witness_app(self.witness)))

    def ask(self, others: list["Online"]) -> int:
        addresses = [
            WitnessAddress(other.witness.vkey, other.witness_url)
            for other in others
            if other.witness is not None
        ]
        lines = [f"witness {a.key.name} {a.key} {a.url}\n" for a in addresses]
        (self.record.folder / "policy").write_text("".join(lines) + "quorum none\n")
        return collect(self.record.log, addresses).num_cosigned


@pytest.fixture
def parties(tmp_path: Path) -> Iterator[list[Online]]:
    names = ("heron", "stork", "crane")
    found = [Online(f"{name}.example", tmp_path / name) for name in names]
    with ExitStack() as stack:
        for party in found:
            party.stack = stack
            party.declare("big", planned="9" * 30)
            party.publish()
        for party in found:
            party.cosign_for([other for other in found if other is not party])
        for party in found:
            for other in found:
                if other is not party:
                    follow(party.record, other.url, key=other.key)
        yield found


def order_jointly(parties: list[Online]) -> str:
    author, *others = parties
    signed = author.pause(cosigners=[other.vkey for other in others])
    for other in others:
        signed = cosign_pause(other.record, signed.envelope)
    cosign_pause(author.record, signed.envelope)
    for party in parties:
        assert party.ask([other for other in parties if other is not party]) == len(others)
    return signed.id


def verdicts(party: Online, *, later_us: int = 0) -> dict[str, PartyStatus]:
    (order,) = pause_status(party.record, now_us=time.time_ns() // 1000 + later_us).orders
    return {row.name: row for row in order.parties}


def test_all_three_keep_it_and_each_can_see_that(parties: list[Online]) -> None:
    order_jointly(parties)
    for party in parties:
        assert {one.state for one in refresh(party.record)} == {"fresh"}
        rows = verdicts(party)
        assert {row.verdict for row in rows.values()} == {"kept"}
        assert all(row.is_signed for row in rows.values())
        assert pause_status(party.record).is_kept


def test_a_cosignature_keeps_an_idle_log_alive(parties: list[Online]) -> None:
    """No leaf for days, but its witnesses have just seen the same head: that is not silence."""
    heron, stork, crane = parties
    order_jointly(parties)
    refresh(heron.record)
    days = 72 * HOUR_US
    assert verdicts(heron, later_us=days)["stork.example"].verdict == "stale"
    assert crane.witness is not None
    late = replace(crane.witness, clock=lambda: time.time() + days / 1e6)
    with serving(create_witness_app(late)) as url:
        address = WitnessAddress(late.vkey, url)
        assert collect(stork.record.log, [address]).num_cosigned == 1
    refresh(heron.record)
    rows = verdicts(heron, later_us=days)
    assert rows["stork.example"].verdict == "kept"
    assert rows["crane.example"].verdict == "stale"
    assert verdicts(heron)["stork.example"].verdict == "kept"


def test_one_breaks_it_and_the_others_can_show_the_leaf(parties: list[Online]) -> None:
    heron, stork, crane = parties
    order_jointly(parties)
    body = replace(stork.progress("big", "1" + "0" * 25), time=format_time(time.time_ns() // 1000))
    log = RecordLog.open(stork.log, stork.identity, origin=stork.key.name)
    (index,) = log.append([seal(Statement(body).encode(), stork.identity.key)])
    for party in (heron, crane):
        refresh(party.record)
        row = verdicts(party)["stork.example"]
        assert (row.verdict, row.evidence) == ("broken", index)
        folder = party.record.folder / "followed"
        (mirror,) = [p.parent for p in folder.glob("*/checkpoint") if _is_of(p, stork)]
        assert LogReader.open(mirror, stork.key).leaf(index)


def _is_of(path: Path, party: Party) -> bool:
    return parse_note(path.read_bytes()).text.startswith(f"{party.key.name}\n")


def test_one_goes_silent_and_one_goes_away(parties: list[Online]) -> None:
    heron, stork, crane = parties
    signed = heron.pause(cosigners=[stork.vkey, crane.vkey])
    for other in (stork, crane):
        away = Online(other.name, other.folder)
        copy = other.folder / "published"
        shutil.copytree(away.log, copy)
        other.publish(copy)  # what it shows from now on is what it showed before
        follow(heron.record, other.url, key=other.key)
        signed = cosign_pause(other.record, signed.envelope)
    cosign_pause(heron.record, signed.envelope)
    (crane.folder / "published" / "checkpoint").unlink()
    refresh(heron.record)
    rows = verdicts(heron)
    assert rows["stork.example"].verdict == "silent"
    assert rows["crane.example"].verdict == "unreachable"
    assert not pause_status(heron.record).is_kept


@pytest.mark.parametrize("kind", ["fork", "rollback"])
def test_one_shows_another_history(parties: list[Online], tmp_path: Path, kind: str) -> None:
    heron, stork, crane = parties
    twin = Party(stork.name, tmp_path / "twin")
    shutil.copytree(stork.folder, twin.folder)  # keys and guard too: two of it, by intent
    order_jointly(parties)
    refresh(heron.record)
    if kind == "fork":
        twin.write(9)
    stork.publish(twin.log)
    outcome = follow(heron.record, stork.url, key=stork.key)
    row = verdicts(heron)["stork.example"]
    expected = ("forked", "forked") if kind == "fork" else ("rolled back", "stale")
    assert (outcome.state, row.verdict) == expected
    (found,) = (heron.record.folder / "followed").glob("*/evidence/*")
    for name in ("ours", "theirs"):
        verify_note(parse_note((found / name).read_bytes()), [stork.key])
    witness = WitnessAddress(crane.witness.vkey, crane.witness_url) if crane.witness else None
    assert witness is not None
    (answer,) = collect(twin.record.log, [witness]).answers
    assert answer.state == "refused", "its witness has seen the other history"
    assert verdicts(heron)["crane.example"].verdict == "kept"
