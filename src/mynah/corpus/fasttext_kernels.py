"""Compiled loops of a fasttext classifier: see ``fasttext_model``, and ``compiled`` for the rules.

They see the UTF-8 of texts whose words are parted by blanks.
"""
# A parameter has the type that the signature above its kernel says.
# pyright: reportMissingParameterType=false

import numpy as np
from numba import types

from mynah.corpus.compiled import BYTES, INT64S, UINT32S, compiled

__all__ = ["predict"]

INT32S = types.Array(types.int32, 1, "C", readonly=True)
FLOAT_ROWS = types.Array(types.float32, 2, "C", readonly=True)
TEXTS = types.Tuple([BYTES, INT64S])
WORDS = types.Tuple([BYTES, INT64S, UINT32S])
NGRAMS = types.Tuple([UINT32S, UINT32S, INT64S])
TREE = types.Tuple([FLOAT_ROWS, INT32S])
"""Fields of ``FasttextModel`` of the same names."""
MAX_WORD_BYTES = 4096
"""Of a longer word, which nobody writes, the rest is not looked at."""


@compiled(types.void(FLOAT_ROWS, types.int64, types.float32[::1]))
def _add(rows, number, hidden):
    for index in range(len(hidden)):
        hidden[index] += rows[number, index]


@compiled(types.uint32(types.uint32, types.uint8))
def _mixed(value, byte):
    """Take a byte into a hash: FNV-1a, but that fasttext counts bytes as signed."""
    signed = np.uint32(byte) | (np.uint32(0xFFFFFF00) if byte > 127 else np.uint32(0))
    return np.uint32((value ^ signed) * np.uint32(16777619))


@compiled(types.int64(BYTES, types.int64, types.uint32, WORDS))
def _word_number(token, length, value, table):
    """Return the number of the word between the marks of ``token``, or -1."""
    words, word_offsets, word_slots = table
    mask = len(word_slots) - 1
    slot = np.int64(value) & mask
    while word_slots[slot] != np.uint32(0xFFFFFFFF):
        number = np.int64(word_slots[slot])
        first = word_offsets[number]
        is_same = word_offsets[number + 1] - first == length - 2
        index = 0
        while is_same and index < length - 2:
            is_same = words[first + index] == token[index + 1]
            index += 1
        if is_same:
            return number
        slot = (slot + 1) & mask
    return -1


@compiled(types.int64(BYTES, types.int64, FLOAT_ROWS, NGRAMS, types.float32[::1]))
def _add_ngrams(token, length, rows, ngrams, hidden):
    """Add the vectors of the n-grams of a word with its marks; return how many there were."""
    keys, values, sizes = ngrams
    mask = len(keys) - 1
    num_buckets = np.uint32(sizes[0])
    num_added = 0
    for start in range(length):
        if token[start] & 0xC0 == 0x80:  # within a character
            continue
        value = np.uint32(2166136261)
        end = start
        num_characters = 0
        while end < length and num_characters < sizes[2]:
            value = _mixed(value, token[end])
            end += 1
            while end < length and token[end] & 0xC0 == 0x80:
                value = _mixed(value, token[end])
                end += 1
            num_characters += 1
            is_mark = num_characters == 1 and (start == 0 or end == length)
            if num_characters < sizes[1] or is_mark:
                continue
            bucket = value % num_buckets
            slot = np.int64(bucket) & mask
            while keys[slot] != np.uint32(0xFFFFFFFF):
                if keys[slot] == bucket:
                    _add(rows, np.int64(values[slot]), hidden)
                    num_added += 1
                    break
                slot = (slot + 1) & mask
    return num_added


@compiled(types.void(TEXTS, types.int64, FLOAT_ROWS, WORDS, NGRAMS, types.float32[::1]))
def _average(texts, row, rows, words, ngrams, hidden):
    """Set ``hidden`` to the mean of the vectors of the words and n-grams of one text."""
    text, offsets = texts
    token = np.zeros(MAX_WORD_BYTES, np.uint8)
    hidden[:] = 0
    num_vectors = 0
    end_of_line = ngrams[2][3]
    if end_of_line >= 0:
        _add(rows, end_of_line, hidden)
        num_vectors += 1
    place = offsets[row]
    while place < offsets[row + 1]:
        if text[place] == 32:
            place += 1
            continue
        token[0] = 60  # the word between its marks, "<word>"
        length = 1
        value = np.uint32(2166136261)
        while place < offsets[row + 1] and text[place] != 32:
            if length < len(token) - 1:
                token[length] = text[place]
                length += 1
            value = _mixed(value, text[place])
            place += 1
        token[length] = 62
        length += 1
        number = _word_number(token, length, value, words)
        if number >= 0:
            _add(rows, number, hidden)
            num_vectors += 1
        num_vectors += _add_ngrams(token, length, rows, ngrams, hidden)
    if num_vectors > 0:
        for index in range(len(hidden)):
            hidden[index] /= num_vectors


@compiled(types.void(TEXTS, FLOAT_ROWS, WORDS, NGRAMS, TREE, types.float32[:, ::1]))
def predict(texts, rows, words, ngrams, tree, found):
    """Walk the tree of labels from its root, for each text: the share that reaches each label."""
    nodes, children = tree
    num_labels = found.shape[1]
    hidden = np.zeros(rows.shape[1], np.float32)
    reached = np.zeros(2 * num_labels - 1, np.float64)
    for row in range(len(found)):
        _average(texts, row, rows, words, ngrams, hidden)
        reached[2 * num_labels - 2] = 1.0
        for inner in range(num_labels - 2, -1, -1):
            total = np.float32(0)
            for index in range(len(hidden)):
                total += hidden[index] * nodes[inner, index]
            right = 1.0 / (1.0 + np.exp(-np.float64(total)))
            here = reached[inner + num_labels]
            # fasttext adds this before it takes a logarithm.
            reached[children[2 * inner]] = here * (1.0 - right + 1e-5)
            reached[children[2 * inner + 1]] = here * (right + 1e-5)
        for label in range(num_labels):
            found[row, label] = reached[label]
