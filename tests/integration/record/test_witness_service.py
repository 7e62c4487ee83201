"""A witness as a service: real HTTP, real kills. Reads and writes the tests' folders only."""

import base64
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from tests.fakes.record_party import Party
from tests.fakes.web_servers import WitnessProcess, publishing, serving

from mynah.record.cosigning import (
    WitnessAddress,
    addresses_of,
    collect,
    read_policy,
)
from mynah.record.notes import TreeHead, VerifierKey, cosigned_at, parse_note
from mynah.record.tree import check_consistency
from mynah.record.witness import Witness
from mynah.record.witness_app import create_witness_app


@pytest.fixture
def heron(tmp_path: Path) -> Party:
    return Party("heron.example", tmp_path / "heron")


@pytest.fixture
def witness(tmp_path: Path, heron: Party) -> Witness:
    logs = {heron.key.name: heron.key}
    return Witness.create(tmp_path / "witness", "stork.example/witness", logs=logs)


@pytest.fixture
def process(witness: Witness, heron: Party) -> Iterator[WitnessProcess]:
    found = WitnessProcess(witness.folder, [heron.key])
    found.start()
    yield found
    found.close()


def body(heron: Party, old: int) -> bytes:
    proof = heron.record.log.consistency_proof(old)
    lines = [f"old {old}", *(base64.b64encode(step).decode() for step in proof)]
    return "\n".join(lines).encode() + b"\n\n" + heron.record.log.note().encode()


def test_the_protocol_over_http(heron: Party, witness: Witness) -> None:
    heron.write(3)
    with serving(create_witness_app(witness)) as url, httpx.Client(base_url=url) as client:
        assert VerifierKey.parse(client.get("/vkey").text) == witness.vkey
        conflict = client.post("/add-checkpoint", content=body(heron, 2))
        assert (conflict.status_code, conflict.text) == (409, "0\n")
        assert conflict.headers["content-type"] == "text/x.tlog.size"
        good = client.post("/add-checkpoint", content=body(heron, 0))
        assert (good.status_code, good.text[:2]) == (200, "\u2014 ")
        note = parse_note(heron.record.log.note().encode() + good.content)
        assert abs((cosigned_at(note, witness.vkey) or 0) - time.time()) < 60
        assert client.post("/add-checkpoint", content=b"x" * 200_000).status_code == 413
        assert client.post("/add-checkpoint", content=b"x").status_code == 400
        assert client.get("/add-checkpoint").status_code == 405


def test_a_witness_that_cannot_remember_does_not_sign(heron: Party, witness: Witness) -> None:
    with serving(create_witness_app(witness)) as url:
        address = WitnessAddress(witness.vkey, url)
        assert collect(heron.record.log, [address]).num_cosigned == 1
        (path,) = (witness.folder / "heads").iterdir()
        path.write_bytes(b"")
        (answer,) = collect(heron.record.log, [address]).answers
    assert (answer.state, "503" in answer.detail) == ("refused", True)
    assert str(witness.folder) not in answer.detail


def test_cosignatures_are_published_with_the_head(heron: Party, witness: Witness) -> None:
    with serving(create_witness_app(witness)) as url:
        policy = f"witness W {witness.vkey} {url}/\nquorum W\n"
        (heron.record.folder / "policy").write_text(policy)
        found = read_policy(heron.record.folder)
        assert found is not None
        for _ in range(3):
            heron.write(2)
            report = collect(heron.record.log, addresses_of(found))
            assert (report.num_cosigned, report.answers[0].name) == (1, witness.key.name)
            published = parse_note((heron.log / "checkpoint").read_bytes())
            assert cosigned_at(published, witness.vkey) == report.answers[0].time_s
        heron.write(1)
        assert cosigned_at(heron.record.log.note(), witness.vkey) is None


def test_one_bad_witness_spoils_nothing(heron: Party, witness: Witness, tmp_path: Path) -> None:
    stranger = Witness.create(tmp_path / "other", "crane.example/w", logs=witness.logs)
    ignorant = Witness.create(tmp_path / "third", "crane.example/x", logs={})
    heron.write(5)
    with (
        serving(create_witness_app(witness)) as good,
        serving(create_witness_app(ignorant)) as unknowing,
        publishing(tmp_path) as no_witness,
    ):
        report = collect(
            heron.record.log,
            [
                WitnessAddress(witness.vkey, good),
                WitnessAddress(stranger.vkey, good),
                WitnessAddress(ignorant.vkey, unknowing),
                WitnessAddress(ignorant.vkey, no_witness),
                WitnessAddress(stranger.vkey, "http://127.0.0.1:9"),
            ],
            timeout_s=5.0,
        )
    states = [answer.state for answer in report.answers]
    assert states == ["cosigned", "refused", "refused", "refused", "unreachable"]
    assert "by the key we know" in report.answers[1].detail
    assert "404" in report.answers[2].detail
    lines = heron.record.log.note().signatures
    assert {line.name for line in lines} == {heron.key.name, witness.key.name}


def test_a_copy_of_an_old_day_learns_that_it_is_old(
    heron: Party, witness: Witness, tmp_path: Path
) -> None:
    heron.write(2)
    old = heron.record.log.note()
    with serving(create_witness_app(witness)) as url:
        heron.write(3)
        collect(heron.record.log, [WitnessAddress(witness.vkey, url)])
        answer = httpx.post(f"{url}/add-checkpoint", content=b"old 2\n\n" + old.encode())
    assert (answer.status_code, answer.text) == (409, "5\n")


def test_killed_again_and_again_it_never_signs_two_histories(
    heron: Party, process: WitnessProcess, witness: Witness
) -> None:
    """All that it ever cosigned is one history, and what it signed it still knows."""
    signed: list[TreeHead] = []
    address = WitnessAddress(witness.vkey, process.url)
    stop = threading.Event()

    def submit() -> None:
        while not stop.is_set():
            heron.write(3)
            if collect(heron.record.log, [address], timeout_s=30.0).num_cosigned:
                signed.append(heron.record.log.head())

    thread = threading.Thread(target=submit)
    thread.start()
    for wait_s in (0.05, 0.21, 0.13):
        time.sleep(wait_s)
        process.kill()
        known = Witness.open(witness.folder, logs=witness.logs).latest(heron.key.name)
        size = TreeHead.parse(known.text).size if known else 0
        assert size >= max((head.size for head in list(signed)), default=0)
        process.start()
    stop.set()
    thread.join()
    assert signed
    log = heron.record.log
    for before, after in pairwise(signed):
        assert before.size < after.size
        proof = log.consistency_proof(before.size, after.size)
        check_consistency(
            before.size, after.size, old_root=before.root, new_root=after.root, proof=proof
        )
