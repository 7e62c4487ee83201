"""Checkpoints on one process: bit for bit, whole or refused, kept or removed as asked."""

import json
import logging
import os
import pickle
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from pydantic import TypeAdapter, ValidationError
from tests.fakes.tiny_model import tiny_config
from torch import Tensor

from mynah.errors import CheckpointError, MachineError
from mynah.model import LlamaConfig, load_checkpoint, weight_shapes
from mynah.record.model_signature import model_digest
from mynah.train.checkpoint_files import held, prune
from mynah.train.checkpoints import (
    CheckpointConfig,
    Checkpoints,
    checkpoint_digest,
    latest_checkpoint,
)
from mynah.train.exporting import export
from mynah.train.world import World
from mynah.workspace import canonical_json, file_sha256


def state(seed: int = 0) -> dict[str, Tensor]:
    """Weights and moments of every kind that an optimizer keeps."""
    generator = torch.Generator().manual_seed(seed)
    bits = torch.randint(-(2**31), 2**31, (40, 6), generator=generator).to(torch.int32)
    return {
        "model.a.weight": torch.nn.Parameter(torch.randn(9, 5, generator=generator)),
        "model.b.weight": torch.randn(7, generator=generator).bfloat16(),
        "model.empty": torch.zeros(0, 3),
        "optimizer.a.weight.step": torch.tensor(float(seed)),
        "optimizer.a.weight.exp_avg": bits.view(torch.float32),  # not a number, infinite, all kinds
        "optimizer.b.weight.exp_avg": torch.randn(3, 8, generator=generator).T,
    }


def blank(like: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(tensor) for name, tensor in like.items()}


def assert_same_bits(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, tensor in found.items():
        ours, theirs = (
            x.detach().contiguous().reshape(-1).view(torch.uint8) for x in (tensor, expected[name])
        )
        assert torch.equal(ours, theirs), name


def checkpoints_in(folder: Path, **changes: Any) -> Checkpoints:
    return Checkpoints(folder, CheckpointConfig(**changes), world=World())


def saved(checkpoints: Checkpoints, step: int, tensors: dict[str, Tensor] | None = None) -> Path:
    path = checkpoints.save(step, tensors or state(step), {"step": step})
    path = path or checkpoints.wait()
    assert path is not None
    return path


def steps_in(folder: Path) -> list[int]:
    return sorted(int(path.name.partition("-")[2]) for path in folder.glob("step-*"))


@pytest.mark.parametrize("is_async", [False, True])
def test_what_is_loaded_is_what_was_saved(tmp_path: Path, is_async: bool):
    tensors = state(3)
    checkpoint = saved(checkpoints_in(tmp_path, is_async=is_async), 3, tensors)
    assert checkpoint == tmp_path / "step-00000003"
    loaded = blank(tensors)
    checkpoints = checkpoints_in(tmp_path)
    assert checkpoints.latest() == checkpoint
    assert checkpoints.load(checkpoint, loaded) == {"step": 3}
    assert_same_bits(loaded, tensors)
    assert checkpoints_in(tmp_path).load_best(blank(tensors)) == (checkpoint, {"step": 3})


def test_a_save_in_the_background_keeps_the_moment_it_began(tmp_path: Path):
    tensors = state(1)
    before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    checkpoints = checkpoints_in(tmp_path, is_async=True)
    assert checkpoints.wait() is None
    assert checkpoints.save(1, tensors, {}) is None
    with torch.no_grad():
        for tensor in tensors.values():
            tensor.zero_()
    checkpoint = checkpoints.wait()
    assert checkpoint is not None
    assert not checkpoints.is_busy
    assert checkpoints.wait() is None
    loaded = blank(tensors)
    checkpoints.load(checkpoint, loaded)
    assert_same_bits(loaded, before)
    saved(checkpoints, 2, tensors)  # into the memory that the first copy took
    checkpoints.load(tmp_path / "step-00000002", loaded)
    assert_same_bits(loaded, tensors)


def test_torch_loads_it_by_itself(tmp_path: Path):
    tensors = state(2)
    checkpoint = saved(checkpoints_in(tmp_path), 2, tensors)
    loaded = blank(tensors)
    with warnings.catch_warnings():
        # torch.distributed is not set up here, of which dcp.load warns each time.
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        dcp.load(loaded, checkpoint_id=checkpoint)
    assert_same_bits(loaded, tensors)


def test_its_digest_is_that_of_its_files(tmp_path: Path):
    checkpoint = saved(checkpoints_in(tmp_path), 1)
    assert checkpoint_digest(checkpoint) == model_digest(checkpoint).hex
    manifest = json.loads((checkpoint / "manifest.json").read_bytes())
    assert manifest["format"] == "mynah.checkpoint/1"
    assert (manifest["step"], manifest["world_size"]) == (1, 1)
    names = {path.name for path in checkpoint.iterdir()} - {"manifest.json"}
    assert names == manifest["files"].keys() >= {".metadata", "counters.json"}
    for name, facts in manifest["files"].items():
        assert facts["sha256"] == file_sha256(checkpoint / name)


def test_the_same_state_is_the_same_bytes(tmp_path: Path):
    one, other = (saved(checkpoints_in(tmp_path / name), 1, state(1)) for name in "ab")
    assert checkpoint_digest(one) == checkpoint_digest(other)


def test_a_step_that_is_saved_already_is_not_written_again(tmp_path: Path):
    checkpoints = checkpoints_in(tmp_path)
    manifest = saved(checkpoints, 1) / "manifest.json"
    before = manifest.stat().st_ino
    saved(checkpoints, 1)
    again = checkpoints_in(tmp_path)
    assert again.load_best(blank(state())) is not None
    saved(again, 1)
    assert manifest.stat().st_ino == before
    saved(checkpoints_in(tmp_path), 1)  # it went on from nothing: this may be another state
    assert manifest.stat().st_ino != before


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, [12]),
        ({"keep_last": 3}, [9, 10, 12]),
        ({"keep_every_steps": 4}, [4, 9, 12]),
        ({"keep_last": 2, "keep_every_steps": 6}, [7, 10, 12]),
    ],
)
def test_the_last_are_kept_and_the_first_of_each_stretch(
    tmp_path: Path, changes: dict[str, int], kept: list[int]
):
    for step in (1, 2, 4, 5, 7, 9, 10, 12, 14):
        folder = tmp_path / f"step-{step:08d}"
        folder.mkdir()
        (folder / "manifest.json").write_text("")
    (tmp_path / "step-00000011").mkdir()  # not finished: none of ours looks so, it is left alone
    config = CheckpointConfig(**changes)
    prune(
        tmp_path,
        newest=tmp_path / "step-00000012",
        keep_last=config.keep_last,
        keep_every_steps=config.keep_every_steps,
    )
    assert steps_in(tmp_path) == sorted([*kept, 11])


