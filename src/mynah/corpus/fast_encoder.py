"""The fast encoder: kitoken, held to what Hugging Face's tokenizers makes of the same text.

Three things keep the two equal to the last token. The split before BPE is set to the very pattern
of Hugging Face: kitoken's own reading of it lets any space, not only U+0020, stand before a word.
Texts with a character that the two may class differently, or that the vocabulary cannot write, are
not for kitoken (``FastEncoder.is_rare``). And no tokenizer is used before both have encoded the
texts of ``mynah.corpus.hard_texts``. Reads a ``tokenizer.json``; writes nothing.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl
from kitoken import Kitoken
from tokenizers import Tokenizer

from mynah.corpus.hard_texts import hard_texts, spellings_of
from mynah.corpus.tokenizer import GPT2_SPLIT, byte_spelling

__all__ = [
    "FAST_ENCODER",
    "REFERENCE_ENCODER",
    "FastEncoder",
    "find_fast_encoder",
    "load_reference",
]

FAST_ENCODER = f"kitoken {version('kitoken')}"
REFERENCE_ENCODER = f"tokenizers {version('tokenizers')}"

_LEADS = (
    ((0xC2, 0xE0), 6, 0xC0, 0x0),
    ((0xE0, 0xF0), 12, 0xE0, 0x800),
    ((0xF0, 0xF5), 18, 0xF0, 0x10000),
)
"""First bytes of UTF-8: their span, how many bits follow, the byte for 0, the least code point."""


class FastEncoder:
    """One tokenizer in kitoken. Not for several threads at once: they would wait for each other.

    Args:
        definition: Kitoken's own form of the tokenizer.
        rare: Regular expression of the characters that are not for kitoken.
    """

    def __init__(self, definition: bytes, rare: str) -> None:
        self.definition = definition
        self.rare = rare
        self._kitoken = Kitoken(definition)

    def is_rare(self, texts: pl.Series) -> npt.NDArray[np.bool_]:
        """Say which texts hold a character that only Hugging Face is to encode.

        Those are characters that Unicode 16 does not assign, whose class depends on the version
        a program was built with, and those of which the vocabulary lacks a byte.
        """
        return texts.str.contains(self.rare).to_numpy()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode texts that are not rare; no special token comes out."""
        return self._kitoken.encode_all(list(texts), False)


def load_reference(content: str) -> Tokenizer:
    """Load a ``tokenizer.json`` as documents are encoded with it.

    Raises:
        Exception: It is no tokenizer; tokenizers raises nothing narrower.
    """
    tokenizer = Tokenizer.from_str(content)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # A post that contains the letters of a special token must not become that token.
    tokenizer.encode_special_tokens = True
    return tokenizer


@lru_cache(maxsize=8)
def find_fast_encoder(content: str) -> tuple[FastEncoder | None, str]:
    """Return the fast encoder of a ``tokenizer.json``, or none and the reason.

    Args:
        content: The file, of a tokenizer that Hugging Face's tokenizers can load.
    """
    description = cast("dict[str, Any]", json.loads(content))
    added = cast("list[dict[str, Any]]", description.pop("added_tokens", None) or [])
    vocab = description["model"]["vocab"]
    if not isinstance(vocab, dict):  # a unigram model has a list
        return None, "its vocabulary is not made of bytes"
    vocab = cast("dict[str, int]", vocab)
    rare = _rare_texts(vocab, added)
    if rare is None:
        return None, "its vocabulary lacks bytes that many characters are written with"
    for token in added:  # a post never holds one, and kitoken would cut around its letters
        vocab.pop(str(token["content"]), None)
    try:
        kitoken = Kitoken.from_tokenizers(json.dumps(description).encode())
        _set_split(kitoken, description)
        fast = FastEncoder(kitoken.to_bytes(), rare)
    except Exception as error:  # noqa: BLE001  # broad: kitoken raises nothing narrower
        return None, f"{FAST_ENCODER} cannot load it: {error}"
    texts = [*hard_texts([str(token["content"]) for token in added]), *spellings_of(vocab)]
    num_different = count_differences(fast, load_reference(content), texts)
    if num_different:
        return None, f"{FAST_ENCODER} encodes {num_different:,} of {len(texts):,} texts differently"
    return fast, ""


def count_differences(fast: FastEncoder, reference: Tokenizer, texts: Sequence[str]) -> int:
    """Count the texts, of those for the fast encoder, that the two encode differently."""
    is_rare = fast.is_rare(pl.Series(texts, dtype=pl.String))
    common = [text for text, rare in zip(texts, is_rare.tolist(), strict=True) if not rare]
    expected = reference.encode_batch(common, add_special_tokens=False)
    return sum(
        tokens != encoding.ids
        for tokens, encoding in zip(fast.encode(common), expected, strict=True)
    )


def _set_split(kitoken: Kitoken, description: dict[str, Any]) -> None:
    """Split as ``ByteLevel(use_regex=True)`` does, if that comes last."""
    before: dict[str, Any] = description.get("pre_tokenizer") or {}
    last = before["pretokenizers"][-1] if before.get("type") == "Sequence" else before
    if last.get("type") != "ByteLevel" or not last.get("use_regex", True):
        return
    config = kitoken.config()
    config["split"][-1] = {"Pattern": {"pattern": {"Regex": GPT2_SPLIT}, "behavior": "Isolate"}}
    kitoken.set_config(config)


def _rare_texts(vocab: Mapping[str, int], added: Sequence[Mapping[str, Any]]) -> str | None:
    """Pattern of what kitoken is not given; none if the vocabulary is not made of bytes."""
    missing = [byte for byte, shown in enumerate(byte_spelling()) if shown not in vocab]
    if any(0x80 <= byte < 0xC0 for byte in missing):
        return None
    spans = [rf"\x{{{byte:x}}}" for byte in missing if byte < 0x80]
    for (first, end), bits, zero, least in _LEADS:
        for byte in missing:
            if first <= byte < end:
                low, high = (byte - zero) << bits, ((byte - zero + 1) << bits) - 1
                spans.append(rf"\x{{{max(low, least):x}}}-\x{{{min(high, 0x10FFFF):x}}}")
    # Those that are not special are tokens in a post too; only Hugging Face finds them.
    plain = (re.escape(str(token["content"])) for token in added if not token.get("special"))
    return "|".join([rf"[\p{{Cn}}{''.join(spans)}]", *plain])
