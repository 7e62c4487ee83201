"""Reading a table in columns gives what reading it row by row gives, whatever is in it."""

import csv
import io
import json
import tempfile
from collections import Counter
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mynah.errors import DataError
from mynah.posts.export_file import ExportFile
from mynah.posts.post import Post
from mynah.posts.reader import ReadOptions, SourceReport
from mynah.posts.readers import chunks, table
from mynah.posts.readers.delimited import delimited_records
from mynah.posts.readers.json_records import array_records, line_records
from mynah.posts.readers.records import NUM_LOOKED_AT, builder_for

thorough = settings(max_examples=30, deadline=None)

words = st.text(st.characters(codec="utf-8"), max_size=12)
blanks = st.sampled_from(["", " ", "\x1c", "\u3000", "nan", " NaN ", "None", "null", "N/A", None])
ids = st.one_of(
    st.integers(0, 2**64),
    st.integers(0, 2**53).map(str),
    st.floats(0, 2.0**60),
    st.sampled_from(
        ["0", "0.0", "12.0", "12.00", " 7 ", "x:9", "posts:9", "\u0663.0", True, 10**30]
    ),
)
counts = st.one_of(
    st.integers(-5, 2**63),
    st.floats(),
    st.sampled_from(
        ["1,024", "1.2K", "3m", "+5", "-0", "007", "1_0", " 4 ", "0" * 45 + "1", "ten"]
    ),
)
when = st.sampled_from(
    [
        "2018-10-10T20:19:24Z",
        "2018-10-10 20:19",
        "2018-02-29",
        "2020-02-29T23:59:59.123+05:30",
        "2020-02-29T23:59:59.123456-0530",
        "2020-01-01 00:00:00 UTC",
        "2020-01-01T24:00:00",
        "0001-01-01T00:00:00+10:00",
        "Wed Oct 10 20:19:24 +0000 2018",
        "Wed, Oct 10 20:19:24 +0000 2018",
        "Wed Okt 10 20:19:24 +0000 2018",
        "Wed Oct 31 20:19:24 -0130 2018",
        "1/2/2020 9:05",
        "13/2/2020 9:05:06",
        "1/31/20",
        "1/2/0050",
        "1/2/2020, 9:05 PM",
        "1588323906",
        "1588323906250",
        "20200501090506",
        "20200501",
        "-5000000000",
        "99999999999999999",
        "some day",
        1588323906,
        1588323906.25,
        1588323906250.0,
        1588323906250999,
        -3,
        1e300,
        10**18,
        True,
    ]
)
flags = st.sampled_from([True, False, "true", "no", "0.0", 1, 0, 1.0, "maybe", "public", "direct"])
places = st.one_of(
    words, st.sampled_from(["https://example.org/a ", " @ada", "@@ada", 5, 2.0, 2.5])
)
odd = st.sampled_from([[], ["en"], {}, {"a": 1}, "\ud83d", 2**70])
values = {
    "text": st.one_of(words, words, st.sampled_from(["RT @ada: hi", "RT @\u00e9: x", "RT @a", 5])),
    "title": words,
    "full_text": words,
    "id": ids,
    "id_str": ids,
    "author": places,
    "user": st.fixed_dictionaries({}, optional={"screen_name": places, "protected": flags}),
    "created_at": when,
    "likes": counts,
    "score": counts,
    "retweets": counts,
    "lang": st.sampled_from(["en", "en-US", "iw", "und", "English", "PT_br", 5, ["de"], []]),
    "in_reply_to_status_id": ids,
    "retweeted_status_id": ids,
    "retweeted_status": st.one_of(words, st.fixed_dictionaries({"id_str": ids})),
    "original_author": places,
    "quoted_status_id": ids,
    "is_retweet": flags,
    "url": places,
    "visibility": flags,
    "may_train": flags,
    "opt_out": flags,
    "edited": st.one_of(when, flags),
    "seen_at": when,
}


arrays = {
    "string": (st.one_of(when, ids, words).map(str), pa.large_string()),
    "int": (st.integers(-(2**31), 2**31 - 1), pa.int32()),
    "unsigned": (st.integers(0, 2**64 - 1), pa.uint64()),
    "float": (st.floats(width=32), pa.float32()),
    "double": (st.floats(), pa.float64()),
    "flag": (st.booleans(), pa.bool_()),
    "time": (st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), pa.timestamp("us")),
    "seconds": (
        st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(
            lambda t: t.replace(microsecond=0)
        ),
        pa.timestamp("s", "America/New_York"),
    ),
    "day": (st.dates(), pa.date32()),
    "category": (st.sampled_from(["en", "true", "5"]), pa.dictionary(pa.int8(), pa.string())),
    "list": (st.lists(st.just("en"), max_size=2), pa.list_(pa.string())),
    "record": (
        st.fixed_dictionaries(
            {"screen_name": words.filter(str.isascii), "protected": st.booleans()}
        ),
        pa.struct([("screen_name", pa.string()), ("protected", pa.bool_())]),
    ),
    "bytes": (st.binary(max_size=3), pa.binary()),
    "nothing": (st.none(), pa.null()),
}


@st.composite
def records(draw, *, dirt=odd):
    """Records with some of the fields, most values of the field's own kind, some of any."""
    names = ["text", *draw(st.lists(st.sampled_from(sorted(values)), max_size=7, unique=True))]
    row = st.fixed_dictionaries(
        {}, optional={name: st.one_of(values[name], values[name], blanks, dirt) for name in names}
    )
    plain = st.fixed_dictionaries({name: values[name] for name in names})
    return draw(st.lists(st.one_of(plain, row), min_size=1, max_size=10))


