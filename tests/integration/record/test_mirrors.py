"""Mirrors of longer logs, in folders and on the web: growth, damage, limits, servers that lie.

Reads and writes the tests' folders only.
"""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.responses import Response, StreamingResponse
from tests.fakes.record_party import Party
from tests.fakes.web_servers import publishing, serving

from mynah.errors import DataError, MachineError
from mynah.record.downloading import Limits
from mynah.record.followed import followed_logs
from mynah.record.following import FollowOutcome, follow, refresh
from mynah.record.notes import TreeHead, sign_note


@pytest.fixture
def heron(tmp_path: Path) -> Party:
    return Party("heron.example", tmp_path / "heron")


@pytest.fixture
def stork(tmp_path: Path) -> Party:
    party = Party("stork.example", tmp_path / "stork")
    party.write(3)
    return party


def only(outcomes: list[FollowOutcome]) -> FollowOutcome:
    (outcome,) = outcomes
    return outcome


def mirror(heron: Party) -> list[bytes]:
    (one,) = followed_logs(heron.record)
    reader = one.reader()
    assert reader is not None
    return list(reader.leaves())


def leaves(party: Party) -> list[bytes]:
    return list(party.record.log.leaves())


@pytest.mark.parametrize("sizes", [(1, 1), (252, 1), (253, 1), (250, 300), (600, 255, 2)])
def test_a_mirror_grows_with_the_log(heron: Party, stork: Party, sizes: tuple[int, ...]) -> None:
    follow(heron.record, stork.log, key=stork.key)
    for size in sizes:
        stork.write(size)
        assert only(refresh(heron.record)).state == "fresh"
        assert mirror(heron) == leaves(stork)
    (one,) = followed_logs(heron.record)
    ours = {p.relative_to(one.folder) for p in (one.folder / "tile").rglob("*") if p.is_file()}
    theirs = {p.relative_to(stork.log) for p in (stork.log / "tile").rglob("*") if p.is_file()}
    assert ours <= theirs


def test_what_does_not_verify_changes_nothing(heron: Party, stork: Party) -> None:
    follow(heron.record, stork.log, key=stork.key)
    before = mirror(heron)
    stork.write(300)
    bundle = stork.log / "tile" / "entries" / "000"
    whole = bundle.read_bytes()
    for bad in (whole[:-1], whole[:500] + b"!" + whole[501:], b""):
        bundle.write_bytes(bad)
        outcome = only(refresh(heron.record))
        assert outcome.state == "damaged"
        assert mirror(heron) == before
    bundle.unlink()
    assert only(refresh(heron.record)).state == "damaged"
    bundle.write_bytes(whole)
    assert only(refresh(heron.record)).state == "fresh"
    assert mirror(heron) == leaves(stork)


def test_a_long_log_is_mirrored_in_several_visits(heron: Party, stork: Party) -> None:
    stork.write(1500)
    small = Limits(max_bytes=2 * 16 * 1024)
    assert follow(heron.record, stork.log, key=stork.key, limits=small).state == "unreachable"
    (one,) = followed_logs(heron.record)
    assert one.reader() is None
    states = [only(refresh(heron.record, limits=small)).state for _ in range(5)]
    assert states[-1] == "fresh"
    assert mirror(heron) == leaves(stork)


def test_a_mirror_that_lost_a_tile_is_fetched_anew(heron: Party, stork: Party) -> None:
    stork.write(600)
    follow(heron.record, stork.log, key=stork.key)
    (one,) = followed_logs(heron.record)
    shutil.rmtree(one.folder / "tile")
    stork.write(1)
    assert only(refresh(heron.record)).state == "fresh"
    assert mirror(heron) == leaves(stork)


def test_a_server_that_is_not_there(heron: Party, stork: Party) -> None:
    with pytest.raises(MachineError, match="cannot be had"):
        follow(heron.record, "http://127.0.0.1:9/log", key=stork.key)
    assert followed_logs(heron.record) == []


def test_a_log_on_the_web(heron: Party, stork: Party) -> None:
    stork.write(300)
    with publishing(stork.log) as url:
        assert follow(heron.record, url, key=stork.key).state == "fresh"
        stork.write(300)
        assert only(refresh(heron.record)).state == "fresh"
    assert mirror(heron) == leaves(stork)
    gone = only(refresh(heron.record))
    assert (gone.state, gone.size) == ("unreachable", 603)


def endless() -> Iterator[bytes]:
    while True:
        yield bytes(65_536)


def hostile(head: bytes) -> FastAPI:
    """A server that shows one tree head, and more of everything else than anyone can take."""
    app = FastAPI()
    bundle = (b"\x00\x01x" * 256) if head else b""

    @app.get("/checkpoint")
    def checkpoint() -> Response:
        return Response(head) if head else StreamingResponse(endless())

    @app.get("/tile/{path:path}")
    def tile(path: str) -> Response:
        return Response(bundle) if path.startswith("entries") else StreamingResponse(endless())

    return app


def test_a_tree_head_without_an_end(heron: Party, stork: Party) -> None:
    with publishing(stork.log) as url:
        follow(heron.record, url, key=stork.key)
    with serving(hostile(b"")) as url, pytest.raises(DataError, match="larger than"):
        follow(heron.record, url, key=stork.key)
    assert mirror(heron) == leaves(stork)


def test_a_log_without_an_end(heron: Party, stork: Party) -> None:
    """A head that its owner did sign, of a trillion leaves: a visit costs what its limits say."""
    head = TreeHead(stork.key.name, 1 << 40, bytes(32))
    note = sign_note(head.text, stork.identity.log_key(stork.key.name))
    with serving(hostile(note.encode())) as url:
        outcome = follow(heron.record, url, key=stork.key, limits=Limits(max_bytes=1 << 18))
    assert (outcome.state, outcome.size) == ("unreachable", 0)
    assert "too long or too slow" in outcome.detail
    with serving(hostile(note.encode())) as url:
        late = Limits(max_s=0.0)
        assert "too long" in follow(heron.record, url, key=stork.key, limits=late).detail


def test_endless_tiles_of_a_log_that_is_mirrored(heron: Party, stork: Party) -> None:
    follow(heron.record, stork.log, key=stork.key)
    head = TreeHead(stork.key.name, 1 << 40, bytes(32))
    note = sign_note(head.text, stork.identity.log_key(stork.key.name))
    with serving(hostile(note.encode())) as url:
        outcome = follow(heron.record, url, key=stork.key)
    assert (outcome.state, outcome.size) == ("damaged", 3)
    assert mirror(heron) == leaves(stork)


def test_two_that_refresh_at_once(heron: Party, stork: Party) -> None:
    stork.write(600)
    follow(heron.record, stork.log, key=stork.key)
    stork.write(600)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: only(refresh(heron.record)), range(4)))
    assert {(one.state, one.size) for one in found} == {("fresh", 1203)}
    assert mirror(heron) == leaves(stork)
