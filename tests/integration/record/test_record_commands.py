"""`mynah record` between two organisations: orders, proofs, publishing, a witness that runs.

Each command runs in this process as a shell would run it; the witness is a process of its own.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from mynah.cli import main
from mynah.record.identity import Identity
from mynah.record.record import Record
from mynah.record.statements import Progress, RunDeclared
from mynah.workspace import Workspace

SHA = "ab" * 32
PAUSE = ("--above", "1e3", "--until", "2040-01-01", "--reason", "until audited", "--yes")
MYNAH = [sys.executable, "-c", "from mynah.cli import main; main()", "record"]


@pytest.fixture(autouse=True)
def keys(tmp_path, monkeypatch):
    monkeypatch.setenv("MYNAH_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "keys"


@pytest.fixture
def run(monkeypatch, capsys):
    before = signal.getsignal(signal.SIGTERM)

    def run_main(*arguments):
        monkeypatch.setattr("sys.argv", ["mynah", "record", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    yield run_main
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def workspace(tmp_path):
    place = Workspace(tmp_path / "network")
    place.create()
    return place.root


def declared():
    return RunDeclared(
        run="r1",
        model="model-r1",
        recipe=SHA,
        corpus=SHA,
        objective="pretrain",
        parents=(),
        planned_flop="1000000",
        planned_basis="steps",
        pool="local",
        device="cpu",
        num_devices=1,
        peak_flop_per_s="1000000000",
    )


def progress():
    return Progress(run="r1", recipe=SHA, step=1, flop="500000", device_s="36.000", tokens=10)


def test_cosigning_binds_both_and_the_first_gets_the_whole_copy(
    run, workspace, tmp_path, monkeypatch
):
    stork = Identity.open(tmp_path / "stork")
    order, signed = tmp_path / "order.json", tmp_path / "signed.json"
    run("pause", workspace, *PAUSE, "--cosign", stork.key.verifier(), "--out", order)
    monkeypatch.setenv("MYNAH_KEYS", str(tmp_path / "stork"))
    code, out, _ = run("cosign", tmp_path / "other", order, "--out", signed, "--yes", "--json")
    assert code == 0
    assert len(json.loads(out)["signers"]) == 2
    monkeypatch.setenv("MYNAH_KEYS", str(tmp_path / "keys"))
    assert "missing" not in run("cosign", workspace, signed, "--yes")[1]
    code, out, _ = run("pause", "status", workspace)
    assert code == 1  # nobody follows the other's log here
    assert "not followed" in out


def test_a_proof_is_written_and_checked_without_the_log(run, workspace, tmp_path):
    Record.open(workspace).write_many([declared(), progress()])
    proof, leaf, vkey = tmp_path / "p", tmp_path / "l", tmp_path / "v"
    vkey.write_text(run("key", "--vkey")[1])
    assert run("prove", workspace, 1, "--out", proof, "--leaf", leaf)[0] == 0
    code, out, _ = run("verify", proof, "--leaf", leaf, "--key", vkey)
    assert code == 0
    assert "leaf 1 is in the log of 2 leaves" in out
    leaf.write_bytes(leaf.read_bytes().replace(b"sig", b"gis"))
    assert run("verify", proof, "--leaf", leaf, "--key", vkey)[0] == 1
    assert run("verify", proof, "--key", vkey)[0] == 2
    assert run("prove", workspace, 2)[0] == 3


def test_a_log_is_verified_and_a_flipped_bit_is_a_contradiction(run, workspace):
    record = Record.open(workspace)
    record.write_many([declared(), progress()])
    vkey = run("key", workspace, "--vkey")[1].strip()
    code, out, _ = run("verify", workspace, "--key", vkey)
    assert code == 0
    assert out.endswith("nothing is contradicted\n")
    assert json.loads(run("verify", workspace, "--key", vkey, "--json")[1])["size"] == 2
    bundle = record.log.folder / "tile" / "entries" / "000.p" / "2"
    broken = bytearray(bundle.read_bytes())
    broken[40] ^= 1
    bundle.write_bytes(bytes(broken))
    code, out, _ = run("verify", workspace, "--key", vkey)
    assert code == 1
    assert out.index("contradicted (") < out.index("\nproved (")


def test_a_record_is_published_and_put_back(run, workspace, tmp_path):
    record = Record.open(workspace)
    record.write_many([declared(), progress()])
    code, out, err = run("publish", workspace, tmp_path / "site")
    assert code == 0
    assert "2 leaves, 2 of them new" in out
    assert str(record.key) in err
    for path in sorted(record.log.folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    code, _, err = run("show", workspace)
    assert code == 3
    assert "mynah record restore" in err
    assert run("restore", workspace, "--from", tmp_path / "site")[0] == 0
    assert "1 progress" in run("show", workspace)[1]


@pytest.fixture
def served_witness(run, workspace, tmp_path):
    """A witness for the workspace's log, in a process; its vkey and address."""
    Record.open(workspace).write_many([declared(), progress()])
    vkey = run("witness", tmp_path / "w", "--init", "--name", "stork.example/witness")[1].strip()
    log = run("key", workspace, "--vkey")[1].strip()
    command = [*MYNAH, "witness", str(tmp_path / "w"), "--log", log, "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ.copy())
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        assert said.startswith("stork.example/witness cosigns 1 logs at http://127.0.0.1:")
        url = said.split()[-1]
        for _ in range(200):
            try:
                httpx.get(f"{url}/healthz").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.05)
        yield vkey, url
        process.terminate()
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_timekeepers_are_asked_and_their_no_is_an_answer(run, workspace, tmp_path, served_witness):
    vkey, url = served_witness
    order = tmp_path / "order.json"
    assert run("pause", workspace, *PAUSE, "--timekeeper", f"{vkey}={url}", "--out", order)[0] == 0
    code, out, err = run("witnessed", workspace)
    assert code == 0
    assert out.startswith("cosigned    stork.example/witness at 20")
    assert "is met" in err
    assert "stork.example/witness" in run("show", workspace)[1]
    code, out, err = run("resume", workspace, order)
    assert (code, out) == (1, "")
    assert "0 of 1 timekeepers say that 2040-01-01" in err
    policy = tmp_path / "policy"
    policy.write_text(f"witness stork {vkey}\nquorum stork\n")
    log = run("key", workspace, "--vkey")[1].strip()
    code, out, _ = run("verify", workspace, "--policy", policy, "--key", log)
    assert code == 0
    assert "the quorum stork cosigned the tree head" in out


