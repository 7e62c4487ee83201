"""Cleaning a whole column of posts: ``clean_text`` of every row, most of it without Python.

Pure functions, nothing on disk. Most posts need no more than their spaces set right, a repost
prefix taken off and their links shortened, which Polars does for all of them at once. A row with
anything else that cleaning could touch goes through ``clean_text``: the result is the same for
every string.
"""

import re
import unicodedata
from typing import cast, overload

import numpy as np
import polars as pl
import pyarrow as pa

from mynah.corpus.clean import SHORTENERS, clean_text

__all__ = ["MAY_COMPOSE", "clean_column"]

MAY_COMPOSE = (
    r"\u0300-\u036f\u0374\u037e\u0387\u0483-\u0489\u0590-\u05cf\u0610-\u061a\u064b-\u0670"
    r"\u06d6-\u06ed\u0700-\u1cff\u1dc0-\u1dff\u1f00-\u2001\u20d0-\u20ff\u2126\u212a\u212b"
    r"\u2329\u232a\u2adc\u2ce0-\u2dff\u302a-\u302f\u3099\u309a\ua640-\uabff\uf900-\ufb4f"
    r"\ufe20-\ufe2f\U00010000-\U0001efff\U0002f800-\U0002fa1f"
)
"""Whole blocks that hold every character NFC changes, orders or joins to the one before."""

_COMPOSING = f"[{MAY_COMPOSE}]"
_HARD = (
    r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"  # control characters
    r"\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"  # invisible ones
    r"|&[^\t\n\f <&;]"  # what may be an entity
    r"|<\||pic\.twitter\.com/"
)
"""What only ``clean_text`` deals with, wherever it stands."""
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'"}
_END = r"[.,;:!?)\]}]*"
_LINK = (
    r"https?://(?:www\.)?"
    rf"(?:(?:{'|'.join(map(re.escape, sorted(SHORTENERS)))})|([a-z0-9][a-z0-9.-]*\.[a-z]{{2,}}))"
    r"(?::[0-9]+)?"
    r"(?:[/#]|[/?#][^\s<>\x22']*[^\s<>\x22'.,;:!?)\]}\u2026])?"
    rf"({_END})([\s<>\x22']|$)"
)
"""A link whose host can be told apart here, up to what follows it: the commonest by far."""
_SPACES = r"\s{2,}|[^\S ]"
_REPOST = r"^(?:RT @[A-Za-z0-9_]+(?:: ?| |$))+"


@overload
def clean_column(texts: pl.Series) -> pl.Series: ...
@overload
def clean_column(texts: pa.Array) -> pa.Array: ...
def clean_column(texts: pl.Series | pa.Array) -> pl.Series | pa.Array:
    """Return ``clean_text`` of every row, in a column of the type given; null stays null."""
    if isinstance(texts, pl.Series):
        return _clean(texts)
    cleaned = _clean(cast("pl.Series", pl.from_arrow(texts)))
    return cleaned.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(texts.type)


def _clean(given: pl.Series) -> pl.Series:
    texts = given
    if given.str.contains("&", literal=True).any():
        # Once over the text, as ``html.unescape`` does; what is an entity now is hard.
        texts = given.str.replace_many(list(_ENTITIES), list(_ENTITIES.values()))
    is_hard = texts.str.contains(_HARD)
    cleaned = texts
    if texts.str.contains("http", literal=True).any():
        cleaned = cleaned.str.replace_all(_LINK, "$1$2$3")
    cleaned = cleaned.str.replace_all(_SPACES, " ").str.strip_chars(" ")
    if cleaned.str.starts_with("RT @").any():
        cleaned = cleaned.str.replace(_REPOST, "")
        is_hard |= cleaned.str.starts_with("RT @")
    # A link that is left is of a form that only ``clean_text`` knows.
    is_hard |= cleaned.str.contains("(?i)http")
    is_hard |= _is_decomposed(texts, is_hard)
    return _with_hard_rows(given, cleaned, is_hard)


def _is_decomposed(texts: pl.Series, is_hard: pl.Series) -> pl.Series:
    """Tell the rows that are not in NFC, of those not known to be hard already."""
    is_decomposed = np.zeros(len(texts), dtype=bool)
    beyond_ascii = ((texts.str.len_bytes() != texts.str.len_chars()) & ~is_hard).arg_true()
    rows = beyond_ascii.filter(texts.gather(beyond_ascii).str.contains(_COMPOSING))
    is_decomposed[rows.to_numpy()] = [
        not unicodedata.is_normalized("NFC", text) for text in texts.gather(rows).to_list()
    ]
    return pl.Series(is_decomposed)


def _with_hard_rows(texts: pl.Series, cleaned: pl.Series, is_hard: pl.Series) -> pl.Series:
    rows = is_hard.arg_true()
    if not len(rows):
        return cleaned
    again = pl.Series([clean_text(text) for text in texts.gather(rows).to_list()], dtype=pl.String)
    order = np.arange(len(texts))
    order[rows.to_numpy()] = len(texts) + np.arange(len(again))
    return cleaned.append(again).gather(order)
