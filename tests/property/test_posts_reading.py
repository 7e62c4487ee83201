"""Reading never crashes, never hangs, and gives back what was written."""

import csv
import io
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mynah.errors import DataError
from mynah.posts import iterate_posts, load_posts, read_posts

quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# Everything UTF-8 can write but control characters: a file full of those is taken for binary.
letters = st.characters(codec="utf-8", exclude_categories=["Cc"]) | st.sampled_from("\n\r\t\x85")
words = st.text(letters, max_size=80)
shown = words.filter(lambda text: text.strip() != "")
# A table's author is stripped of space and its leading @.
handles = st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=10)
times = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
rows = st.lists(
    st.tuples(shown, handles, times, st.integers(-(2**60), 2**60)), min_size=1, max_size=8
)


def read_back(name, content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        artifact = read_posts([path], Path(folder) / "store")
        posts = [
            (post.id, post.text, post.author, post.created_at, post.likes)
            for post in iterate_posts(artifact)
        ]
        return posts, artifact.counts


def expected(written):
    found = [(f"posts:{n}", *row) for n, row in enumerate(written)]
    return sorted(found)


@quick
@given(rows)
def test_csv_comes_back_as_it_was_written(written):
    out = io.StringIO(newline="")
    table = csv.writer(out, quoting=csv.QUOTE_ALL)
    table.writerow(["id", "text", "author", "time", "likes"])
    for number, (text, author, time, likes) in enumerate(written):
        table.writerow([number, text, author, time.isoformat(), likes])
    posts, counts = read_back("a.csv", out.getvalue().encode())
    assert posts == expected(written)
    assert counts["num_rejected"] == 0


@quick
@given(rows, st.booleans(), st.sampled_from([None, 1]))
def test_json_comes_back_as_it_was_written(written, is_lines, indent):
    objects = [
        {"id": number, "text": text, "author": author, "time": time.isoformat(), "likes": likes}
        for number, (text, author, time, likes) in enumerate(written)
    ]
    if is_lines:
        name, content = "a.jsonl", "\n".join(map(json.dumps, objects))
    else:
        name, content = "a.json", json.dumps(objects, indent=indent, ensure_ascii=False)
    posts, counts = read_back(name, content.encode())
    assert posts == expected(written)
    assert counts["num_rejected"] == 0


starts = st.sampled_from(
    [
        b"",
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"PAR1",
        b"\x1f\x8b\x08",
        b"\x28\xb5\x2f\xfd",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"[",
        b'[{"text": "a"},',
        b'{"text": "a"}\n',
        b'window.YTD.tweets.part0 = [{"tweet": {"id": "1", "text": "a"}},',
        b"id,text\n1,a\n",
        b'text\tid\n"',
        b"id;text\n",
    ]
)
names = st.sampled_from(
    ["a.csv", "a.tsv", "a.tab", "a.json", "a.jsonl", "a.parquet", "a.zip", "tweets.js", "a.csv.gz"]
)
pieces = st.lists(
    st.sampled_from([b'"', b"{", b"}", b"[", b"]", b",", b"\n", b"\r", b":", b"\\", b"\0", b"a"])
    | st.binary(max_size=6),
    max_size=60,
).map(b"".join)


@settings(parent=quick, max_examples=120)
@given(names, starts, pieces)
def test_no_bytes_crash_a_reader(name, start, rest):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(start + rest)
        try:
            artifact = read_posts([path], Path(folder) / "store")
        except DataError:
            return
        assert load_posts(artifact).height == artifact.counts["num_posts"] > 0


@quick
@given(st.data())
def test_one_changed_byte_of_an_archive_never_crashes(data):
    records = [
        {"tweet": {"id_str": str(n), "full_text": f"post {n}", "entities": {"urls": [{"a": 1}]}}}
        for n in range(8)
    ]
    whole = bytearray(f"window.YTD.tweets.part0 = {json.dumps(records, indent=2)}".encode())
    at = data.draw(st.integers(30, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    try:
        posts, counts = read_back("tweets.js", bytes(whole))
    except DataError:
        pytest.fail("one byte took the whole archive with it")
    # A quote that goes missing may take the record after it, nothing more.
    assert len(posts) >= 6
    assert len(posts) + counts["num_rejected"] + counts["num_duplicates"] >= 7
