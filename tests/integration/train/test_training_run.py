"""A run from its recipe to a model, stopped, killed and resumed."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import pytest
import torch
from tests.fakes.recorded_training import ledger_of, train
from tests.fakes.tiny_network import Network

from mynah.corpus import DialogueConfig, build_dialogues, write_shard
from mynah.errors import CheckpointError, ConfigError, DataError, MachineError
from mynah.model import load_checkpoint, pack
from mynah.train import (
    CheckpointConfig,
    DataConfig,
    OptimizerConfig,
    TrainConfig,
    Trainer,
    TrainResult,
    finished_checkpoints,
    read_result,
)
from mynah.train.run import make_trainer
from mynah.workspace import locked, writing_artifact

STEP_FIELDS = {
    "step",
    "loss",
    "lr",
    "tokens",
    "tokens_per_s",
    "step_time_s",
    "elapsed_s",
    "remaining_s",
    "mfu",
}
RESULT_FIELDS = {
    "base_bits_per_byte",
    "bits_per_byte",
    "steps",
    "tokens",
    "seconds",
    "tokens_per_s",
    "peak_memory_bytes",
}


def rows_of(run: Path) -> list[dict[str, Any]]:
    text = (run / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def losses_of(run: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in rows_of(run) if row["step"]]


def weights_of(model: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(model)[1]


def assert_same_model(one: Path, other: Path) -> None:
    ours, theirs = weights_of(one), weights_of(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def stops_after(num_steps: int) -> Callable[[], bool]:
    """Go on until asked once more than ``num_steps`` times."""
    asked = 0

    def keep_going() -> bool:
        nonlocal asked
        asked += 1
        return asked <= num_steps

    return keep_going


@pytest.fixture(scope="session")
def unbroken(
    network: Network, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, TrainResult]:
    """Twelve steps without a stop: the run, its model, its result."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("unbroken")
    run = network.write_run(root / "run", network.config(num_steps=12))
    result = train(run, root / "model")
    assert result is not None
    return run, root / "model", result


Unbroken = tuple[Path, Path, TrainResult]


