import json

import pytest
from tokenizers import Tokenizer, models

from mynah.corpus import SPECIAL_TOKENS, DocumentEncoder, train_tokenizer
from mynah.errors import DataError


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
