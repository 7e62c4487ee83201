"""Every format takes any harm done to its files; one that is added later without a seed fails."""

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.any_reading import check_reading, read_bytes, write_seed
from tests.fakes.every_format import SEEDS

from mynah.posts.formats import FORMATS
from mynah.posts.post import Post
from mynah.posts.reader import Deleted

few = settings(max_examples=12, deadline=None, derandomize=True, database=None)

BORDERS = (b"\n", b",", b'"', b"{", b"}", b"[", b"]", b":", b"\\", b"\0", b">", b"<")
"""A file that ends before or after one of these ends at a place of its own kind."""
PIECES = (*BORDERS, b"\xff\xfe", b"\xed\xa0\x80", b"\\ud800", b"1e999", b"]}", b"PK\x03\x04")


def all_seeds():
    return [pytest.param(f.name, seed, id=f"{f.name}-{seed.name}") for f in FORMATS
            for seed in SEEDS.get(f.name, ())]  # fmt: skip


def places(content):
    """Places to cut at: the ends, the middle, and around each border's first and last."""
    found = {0, 1, len(content) // 2, len(content) - 1, len(content)}
    for border in BORDERS:
        for at in (content.find(border), content.rfind(border)):
            found |= {at, at + 1} if at >= 0 else set()
    return sorted(found)


def read_both_ways(path, content, name):
    """Read as the format by force and as it is guessed; check all that comes out."""
    for chosen in (name, ""):
        check_reading(read_bytes(path, content, chosen=chosen)[1], content)


def test_every_format_has_a_seed():
    assert set(SEEDS) == {format_.name for format_ in FORMATS}


@pytest.mark.parametrize(("name", "seed"), all_seeds())
def test_a_whole_file_is_told_and_read(tmp_path, name, seed):
    told, found = read_bytes(write_seed(tmp_path, seed), seed.content)
    assert told == name
    check_reading(found, seed.content)
    assert any(isinstance(one, Post | Deleted | pa.RecordBatch) for one in found)


@pytest.mark.parametrize(
    "content",
    [
        b'{"type": "public_channel", "id": 1, "messages": [null]}',
        b'{"participants": [], "messages": [[{}]]}',
        b'{"participants": [], "messages": [7]}',
    ],
)
def test_what_fuzzing_found(tmp_path, content):
    told, found = read_bytes(tmp_path / "a.json", content)
    check_reading(found, content)
    assert told == "jsonl"


@pytest.mark.parametrize(("name", "seed"), all_seeds())
def test_a_file_cut_at_every_kind_of_place(tmp_path, name, seed):
    path = write_seed(tmp_path, seed)
    for at in places(seed.content):
        read_both_ways(path, seed.content[:at], name)


@pytest.mark.parametrize("name", [format_.name for format_ in FORMATS])
def test_a_file_with_bytes_changed(name):
    @few
    @given(st.data())
    def run(data):
        seed = data.draw(st.sampled_from(SEEDS[name]))
        content = bytearray(seed.content)
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(content)))
            piece = data.draw(st.binary(max_size=4) | st.sampled_from(PIECES))
            content[at : at + data.draw(st.integers(0, 4))] = piece
        with tempfile.TemporaryDirectory() as folder:
            read_both_ways(write_seed(Path(folder), seed), bytes(content), name)

    run()


@pytest.mark.parametrize("name", [format_.name for format_ in FORMATS])
def test_two_files_in_one(name):
    others = [seed.content for seeds in SEEDS.values() for seed in seeds]

    @few
    @given(st.data())
    def run(data):
        seed = data.draw(st.sampled_from(SEEDS[name]))
        other = data.draw(st.sampled_from(others))
        head = seed.content[: data.draw(st.sampled_from(places(seed.content)))]
        tail = other[data.draw(st.sampled_from(places(other))) :]
        with tempfile.TemporaryDirectory() as folder:
            read_both_ways(write_seed(Path(folder), seed), head + tail, name)

    run()
