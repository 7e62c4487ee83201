import os
import stat
import subprocess
from pathlib import Path

import pytest

from mynah.errors import ConfigError, RecordError
from mynah.record.identity import Identity, keys_folder


def test_keys_are_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    one, two = Identity.open(tmp_path / "keys"), Identity.open(tmp_path / "keys")
    assert one.key.verifier() == two.key.verifier()
    assert one.name == one.key.name
    assert one.name.startswith("mynah-")
    for name in ("ed25519.pem", "model-signing.pem"):
        assert stat.S_IMODE((tmp_path / "keys" / name).stat().st_mode) == 0o600
    assert Identity.open(tmp_path / "other").key.verifier() != one.key.verifier()


def test_where_keys_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYNAH_KEYS", "chosen")
    assert keys_folder() == Path("chosen")
    monkeypatch.delenv("MYNAH_KEYS")
    monkeypatch.setenv("MYNAH_HOME", "home")
    assert keys_folder() == Path("home", "keys")
    monkeypatch.delenv("MYNAH_HOME")
    assert keys_folder().name == "keys"


def test_a_name_is_taken_before_the_first_log(tmp_path: Path) -> None:
    identity = Identity.open(tmp_path).rename("heron.example")
    assert identity.name == Identity.open(tmp_path).name == "heron.example"
    with pytest.raises(RecordError, match="is no name of a key"):
        identity.rename("two words")
    identity.guard("heron.example/log").mkdir(parents=True)
    with pytest.raises(ConfigError, match="logs are signed as"):
        identity.rename("stork.example")


def test_a_lost_name_is_not_made_up_again(tmp_path: Path) -> None:
    identity = Identity.open(tmp_path).rename("heron.example")
    identity.guard("heron.example/log").mkdir(parents=True)
    (tmp_path / "name").unlink()
    with pytest.raises(RecordError, match="has lost its name"):
        Identity.open(tmp_path)
    (tmp_path / "name").write_bytes(b"a b")
    with pytest.raises(RecordError, match="is no name of a key"):
        Identity.open(tmp_path)


def test_a_log_key_is_the_same_key_under_another_name(tmp_path: Path) -> None:
    identity = Identity.open(tmp_path)
    key = identity.log_key("heron.example/log").verifier()
    assert key.public == identity.key.verifier().public
    assert key.name == "heron.example/log"
    assert key.key_id != identity.key.verifier().key_id


def test_new_origins_differ_and_are_names(tmp_path: Path) -> None:
    identity = Identity.open(tmp_path)
    places = [Path("My Network!"), Path("\u00fc"), Path("x" * 100), Path("My Network!")]
    origins = [identity.new_origin(place) for place in places]
    assert len(set(origins)) == 4
    assert origins[0].startswith(f"{identity.name}/my-network-")
    assert all(identity.log_key(origin).verifier() for origin in origins)


def test_a_key_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    identity = Identity.open(tmp_path)
    pem = (tmp_path / "ed25519.pem").read_bytes()
    (tmp_path / "ed25519.pem").write_bytes(pem[:40])
    with pytest.raises(RecordError, match=r"the key .*ed25519\.pem cannot be read"):
        Identity.open(tmp_path)
    (tmp_path / "ed25519.pem").write_bytes((tmp_path / "model-signing.pem").read_bytes())
    with pytest.raises(RecordError, match="holds no Ed25519 key"):
        Identity.open(tmp_path)
    (tmp_path / "ed25519.pem").unlink()
    with pytest.raises(RecordError, match="cannot be read"):
        Identity.open(tmp_path)
    (tmp_path / "model-signing.pem").write_bytes(pem)
    with pytest.raises(RecordError, match="holds no P-256 key"):
        _ = identity.model_public_pem


def test_a_kill_while_keys_are_made_leaves_the_first_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync
    calls: list[int] = []

    def interrupt(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise InterruptedError
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(InterruptedError):
            Identity.open(tmp_path)
    first = (tmp_path / "ed25519.pem").read_bytes()
    assert Identity.open(tmp_path).name
    assert (tmp_path / "ed25519.pem").read_bytes() == first


def test_openssl_reads_the_public_keys(tmp_path: Path) -> None:
    identity = Identity.open(tmp_path)
    for pem in (identity.public_pem, identity.model_public_pem):
        command = ["openssl", "pkey", "-pubin", "-noout", "-text"]
        try:
            told = subprocess.run(command, input=pem, capture_output=True, check=True).stdout
        except FileNotFoundError:
            pytest.skip("openssl is not installed")
        assert b"Public-Key" in told or b"ED25519" in told