def spoil_latest(folder: Path, how: str) -> None:
    path = folder / "latest"
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how != "absent":
        path.write_bytes({"empty": b"", "missing": b"step-00000009\n", "binary": b"\xff\xfe"}[how])


@pytest.mark.parametrize("how", ["absent", "empty", "missing", "binary", "folder"])
def test_without_a_latest_the_highest_step_is_taken_and_told(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
):
    checkpoints = checkpoints_in(tmp_path, keep_last=2)
    for step in (1, 2):
        saved(checkpoints, step)
    spoil_latest(tmp_path, how)
    with caplog.at_level(logging.INFO):
        assert latest_checkpoint(tmp_path) == tmp_path / "step-00000002"
    assert "step-00000002" in caplog.text
    found = checkpoints_in(tmp_path).load_best(blank(state()))
    assert found is not None
    assert found[1] == {"step": 2}


def test_latest_says_where_to_go_on(tmp_path: Path):
    """Who writes an earlier one into it goes back; what came after is then another line."""
    checkpoints = checkpoints_in(tmp_path, keep_last=3)
    for step in (1, 2, 3):
        saved(checkpoints, step)
    (tmp_path / "latest").write_text("step-00000001")
    again = checkpoints_in(tmp_path, keep_last=3)
    assert again.load_best(blank(state())) == (tmp_path / "step-00000001", {"step": 1})
    saved(again, 2, state(9))
    assert steps_in(tmp_path) == [1, 2]
    loaded = blank(state())
    again.load(tmp_path / "step-00000002", loaded)
    assert_same_bits(loaded, state(9))


