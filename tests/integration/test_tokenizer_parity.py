"""The fast encoder on real posts in twenty languages: every token as Hugging Face's tokenizers.

And llama.cpp, which encodes when the model answers, on a tokenizer trained here.

The benchmark `benchmarks/tokenizer.py` does the same to more than 100,000 posts.
"""

import gzip
import json
import unicodedata

import httpx
import pytest
import xllamacpp
from tests.fakes.tiny_model import write_tiny_checkpoint
from tokenizers import Tokenizer

from mynah.corpus.hard_texts import hard_texts
from mynah.corpus.tokenizer import learn_tokenizer
from mynah.corpus.tokens import DocumentEncoder
from mynah.errors import MynahError
from mynah.model import fetch_base, read_gguf
from mynah.serve import quantise

FILES = ("language-id/afrisenti_14lang.jsonl.gz", "language-id/xlmt_sentiment_8lang.jsonl.gz")
EVERY = 8


@pytest.fixture(scope="module")
def base_tokenizer(tmp_path_factory):
    """The tokenizer of SmolLM2, as the main job makes it from the model file."""
    folder = tmp_path_factory.mktemp("base")
    try:
        gguf = fetch_base()
    except MynahError as error:
        pytest.skip(f"the base model cannot be had: {error.message}")
    read_gguf(gguf, folder)
    return folder / "tokenizer.json"


def real_posts(shared_data):
    rows = []
    for name in FILES:
        with gzip.open(shared_data / name, "rt", encoding="utf-8") as stream:
            rows += [json.loads(line) for line in stream][::EVERY]
    assert len({row["lang"] for row in rows}) >= 20
    return [row["text"] for row in rows]


def check(path, texts):
    encoder = DocumentEncoder(path)
    assert encoder.encoder.startswith("kitoken ")
    reference = Tokenizer.from_file(str(path))
    reference.encode_special_tokens = True
    tokens, offsets = encoder.encode_batch(texts, num_threads=2)
    expected = reference.encode_batch(texts, add_special_tokens=False)
    different = [
        number
        for number, encoding in enumerate(expected)
        if tokens[offsets[number] : offsets[number + 1]].tolist() != encoding.ids
    ]
    assert different == []


def test_the_base_models_tokenizer(shared_data, base_tokenizer):
    check(base_tokenizer, real_posts(shared_data))


def test_a_tokenizer_trained_here(shared_data, tmp_path):
    texts = real_posts(shared_data)
    learn_tokenizer(texts, tmp_path / "tokenizer.json", vocab_size=8_192)
    check(tmp_path / "tokenizer.json", texts)


def test_every_character_alone_and_between_others(base_tokenizer):
    numbers = [*range(0x3000), *range(0x3000, 0x110000, 61)]
    characters = [chr(n) for n in numbers if not 0xD800 <= n < 0xE000]
    check(base_tokenizer, [f"a{c}b 1{c}2 {c} {c}{c}. \n{c}" for c in characters])


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """llama.cpp with a model whose tokenizer was trained here, and that tokenizer."""
    folder = tmp_path_factory.mktemp("llama")
    texts = hard_texts([])
    learn_tokenizer(texts, folder / "tokenizer.json", vocab_size=1_024)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    write_tiny_checkpoint(folder / "model", tokenizer=tokenizer)
    quantise(folder / "model", folder / "model.gguf")
    params = xllamacpp.CommonParams()
    params.model.path = str(folder / "model.gguf")
    params.n_ctx = 512
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cache_ram_mib = 0
    params.fit_params = False
    params.verbosity = -1
    params.hostnames = [str(folder / "llama.sock")]
    server = xllamacpp.Server(params)
    transport = httpx.HTTPTransport(uds=server.listening_address.removeprefix("unix://"))
    with httpx.Client(transport=transport, base_url="http://llama") as client:
        yield client, tokenizer


def test_llama_cpp_encodes_a_tokenizer_trained_here_alike(llama):
    client, tokenizer = llama
    different = []
    for text in hard_texts([])[::7]:
        if "\0" in text or any(unicodedata.category(c) == "Cn" for c in text):
            continue  # the first ends a text in C; the others it may class as an older Unicode
        found = client.post("/tokenize", json={"content": text}).json()["tokens"]
        if found != tokenizer.encode(text, add_special_tokens=False).ids:
            different.append(text)
    assert different == []
