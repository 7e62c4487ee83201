import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader, GGUFWriter
from gguf.constants import GGMLQuantizationType
from gguf.quants import quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.tiny_model import train_tiny_tokenizer, write_tiny_checkpoint
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from mynah.errors import CheckpointError, ConfigError, MynahError
from mynah.model.checkpoint import load_checkpoint
from mynah.model.gguf_header import read_header
from mynah.model.gguf_reading import open_gguf, read_gguf
from mynah.serve.quantise import quantise

TEXTS = (
    "Plain words, then more words.",
    "  leading and   inner    spaces  \n\n\ttabs\r\n",
    "It's 2016-11-08 and we're at 51.5% with 1,234,567 votes, aren't we",
    "\U0001f389\U0001f469\U0001f3fd\u200d\U0001f680 emoji, caf\u00e9, nai\u0308ve",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e \u0967\u0968\u0969",
    "\u4f60\u597d\uff0c\u4e16\u754c \u0645\u0631\u062d\u0628\u0627",
    "for i in range(10):\n    print(f'{i:>3}')  # code",
    "<|im_start|>user\nhi<|im_end|> <|endoftext|>",
    "half \u00bd, two \u00b2, roman \u216b",
    "",
)


@pytest.fixture(scope="module", params=[False, True], ids=["gpt-2", "smollm"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``checkpoint/``, the ``tiny.gguf`` made of it and ``back/`` read from that."""
    folder = tmp_path_factory.mktemp("gguf")
    has_digits = bool(request.param)
    write_tiny_checkpoint(
        folder / "checkpoint",
        tokenizer=train_tiny_tokenizer(TEXTS, has_digits=has_digits),
        tie_word_embeddings=has_digits,
    )
    quantise(folder / "checkpoint", folder / "tiny.gguf")
    read_gguf(folder / "tiny.gguf", folder / "back")
    return folder


def test_weights_equal_what_transformers_reads_from_the_same_file(made: Path):
    theirs = _as_transformers_reads(made / "tiny.gguf", made / "back")
    config, ours = load_checkpoint(made / "back")
    assert config == load_checkpoint(made / "checkpoint")[0]
    for name, weight in ours.items():
        assert weight.dtype == torch.bfloat16
        assert torch.equal(weight, theirs[name]), name


def test_token_ids_equal_the_tokenizer_it_was_made_of(made: Path):
    original = Tokenizer.from_file(str(made / "checkpoint" / "tokenizer.json"))
    ours = Tokenizer.from_file(str(made / "back" / "tokenizer.json"))
    theirs = AutoTokenizer.from_pretrained(made / "back")
    for text in TEXTS:
        ids = original.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, add_special_tokens=False).ids == ids
        assert theirs.encode(text) == ids
        assert ours.decode(ids, skip_special_tokens=False) == text


def test_transformers_finds_special_tokens_and_template(made: Path):
    tokenizer = AutoTokenizer.from_pretrained(made / "back")
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 0)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert prompt == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_header_agrees_with_the_reference_reader(made: Path):
    ours, theirs = read_header(made / "tiny.gguf"), GGUFReader(made / "tiny.gguf")
    for name, value in ours.metadata.items():
        assert theirs.fields[name].contents() == value, name
    assert len(theirs.tensors) == len(ours.tensors)
    for tensor in theirs.tensors:
        place = ours.tensors[tensor.name]
        assert (place.offset, place.num_bytes) == (tensor.data_offset, tensor.n_bytes)
        assert np.array_equal(ours.read(tensor.name), np.asarray(tensor.data))


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "F16", "BF16", "F32"])
def test_quantisations_are_undone_as_transformers_does(tmp_path: Path, kind: str):
    write_tiny_checkpoint(tmp_path / "checkpoint")
    quantise(tmp_path / "checkpoint", tmp_path / "q8.gguf")
    _rewrite(tmp_path / "q8.gguf", tmp_path / "other.gguf", kind=GGMLQuantizationType[kind])
    read_gguf(tmp_path / "other.gguf", tmp_path / "back")
    theirs = _as_transformers_reads(tmp_path / "other.gguf", tmp_path / "back")
    for name, weight in load_checkpoint(tmp_path / "back")[1].items():
        assert torch.equal(weight, theirs[name]), name


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"general.architecture": "qwen2"}, "qwen2"),
        ({"tokenizer.ggml.model": "llama"}, "pre-tokenizer"),
        ({"tokenizer.ggml.pre": "llama-bpe"}, "llama-bpe"),
        ({"llama.expert_count": 8}, "8 experts"),
        ({"llama.rope.scaling.type": "yarn"}, "yarn"),
        ({"llama.rope.dimension_count": 8}, "8 of 16"),
    ],
)
def test_another_kind_of_model_is_refused(tmp_path: Path, values: dict[str, object], named: str):
    write_tiny_checkpoint(tmp_path / "checkpoint")
    quantise(tmp_path / "checkpoint", tmp_path / "tiny.gguf")
    _rewrite(tmp_path / "tiny.gguf", tmp_path / "other.gguf", values=values)
    with pytest.raises(ConfigError, match=named) as caught:
        read_gguf(tmp_path / "other.gguf", tmp_path / "back")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "back").exists()


def test_every_cut_is_a_checkpoint_error(made: Path, tmp_path: Path):
    content = (made / "tiny.gguf").read_bytes()
    path = tmp_path / "cut.gguf"
    for num_bytes in (0, 3, 7, 20, 100, *range(200, len(content), 997), len(content) - 33):
        path.write_bytes(content[:num_bytes])
        with pytest.raises(CheckpointError, match=r"cut\.gguf"):
            read_gguf(path, tmp_path / "back")
    assert not (tmp_path / "back").exists()


@settings(max_examples=150, deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 255)), min_size=1, max_size=4))
def test_flipped_bytes_never_end_in_anything_but_an_error_of_ours(
    made: Path, tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]]
):
    content = bytearray((made / "tiny.gguf").read_bytes())
    for place, value in flips:
        content[place] = value
    path = tmp_path_factory.getbasetemp() / "flipped.gguf"
    path.write_bytes(content)
    with suppress(MynahError):
        open_gguf(path)


def test_a_token_with_two_ids_is_refused(tmp_path: Path):
    """llama.cpp would end the process over it."""
    write_tiny_checkpoint(tmp_path / "checkpoint")
    quantise(tmp_path / "checkpoint", tmp_path / "tiny.gguf")
    tokens = list(read_header(tmp_path / "tiny.gguf").metadata["tokenizer.ggml.tokens"])
    tokens[7] = tokens[9]
    values = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": ["a b"]}
    _rewrite(tmp_path / "tiny.gguf", tmp_path / "other.gguf", values=values)
    with pytest.raises(CheckpointError, match="two ids"):
        open_gguf(tmp_path / "other.gguf")


def test_a_cut_names_the_tensor(made: Path, tmp_path: Path):
    content = (made / "tiny.gguf").read_bytes()
    header = read_header(made / "tiny.gguf")
    last = max(header.tensors, key=lambda name: header.tensors[name].offset)
    end = header.tensors[last].offset + header.tensors[last].num_bytes
    (tmp_path / "cut.gguf").write_bytes(content[: end - 1])
    with pytest.raises(CheckpointError, match=last.replace(".", r"\.")):
        read_header(tmp_path / "cut.gguf")


def test_no_file_and_no_gguf(tmp_path: Path):
    with pytest.raises(CheckpointError, match="there is no"):
        read_gguf(tmp_path / "absent.gguf", tmp_path / "back")
    (tmp_path / "page.gguf").write_text("<html>not found</html>")
    with pytest.raises(CheckpointError, match="begins with"):
        read_gguf(tmp_path / "page.gguf", tmp_path / "back")


def test_generation_settings_are_kept(made: Path):
    settings = json.loads((made / "back" / "generation_config.json").read_text())
    assert settings == {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def _as_transformers_reads(gguf: Path, checkpoint: Path) -> dict[str, torch.Tensor]:
    """Their own reader; ``from_pretrained(gguf_file=...)`` wants a further package around it."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(checkpoint))
    found = load_gguf_checkpoint(
        str(gguf), return_tensors=True, model_to_load=model, torch_dtype=torch.bfloat16
    )
    return found["tensors"]


def _rewrite(
    source: Path,
    out: Path,
    *,
    values: dict[str, object] | None = None,
    kind: GGMLQuantizationType | None = None,
) -> None:
    """Copy a GGUF with some values replaced, or its matrices stored another way."""
    header = read_header(source)
    metadata = {**header.metadata, **(values or {})}
    writer = GGUFWriter(out, str(metadata.pop("general.architecture")))
    for name, value in metadata.items():
        if isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, str):
            writer.add_string(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        else:
            writer.add_array(name, value)
    for name, place in header.tensors.items():
        data, stored = header.read(name), place.kind
        if kind is not None and len(place.shape) == 2:
            values_f32 = np.random.default_rng(0).standard_normal(place.shape, dtype=np.float32)
            data, stored = quantize(values_f32, kind), kind
        writer.add_tensor(name, np.ascontiguousarray(data), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