def test_no_checkpoint_is_no_error(tmp_path: Path):
    checkpoints = checkpoints_in(tmp_path / "none")
    assert checkpoints.latest() is None
    assert checkpoints.load_best(state()) is None


def change_file(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def test_after_a_damaged_one_the_run_goes_its_way_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    checkpoints = checkpoints_in(tmp_path, keep_last=2)
    for step in (1, 2):
        saved(checkpoints, step)
    change_file(tmp_path / "step-00000002" / "__0_0.distcp")
    again = checkpoints_in(tmp_path, keep_last=2)
    tensors = blank(state())
    with caplog.at_level(logging.WARNING):
        assert again.load_best(tensors) == (tmp_path / "step-00000001", {"step": 1})
    assert "step-00000002 is refused" in caplog.text
    assert_same_bits(tensors, state(1))
    saved(again, 2)  # not taken for done because a folder of that name is there
    assert checkpoints_in(tmp_path).load_best(blank(state())) == (
        tmp_path / "step-00000002",
        {"step": 2},
    )
    change_file(tmp_path / "step-00000002" / "counters.json")
    change_file(tmp_path / "step-00000001" / "counters.json")
    with pytest.raises(CheckpointError, match=r"step-00000002.*counters\.json") as refused:
        checkpoints_in(tmp_path).load_best(blank(state()))
    assert "step-00000001" in refused.value.hint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.a.weight"), "holds model.a.weight, which this model has not"),
        (lambda t: t.update({"model.c": torch.zeros(2)}), "has no model.c"),
        (lambda t: t.update({"model.a.weight": torch.zeros(5, 9)}), r"\[9, 5\].*\[5, 9\]"),
        (lambda t: t.update({"model.b.weight": torch.zeros(7)}), "bfloat16.*float32"),
    ],
)
def test_a_checkpoint_of_another_model_changes_nothing(tmp_path: Path, change: Any, message: str):
    checkpoint = saved(checkpoints_in(tmp_path), 1)
    tensors = blank(state())
    change(tensors)
    with pytest.raises(CheckpointError, match=message) as refused:
        checkpoints_in(tmp_path).load(checkpoint, tensors)
    assert str(checkpoint) in refused.value.message
    assert refused.value.hint
    assert all(not tensor.any() for tensor in tensors.values())


def test_before_the_first_step_an_optimizer_keeps_what_it_has(tmp_path: Path):
    weights = {name: x for name, x in state(1).items() if name.startswith("model.")}
    checkpoint = saved(checkpoints_in(tmp_path), 0, weights)
    tensors = blank(state())
    tensors["optimizer.a.weight.exp_avg"] += 5.0
    checkpoints_in(tmp_path).load(checkpoint, tensors)
    assert torch.equal(tensors["model.a.weight"], weights["model.a.weight"])
    assert (tensors["optimizer.a.weight.exp_avg"] == 5.0).all()


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, (str(Path(__file__).parent / "made_by_a_pickle"),)


def restate(checkpoint: Path, name: str, content: bytes) -> None:
    """Put a file in and make the manifest fit, as who means harm would."""
    (checkpoint / name).write_bytes(content)
    manifest = json.loads((checkpoint / "manifest.json").read_bytes())
    facts = {"bytes": len(content), "sha256": file_sha256(checkpoint / name)}
    manifest["files"][name] = facts
    (checkpoint / "manifest.json").write_bytes(canonical_json(manifest))


def test_metadata_that_would_run_code_is_refused(tmp_path: Path):
    checkpoint = saved(checkpoints_in(tmp_path), 1)
    restate(checkpoint, ".metadata", pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match=r"posix\.mkdir|nt\.mkdir"):
        checkpoints_in(tmp_path).load(checkpoint, blank(state()))
    assert not (Path(__file__).parent / "made_by_a_pickle").exists()


