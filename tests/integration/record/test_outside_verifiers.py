"""Programs that know nothing of mynah agree with its record; those not installed are named.

Reads and writes temporary folders; starts Go, openssl, model_signing, aics-tlog and aics-witness
where they are.
"""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement as InTotoStatement
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey  # pyright: ignore[reportPrivateImportUsage]
from tests.fakes.record_history import fake_digest, run_declared, write_history
from tests.fakes.record_logs import story

from mynah.record.cosigning import WitnessAddress, collect
from mynah.record.envelopes import PAYLOAD_TYPE
from mynah.record.identity import Identity
from mynah.record.model_signature import model_digest, sign_model
from mynah.record.notes import VerifierKey, cosigned_at
from mynah.record.publishing import publish
from mynah.record.record import Record
from mynah.record.statements import KINDS, Progress

GO_PACKAGES = Path("/usr/share/gocode")
SIZES = (1, 2, 200, 255, 256, 257, 511, 512, 600)
"""Of trees whose heads are kept: around the widths of tiles."""


@dataclass(frozen=True)
class Site:
    """A published log, and the tree heads that it had on the way."""

    folder: Path
    vkey: str
    old_heads: list[Path]
    record: Record

    def copy(self, folder: Path) -> "Site":
        """Another one, to be tampered with."""
        shutil.copytree(self.folder, folder)
        return Site(folder, self.vkey, self.old_heads, self.record)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A log of 616 leaves, written by mynah and published."""
    folder = tmp_path_factory.mktemp("outside")
    identity = Identity.open(folder / "keys").rename("heron.example")
    record = Record.open(folder / "birds", identity=identity)
    record.write(run_declared("long", parents=()))
    heads = [_keep_head(record, folder)]
    for size in SIZES[1:]:
        steps = range(record.log.head().size, size)
        record.write_many(
            [
                Progress(
                    run="long",
                    recipe=fake_digest("long"),
                    step=step,
                    flop=str(step * 10**9),
                    device_s=f"{step}.000",
                    tokens=step,
                )
                for step in steps
            ]
        )
        heads.append(_keep_head(record, folder))
    write_history(record)
    publish(record, folder / "site")
    return Site(folder / "site", str(record.key), heads, record)


def _keep_head(record: Record, folder: Path) -> Path:
    path = folder / f"head-{record.log.head().size}"
    path.write_bytes(record.log.note().encode())
    return path


def installed(program: str) -> str:
    """Path of a program; the test is skipped, with its name, where there is none."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed: it did not check the record")
    return found


def run(*command: object) -> subprocess.CompletedProcess[str]:
    """Run to the end; the caller looks at the exit code."""
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def flip_bit(path: Path, at: int) -> None:
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def leaf_files(site: Site, index: int, folder: Path) -> tuple[Path, Path]:
    """The signed bytes of a leaf (its PAE) and the signature, as files."""
    envelope = json.loads(site.record.log.leaf(index))
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    signed, signature = folder / "pae", folder / "sig"
    signed.write_bytes(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload))
    signature.write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    return signed, signature


# Go: golang.org/x/mod/sumdb, the code that checks Go's own checksum database


