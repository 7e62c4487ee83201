"""Training a tokenizer: byte-level BPE, learned with rustbpe, kept as ``tokenizer.json``.

Reads a post store; writes one ``tokenizer.json`` that Hugging Face, kitoken and llama.cpp (as its
pre-tokenizer "gpt-2") encode alike. Why so: ``docs/decisions/0012-tokenizer.md``.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import rustbpe

from mynah.corpus.config import CorpusConfig
from mynah.corpus.documents import choose_documents
from mynah.errors import DataError
from mynah.progress import NO_PROGRESS, Progress
from mynah.workspace import Artifact, replace_file

__all__ = ["GPT2_SPLIT", "SPECIAL_TOKENS", "byte_spelling", "learn_tokenizer", "train_tokenizer"]

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Ids 0, 1 and 2 of a tokenizer trained here."""

GPT2_SPLIT = (
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)  # fmt: skip
"""How GPT-2 splits a text before BPE; Hugging Face's ``ByteLevel(use_regex=True)``."""

_MIN_VOCAB = 256 + len(SPECIAL_TOKENS) + 1
"""Bytes, special tokens and one pair: llama.cpp refuses a tokenizer that joins nothing."""
_BYTE_LEVEL: dict[str, Any] = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}


def train_tokenizer(
    posts: Artifact,
    path: Path,
    *,
    vocab_size: int,
    config: CorpusConfig | None = None,
    progress: Progress = NO_PROGRESS,
) -> None:
    """Train byte-level BPE on the documents that a corpus of ``posts`` would train on.

    Args:
        posts: A post store.
        path: Where to write ``tokenizer.json``.
        vocab_size: Tokens at the most, bytes and special ones included.
        config: Settings of that corpus, so that nothing held out or opted out is learned here.
        progress: Told how far the choice of documents is.

    Raises:
        DataError: ``vocab_size`` is too small to hold every byte, or the posts are too few.
    """
    _check_size(vocab_size)
    with choose_documents(posts, config=config or CorpusConfig(), progress=progress) as chosen:
        learn_tokenizer(chosen.training_texts(), path, vocab_size=vocab_size)


def learn_tokenizer(texts: Iterable[str], path: Path, *, vocab_size: int) -> int:
    """Train byte-level BPE on ``texts`` and write it; return the number of tokens.

    The same texts give the same file, in whatever order they come and however many cores count.

    Args:
        texts: Streamed; what stays in memory is the distinct words.
        path: Where to write ``tokenizer.json``.
        vocab_size: Tokens at the most, bytes and special ones included.

    Raises:
        DataError: ``vocab_size`` is too small to hold every byte, or no pair occurs twice.
    """
    _check_size(vocab_size)
    seen = _Counted(texts)
    trained = rustbpe.Tokenizer()  # pyright: ignore[reportAttributeAccessIssue] no stubs
    trained.train_from_iterator(seen, vocab_size - len(SPECIAL_TOKENS), pattern=GPT2_SPLIT)
    ranks = {bytes(token): rank for token, rank in trained.get_mergeable_ranks()}
    num_tokens = len(ranks) + len(SPECIAL_TOKENS)
    if num_tokens < _MIN_VOCAB:
        raise DataError(
            f"the {seen.count:,} documents to train on are too few for a tokenizer of their own",
            hint="add more: mynah posts add WORKSPACE PATH; or take a base's: --base smollm2",
        )
    content = json.dumps(_description(ranks), ensure_ascii=False, separators=(",", ":"))
    replace_file(path, content.encode())
    return num_tokens


class _Counted:
    """Passes texts on and counts them."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = texts
        self.count = 0

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            self.count += 1
            yield text


def _check_size(vocab_size: int) -> None:
    if vocab_size < _MIN_VOCAB:
        raise DataError(
            f"a vocabulary of {vocab_size:,} tokens cannot hold every byte and a pair of them",
            hint=f"take at least {_MIN_VOCAB:,}; 8,192 is a good size for a small network",
        )


def _description(ranks: Mapping[bytes, int]) -> dict[str, Any]:
    """The object of a ``tokenizer.json``: special tokens, bytes, then pairs in their order."""
    alphabet = byte_spelling()
    ordered = sorted(ranks, key=ranks.__getitem__)
    vocab = {token: number for number, token in enumerate(SPECIAL_TOKENS)}
    for token in ordered:
        vocab["".join(alphabet[byte] for byte in token)] = len(vocab)
    merges = [
        ["".join(alphabet[byte] for byte in part) for part in _halves(token, ranks)]
        for token in ordered
        if len(token) > 1
    ]
    added = [
        {
            "id": number,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for number, token in enumerate(SPECIAL_TOKENS)
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": _BYTE_LEVEL,
        "post_processor": None,
        "decoder": _BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": merges,
        },
    }


def _halves(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes]:
    """The pair that was joined into ``token``: what BPE without it makes of its bytes."""
    limit = ranks[token]
    parts = [token[at : at + 1] for at in range(len(token))]
    while len(parts) > 2:
        joined = [ranks.get(left + right, limit) for left, right in pairwise(parts)]
        at = joined.index(min(joined))
        assert joined[at] < limit, "a token is made of two tokens before it"
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return cast("tuple[bytes, bytes]", tuple(parts))


@cache
def byte_spelling() -> tuple[str, ...]:
    """The printable character by which GPT-2's alphabet writes each byte."""
    shown = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return tuple(chr(byte if byte in shown else next(others)) for byte in range(256))
