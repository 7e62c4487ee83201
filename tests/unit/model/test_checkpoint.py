import json
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.fakes.tiny_model import sparse_config, tiny_config, write_tiny_checkpoint
from transformers import AutoModelForCausalLM

from mynah.errors import CheckpointError
from mynah.model import Llama, Part
from mynah.model.checkpoint import (
    load_checkpoint,
    save_checkpoint,
    stream_checkpoint,
    weight_shapes,
    write_checkpoint,
)

EMBEDDING = "model.embed_tokens.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_checkpoint(tmp_path / "tiny")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("is_tied", [True, False])
def test_what_is_saved_is_loaded_bit_for_bit(tmp_path: Path, dtype: torch.dtype, is_tied: bool):
    config = tiny_config(64, tie_word_embeddings=is_tied)
    state = {n: torch.randn(s).to(dtype) for n, s in weight_shapes(config).items()}
    save_checkpoint(tmp_path, config, state)
    found_config, found = load_checkpoint(tmp_path)
    assert found_config == config
    assert list(found) == list(state)
    assert all(found[n].dtype == dtype and torch.equal(found[n], state[n]) for n in state)


@pytest.mark.parametrize("is_tied", [True, False])
def test_transformers_loads_it_unchanged(tmp_path: Path, is_tied: bool):
    folder = write_tiny_checkpoint(tmp_path, tie_word_embeddings=is_tied)
    _, ours = load_checkpoint(folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    assert theirs.dtype == torch.bfloat16
    for name, weight in theirs.state_dict().items():
        ours_name = EMBEDDING if is_tied and name == "lm_head.weight" else name
        assert torch.equal(weight, ours[ours_name]), name


def test_loads_what_transformers_sharded(tmp_path: Path, folder: Path):
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    assert not (tmp_path / "shards" / "model.safetensors").exists()
    _, ours = load_checkpoint(folder)
    config, found = load_checkpoint(tmp_path / "shards")
    assert list(found) == list(ours) == list(weight_shapes(config))
    assert all(torch.equal(found[name], ours[name]) for name in ours)


def test_a_tied_output_is_neither_stored_nor_needed(tmp_path: Path, folder: Path):
    config, state = load_checkpoint(folder)
    save_checkpoint(tmp_path / "again", config, state | {"lm_head.weight": state[EMBEDDING]})
    assert "lm_head.weight" not in load_file(tmp_path / "again" / "model.safetensors")
    save_file(state | {"lm_head.weight": state[EMBEDDING].clone()}, folder / "model.safetensors")
    assert list(load_checkpoint(folder)[1]) == list(state)


def test_saving_keeps_other_files_and_leaves_nothing_aside(folder: Path):
    config, state = load_checkpoint(folder)
    before = sorted(path.name for path in folder.iterdir())
    save_checkpoint(folder, config, state)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_write_that_fails_leaves_the_old_checkpoint(folder: Path):
    config, state = load_checkpoint(folder)
    before = (folder / "model.safetensors").read_bytes()
    broken = {name: w for name, w in state.items() if "norm" not in name}
    with pytest.raises(CheckpointError, match="layernorm"):
        save_checkpoint(folder, config, broken)
    assert (folder / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("num_bytes", [0, 5, 100, 20_000, -1])
def test_a_cut_short_file_is_named(folder: Path, num_bytes: int):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:num_bytes])
    with pytest.raises(CheckpointError, match=r"model\.safetensors.*cut short") as caught:
        load_checkpoint(folder)
    if num_bytes == -1:  # the last byte belongs to the last tensor
        assert "model.norm.weight" in caught.value.message


def test_a_missing_tensor_is_named(folder: Path):
    state = load_file(folder / "model.safetensors")
    del state["model.layers.1.self_attn.k_proj.weight"]
    save_file(state, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"layers\.1\.self_attn\.k_proj\.weight is missing"):
        load_checkpoint(folder)


def test_a_foreign_or_misshapen_tensor_is_named(folder: Path):
    state = load_file(folder / "model.safetensors")
    save_file(state | {"model.layers.0.self_attn.q_norm.weight": torch.ones(16)}, folder / "x")
    (folder / "x").rename(folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="q_norm"):
        load_checkpoint(folder)
    save_file(state | {"model.norm.weight": torch.ones(65)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight is \[65\], not \[64\]"):
        load_checkpoint(folder)
    save_file(state | {"model.norm.weight": torch.ones(64).double()}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="F64"):
        load_checkpoint(folder)


def test_missing_files_are_named(folder: Path):
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        load_checkpoint(folder)
    index = {"weight_map": {EMBEDDING: "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="outside"):
        load_checkpoint(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json.*JSON"):
        load_checkpoint(folder)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_checkpoint(folder)


def sparse_folder(folder: Path) -> Path:
    config = sparse_config(64)
    model = Llama(config)
    model.initialise(seed=0)
    save_checkpoint(folder, config, model.state_dict())
    return folder


def test_experts_are_stacked_one_stack_in_memory_at_a_time(tmp_path: Path):
    config, state = load_checkpoint(sparse_folder(tmp_path / "a"))
    assert list(state) == list(weight_shapes(config))
    alive: list[weakref.ref[torch.Tensor]] = []

    def watched() -> Iterator[tuple[str, torch.Tensor]]:
        for name, weight in stream_checkpoint(tmp_path / "a", config):
            alive.append(weakref.ref(weight))
            yield name, weight
            del weight
            assert sum(ref() is not None for ref in alive) <= 1

    write_checkpoint(tmp_path / "b", config, watched(), dtype=torch.float32)
    before = (tmp_path / "a" / "model.safetensors").read_bytes()
    assert (tmp_path / "b" / "model.safetensors").read_bytes() == before


def test_a_part_reads_its_own_weights(tmp_path: Path):
    folder = sparse_folder(tmp_path)
    config, whole = load_checkpoint(folder)
    part = Llama(config, part=Part(range(2, 3), has_embedding=False, has_head=True))
    names = part.state_dict().keys()
    found = dict(stream_checkpoint(folder, config, wanted=names))
    assert found.keys() == names
    assert all(torch.equal(weight, whole[name]) for name, weight in found.items())


def test_a_missing_or_other_expert_is_named(tmp_path: Path):
    path = sparse_folder(tmp_path) / "model.safetensors"
    state = load_file(path)
    name = "model.layers.2.mlp.experts.5.up_proj.weight"
    save_file({**state, name: state[name].bfloat16()}, path)
    with pytest.raises(CheckpointError, match=r"experts\.5\.up_proj.*BF16.*experts\.0.*F32"):
        load_checkpoint(tmp_path)
    save_file({key: tensor for key, tensor in state.items() if key != name}, path)
    with pytest.raises(CheckpointError, match=r"experts\.5\.up_proj\.weight is missing"):
        load_checkpoint(tmp_path)
