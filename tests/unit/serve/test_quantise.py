"""llama.cpp itself says whether a GGUF of ours means what the checkpoint means."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import torch
import xllamacpp
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.tiny_model import train_tiny_tokenizer, write_tiny_checkpoint
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from transformers import AutoModelForCausalLM

from mynah.errors import CheckpointError, ConfigError
from mynah.model.gguf_header import read_header
from mynah.serve.quantise import quantise

TEXTS = (
    "Plain words, then more words.",
    "  leading and   inner    spaces  \n\n\ttabs\r\n \n x",
    "It's 2016-11-08 and we're at 51.5% with 1,234,567 votes, aren't we",
    "\U0001f389\U0001f469\U0001f3fd\u200d\U0001f680 emoji, caf\u00e9, nai\u0308ve",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e \u0967\u0968\u0969",
    "\u4f60\u597d\uff0c\u4e16\u754c \u0645\u0631\u062d\u0628\u0627",
    "for i in range(10):\n    print(f'{i:>3}')  # code",
    "<|im_start|>user\nhi<|im_end|> <|endoftext|>",
    "half \u00bd, two \u00b2, roman \u216b, a1b22c333",
)


class LlamaCpp:
    """llama.cpp's own server over a socket file, as the reference."""

    def __init__(self, gguf: Path, folder: Path) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(gguf)
        params.n_ctx = 1024
        params.cpuparams.n_threads = 1
        params.cpuparams_batch.n_threads = 1
        params.cache_ram_mib = 0
        params.fit_params = False
        params.verbosity = -1
        params.hostnames = [str(folder / "reference.sock")]
        self.server = xllamacpp.Server(params)
        transport = httpx.HTTPTransport(uds=str(folder / "reference.sock"))
        self.client = httpx.Client(transport=transport, base_url="http://llama")

    def tokenize(self, text: str) -> list[int]:
        return self.client.post("/tokenize", json={"content": text}).json()["tokens"]

    def logprobs(self, ids: list[int], *, num_tokens: int) -> torch.Tensor:
        request = {"prompt": ids, "n_predict": 8, "n_probs": num_tokens, "return_tokens": True}
        request |= {"temperature": 5.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
        for seed in range(50):
            body = self.client.post("/completion", json=request | {"seed": seed}).json()
            listed = body["completion_probabilities"]
            # A first token that is half a character is not listed: draw another.
            if listed and listed[0]["id"] == body["tokens"][0]:
                break
        else:
            raise AssertionError("no seed draws a whole character")
        found = torch.full((num_tokens,), float("-inf"))
        for entry in listed[0]["top_logprobs"]:
            found[entry["id"]] = entry["logprob"]
        return found


@contextmanager
def running(gguf: Path) -> Iterator[LlamaCpp]:
    with tempfile.TemporaryDirectory() as folder:
        llama = LlamaCpp(gguf, Path(folder))
        with llama.client:
            yield llama


@pytest.fixture(scope="module", params=[False, True], ids=["gpt-2", "smollm"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    has_digits = bool(request.param)
    folder = tmp_path_factory.mktemp("quantise") / "checkpoint"
    tokenizer = train_tiny_tokenizer(TEXTS, has_digits=has_digits)
    write_tiny_checkpoint(folder, tokenizer=tokenizer, tie_word_embeddings=has_digits)
    quantise(folder, folder.with_suffix(".gguf"))
    return folder


@pytest.fixture(scope="module")
def llama(checkpoint: Path) -> Iterator[LlamaCpp]:
    with running(checkpoint.with_suffix(".gguf")) as server:
        yield server


def test_token_ids_equal_on_varied_texts(checkpoint: Path, llama: LlamaCpp):
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    for text in TEXTS:
        assert llama.tokenize(text) == tokenizer.encode(text, add_special_tokens=False).ids, text


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40))
def test_token_ids_equal_on_any_text(checkpoint: Path, llama: LlamaCpp, text: str):
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    assert llama.tokenize(text) == tokenizer.encode(text, add_special_tokens=False).ids


def test_probabilities_equal_those_of_transformers(checkpoint: Path, llama: LlamaCpp):
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    ids = tokenizer.encode(TEXTS[0] + TEXTS[2], add_special_tokens=False).ids[:32]
    with torch.no_grad():
        theirs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    divergences, agreements = [], []
    for position in range(4, len(ids)):
        ours = llama.logprobs(ids[: position + 1], num_tokens=theirs.shape[-1])
        is_listed = ours.isfinite()  # ids without a token are not listed
        p = theirs[position][is_listed]
        divergences.append(float((p.exp() * (p - ours[is_listed])).sum()))
        agreements.append(int(ours.argmax()) == int(theirs[position].argmax()))
    assert abs(sum(divergences) / len(divergences)) < 2e-3
    assert sum(agreements) / len(agreements) >= 0.9


def test_the_file_appears_whole_or_not_at_all(checkpoint: Path, tmp_path: Path):
    broken = tmp_path / "broken"
    write_tiny_checkpoint(broken)
    content = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(content[:-10])
    out = tmp_path / "out" / "model.gguf"
    with pytest.raises(CheckpointError, match="cut short"):
        quantise(broken, out)
    assert list(out.parent.iterdir()) == []
    quantise(checkpoint, out)
    assert [path.name for path in out.parent.iterdir()] == ["model.gguf"]
    assert out.read_bytes() != b""


def test_progress_counts_tensors(checkpoint: Path, tmp_path: Path):
    seen: list[tuple[float, float | None]] = []

    def watch(done: float, total: float | None = None, *, note: str = "") -> None:
        seen.append((done, total))

    quantise(checkpoint, tmp_path / "model.gguf", progress=watch)
    assert seen[-1][0] == seen[-1][1] == len(seen)


def test_a_template_is_kept_or_made(tmp_path: Path):
    folder = write_tiny_checkpoint(tmp_path / "checkpoint")
    quantise(folder, tmp_path / "a.gguf")
    assert "<|im_start|>" in read_header(tmp_path / "a.gguf").metadata["tokenizer.chat_template"]
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    quantise(folder, tmp_path / "b.gguf")
    assert read_header(tmp_path / "b.gguf").metadata["tokenizer.chat_template"] == "{{ messages }}"


def test_unknown_tokenizers_are_refused(tmp_path: Path):
    for change in ("split", "normalizer"):
        tokenizer = train_tiny_tokenizer()
        if change == "split":
            tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        else:
            tokenizer.normalizer = normalizers.NFC()
        folder = write_tiny_checkpoint(tmp_path / change, tokenizer=tokenizer)
        with pytest.raises(ConfigError, match="byte-level BPE"):
            quantise(folder, tmp_path / "model.gguf")


def test_a_missing_or_too_large_tokenizer_is_named(tmp_path: Path):
    folder = write_tiny_checkpoint(tmp_path / "checkpoint")
    train_tiny_tokenizer(vocab_size=600, texts=[str(i) * 3 for i in range(3000)]).save(
        str(folder / "tokenizer.json")
    )
    with pytest.raises(CheckpointError, match="rows"):
        quantise(folder, tmp_path / "model.gguf")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        quantise(folder, tmp_path / "model.gguf")
