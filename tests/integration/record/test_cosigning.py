"""Which witnesses a workspace knows, and what becomes of their answers, word by word."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.fakes.record_party import Party

from mynah.errors import ConfigError
from mynah.record.cosigning import (
    WitnessAddress,
    addresses_of,
    collect,
    read_policy,
    witness_keys,
)
from mynah.record.notes import COSIGNER, SigningKey, cosign, cosigned_at

KEY = SigningKey("stork.example/w", Ed25519PrivateKey.generate())
VKEY = KEY.verifier(COSIGNER)
OTHER = SigningKey("crane.example/w", Ed25519PrivateKey.generate())


class Scripted(HTTPServer):
    """Answers each request with the next answer of a list: status, content type, body."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, str, bytes]] = []
        self.asked: list[bytes] = []


class Handler(BaseHTTPRequestHandler):
    server: Scripted

    def do_POST(self) -> None:
        self.server.asked.append(self.rfile.read(int(self.headers["content-length"])))
        status, kind, body = self.server.answers.pop(0)
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted() as found:
        thread = Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is killed: waiting for a busy disk would be most of the time."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def heron(tmp_path: Path) -> Party:
    party = Party("heron.example", tmp_path / "heron")
    party.write(5)
    return party


def at(server: Scripted) -> list[WitnessAddress]:
    return [WitnessAddress(VKEY, f"http://127.0.0.1:{server.server_port}")]


def signed(heron: Party, key: SigningKey = KEY) -> bytes:
    return f"{cosign(heron.record.log.note().text, key, time_s=1_800_000_000)}\n".encode()


def size(number: int) -> tuple[int, str, bytes]:
    return 409, "text/x.tlog.size", f"{number}\n".encode()


def test_a_policy_names_the_witnesses(heron: Party) -> None:
    folder = heron.record.folder
    assert read_policy(folder) is None
    assert witness_keys(None) == ()
    other = OTHER.verifier(COSIGNER)
    text = f"witness A {VKEY} https://stork.example/w/\nwitness B {other}\nquorum A\n"
    (folder / "policy").write_text(text)
    policy = read_policy(folder)
    assert policy is not None
    assert witness_keys(policy) == (VKEY, other)
    assert addresses_of(policy) == (WitnessAddress(VKEY, "https://stork.example/w"),)


@pytest.mark.parametrize(
    ("text", "fault"),
    [(b"quorum A\n", "line 1"), (b"\xff", "UTF-8"), (b"", "no line 'quorum NAME'")],
)
def test_a_policy_that_is_wrong(heron: Party, text: bytes, fault: str) -> None:
    (heron.record.folder / "policy").write_bytes(text)
    with pytest.raises(ConfigError, match=fault):
        read_policy(heron.record.folder)


def test_a_witness_has_a_web_address(heron: Party) -> None:
    (heron.record.folder / "policy").write_text(f"witness A {VKEY} file:///etc\nquorum A\n")
    policy = read_policy(heron.record.folder)
    assert policy is not None
    with pytest.raises(ConfigError, match="has the address"):
        addresses_of(policy)


def test_the_old_size_is_what_the_witness_names(heron: Party, server: Scripted) -> None:
    server.answers = [size(2), size(3), (200, "text/plain", signed(heron))]
    report = collect(heron.record.log, at(server))
    assert (report.size, report.num_cosigned) == (5, 1)
    assert report.answers[0].time_s == 1_800_000_000
    assert [body.split(b"\n")[0] for body in server.asked] == [b"old 5", b"old 2", b"old 3"]
    assert cosigned_at(heron.record.log.note(), VKEY) == 1_800_000_000


def test_lines_of_others_are_ignored(heron: Party, server: Scripted) -> None:
    lines = signed(heron, OTHER) + b"what is this\n" + signed(heron)
    server.answers = [(200, "text/plain", lines)]
    assert collect(heron.record.log, at(server)).num_cosigned == 1
    assert len(heron.record.log.note().signatures) == 2


@pytest.mark.parametrize(
    ("answers", "detail"),
    [
        ([size(5)], "this log has forked"),
        ([size(7)], "older than what was published"),
        ([size(1), size(2), size(3), size(4)], "another size each time"),
        ([(409, "text/plain", b"5\n")], "status 409"),
        ([(409, "text/x.tlog.size", b"-5\n")], "no size"),
        ([(403, "text/plain", b"no\x1b[2J\n")], "status 403: no [2J"),
        ([(302, "text/plain", b"")], "status 302"),
        ([(200, "text/plain", b"")], "by the key we know"),
        ([(200, "text/plain", b"\xff\xfe\n")], "by the key we know"),
    ],
)
def test_what_a_witness_refuses_or_gets_wrong(
    heron: Party, server: Scripted, answers: list[tuple[int, str, bytes]], detail: str
) -> None:
    server.answers = list(answers)
    (answer,) = collect(heron.record.log, at(server)).answers
    assert (answer.state, answer.time_s) == ("refused", None)
    assert detail in answer.detail
    assert len(heron.record.log.note().signatures) == 1


def test_a_cosignature_of_another_head_is_not_kept(heron: Party, server: Scripted) -> None:
    before = signed(heron)
    heron.write(1)
    server.answers = [(200, "text/plain", before)]
    assert collect(heron.record.log, at(server)).num_cosigned == 0


def test_an_answer_that_is_too_large(heron: Party, server: Scripted) -> None:
    server.answers = [(200, "text/plain", bytes(100_000))]
    (answer,) = collect(heron.record.log, at(server)).answers
    assert (answer.state, "too large" in answer.detail) == ("unreachable", True)


def test_no_witness_is_no_error(heron: Party) -> None:
    assert collect(heron.record.log, []).answers == ()