def row_by_row(file, items, options, report):
    items = list(items)
    builder = builder_for(items[:NUM_LOOKED_AT], options=options, report=report)
    return [builder.read(item) if builder else item for item in items]


def oracle(file, options, report, *, is_array=False):
    if file.extension == ".parquet":
        rows = pq.read_table(file.path).to_pylist()
        return row_by_row(file, enumerate(rows, start=1), options, report)
    with file.open_text() as text:
        if is_array:
            items = array_records(text.read, source=report.name)
        elif file.extension == ".jsonl":
            items = line_records(text.lines(), source=report.name)
        else:
            items = delimited_records(text.lines(), source=report.name, extension=file.extension)
        found = row_by_row(file, items, options, report)
        report.num_recoded_lines += text.num_recoded_lines
    return found


def columnar(file, options, report, *, is_array=False):
    read = {".csv": table.read_delimited, ".parquet": table.read_parquet}.get(
        file.extension, table.read_json if is_array else table.read_json_lines
    )
    for found in read(file, options, report):
        if isinstance(found, pa.RecordBatch):
            yield from map(Post.from_row, found.to_pylist())
        else:
            yield found


def outcome(read, path, *, is_array=False, options=None):
    file = ExportFile(path=path, name=path.name)
    report = SourceReport(name=path.name, format="")
    try:
        found = Counter(read(file, options or ReadOptions(), report, is_array=is_array))
    except DataError as error:
        return error.message
    return found, report


def assert_same(name, content, *, block_bytes=1 << 20, is_array=False, options=None):
    with tempfile.TemporaryDirectory() as folder, ExitStack() as patches:
        path = Path(folder) / name
        path.write_bytes(content)
        patches.enter_context(patch.object(chunks, "_BLOCK_BYTES", block_bytes))
        patches.enter_context(patch.object(chunks, "_MAX_CHUNK_ROWS", max(2, block_bytes >> 4)))
        one = outcome(oracle, path, is_array=is_array, options=options)
        other = outcome(columnar, path, is_array=is_array, options=options)
    assert other == one


blocks = st.sampled_from([40, 300, 1 << 20])
ends = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\r", b"\n\n", b"\n \n"])
junk = st.sampled_from(
    [
        b'{"text": "cut',
        b"[1]",
        b"7",
        b"\xef\xbb\xbf{}",
        b'\xff\xfe{"text": "a"}',
        b'{"text": "caf\xe9", "id": 1}',
        b'{"text": "a", "text": "b", "id": 2, "id": ""}',
        b'{"text": "nan", "likes": NaN, "score": Infinity}',
        b'{"text": "a"},{"text": "b"}',
        b'{"text": "\\ud83d"}',
        b'{"text": "a", "likes": 1e400}',
        b'{"text": "\x01"}',
        b"\x1c",
        b'{"text": ' + b"[" * 3000,
    ]
)


@thorough
@given(records(), st.lists(st.tuples(junk, st.integers(0, 10)), max_size=3), st.data())
def test_json_lines_are_read_alike(rows, broken, data):
    lines = [json.dumps(row, ensure_ascii=data.draw(st.booleans())) for row in rows]
    raw = [line.encode("utf-8", "surrogatepass") for line in lines]
    for piece, place in broken:
        raw.insert(place, piece)
    mark = data.draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf"]))
    content = mark + b"".join(line + data.draw(ends) for line in raw)
    options = ReadOptions(network=data.draw(st.sampled_from(["", "x"])))
    assert_same("a.jsonl", content, block_bytes=data.draw(blocks), options=options)


@thorough
@given(records(), blocks)
def test_arrays_are_read_alike(rows, block_bytes):
    assert_same("a.json", json.dumps(rows).encode(), block_bytes=block_bytes, is_array=True)


@thorough
@given(records(dirt=blanks), blocks, st.sampled_from(["utf-8", "utf-16", "cp1252"]))
def test_delimited_rows_are_read_alike(rows, block_bytes, encoding):
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, names)
    writer.writeheader()
    writer.writerows(rows)
    content = out.getvalue().encode(encoding, "replace")
    assert_same("a.csv", content, block_bytes=block_bytes)


@thorough
@given(st.data())
def test_parquet_is_read_alike(data):
    num_rows = data.draw(st.integers(1, 6))
    drawn = data.draw(st.lists(st.sampled_from(sorted(arrays)), max_size=6, unique=True))
    names = dict(zip(drawn, data.draw(st.permutations(sorted(values))), strict=False))
    columns = {"text": pa.array(["a", None, "", "RT @ada: b", " ", "c"][:num_rows])}
    for kind, name in names.items():
        value, dtype = arrays[kind]
        cells = data.draw(st.lists(st.none() | value, min_size=num_rows, max_size=num_rows))
        columns[name] = pa.array(cells, dtype)
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    assert_same("a.parquet", out.getvalue())


@pytest.mark.parametrize("block_bytes", [64, 1 << 20])
def test_utf16_lines_are_read_alike(block_bytes):
    content = "".join(json.dumps({"text": f"a{n}", "id": n}) + "\n" for n in range(9))
    assert_same("a.jsonl", content.encode("utf-16"), block_bytes=block_bytes)
