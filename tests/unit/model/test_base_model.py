import json
from pathlib import Path

import pytest
from tests.fakes.tiny_model import write_tiny_checkpoint

from mynah.errors import CheckpointError, ConfigError
from mynah.model.base_model import resolve_base


def test_a_folder_and_a_gguf_are_taken_as_they_are(tmp_path: Path):
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    assert resolve_base(str(folder)) == folder
    gguf = tmp_path / "model.bin"
    gguf.write_bytes(b"GGUF and more")
    assert resolve_base(str(gguf)) == gguf


@pytest.mark.parametrize("base", ["", "gpt-4", "/no/such/folder", "scratch"])
def test_anything_else_names_what_is_allowed(base: str):
    with pytest.raises(ConfigError, match="smollm2") as caught:
        resolve_base(base)
    assert caught.value.exit_code == 2
    assert "scratch" in caught.value.hint


def test_a_file_of_another_kind_is_refused(tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(ConfigError, match="no GGUF"):
        resolve_base(str(tmp_path / "model.safetensors"))


def test_another_family_is_refused_with_exit_code_2(tmp_path: Path):
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    raw = json.loads((folder / "config.json").read_text())
    raw |= {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}
    (folder / "config.json").write_text(json.dumps(raw))
    with pytest.raises(ConfigError, match="gpt2") as caught:
        resolve_base(str(folder))
    assert caught.value.exit_code == 2
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json"):
        resolve_base(str(folder))
