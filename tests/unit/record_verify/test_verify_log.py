import json

import pytest
from tests.fakes.record_logs import (
    LogBuilder,
    MemorySource,
    log_files,
    progress_of,
    run_declared,
    signing_key,
    story,
)

from mynah.errors import ConfigError
from mynah.record.model_signature import model_digest
from mynah.record.notes import COSIGNER, NoteSignature, sign_note
from mynah.record.statements import CheckpointSaved
from mynah.record.verify import Policy, Trust, report, verify_log, verify_proof, verify_with
from mynah.record.verify.models import digest_folder
from mynah.record.verify.report import Claim, Report

WITNESSES = [signing_key(f"w{n}.example", 30 + n) for n in range(3)]


@pytest.fixture(scope="module")
def log() -> LogBuilder:
    return story(45)


def policy(log: LogBuilder, quorum: str) -> Policy:
    lines = [f"witness w{n} {key.verifier(COSIGNER)}" for n, key in enumerate(WITNESSES)]
    return Policy.parse("\n".join([f"log {log.vkey}", *lines, quorum]))


TWO = "group g 2 w0 w1 w2\nquorum g"


def test_a_log_without_leaves():
    report = verify_log(LogBuilder().source())
    assert not report.is_contradicted
    assert report.size == 0


@pytest.mark.parametrize(
    ("num_signed", "is_enough"), [(0, False), (1, False), (2, True), (3, True)]
)
def test_the_quorum_of_the_policy(log, num_signed, is_enough):
    source = MemorySource(log.files(WITNESSES[:num_signed]))
    report = verify_log(source, policy=policy(log, TWO))
    assert report.is_contradicted is (num_signed < 2)


def test_a_policy_that_asks_for_no_witness(log):
    report = verify_log(log.source(), policy=policy(log, "quorum none"))
    assert not report.is_contradicted
    assert "others were shown the same log" in [claim.what for claim in report.of("not proved")]


def test_the_policy_knows_another_log(log):
    other = log_files(log.leaves, log.key, "heron.example/other")
    assert verify_log(MemorySource(other), policy=policy(log, TWO)).is_contradicted


def test_the_key_of_the_party_is_that_of_its_logs(log):
    report = verify_log(log.source(), keys=[str(log.key.verifier())])
    assert not report.is_contradicted
    stranger = str(signing_key("stork.example", 2).verifier())
    assert verify_log(log.source(), keys=[stranger]).is_contradicted
    assert not verify_log(log.source(), keys=[stranger, log.vkey]).is_contradicted


def test_without_a_key_nobody_is_known(log):
    report = verify_log(log.source())
    assert not report.is_contradicted
    assert "who signed" in [claim.what for claim in report.of("not proved")]
    files = log.files()
    del files["vkey"]
    assert verify_log(MemorySource(files)).is_contradicted
    assert verify_log(MemorySource({**files, "vkey": b"\xff"})).is_contradicted


def test_a_key_that_is_none(log):
    with pytest.raises(ConfigError, match="no vkey"):
        verify_log(log.source(), keys=["heron.example"])


def test_a_head_that_only_another_signed(log):
    text = log.note().text
    note = sign_note(text, signing_key("stork.example", 2)).encode()
    found = verify_log(MemorySource({**log.files(), "checkpoint": note}), keys=[log.vkey])
    assert [claim.what for claim in found.claims] == ["the tree head is signed by the log"]
    assert "has not signed it" in found.claims[0].detail


def test_lines_of_keys_that_nobody_knows_are_passed_over(log):
    line = NoteSignature("nobody.example", b"abcd", bytes(70))
    note = log.note().with_signatures([line]).encode()
    assert not verify_log(
        MemorySource({**log.files(), "checkpoint": note}), keys=[log.vkey]
    ).is_contradicted


@pytest.mark.parametrize("known", [b"", b"hello", b"a\n1\n\n"])
def test_a_known_head_that_is_none(log, known):
    trust = Trust(keys=(log.vkey,), known_head=known)
    assert verify_with(log.source(), trust).is_contradicted


def test_an_order_may_have_no_leaves_beyond_what_is_known(log):
    trust = Trust(keys=(log.vkey,), known_head=log.note().encode())
    assert not verify_with(log.source(), trust).is_contradicted
    empty = LogBuilder().note().encode()
    assert not verify_with(log.source(), Trust(keys=(log.vkey,), known_head=empty)).is_contradicted


# Proofs


def proof(log: LogBuilder, index: int, *, extra: str = "") -> bytes:
    return log.proof(index, WITNESSES[:2], extra=extra)


