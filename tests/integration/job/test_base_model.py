"""The model that training starts from: a GGUF, a folder, from scratch; damaged or not one."""

import json
from dataclasses import replace

import pytest
from gguf import GGUFWriter
from tests.fakes.tiny_model import write_tiny_checkpoint

from mynah.errors import CheckpointError, ConfigError, DataError
from mynah.job import open_newest_engine
from mynah.job.base_model import SERVED, load_engine, open_base
from mynah.model import read_config
from mynah.progress import NO_PROGRESS
from mynah.serve import LlamaCppConfig, quantise
from mynah.workspace import Workspace


def made(job):
    return open_base(job.options, job.read(), job.workspace, progress=NO_PROGRESS)


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_from_scratch_the_same_posts_make_the_same_model(open_job, tmp_path):
    base = made(open_job())
    files = {path.name: path.read_bytes() for path in base.folder.iterdir()}
    for path in base.folder.iterdir():
        path.unlink()
    assert made(open_job()) == base
    assert {path.name: path.read_bytes() for path in base.folder.iterdir()} == files


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_file_that_was_cut_short_is_made_anew(open_job, name):
    base = made(open_job())
    whole = (base.folder / name).read_bytes()
    cut(base.folder / name)
    made(open_job())
    assert (base.folder / name).read_bytes() == whole


def test_a_served_file_that_was_cut_short_is_named(open_job):
    base = made(open_job())
    cut(base.gguf)
    with pytest.raises(CheckpointError) as refused:
        load_engine(base.gguf, config=LlamaCppConfig(), model="tiny")
    assert f"delete {base.gguf}" in refused.value.hint
    base.gguf.unlink()
    made(open_job())
    load_engine(base.gguf, config=LlamaCppConfig(num_threads=1), model="tiny").close()


def test_a_persons_own_file_is_not_to_be_deleted(tmp_path):
    gguf = tmp_path / "mine.gguf"
    quantise(write_tiny_checkpoint(tmp_path / "tiny"), gguf)
    cut(gguf)
    with pytest.raises(CheckpointError) as refused:
        load_engine(gguf, config=LlamaCppConfig(), model="mine")
    assert "delete" not in refused.value.hint


def test_a_folder_and_a_gguf_are_taken_as_bases(open_job, tmp_path):
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    from_folder = made(open_job(base=str(folder)))
    assert from_folder.folder == folder
    assert from_folder.gguf.name == SERVED
    gguf = tmp_path / "mine.Q8_0.gguf"
    gguf.write_bytes(from_folder.gguf.read_bytes())
    from_gguf = made(open_job(base=str(gguf)))
    assert from_gguf.gguf == gguf
    assert from_gguf.name.startswith("mine-")
    assert (from_gguf.folder / "model.safetensors").is_file()


def test_another_architecture_is_refused(open_job, tmp_path):
    bert = tmp_path / "bert.gguf"
    writer = GGUFWriter(bert, "bert")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    text = tmp_path / "text.gguf"
    text.write_text("hello")
    for base, says in ((bert, "bert"), (text, "no GGUF"), (tmp_path / "gone", "no such file")):
        with pytest.raises(ConfigError, match=says):
            made(open_job(base=str(base)))


def test_a_base_that_no_engine_serves_is_refused(open_job, tmp_path):
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    config = replace(read_config(folder), qk_norm=True)
    (folder / "config.json").write_text(json.dumps(config.to_hf()))
    with pytest.raises(ConfigError, match="'qwen3'"):
        made(open_job(base=str(folder)))


def test_one_post_is_too_few_for_a_tokenizer(open_job, tmp_path):
    posts = tmp_path / "one.csv"
    posts.write_text("id,text\n1,hello\n")
    with pytest.raises(DataError, match="too few"):
        made(open_job(posts=[posts]))


def test_a_workspace_without_a_model_says_so(tmp_path):
    workspace = Workspace(tmp_path / "network")
    workspace.create()
    with pytest.raises(ConfigError, match="no trained model"):
        open_newest_engine(workspace)
