"""What a run reads: a base is known by what its files hold, wherever they lie."""

from pathlib import Path

from mynah.record.model_signature import model_digest
from mynah.train.inputs import base_digest


def make_base(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_a_base_of_links_has_the_digest_of_what_they_lead_to(tmp_path: Path):
    """As download caches keep them: every file of a snapshot is a link to its content."""
    base = make_base(tmp_path / "base")
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in base.iterdir():
        (linked / path.name).symlink_to(path)
    assert base_digest(linked) == base_digest(base) == model_digest(base).hex


def test_other_weights_have_another_digest(tmp_path: Path):
    base = make_base(tmp_path / "base")
    before = base_digest(base)
    (base / "model.safetensors").write_bytes(b"others")
    assert base_digest(base) != before