@pytest.fixture(autouse=True)
def known_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare each small run the measuring of this machine; ``unbroken`` does it."""
    monkeypatch.setattr("mynah.train.run.measure_peak_flop_per_s", lambda _: 1e11)


def test_loss_and_bits_per_byte_fall(unbroken: Unbroken):
    run, _, result = unbroken
    losses = [loss for _, loss in losses_of(run)]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    assert result.bits_per_byte < 0.9 * result.base_bits_per_byte
    assert result.skipped_steps == result.num_resumed_steps == 0


def test_metrics_are_what_the_pages_read(unbroken: Unbroken):
    run, _, result = unbroken
    first, *rows = rows_of(run)
    assert first == {
        "step": 0,
        "elapsed_s": 0.0,
        "heldout_bits_per_byte": result.base_bits_per_byte,
    }
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert all(row.keys() >= STEP_FIELDS for row in rows)
    assert rows[-1]["heldout_bits_per_byte"] == result.bits_per_byte
    assert rows[-1]["remaining_s"] == 0.0
    assert all(a["tokens"] < b["tokens"] for a, b in pairwise(rows))
    assert rows[-1]["tokens"] == result.tokens
    assert rows[0]["lr"] == pytest.approx(1.5e-3)
    assert all(0.0 < row["mfu"] < 1.0 for row in rows)


def test_the_result_is_written_and_checkpoints_are_gone(unbroken: Unbroken):
    run, _, result = unbroken
    raw = json.loads((run / "result.json").read_bytes())
    assert raw.keys() >= RESULT_FIELDS
    assert read_result(run) == result
    assert not (run / "checkpoints").exists()


def test_the_model_loads_in_transformers(unbroken: Unbroken, network: Network):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _, folder, _ = unbroken
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids_N = torch.tensor(tokenizer.encode("The harbour opens at 7, say 12 people"))
    mynah = replace(network, base=folder).load()
    with torch.no_grad():
        ours = mynah.logits(ids_N, pack([len(ids_N)]))
        assert (ours - theirs(ids_N[None]).logits[0]).abs().max() < 1e-5


@pytest.mark.parametrize("stops", [[5], [0, 9]])
def test_a_stopped_run_ends_where_an_unbroken_one_does(
    unbroken: Unbroken, network: Network, tmp_path: Path, stops: list[int]
):
    run = network.write_run(tmp_path / "run", network.config(num_steps=12))
    result = None
    for num_steps in stops:
        result = train(run, tmp_path / "model", keep_going=stops_after(num_steps))
        if sum(stops) < 12:
            assert result is None
            assert not (tmp_path / "model").exists()
            assert len(finished_checkpoints(run / "checkpoints")) == 1
    result = result or train(run, tmp_path / "model")
    assert result is not None
    assert losses_of(run) == losses_of(unbroken[0])
    assert_same_model(tmp_path / "model", unbroken[1])
    assert result.bits_per_byte == unbroken[2].bits_per_byte
    assert result.base_bits_per_byte == unbroken[2].base_bits_per_byte


def start_worker(run: Path, model: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "mynah.job.worker", str(run), str(model), str(os.getpid())]
    command.append(str(run.parent))
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def wait_for_steps(run: Path, process: "subprocess.Popen[bytes]", num_steps: int) -> None:
    path = run / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not path.exists() or path.read_bytes().count(b"\n") <= num_steps:
        assert process.poll() is None, "the worker ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_killed_run_goes_on_and_ends_the_same(
    unbroken: Unbroken, network: Network, tmp_path: Path
):
    config = network.config(num_steps=12, checkpoint=CheckpointConfig(every_s=0.0))
    run = network.write_run(tmp_path / "run", config)
    with start_worker(run, tmp_path / "model") as process:
        wait_for_steps(run, process, 4)
        with pytest.raises(ConfigError, match="another process trains"):
            train(run, tmp_path / "model")
        process.send_signal(signal.SIGKILL)
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 13, "loss": 1.')  # as a kill in the middle of a write leaves it
    result = train(run, tmp_path / "model")
    assert result is not None
    assert result.num_resumed_steps > 0
    assert losses_of(run) == losses_of(unbroken[0])
    assert [row["step"] for row in rows_of(run)] == list(range(13))
    assert_same_model(tmp_path / "model", unbroken[1])
    assert result.tokens == unbroken[2].tokens
    assert result.bits_per_byte == unbroken[2].bits_per_byte


def test_a_run_killed_before_its_first_checkpoint_begins_anew(
    unbroken: Unbroken, network: Network, tmp_path: Path
):
    run = network.write_run(tmp_path / "run", network.config(num_steps=12))
    (run / "metrics.jsonl").write_bytes((unbroken[0] / "metrics.jsonl").read_bytes()[:2000])
    train(run, tmp_path / "model")
    assert losses_of(run) == losses_of(unbroken[0])


def test_a_run_killed_between_its_end_and_its_result_repeats_nothing(
    unbroken: Unbroken, network: Network, tmp_path: Path
):
    """Everything is saved, the model is not written: the next process only writes it."""
    run = network.write_run(tmp_path / "run", network.config(num_steps=12))
    trainer = make_trainer(network.config(num_steps=12), run)
    first = trainer.run(lambda: ledger_of(trainer, run))
    result = train(run, tmp_path / "model")
    assert result == replace(
        first, num_resumed_steps=12, peak_memory_bytes=result.peak_memory_bytes
    )
    assert losses_of(run) == losses_of(unbroken[0])
    assert_same_model(tmp_path / "model", unbroken[1])


def test_a_finished_run_is_not_run_again(unbroken: Unbroken):
    run, model, result = unbroken
    before = (run / "metrics.jsonl").read_bytes()
    assert train(run, model, keep_going=lambda: False) == result
    assert (run / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("name", ["__0_0.distcp", ".metadata", "counters.json"])
def test_a_checkpoint_cut_short_is_refused(network: Network, tmp_path: Path, name: str):
    run = network.write_run(tmp_path / "run", network.config())
    assert train(run, tmp_path / "model", keep_going=stops_after(2)) is None
    (checkpoint,) = finished_checkpoints(run / "checkpoints")
    path = checkpoint / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match="bytes, found") as caught:
        train(run, tmp_path / "model")
    assert str(checkpoint) in caught.value.message
    assert f"delete {checkpoint}" in caught.value.hint
    rmtree(checkpoint)  # as the hint says
    assert train(run, tmp_path / "model", keep_going=lambda: False) is None
    assert [row["step"] for row in rows_of(run)] == [0]


def poisoned(trainer: Trainer, steps: set[int]) -> Callable[[], bool]:
    """Break one weight before ``steps`` and put it back afterwards."""
    weight = trainer.engine.parts[0].model.norm.weight
    kept = weight.detach().clone()

    def keep_going() -> bool:
        nonlocal kept
        with torch.no_grad():
            if weight.isfinite().all():
                kept = weight.detach().clone()
            weight.copy_(kept if trainer.counters.step not in steps else kept * math.nan)
        return True

    return keep_going


def test_steps_that_are_not_finite_are_skipped_and_counted(network: Network, tmp_path: Path):
    run = network.write_run(tmp_path / "run", network.config())
    trainer = make_trainer(network.config(), run)
    result = trainer.run(lambda: ledger_of(trainer, run), keep_going=poisoned(trainer, {2, 3}))
    assert result is not None
    assert result.skipped_steps == 2
    assert result.steps == 6
    assert all(weight.isfinite().all() for weight in trainer.engine.parameters())
    losses = [loss for _, loss in losses_of(run)]
    assert [loss is None for loss in losses] == [False, False, True, True, False, False]
    assert math.isfinite(result.bits_per_byte)


def test_too_many_skipped_steps_end_the_run(network: Network, tmp_path: Path):
    config = network.config(optimizer=OptimizerConfig(lr=1e-3, max_skipped_steps=2))
    run = network.write_run(tmp_path / "run", config)
    trainer = make_trainer(config, run)
    record = ledger_of(trainer, run)
    with pytest.raises(CheckpointError, match="3 steps") as caught:
        trainer.run(lambda: record, keep_going=poisoned(trainer, {1, 2, 3, 4}))
    assert "learning rate" in caught.value.hint


def test_a_full_disk_leaves_the_former_checkpoint(network: Network, tmp_path: Path):
    run = network.write_run(tmp_path / "run", network.config(num_steps=5))
    (run / "checkpoints").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(run / "checkpoints")]
    if os.getuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs to be root and to mount a small file system")
    try:
        assert train(run, tmp_path / "model", keep_going=stops_after(3)) is None
        with pytest.raises(MachineError, match="disk is full") as caught:
            train(run, tmp_path / "model", keep_going=stops_after(1))
        assert caught.value.hint
        (kept,) = finished_checkpoints(run / "checkpoints")
        assert kept.name == "step-00000003"
        subprocess.run(["mount", "-o", "remount,size=8m", str(run / "checkpoints")], check=True)
        assert train(run, tmp_path / "model") is not None
    finally:
        subprocess.run(["umount", str(run / "checkpoints")], check=True)


def test_a_save_removes_what_a_killed_one_left(network: Network, tmp_path: Path):
    run = network.write_run(tmp_path / "run", network.config())
    (run / "checkpoints" / ".step-00000001.writing").mkdir(parents=True)
    train(run, tmp_path / "model", keep_going=stops_after(2))
    names = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert names == ["latest", "step-00000002"]


def test_saving_in_the_background_changes_nothing(
    unbroken: Unbroken, network: Network, tmp_path: Path
):
    saving = CheckpointConfig(every_s=0.0, is_async=True, keep_last=2)
    run = network.write_run(tmp_path / "run", network.config(num_steps=12, checkpoint=saving))
    assert train(run, tmp_path / "model", keep_going=stops_after(7)) is None
    names = [path.name for path in finished_checkpoints(run / "checkpoints")]
    assert names[-1] == "step-00000007"
    assert len(names) == 2
    assert train(run, tmp_path / "model") is not None
    assert losses_of(run) == losses_of(unbroken[0])
    assert_same_model(tmp_path / "model", unbroken[1])


def test_models_are_exported_on_the_way(network: Network, tmp_path: Path):
    saving = CheckpointConfig(every_s=0.0, export_every_steps=8, keep_every_steps=100)
    run = network.write_run(tmp_path / "run", network.config(num_steps=12, checkpoint=saving))
    assert train(run, tmp_path / "model") is not None
    (exported,) = (run / "exports").iterdir()
    assert 8 <= int(exported.name.removeprefix("step-")) <= 12
    shape, weights = load_checkpoint(exported)
    assert shape == load_checkpoint(tmp_path / "model")[0]
    assert all(weight.isfinite().all() for weight in weights.values())
    assert (exported / "tokenizer.json").is_file()


def test_posts_alone_train_too(network: Network, tmp_path: Path):
    config = network.config(dialogues="")
    result = train(network.write_run(tmp_path / "run", config), tmp_path / "model")
    assert result is not None
    assert result.bits_per_byte < result.base_bits_per_byte


def test_dialogues_without_one_are_no_obstacle(network: Network, tmp_path: Path):
    empty = build_dialogues(
        network.corpus, network.posts, tmp_path / "none", config=DialogueConfig(num_dialogues=0)
    )
    assert empty.counts["num_dialogues"] == 0
    config = network.config(num_steps=1, dialogues=str(empty.folder))
    assert train(network.write_run(tmp_path / "run", config), tmp_path / "model")


def change(config: TrainConfig, field: str, folder: Path) -> TrainConfig:
    return replace(config, **{field: str(folder)})


@pytest.mark.parametrize(
    ("field", "error"),
    [("base", CheckpointError), ("corpus", DataError), ("dialogues", DataError)],
)
def test_a_missing_input_is_named(
    network: Network, tmp_path: Path, field: str, error: type[Exception]
):
    config = change(network.config(), field, tmp_path / "nowhere")
    with pytest.raises(error, match="nowhere"):
        train(network.write_run(tmp_path / "run", config), tmp_path / "model")


def test_a_corpus_without_training_documents_is_refused(network: Network, tmp_path: Path):
    with writing_artifact(tmp_path, kind=network.corpus.kind, inputs={}) as writer:
        copytree(network.corpus.folder, writer.folder, dirs_exist_ok=True)
        (writer.folder / "manifest.json").unlink()  # gets one of its own
        write_shard(writer.folder / "train", [], post_ids=[], vocab_size=400)
    config = change(network.config(), "corpus", writer.artifact.folder)
    with pytest.raises(DataError, match="no training document"):
        train(network.write_run(tmp_path / "run", config), tmp_path / "model")


def test_a_damaged_corpus_is_named(network: Network, tmp_path: Path):
    corpus = copytree(network.corpus.folder, tmp_path / "corpus")
    content = (corpus / "train.bin").read_bytes()
    (corpus / "train.bin").write_bytes(bytes(byte ^ 1 for byte in content))
    config = change(network.config(), "corpus", corpus)
    with pytest.raises(DataError, match=r"train\.bin is damaged") as refused:
        train(network.write_run(tmp_path / "run", config), tmp_path / "model")
    assert f"delete {corpus}" in refused.value.hint


def test_a_second_process_is_refused(network: Network, tmp_path: Path):
    run = network.write_run(tmp_path / "run", network.config())
    held = locked(run / ".lock", busy=ConfigError("never", hint="never"))
    with held, pytest.raises(ConfigError, match="another process trains"):
        train(run, tmp_path / "model")


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_a_share_at_either_end_trains(network: Network, tmp_path: Path, share: float):
    data = DataConfig(
        tokens_per_step=640, max_document_tokens=64, dialogue_share=share, heldout_max_tokens=100
    )
    config = replace(network.config(num_steps=1), data=data)
    result = train(network.write_run(tmp_path / "run", config), tmp_path / "model")
    assert result is not None
    assert 0 < result.tokens <= 640 + 64
