"""Texts on which encoders differ, if they do: invented, in ten scripts, fixed.

Each is made of a few parts, so that a rule about spaces, digits, quotes or joiners meets every
script on either side. Reads and writes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from mynah.corpus.tokenizer import byte_spelling

__all__ = ["hard_texts", "spellings_of"]

_WORDS = (
    "a", "Zo\u00eb", "\u03b1\u03b2\u03b3", "\u0434\u043e\u043c", "\u65e5\u672c", "\u3042\u30fc",
    "\ud55c\uad6d", "\u0633\u0644\u0627\u0645", "\u05e9\u05dc\u05d5\u05dd",
    "\u0939\u093f\u0928\u094d\u0926\u0940", "\u09ac\u09be\u0982\u09b2\u09be", "\u0e44\u0e17\u0e22",
    "\u12a0\u121b\u122d", "e\u0301", "\u4e00",
)  # fmt: skip
"""Latin, Greek, Cyrillic, Han, kana, Hangul, Arabic, Hebrew, Devanagari, Bengali, Thai, Ge'ez."""
_SYMBOLS = (
    "1", "2024", "\u0663", "\u00bd", "\u00b2", "\u2167", ".", "...", "!", "_", "#", "@", "-", "'",
    "\u2019", "\u3002", "\u20ac", "\u0301", "\U0001f600", "\u2764\ufe0f",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1ea\U0001f1f9", "\U0001f44b\U0001f3fd",
    "\U0001f3f4\U000e0067\U000e0062\U000e007f", "\ufffd",
)  # fmt: skip
_GAPS = (
    "", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n", "\n ", "\t\t", "\u00a0", " \u00a0",
    "\u3000", "\u3000 ", "\u2009", "\u2028", "\u0085", "\u200b", "\u200c", "\u200d", "\ufeff",
    "\u2060", "\x00", "\x01", "\x1c", "\x1f", "\x7f",
)  # fmt: skip
_ENDINGS = ("'s", "'S", "'t", "'re", "'ve", "'ll", "'LL", "'d", "'m", "\u2019s", "''s")
_SENTENCES = (
    "Don't they'll I'VE we'd 'tis rock'n'roll O'Neill's",
    "https://example.org/a_b?c=1&d=%20#e @someone #Topic_2024 :-) <3 ^_^ \u00af\\_(\u30c4)_/\u00af",
    "1234567890 12,345.67 3\u00d74=12 50% 1st 2nd \u0661\u0662\u0663 \u2460\u2461 x\u00b2",
    "AbcDef GHI_jkl snake_case camelCase SHOUTING iPhone",
    "    indented\n\n\n\tcode {\n  x += 1;\n}\n   ",
    "=====-----*****.....!!!!!?????~~~~~#####",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "<|endoftext|><|im_start|>system\n<|im_end|></s><s>[INST]<unk><pad><|x|>",
    "\u0e2a\u0e27\u0e31 \u1780\u1798\u17d2\u1796 \u10d0\u10d1 \u0561\u0562 \u0b95",
    "\ufb01 \u01c4 \u0130i\u0307 \u017f \u1e9e \u00df \uff21\uff22 \u2126 \u212b",
    "z\u0335a\u0321\u0353l\u0337g\u0358o \u202eabc\u202c \u2066x\u2069",
    "a\U00011de51 \U00016ff4b",  # of Unicode 17: given to the reference until all know it
)
_MAX_SPELLINGS = 4_096


def hard_texts(special_tokens: Sequence[str]) -> list[str]:
    """Return the texts, with look-alikes of the special tokens in several surroundings."""
    parts = (*_WORDS, *_SYMBOLS)
    around = [(part, parts[(number * 7 + 3) % len(parts)]) for number, part in enumerate(parts)]
    texts = [left + right for left, right in product(parts, parts)]
    texts += [left + gap + right for (left, right), gap in product(around, _GAPS)]
    texts += [gap + left + gap + right for (left, right), gap in product(around, _GAPS)]
    texts += [f"a{gap}{other}{part}" for gap, other, part in product(_GAPS, _GAPS, ("a", "1", "!"))]
    texts += [part + ending for part, ending in product(parts, _ENDINGS)]
    texts += [f"a{gap}{ending} b" for gap, ending in product(_GAPS, _ENDINGS)]
    texts += _SENTENCES
    for token in special_tokens:
        texts += [token, f" {token} ", f"a{token}b", f"{token}{token}\n", token[1:], token[:-1]]
    return texts


def spellings_of(vocab: Mapping[str, int]) -> list[str]:
    """Return what tokens of a byte-level vocabulary say, alone and beside another, where text.

    Taken from the whole vocabulary at even distances.
    """
    said = list(_said(vocab))
    chosen = said[:: max(1, len(said) // _MAX_SPELLINGS)]
    beside = [said[number * 7_919 % len(said)] for number in range(len(chosen))]
    return [*chosen, *(left + right for left, right in zip(chosen, beside, strict=True))]


def _said(vocab: Mapping[str, int]) -> Iterator[str]:
    byte_of = {shown: byte for byte, shown in enumerate(byte_spelling())}
    for token in sorted(vocab, key=vocab.__getitem__):
        try:
            yield bytes(byte_of[shown] for shown in token).decode()
        except (KeyError, UnicodeDecodeError):  # a special token, or part of a character
            continue
