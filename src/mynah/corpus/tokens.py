"""Text to tokens, by the fastest encoder that gives exactly the tokens of Hugging Face's.

Reads a ``tokenizer.json``; writes nothing.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from tokenizers import Tokenizer

from mynah.corpus.fast_encoder import (
    FAST_ENCODER,
    REFERENCE_ENCODER,
    FastEncoder,
    count_differences,
    find_fast_encoder,
    load_reference,
)
from mynah.corpus.tokenizer import SPECIAL_TOKENS, train_tokenizer
from mynah.errors import DataError

__all__ = ["SPECIAL_TOKENS", "DocumentEncoder", "train_tokenizer"]

logger = logging.getLogger(__name__)

_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>")
"""What tokenizers of Llama-family models call the end of a document."""
_BATCH_TEXTS = 4_096
_NUM_CHECKED = 64
"""Texts of a call that both encoders encode before the fast one is trusted with the rest."""

Texts = pa.StringArray | pa.LargeStringArray | pa.ChunkedArray | pl.Series | Sequence[str]
Flat = tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]


class DocumentEncoder:
    """Turns documents into tokens.

    Kitoken encodes if it passes the check of its tokenizer and of the first texts of each call,
    otherwise Hugging Face's tokenizers; the tokens are the same either way. Threads may share one.
    """

    def __init__(self, path: Path) -> None:
        """Load ``tokenizer.json``.

        Raises:
            DataError: It is missing, is none, or has no end-of-text token.
        """
        self._tokenizer, content = _load(path)
        ids = (self._tokenizer.token_to_id(name) for name in _ENDS)
        end = next((token for token in ids if token is not None), None)
        if end is None:
            raise DataError(
                f"the tokenizer {path} has no end-of-text token (one of {', '.join(_ENDS)})",
                hint="take the tokenizer.json of a Llama-family model, or --base scratch",
            )
        self.end_of_text: int = end
        self.vocab_size: int = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self._fast, reason = find_fast_encoder(content)
        self._spare = [self._fast] if self._fast else []
        self._is_fast = self._fast is not None
        if self._fast is None:
            _warn(reason)

    @property
    def encoder(self) -> str:
        """Name and version of what encodes, as in ``kitoken 0.11.1``.

        Tokenizers also when kitoken made a difference in any call so far.
        """
        return FAST_ENCODER if self._is_fast else REFERENCE_ENCODER

    def encode_batch(self, texts: Texts, *, num_threads: int = 1) -> Flat:
        """Encode texts, without end-of-text tokens.

        Args:
            texts: Arrow strings, a Polars column or a sequence; no nulls.
            num_threads: Batches encoded at once; the tokens do not depend on it.

        Returns:
            The tokens of all texts end to end, and where each begins in them, the end of the last
            one included: text ``i`` is ``tokens[offsets[i] : offsets[i + 1]]``.
        """
        column = _column(texts)
        fast = self._checked(column.head(_NUM_CHECKED))
        batches = [column.slice(at, _BATCH_TEXTS) for at in range(0, len(column), _BATCH_TEXTS)]
        if num_threads > 1 and len(batches) > 1:
            with ThreadPoolExecutor(num_threads) as pool:
                encoded = list(pool.map(lambda batch: self._encode(batch, fast), batches))
        else:
            encoded = [self._encode(batch, fast) for batch in batches]
        offsets = np.zeros(len(column) + 1, np.int64)
        if not encoded:
            return np.empty(0, np.uint32), offsets
        np.cumsum(np.concatenate([sizes for _, sizes in encoded]), out=offsets[1:])
        return np.concatenate([tokens for tokens, _ in encoded]), offsets

    def encode(self, texts: Iterable[str]) -> Iterator[list[int]]:
        """Yield the tokens of each text and an end-of-text token, a batch in memory at a time."""
        stream = iter(texts)
        while batch := list(islice(stream, _BATCH_TEXTS)):
            tokens, offsets = self.encode_batch(batch)
            listed, ends = tokens.tolist(), offsets.tolist()
            for number in range(len(batch)):
                yield [*listed[ends[number] : ends[number + 1]], self.end_of_text]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, without special ones."""
        return self._tokenizer.decode(list(tokens), skip_special_tokens=True)

    def _checked(self, first: pl.Series) -> FastEncoder | None:
        """Return the fast encoder if it makes the reference's tokens of the first texts.

        Decided in every call for itself: what a call returns must not depend on earlier ones.
        """
        if self._fast is None:
            return None
        num_different = count_differences(self._fast, self._tokenizer, first.to_list())
        if num_different:
            self._is_fast = False
            _warn(f"{FAST_ENCODER} encodes {num_different:,} of {len(first):,} posts differently")
            return None
        return self._fast

    def _encode(self, batch: pl.Series, fast: FastEncoder | None) -> Flat:
        texts = batch.to_list()
        if fast is None:
            return _flatten(self._encode_by_reference(texts))
        rare = np.flatnonzero(fast.is_rare(batch)).tolist()
        rare_texts = [texts[number] for number in rare]
        for number in rare:
            texts[number] = ""
        encoded = self._encode_fast(texts, fast)
        if rare:
            of_rare = self._encode_by_reference(rare_texts)
            for number, tokens in zip(rare, of_rare, strict=True):
                encoded[number] = tokens
        return _flatten(encoded)

    def _encode_fast(self, texts: list[str], fast: FastEncoder) -> list[list[int]]:
        """Encode with a copy that no other thread uses."""
        try:
            own = self._spare.pop()
        except IndexError:
            own = FastEncoder(fast.definition, fast.rare)
        try:
            return own.encode(texts)
        finally:
            self._spare.append(own)

    def _encode_by_reference(self, texts: list[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]


def _flatten(encoded: Sequence[Sequence[int]]) -> Flat:
    """Lay lists of tokens end to end; return the number of tokens of each, too."""
    sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
    return np.fromiter(chain.from_iterable(encoded), np.uint32, int(sizes.sum())), sizes


def _column(texts: Texts) -> pl.Series:
    if isinstance(texts, pl.Series):
        return texts
    if isinstance(texts, pa.Array | pa.ChunkedArray):
        column = pl.from_arrow(texts)
        assert isinstance(column, pl.Series)
        return column.cast(pl.String)
    return pl.Series(texts, dtype=pl.String)


def _warn(reason: str) -> None:
    logger.warning(
        "tokens are made by %s, several times slower than usual, because %s",
        REFERENCE_ENCODER,
        reason,
    )


def _load(path: Path) -> tuple[Tokenizer, str]:
    if not path.is_file():
        raise DataError(
            f"there is no tokenizer at {path}", hint="name a tokenizer.json, or --base scratch"
        )
    try:
        content = path.read_text(encoding="utf-8")
        return load_reference(content), content
    except Exception as error:  # broad: tokenizers raises nothing narrower
        raise DataError(
            f"{path} is no tokenizer: {error}",
            hint="name the tokenizer.json of a Llama-family model",
        ) from error