def test_proofs_of_every_leaf(log):
    for index, leaf in enumerate(log.leaves):
        report = verify_proof(proof(log, index), leaf, policy=policy(log, TWO))
        assert not report.is_contradicted
        assert verify_proof(
            proof(log, index), log.leaves[index - 1], keys=[log.vkey]
        ).is_contradicted


def test_a_proof_may_bring_extra_data(log):
    assert not verify_proof(
        proof(log, 3, extra="extra AAAA"), log.leaves[3], keys=[log.vkey]
    ).is_contradicted


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"index 7", b"index 07"),
        (b"index 7", b"index 99"),
        (b"index 7", b"7"),
        (b"index 7\n", b""),
        (b"proof@v1", b"proof@v2"),
        (b"\n\n", b"\nAAAA\n\n"),
    ],
)
def test_a_malformed_proof(log, old, new):
    changed = proof(log, 7).replace(old, new, 1)
    assert verify_proof(changed, log.leaves[7], keys=[log.vkey]).is_contradicted


def test_a_proof_without_a_key_is_none(log):
    with pytest.raises(ConfigError, match="without a key"):
        verify_proof(proof(log, 7), log.leaves[7])


# Files


@pytest.fixture
def with_model(tmp_path):
    folder = tmp_path / "models" / "bird"
    (folder / "more").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "more/a.txt"):
        (folder / name).write_text(f"content of {name}")
    found = model_digest(folder)
    log = LogBuilder()
    log.add(run_declared("r"))
    log.add(progress_of("r", 1, 5))
    facts = {"num_files": found.num_files, "num_bytes": found.num_bytes, "lineage_flop": "5"}
    log.add(CheckpointSaved(run="r", step=1, name="bird", digest=found.hex, **facts))
    return folder, log


def test_the_digest_is_that_of_the_writer(with_model):
    folder, _ = with_model
    (folder / "model.sig").write_text("a signature")
    (folder / ".x.1.writing").write_text("half a file")
    found = model_digest(folder)
    assert digest_folder(folder) == (found.hex, found.num_files, found.num_bytes)


def test_files_that_are_those_of_the_checkpoint(with_model):
    folder, log = with_model
    for files in (folder.parent.parent, folder.parent):
        report = verify_log(log.source(), files=files)
        assert not report.is_contradicted
        assert any("the files of bird" in claim.what for claim in report.of("proved"))
    report = verify_log(log.source())
    assert any("checkpoint digests" in claim.what for claim in report.of("not proved"))


@pytest.mark.parametrize("name", ["config.json", "more/a.txt", "new.txt", "link"])
def test_files_that_were_changed(with_model, name):
    folder, log = with_model
    if name == "link":
        (folder / name).symlink_to("config.json")
    else:
        (folder / name).write_text("else")
    report = verify_log(log.source(), files=folder.parent)
    assert [claim.index for claim in report.of("contradicted")] == [2]


def test_a_name_that_is_a_path_is_not_followed(with_model, tmp_path):
    _, log = with_model
    log.add(
        CheckpointSaved(
            run="r",
            step=1,
            name="../models/bird",
            digest="a" * 64,
            num_files=1,
            num_bytes=1,
            lineage_flop="5",
        )
    )
    assert not verify_log(log.source(), files=tmp_path).is_contradicted


# The report


def test_the_report_as_json(log):
    found = json.loads(verify_log(log.source(), keys=[log.vkey]).to_json())
    assert found["format"] == "mynah.record-report/1"
    assert (found["origin"], found["size"]) == (log.origin, 45)
    assert found["counts"]["contradicted"] == 0
    assert found["is_contradicted"] is False
    assert {claim["verdict"] for claim in found["claims"]} == {"proved", "not proved"}
    assert set(found["claims"][0]) == {"what", "verdict", "detail", "index"}


def test_a_report_does_not_grow_without_end(monkeypatch):
    monkeypatch.setattr(report, "MAX_CLAIMS", 3)
    found = Report("x")
    found.extend(Claim(f"{n}", "contradicted") for n in range(10))
    assert (len(found.claims), found.num_left_out, found.counts["contradicted"]) == (3, 7, 10)
    assert found.is_contradicted


def test_progress_is_told(log):
    told = []
    verify_log(log.source(), progress=lambda done, total, note: told.append((done, total)))
    assert told == [(45, 45)]


def test_limits_are_always_listed(log):
    said = [claim.what for claim in verify_log(log.source()).of("not proved")]
    assert {"no other run exists", "the FLOP are the true ones"} <= set(said)