def test_the_day_comes_when_a_timekeeper_says_so(run, workspace, tmp_path, served_witness):
    vkey, url = served_witness
    order = tmp_path / "order.json"
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6))
    terms = (*PAUSE, "--until", soon, "--timekeeper", vkey, "--out", order)
    assert run("pause", workspace, *terms)[0] == 0
    code, _, err = run("resume", workspace, order)
    assert code == 2  # nobody knows where the timekeeper is asked
    assert "--timekeeper VKEY=URL" in err
    for _ in range(60):
        code, out, err = run("resume", workspace, order, "--timekeeper", f"{vkey}={url}")
        if code == 0:
            break
        assert "0 of 1 timekeepers say" in err
        time.sleep(0.5)
    assert code == 0, err
    assert "its time has come" in out
    assert "lifted" in run("pause", "status", workspace)[1]


def test_a_followed_log_is_refreshed_and_a_fork_is_seen(run, workspace, tmp_path, monkeypatch):
    theirs = Record.open(workspace)
    theirs.write(declared())
    log = run("key", workspace, "--vkey")[1].strip()
    run("publish", workspace, tmp_path / "site")
    run("pause", workspace, *PAUSE)
    monkeypatch.setenv("MYNAH_KEYS", str(tmp_path / "stork"))
    ours = tmp_path / "ours"
    code, out, _ = run("follow", ours, tmp_path / "site", "--key", log, "--obey")
    assert code == 0
    assert "1 leaves" in out
    assert "obeyed" in out
    assert run("pause", "status", ours)[1].startswith("no pause is ordered")
    monkeypatch.setenv("MYNAH_KEYS", str(tmp_path / "keys"))
    run("publish", workspace, tmp_path / "site")
    monkeypatch.setenv("MYNAH_KEYS", str(tmp_path / "stork"))
    code, out, _ = run("refresh", ours, "--json")
    assert code == 0
    assert json.loads(out)[0]["size"] == 2
    assert "kept" in run("pause", "status", ours)[1]
    damage(tmp_path / "site" / "checkpoint")
    code, out, _ = run("refresh", ours)
    assert code == 1
    assert out.startswith("damaged")


def damage(path: Path) -> None:
    broken = bytearray(path.read_bytes())
    broken[-10] ^= 1
    path.write_bytes(bytes(broken))
