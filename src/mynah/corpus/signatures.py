"""Signatures: what tells whether two posts say the same, without reading both. Pure functions.

The comparison key of a text is its words in lower case with one space between them: letters,
digits and marks of all scripts, ``@`` and ``#``. Whatever else there is, emoji, punctuation,
symbols, only divides words, so a copy with an emoji more has the same key. Of the key come 128
bits that stand for all of it, and bands: equal bands make two texts worth comparing. There are
20 bands of 5 MinHash values over character 5-grams, posts being too short for the word n-grams
that web corpora use, and 4 that each leave out one quarter of the words, which find one changed
word in a short text where MinHash often does not.

Source: Broder 1997, "On the resemblance and containment of documents".
"""

import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["NUM_BANDS", "SIGNATURE_SCHEMA", "comparison_keys", "gram_hashes", "sign"]

NUM_BANDS = 24
"""20 of MinHash, 4 of words left out."""
SIGNATURE_SCHEMA = pa.schema(
    [("key", pa.binary(16)), ("bands", pa.list_(pa.field("item", pa.uint32()), NUM_BANDS))]
)
"""``key`` is null for a text that takes no part, ``bands`` are then zeros. In a band, 0 says that
the text is alone there."""

UInt32s = npt.NDArray[np.uint32]


def sign(texts: pa.Array | pa.ChunkedArray) -> pa.RecordBatch:
    """Sign each text, whatever stands around it: ``SIGNATURE_SCHEMA``.

    Args:
        texts: Cleaned texts; null takes no part, nor does a text without a letter or digit.

    The lock of the interpreter is free meanwhile, so threads may sign batches side by side.
    """
    # Compiled code is loaded, or compiled, where it is first needed: seconds, not at import.
    from mynah.corpus import signature_kernels as kernels

    array = large_strings(texts)
    data, offsets = text_buffers(array)
    digests = np.empty((len(array), 2), dtype=np.uint64)
    bands = np.empty((len(array), NUM_BANDS), dtype=np.uint32)
    has_key = np.empty(len(array), dtype=np.bool_)
    is_valid = array.is_valid().to_numpy(zero_copy_only=False)
    factors, addends = _hash_functions(kernels.NUM_LANES)
    kernels.signatures(
        data, offsets, is_valid, (letters(), factors, addends), (digests, bands, has_key)
    )
    validity = pa.py_buffer(np.packbits(has_key, bitorder="little"))
    key = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(array), [validity, pa.py_buffer(digests)]
    )
    listed = pa.FixedSizeListArray.from_arrays(
        pa.array(bands.reshape(-1)), type=SIGNATURE_SCHEMA.field("bands").type
    )
    return pa.RecordBatch.from_arrays([key, listed], schema=SIGNATURE_SCHEMA)


def comparison_keys(texts: pa.Array | pa.ChunkedArray) -> list[str]:
    """Return the comparison keys as text: "" where there is no word."""
    from mynah.corpus import signature_kernels as kernels

    data, offsets = text_buffers(large_strings(texts).fill_null(""))
    points = np.empty(data.size + 1, dtype=np.uint32)
    ends = kernels.keys_of(data, offsets, letters(), points).tolist()
    begins = [0, *ends[:-1]] if ends else []
    return [
        points[begin:end].tobytes().decode("utf-32-le")
        for begin, end in zip(begins, ends, strict=True)
    ]


def gram_hashes(texts: pa.Array) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Hash the character 5-grams of the comparison keys: of all texts in a row, and each's end."""
    from mynah.corpus import signature_kernels as kernels

    data, offsets = text_buffers(large_strings(texts))
    grams = np.empty(int(offsets[-1] - offsets[0]) + len(texts) + 1, dtype=np.uint64)
    ends = kernels.grams_of(data, offsets, letters(), grams)
    return grams, ends


def large_strings(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return the texts as one array of large strings."""
    array = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    return array if array.type == pa.large_string() else array.cast(pa.large_string())


def text_buffers(array: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return the UTF-8 of an array of large strings, and where each text begins and ends."""
    _, offsets, data = array.buffers()
    if not len(array) or offsets is None:
        return np.zeros(0, dtype=np.uint8), np.zeros(1, dtype=np.int64)
    begins = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    if data is None or not data.size:
        return np.zeros(0, dtype=np.uint8), begins
    return np.frombuffer(data, dtype=np.uint8), begins


@cache
def letters() -> UInt32s:
    """What becomes of a code point: itself in lower case, or one of the kernels' three signs.

    Where lower case takes several characters the first stands for it. Marks are kept within a
    word, the scripts of India need them; those that only dress up a sign before them are skipped.
    """
    from mynah.corpus import signature_kernels as kernels

    table = np.zeros(kernels.LAST_TABLED, dtype=np.uint32)
    for point in range(kernels.LAST_TABLED):
        character = chr(point)
        if character.isalnum() or character in "@#":
            folded = character.casefold()
            table[point] = ord(folded if len(folded) == 1 else character.lower()[0])
            continue
        category = unicodedata.category(character)
        if category in ("Mn", "Mc"):
            is_selector = 0xFE00 <= point <= 0xFE0F
            table[point] = kernels.SKIPPED if is_selector else point | int(kernels.MARK)
        elif category == "Me":
            table[point] = kernels.SKIPPED
    table.flags.writeable = False
    return table


@cache
def _hash_functions(num_lanes: int) -> tuple[UInt32s, UInt32s]:
    generator = np.random.default_rng(20_230_411)  # fixed: the same texts, the same signatures
    factors = generator.integers(0, 2**32, num_lanes, dtype=np.uint32) | np.uint32(1)
    addends = generator.integers(0, 2**32, num_lanes, dtype=np.uint32)
    factors.flags.writeable = addends.flags.writeable = False
    return factors, addends
