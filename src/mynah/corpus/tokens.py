"""Text to tokens and the tokenizer itself: byte-level BPE, kept as ``tokenizer.json``."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from mynah.corpus.config import CorpusConfig
from mynah.corpus.documents import choose_documents
from mynah.errors import DataError
from mynah.posts import load_posts
from mynah.progress import NO_PROGRESS, Progress
from mynah.workspace import Artifact, replace_file

__all__ = ["SPECIAL_TOKENS", "DocumentEncoder", "train_tokenizer"]

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Ids 0, 1 and 2 of a tokenizer trained here."""

_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>")
"""What tokenizers of Llama-family models call the end of a document."""
_BATCH_TEXTS = 4_096
_MIN_VOCAB = 256 + len(SPECIAL_TOKENS) + 1
"""Bytes, special tokens and one pair: llama.cpp refuses a tokenizer that joins nothing."""


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
        DataError: ``vocab_size`` is too small to hold every byte.
    """
    if vocab_size < _MIN_VOCAB:
        raise DataError(
            f"a vocabulary of {vocab_size:,} tokens cannot hold every byte and a pair of them",
            hint=f"take at least {_MIN_VOCAB:,}; 8,192 is a good size for a small network",
        )
    documents = choose_documents(
        load_posts(posts), config=config or CorpusConfig(), progress=progress
    )
    texts = documents.chosen.filter(~documents.chosen["is_heldout"])["text"]
    tokenizer = Tokenizer(models.BPE())
    # GPT-2's split into words and its mapping of bytes to printable characters.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    if tokenizer.get_vocab_size() < _MIN_VOCAB:
        raise DataError(
            f"the {len(texts):,} documents to train on are too few for a tokenizer of their own",
            hint="read more posts with --posts, or go on from a base model: --base smollm2",
        )
    replace_file(path, tokenizer.to_str(pretty=False).encode())


class DocumentEncoder:
    """Turns documents into tokens, each ended by the tokenizer's end-of-text token."""

    def __init__(self, path: Path) -> None:
        """Load ``tokenizer.json``.

        Raises:
            DataError: It is missing, is none, or has no end-of-text token.
        """
        self._tokenizer = _load(path)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # A post that contains the letters of a special token must not become that token.
        self._tokenizer.encode_special_tokens = True
        ids = (self._tokenizer.token_to_id(name) for name in _ENDS)
        end = next((token for token in ids if token is not None), None)
        if end is None:
            raise DataError(
                f"the tokenizer {path} has no end-of-text token (one of {', '.join(_ENDS)})",
                hint="take the tokenizer.json of a Llama-family model, or --base scratch",
            )
        self.end_of_text: int = end
        self.vocab_size: int = self._tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, texts: Iterable[str]) -> Iterator[list[int]]:
        """Yield the tokens of each text, a batch in memory at a time."""
        stream = iter(texts)
        while batch := list(islice(stream, _BATCH_TEXTS)):
            for encoding in self._tokenizer.encode_batch(batch, add_special_tokens=False):
                yield [*encoding.ids, self.end_of_text]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, without special ones."""
        return self._tokenizer.decode(list(tokens), skip_special_tokens=True)


def _load(path: Path) -> Tokenizer:
    if not path.is_file():
        raise DataError(
            f"there is no tokenizer at {path}", hint="name a tokenizer.json, or --base scratch"
        )
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # broad: tokenizers raises nothing narrower
        raise DataError(
            f"{path} is no tokenizer: {error}",
            hint="name the tokenizer.json of a Llama-family model",
        ) from error
