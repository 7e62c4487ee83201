"""Model folders get the digest and the signature that OpenSSF Model Signing gives them."""

import base64
import hashlib
import json
from pathlib import Path

import pytest

from mynah.errors import DataError
from mynah.record.identity import Identity
from mynah.record.model_signature import MODEL_SIGNATURE, model_digest, sign_model


def make_model(folder: Path) -> Path:
    """A folder as of a trained model; ``a/z`` sorts before ``a.json`` by parts, not as text."""
    (folder / "a").mkdir(parents=True)
    for name, content in (("model.safetensors", b"\x00" * 70), ("a.json", b"{}"), ("a/z", b"z")):
        (folder / name).write_bytes(content)
    return folder


def test_digest_is_that_of_the_files_digests_sorted_by_parts(tmp_path: Path) -> None:
    """Anyone can find the digest with SHA-256 alone."""
    model = make_model(tmp_path / "m")
    files = [hashlib.sha256((model / name).read_bytes()) for name in ("a/z", "a.json")]
    files.append(hashlib.sha256(b"\x00" * 70))
    found = model_digest(model)
    assert found.hex == hashlib.sha256(b"".join(f.digest() for f in files)).hexdigest()
    assert (found.num_files, found.num_bytes) == (3, 73)


def test_digest_leaves_out_signature_files_in_progress_and_ignored(tmp_path: Path) -> None:
    """Signing, and a file half written, change no digest."""
    model = make_model(tmp_path / "m")
    before = model_digest(model)
    sign_model(model, Identity.open(tmp_path / "keys"))
    (model / ".optimizer.bin.123.writing").write_bytes(b"half")
    (model / "state").mkdir()
    (model / "state" / "optimizer.bin").write_bytes(b"momenta")
    assert model_digest(model, ignored=["state"]) == before
    assert model_digest(model) != before


def test_signature_names_the_digest_and_every_file(tmp_path: Path) -> None:
    """What is signed is the digest that the leaf says, by the key in the bundle."""
    model = make_model(tmp_path / "m")
    path = sign_model(model, Identity.open(tmp_path / "keys"))
    assert path == model / MODEL_SIGNATURE
    envelope = json.loads(path.read_bytes())["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert statement["subject"][0]["digest"]["sha256"] == model_digest(model).hex
    names = [item["name"] for item in statement["predicate"]["resources"]]
    assert names == ["a/z", "a.json", "model.safetensors"]
    assert sorted(p.name for p in model.iterdir()) == ["a", "a.json", names[2], MODEL_SIGNATURE]


def test_no_model_is_a_clear_error(tmp_path: Path) -> None:
    """Missing and empty folders, and links, are refused."""
    with pytest.raises(DataError, match="no folder of a model"):
        model_digest(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no files"):
        model_digest(tmp_path / "empty")
    model = make_model(tmp_path / "m")
    (model / "link").symlink_to(model / "a.json")
    with pytest.raises(DataError, match="symlink"):
        model_digest(model)
    with pytest.raises(DataError, match="symlink"):
        sign_model(model, Identity.open(tmp_path / "keys"))