def test_metadata_cannot_lead_to_files_that_nobody_checked(tmp_path: Path):
    checkpoint = saved(checkpoints_in(tmp_path), 1)
    content = (checkpoint / ".metadata").read_bytes()
    restate(checkpoint, ".metadata", content.replace(b"__0_0.distcp", b"../0.distcp_"))
    with pytest.raises(CheckpointError, match="a file that was not checked"):
        checkpoints_in(tmp_path).load(checkpoint, blank(state()))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged"),
        (b"[]", "is damaged"),
        (b'{"format": "mynah.checkpoint/9"}', "expected format mynah.checkpoint/1, found"),
        (b'{"format": "mynah.checkpoint/1", "step": 1}', "is damaged"),
        (
            b'{"format": "mynah.checkpoint/1", "step": 1, "world_size": 1,'
            b' "files": {"../x": {"bytes": 1, "sha256": ""}}}',
            "no file beside it",
        ),
    ],
)
def test_a_manifest_that_says_nothing_of_use_is_refused(
    tmp_path: Path, content: bytes, message: str
):
    checkpoint = saved(checkpoints_in(tmp_path), 1)
    (checkpoint / "manifest.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as refused:
        checkpoints_in(tmp_path).load_best(blank(state()))
    assert "delete" in refused.value.hint


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="file"):
        checkpoints_in(tmp_path / "file" / "checkpoints").save(1, state(), {})
    background = checkpoints_in(tmp_path / "file" / "checkpoints", is_async=True)
    assert background.save(1, state(), {}) is None
    with pytest.raises(MachineError, match="file"):
        background.save(2, state(), {})
    assert background.wait() is None


def test_an_unknown_setting_is_refused():
    adapter = TypeAdapter(CheckpointConfig)
    assert adapter.validate_python({"keep_last": 2}).keep_last == 2
    with pytest.raises(ValidationError, match="keep_lasts"):
        adapter.validate_python({"keep_lasts": 2})
    with pytest.raises(ValidationError, match="keep_last"):
        adapter.validate_python({"keep_last": 0})


def trained(config: LlamaConfig) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    tensors: dict[str, Tensor] = {}
    for name, shape in weight_shapes(config).items():
        tensors[f"model.{name}"] = torch.randn(shape, generator=generator)
        tensors[f"optimizer.{name}.exp_avg"] = torch.randn(shape, generator=generator)
    return tensors


SPARSE = replace(
    tiny_config(96, tie_word_embeddings=False),
    qk_norm=True,
    num_experts=4,
    num_experts_per_token=2,
    expert_intermediate_size=24,
    num_shared_experts=1,
)


@pytest.mark.parametrize("config", [tiny_config(96), SPARSE], ids=["dense", "sparse"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_an_export_is_the_weights_as_they_were_saved(
    tmp_path: Path, config: LlamaConfig, dtype: torch.dtype
):
    tensors = trained(config)
    checkpoint = saved(checkpoints_in(tmp_path), 1, tensors)
    (tmp_path / "tokenizer.json").write_text("{}")
    for _ in range(2):  # the second replaces the first
        export(
            checkpoint,
            config,
            tmp_path / "model",
            dtype=dtype,
            beside=[tmp_path / "tokenizer.json"],
        )
    found_config, found = load_checkpoint(tmp_path / "model")
    assert found_config == config
    assert found.keys() == weight_shapes(config).keys()
    for name, weight in found.items():
        stored = torch.float32 if name.endswith("correction_bias") else dtype
        assert torch.equal(weight, tensors[f"model.{name}"].to(stored)), name
    assert (tmp_path / "model" / "tokenizer.json").read_text() == "{}"
    assert not list(tmp_path.glob(".*"))


def test_an_export_of_another_model_or_of_damage_writes_nothing(tmp_path: Path):
    config = tiny_config(96)
    checkpoint = saved(checkpoints_in(tmp_path), 1, trained(config))
    with pytest.raises(CheckpointError, match=r"embed_tokens.*\[128, 64\], found \[96, 64\]"):
        export(checkpoint, tiny_config(128), tmp_path / "model")
    change_file(checkpoint / "__0_1.distcp")
    with pytest.raises(CheckpointError, match=r"__0_1\.distcp: expected SHA-256"):
        export(checkpoint, config, tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-00000001"]
    with pytest.raises(CheckpointError, match="cannot be read"):
        export(tmp_path / "step-00000002", config, tmp_path / "model")


def test_a_checkpoint_that_is_being_exported_stays(tmp_path: Path):
    checkpoints = checkpoints_in(tmp_path)
    with held(saved(checkpoints, 1)):
        saved(checkpoints, 2)
        assert steps_in(tmp_path) == [1, 2]
    saved(checkpoints, 3)
    assert steps_in(tmp_path) == [3]