@pytest.fixture(scope="module")
def go_checker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program in ``go/``, built offline against Debian's copy of the Go libraries."""
    go = installed("go")
    if not (GO_PACKAGES / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        pytest.skip("golang-golang-x-mod-dev is not installed: Go did not check the record")
    folder = tmp_path_factory.mktemp("go")
    environment = os.environ | {
        "GO111MODULE": "off",
        "GOPATH": str(GO_PACKAGES),
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "",
    }
    source = Path(__file__).parent / "go" / "main.go"
    subprocess.run(
        [go, "build", "-o", folder / "recordcheck", source],
        env=environment,
        check=True,
        timeout=300,
    )
    return folder / "recordcheck"


def test_go_checks_every_leaf_and_every_older_tree(site: Site, go_checker: Path) -> None:
    """Note, tiles, inclusion of 616 leaves, consistency with nine older heads."""
    done = run(go_checker, site.folder, site.vkey, *site.old_heads)
    assert (done.returncode, done.stdout) == (0, "616 leaves, 9 older trees\n"), done.stderr


@pytest.mark.parametrize(
    ("path", "at"),
    [
        ("checkpoint", 5),
        ("checkpoint", -10),
        ("tile/0/000", 8000),
        ("tile/0/002.p/104", 3),
        ("tile/1/000.p/2", 40),
        ("tile/entries/001", 100),
        ("tile/entries/002.p/104", -5),
    ],
)
def test_go_finds_a_flipped_bit(
    site: Site, go_checker: Path, tmp_path: Path, path: str, at: int
) -> None:
    """Wherever it is."""
    changed = site.copy(tmp_path / "site")
    flip_bit(changed.folder / path, at)
    assert run(go_checker, changed.folder, site.vkey, *site.old_heads).returncode == 1


# openssl, securesystemslib, in-toto: one leaf


@pytest.mark.parametrize("index", [0, 256, 615])
def test_openssl_checks_the_signature_of_a_leaf(site: Site, tmp_path: Path, index: int) -> None:
    """With the published key; not over other bytes."""
    openssl = installed("openssl")
    signed, signature = leaf_files(site, index, tmp_path)
    command = (
        *(openssl, "pkeyutl", "-verify", "-rawin", "-pubin"),
        *("-inkey", site.folder / "party.pem", "-sigfile", signature, "-in", signed),
    )
    done = run(*command)
    assert done.returncode == 0, done.stderr
    flip_bit(signed, 50)
    assert run(*command).returncode != 0


def test_securesystemslib_checks_the_signature_of_a_leaf(site: Site) -> None:
    """As any in-toto tool does."""
    envelope = Envelope.from_dict(json.loads(site.record.log.leaf(0)))
    [key_id] = envelope.signatures
    assert key_id == str(site.record.identity.key.verifier())
    public = site.record.identity.key.private.public_key()
    key = SSlibKey.from_crypto(public, keyid=key_id, scheme="ed25519")
    assert envelope.verify([key], 1).keys() == {key_id}
    envelope.payload += b" "
    with pytest.raises(VerificationError):
        envelope.verify([key], 1)


def test_in_toto_accepts_every_kind_of_statement() -> None:
    """The library's own validation, of one log that has them all."""
    kinds: set[str] = set()
    for leaf in story(40).leaves:
        envelope = Envelope.from_dict(json.loads(leaf))
        assert envelope.payload_type == PAYLOAD_TYPE
        message = statement_pb2.Statement()  # pyright: ignore[reportAttributeAccessIssue]
        raw = json.loads(envelope.payload)
        json_format.ParseDict(raw, message)
        statement = InTotoStatement.copy_from_pb(message)
        statement.validate()
        kinds.add(raw["predicateType"].split("/")[-2])
    assert kinds == set(KINDS)


# OpenSSF Model Signing: a folder of weights


def test_model_signing_verifies_a_model_and_finds_a_changed_byte(
    site: Site, tmp_path: Path
) -> None:
    """With the published key, by the library's own command."""
    command = Path(sys.executable).with_name("model_signing")
    model = tmp_path / "corvid"
    (model / "tokenizer").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer/vocab.txt"):
        (model / name).write_bytes(os.urandom(3000))
    before = model_digest(model)
    signature = sign_model(model, site.record.identity)
    assert model_digest(model) == before
    verify = (
        *(command, "verify", "key", model, "--signature", signature),
        *("--public_key", site.folder / "model-signing.pem"),
    )
    done = run(*verify)
    assert done.returncode == 0, done.stderr
    flip_bit(model / "model.safetensors", 1500)
    assert run(*verify).returncode != 0


# aics-tlog and aics-witness, which need Python 3.12: found on the PATH, in whatever environment


def test_aics_tlog_checks_head_leaves_and_history(site: Site, tmp_path: Path) -> None:
    """A second, independent reader of C2SP logs."""
    aics = installed("aics-tlog")
    (tmp_path / "vkey").write_text(f"{site.vkey}\n")
    common = ("--tiles", site.folder, "--vkey-file", tmp_path / "vkey")
    done = run(aics, "verify-checkpoint", *common)
    assert (done.returncode, json.loads(done.stdout)["size"]) == (0, 616)
    for index, more, code in ((0, b"", 0), (256, b"", 0), (615, b"", 0), (615, b" ", 1)):
        (tmp_path / "leaf").write_bytes(site.record.log.leaf(index) + more)
        leaf = ("--leaf", tmp_path / "leaf", "--index", index)
        done = run(aics, "verify-inclusion", *leaf, *common)
        assert done.returncode == code, done.stdout
    for head in site.old_heads[3:6]:
        done = run(aics, "verify-consistency", "--old-checkpoint", head, *common)
        assert done.returncode == 0, done.stdout


@pytest.fixture
def aics_witness(tmp_path: Path, site: Site) -> Iterator[WitnessAddress]:
    """A witness that is not ours, which knows the log."""
    aics = installed("aics-witness")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = ("--config", tmp_path / "witness.json")
    name = ("--name", "ibis.example/w1", "--listen", f"127.0.0.1:{port}")
    done = run(aics, "init", *config, *name)
    assert done.returncode == 0, done.stderr
    words = (done.stdout + done.stderr).replace('"', " ").split()
    [vkey] = {word for word in words if word.startswith("ibis.example/w1+")}
    done = run(aics, "add-log", *config, "--origin", site.record.key.name, "--vkey", site.vkey)
    assert done.returncode == 0, done.stderr
    process = subprocess.Popen(
        [aics, "serve", *map(str, config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for_port(port, process)
        yield WitnessAddress(VerifierKey.parse(vkey), f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(10)


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("aics-witness does not answer")


def test_aics_witness_cosigns_our_head_and_we_read_its_signature(
    site: Site, aics_witness: WitnessAddress, tmp_path: Path
) -> None:
    """A witness written by others takes our proofs; what it signs holds for us and for them."""
    record = site.record
    report = collect(record.log, [aics_witness])
    assert report.num_cosigned == 1, report
    assert cosigned_at(record.log.note(), aics_witness.key) is not None
    record.write(
        Progress(
            run="first",
            recipe=fake_digest("first"),
            step=20,
            flop=str(12 * 10**20),
            device_s="160.500",
            tokens=20_000,
            is_final=True,
        )
    )
    report = collect(record.log, [aics_witness])  # now it wants a consistency proof
    assert report.num_cosigned == 1, report
    (tmp_path / "note").write_bytes(record.log.note().encode())
    done = run(
        *(installed("aics-tlog"), "verify-checkpoint", "--note", tmp_path / "note"),
        *("--log-key", site.vkey, "--witness-key", aics_witness.key, "--quorum", 1),
    )
    assert done.returncode == 0, done.stdout
