"""The log over HTTP: what a stranger's verifier asks for, and what nobody gets."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from mynah.record.identity import Identity
from mynah.record.record import Record
from mynah.record.statements import PostForgotten
from mynah.record.thresholds import THRESHOLDS
from mynah.record.verify import verify_log
from mynah.web.house import House
from mynah.web.log_files import file_name, log_router
from mynah.web.login import OPEN_FOLDERS, OPEN_PATHS
from mynah.web.pages.record_checking import commands
from mynah.web.record_facts import HeadFacts


def client_of(record: Record | None) -> TestClient:
    app = FastAPI()
    house: Any = SimpleNamespace(record=record, thresholds=THRESHOLDS)
    app.include_router(log_router(cast("House", house)))
    return TestClient(app)


@pytest.fixture(scope="module")
def client(record: Record) -> Iterator[TestClient]:
    with client_of(record) as client:
        yield client


def test_the_tree_head_is_fresh_and_tiles_are_for_ever(client: TestClient, record: Record) -> None:
    head = client.get("/log/checkpoint")
    assert head.content == (record.folder / "log" / "checkpoint").read_bytes()
    assert head.headers["content-type"] == "text/plain; charset=utf-8"
    assert head.headers["cache-control"] == "public, max-age=2"
    size = record.log.head().size
    tile = client.get(f"/log/tile/0/000.p/{size}")
    assert len(tile.content) == 32 * size
    assert tile.headers["content-type"] == "application/octet-stream"
    assert "immutable" in tile.headers["cache-control"]
    assert client.head("/log/checkpoint").status_code == 200


def test_a_partial_tile_of_an_older_head_is_still_there(client: TestClient, record: Record) -> None:
    size = record.log.head().size
    now = client.get(f"/log/tile/0/000.p/{size}").content
    assert client.get("/log/tile/0/000.p/5").content == now[: 5 * 32]
    bundle = client.get("/log/tile/entries/000.p/2").content
    first, second = record.log.leaf(0), record.log.leaf(1)
    assert bundle == b"".join(len(leaf).to_bytes(2) + leaf for leaf in (first, second))


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/99", "tile/0/00", "tile/00/000",
        "tile/64/000", "tile/0/001", "tile/9/000.p/1", "tile/entries/x000", "tile/",
        "tile/%2e%2e/checkpoint", "tile/0/..%2f..%2f..%2fvkey", "tile/0/000%00",
        "tile/%2Fetc%2Fpasswd", "tile/0/\u0660\u0660\u0660", "leaf/-1", "leaf/01", "leaf/999",
        "leaf/1e3", "leaf/99999999999999999999", "proof/x", "proofs/999.tlog-proof",
        "bom/nobody", "bom/../vkey%00", "queue", "register.json", ".writing/checkpoint",
    ],
)  # fmt: skip
def test_nothing_else_can_be_reached(client: TestClient, path: str) -> None:
    answer = client.get(f"/log/{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/plain")


def test_a_leaf_and_its_proof(client: TestClient, record: Record) -> None:
    leaf = client.get("/log/leaf/7")
    assert leaf.content == record.log.leaf(7)
    assert leaf.headers["content-type"] == "application/json"
    proof = client.get("/log/proof/7")
    assert proof.content == record.proof(7) == client.get("/log/proofs/7.tlog-proof").content
    name = file_name(record.origin, "-7.tlog-proof")
    assert proof.headers["content-disposition"] == f'attachment; filename="{name}"'


def test_keys_policy_page_feed_and_bom(client: TestClient, record: Record) -> None:
    assert client.get("/log/vkey").text == f"{record.key}\n"
    assert client.get("/log/policy").text.startswith(f"log {record.key}\n")
    assert client.get("/log/party.pem").content == record.identity.public_pem
    assert client.get("/log/model-signing.pem").content == record.identity.model_public_pem
    for path in ("/log", "/log/", "/log/index.html"):
        page = client.get(path)
        assert "tern-2-pre" in page.text
        assert "<script>document" not in page.text
    feed = client.get("/log/feed.xml")
    assert feed.headers["content-type"].startswith("application/atom+xml")
    assert b"http://testserver/log/index.html#leaf-" in feed.content
    bom = client.get("/log/bom/tern-base")
    assert bom.headers["content-type"] == "application/ld+json"
    assert "tern-base.spdx.json" in bom.headers["content-disposition"]


def test_without_a_record_there_is_nothing() -> None:
    answer = client_of(None).get("/log/checkpoint")
    assert answer.status_code == 404
    assert "mynah up" in answer.text


def test_a_damaged_log_says_so(tmp_path: Path) -> None:
    record = Record.open(tmp_path / "town", identity=Identity.open(tmp_path / "keys"))
    record.write(PostForgotten(posts="a" * 64, num_posts=1, snapshot=""))
    bundle = record.folder / "log" / "tile" / "entries" / "000.p" / "1"
    content = bytearray(bundle.read_bytes())
    content[100] ^= 1
    bundle.write_bytes(content)
    opened = Record.open(tmp_path / "town", identity=record.identity)  # nothing in its memory yet
    answer = client_of(opened).get("/log/leaf/0")
    assert answer.status_code == 500
    assert answer.text.startswith("error: ")
    assert "\nhint: " in answer.text


def test_nobody_signs_in_for_the_log() -> None:
    assert "/log/" in OPEN_FOLDERS
    assert "/log" in OPEN_PATHS


def test_names_of_downloads_are_plain() -> None:
    assert file_name('heron.example/a"b\r\n../c', ".x") == "heron.example-a-b-..-c.x"


def test_openssl_agrees_by_the_commands_of_the_page(
    client: TestClient, record: Record, tmp_path: Path
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    head = HeadFacts(origin=record.origin, vkey=str(record.key), size=3, root="", witnesses=())
    url = f"file://{tmp_path}/log"
    (tmp_path / "log" / "leaf").mkdir(parents=True)
    (tmp_path / "log" / "leaf" / "2").write_bytes(client.get("/log/leaf/2").content)
    script = commands(url, head, leaf=2)[1][2]
    done = subprocess.run(["sh", "-ec", script], cwd=tmp_path, capture_output=True, text=True)
    assert "Signature Verified Successfully" in done.stdout, done.stderr


def test_the_published_folder_of_a_house_verifies(record: Record) -> None:
    report = verify_log(record.folder / "log", keys=[str(record.key)], num_workers=1)
    assert report.counts["contradicted"] == 0
