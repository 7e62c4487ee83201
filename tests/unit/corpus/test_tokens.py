import json
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from mynah.corpus import fast_encoder
from mynah.corpus.hard_texts import hard_texts, spellings_of
from mynah.corpus.tokenizer import byte_spelling, learn_tokenizer
from mynah.corpus.tokens import SPECIAL_TOKENS, DocumentEncoder, train_tokenizer
from mynah.errors import DataError

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
PRE_TOKENIZERS = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    ),
    "llama-3": pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(LLAMA3_SPLIT), behavior="isolated"), BYTES]
    ),
}
HARD_TEXTS = hard_texts(SPECIAL_TOKENS)
RARE = ["a\U00011de5b 1\U00011de52", "\U00042119\U00042119", "x\x04\x1dy \U000e0067z"]


def trained(folder, pre_tokenizer, alphabet, texts=HARD_TEXTS):
    """A tokenizer of Hugging Face's trainer, on texts in ten scripts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1_200,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(folder / "t.json"))
    return folder / "t.json"


def by_reference(path, texts):
    reference = Tokenizer.from_file(str(path))
    reference.encode_special_tokens = True
    return [e.ids for e in reference.encode_batch(texts, add_special_tokens=False)]


def listed(batch):
    tokens, offsets = batch
    assert (tokens.dtype, offsets.dtype) == (np.uint32, np.int64)
    return [tokens[offsets[n] : offsets[n + 1]].tolist() for n in range(len(offsets) - 1)]


def test_special_tokens_come_first_and_every_byte_can_be_written(tokenizer):
    loaded = Tokenizer.from_file(str(tokenizer))
    assert [loaded.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2]
    encoder = DocumentEncoder(tokenizer)
    text = "any \u65e5\u672c \U0001f600 text\x7f"
    (tokens,) = encoder.encode([text])
    assert tokens[-1] == encoder.end_of_text == 0
    assert encoder.decode(tokens) == text


def test_training_twice_gives_the_same_bytes(many_posts, tokenizer, tmp_path):
    train_tokenizer(many_posts, tmp_path / "again.json", vocab_size=400)
    assert (tmp_path / "again.json").read_bytes() == tokenizer.read_bytes()


def test_the_vocabulary_has_the_size_asked_for(tokenizer):
    assert DocumentEncoder(tokenizer).vocab_size == 400


def test_a_vocabulary_without_room_for_bytes_is_refused(many_posts, tmp_path):
    with pytest.raises(DataError, match="every byte"):
        train_tokenizer(many_posts, tmp_path / "t.json", vocab_size=100)


def test_a_post_cannot_write_a_special_token(tokenizer):
    encoder = DocumentEncoder(tokenizer)
    (tokens,) = encoder.encode(["<|endoftext|><|im_start|>system"])
    assert tokens[:-1].count(0) == tokens.count(1) == 0


def test_a_tokenizer_without_an_end_is_refused(tmp_path):
    Tokenizer(models.BPE(vocab={"a": 0}, merges=[])).save(str(tmp_path / "t.json"))
    with pytest.raises(DataError, match="no end-of-text"):
        DocumentEncoder(tmp_path / "t.json")


@pytest.mark.parametrize("content", [None, "", "{}", json.dumps({"model": 1}), "\0\0"])
def test_what_is_no_tokenizer_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "t.json").write_text(content)
    with pytest.raises(DataError, match="tokenizer"):
        DocumentEncoder(tmp_path / "t.json")


@pytest.mark.parametrize("kind", PRE_TOKENIZERS)
def test_the_fast_encoder_makes_the_tokens_of_the_reference(tmp_path, kind):
    path = trained(tmp_path, PRE_TOKENIZERS[kind], pre_tokenizers.ByteLevel.alphabet())
    texts = [*HARD_TEXTS[::5], *RARE]
    encoder = DocumentEncoder(path)
    assert encoder.encoder.startswith("kitoken ")
    assert listed(encoder.encode_batch(texts)) == by_reference(path, texts)


def test_a_vocabulary_that_lacks_bytes_is_encoded_alike(tmp_path):
    lacking = {byte_spelling()[byte] for byte in (0x04, 0x1D, 0xF1, 0xF3)}
    alphabet = set(pre_tokenizers.ByteLevel.alphabet()) - lacking
    path = trained(tmp_path, PRE_TOKENIZERS["gpt-2"], alphabet, texts=["a", "b c", "\u65e5 b c"])
    encoder = DocumentEncoder(path)
    assert encoder.encoder.startswith("kitoken ")
    assert listed(encoder.encode_batch(RARE)) == by_reference(path, RARE)


def test_a_token_that_is_not_special_is_one_in_a_post_too(tokenizer, tmp_path):
    loaded = Tokenizer.from_file(str(tokenizer))
    loaded.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    loaded.save(str(tmp_path / "t.json"))
    encoder = DocumentEncoder(tmp_path / "t.json")
    assert encoder.encoder.startswith("kitoken ")
    texts = ["a <tool> and <|endoftext|>", "no tools"]
    found = listed(encoder.encode_batch(texts))
    assert found == by_reference(tmp_path / "t.json", texts)
    assert loaded.token_to_id("<tool>") in found[0]
    assert encoder.end_of_text not in found[0]


def test_texts_come_in_any_form_and_through_any_number_of_threads(tokenizer, monkeypatch):
    monkeypatch.setattr("mynah.corpus.tokens._BATCH_TEXTS", 16)
    encoder = DocumentEncoder(tokenizer)
    texts = [f"post {n} of the harbour {RARE[n % 3] if n % 9 == 0 else n * n}" for n in range(300)]
    expected = [tokens[:-1] for tokens in encoder.encode(texts)]
    forms = (texts, pa.array(texts), pa.chunked_array([texts[:7], texts[7:]]), pl.Series(texts))
    for form in (*forms, pa.array(texts, pa.large_string()), tuple(texts)):
        for num_threads in (1, 2, 5):
            assert listed(encoder.encode_batch(form, num_threads=num_threads)) == expected


def test_no_texts_have_no_tokens(tokenizer):
    tokens, offsets = DocumentEncoder(tokenizer).encode_batch([])
    assert tokens.size == 0
    assert offsets.tolist() == [0]
    assert listed(DocumentEncoder(tokenizer).encode_batch(["", "a", ""]))[::2] == [[], []]


def test_a_tokenizer_the_fast_encoder_reads_differently_is_left_to_the_reference(
    tokenizer, monkeypatch, caplog
):
    fast_encoder.find_fast_encoder.cache_clear()
    monkeypatch.setattr("mynah.corpus.fast_encoder.GPT2_SPLIT", r"\s+|\S")
    with caplog.at_level(logging.WARNING):
        encoder = DocumentEncoder(tokenizer)
    fast_encoder.find_fast_encoder.cache_clear()
    assert encoder.encoder.startswith("tokenizers ")
    assert "texts differently" in caplog.text
    texts = ["the ships came to the harbour", *RARE]
    assert listed(encoder.encode_batch(texts)) == by_reference(tokenizer, texts)


def test_a_difference_in_the_first_posts_is_seen_before_any_token_is_given(
    tokenizer, monkeypatch, caplog
):
    fast_encoder.find_fast_encoder.cache_clear()
    monkeypatch.setattr("mynah.corpus.fast_encoder.GPT2_SPLIT", r"\s+|\S")
    monkeypatch.setattr("mynah.corpus.fast_encoder.hard_texts", lambda _: [])
    monkeypatch.setattr("mynah.corpus.fast_encoder.spellings_of", lambda _: [])
    encoder = DocumentEncoder(tokenizer)
    fast_encoder.find_fast_encoder.cache_clear()
    assert encoder.encoder.startswith("kitoken ")
    texts = ["people came to the harbour", "to the market"]
    with caplog.at_level(logging.WARNING):
        assert listed(encoder.encode_batch(texts)) == by_reference(tokenizer, texts)
    assert encoder.encoder.startswith("tokenizers ")
    assert "2 of 2 posts differently" in caplog.text
    assert "harbour" not in caplog.text


def test_threads_share_an_encoder(tokenizer):
    encoder = DocumentEncoder(tokenizer)
    parts = [[f"post {n} of the harbour {n * n} {RARE[n % 3]}" for n in range(k, k + 100)]
             for k in range(12)]  # fmt: skip
    expected = [listed(encoder.encode_batch(part)) for part in parts]
    with ThreadPoolExecutor(8) as pool:
        assert [listed(batch) for batch in pool.map(encoder.encode_batch, parts)] == expected


def test_a_vocabulary_of_no_bytes_is_left_to_the_reference(tmp_path, caplog):
    vocab = {"<unk>": 0, "</s>": 1, "\u2581": 2, "a": 3, "\u2581a": 4, "b": 5}
    loaded = Tokenizer(models.BPE(vocab, [("\u2581", "a")], unk_token="<unk>"))
    loaded.pre_tokenizer = pre_tokenizers.Metaspace()
    loaded.save(str(tmp_path / "t.json"))
    with caplog.at_level(logging.WARNING):
        encoder = DocumentEncoder(tmp_path / "t.json")
    assert encoder.encoder.startswith("tokenizers ")
    assert "several times slower" in caplog.text
    assert listed(encoder.encode_batch(["a b"])) == [[4, 2, 5]]


def test_spellings_cover_the_vocabulary_evenly():
    vocab = {
        token: n for n, token in enumerate(["<|endoftext|>", "a", "\u0120b", "\u0142", "\u0120"])
    }
    alone, beside = spellings_of(vocab)[:4], spellings_of(vocab)[4:]
    assert alone == ["<|endoftext|>", "a", " b", " "]
    assert len(beside) == 4


def test_the_order_of_the_texts_does_not_change_the_tokenizer(tmp_path):
    texts = [f"the {word} of day {n}" for n in range(50) for word in ("river", "market", "garden")]
    for name, ordered in (("a", texts), ("b", texts[::-1])):
        assert learn_tokenizer(iter(ordered), tmp_path / name, vocab_size=300) == 300
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_merges_rebuild_every_token(tmp_path):
    num_tokens = learn_tokenizer(HARD_TEXTS, tmp_path / "t.json", vocab_size=900)
    loaded = Tokenizer.from_file(str(tmp_path / "t.json"))
    assert loaded.get_vocab_size() == num_tokens == 900
    model = json.loads((tmp_path / "t.json").read_text())["model"]
    assert len(model["merges"]) == 900 - 256 - len(SPECIAL_TOKENS)
    assert all(left + right in model["vocab"] for left, right in model["merges"])
    for text in spellings_of({token: n for token, n in model["vocab"].items() if n > 2}):
        assert loaded.decode(loaded.encode(text).ids) == text


@pytest.mark.parametrize("texts", [[], [""], ["a", "b", "c"]])
def test_texts_without_a_pair_make_no_tokenizer(tmp_path, texts):
    with pytest.raises(DataError, match="too few"):
        learn_tokenizer(texts, tmp_path / "t.json", vocab_size=1_000)
    assert not (tmp_path / "t.json").exists()
