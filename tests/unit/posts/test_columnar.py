import json
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mynah.posts.export_file import ExportFile
from mynah.posts.post import POST_SCHEMA, Post
from mynah.posts.reader import PrivatePost, ReadOptions, Rejected, SourceReport
from mynah.posts.readers import chunks, values_columns
from mynah.posts.readers.table import read_json_lines, read_parquet
from mynah.posts.values import parse_count, parse_time


@pytest.fixture
def found(tmp_path):
    """What a file of JSON lines gives, in the order it comes."""

    def read(content, **options):
        path = tmp_path / "a.jsonl"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        file = ExportFile(path=path, name=path.name)
        report = SourceReport(name=path.name, format="jsonl")
        return list(read_json_lines(file, ReadOptions(**options), report)), report

    return read


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def posts(items):
    batches = [item for item in items if isinstance(item, pa.RecordBatch)]
    return [Post.from_row(row) for batch in batches for row in batch.to_pylist()]


def test_ordinary_rows_come_as_one_batch_of_the_schema(found):
    ((batch,), report) = found(lines(*({"id": n, "text": f"post {n}"} for n in range(100))))
    assert batch.schema == POST_SCHEMA
    assert batch.num_rows == 100
    assert (report.network, report.columns) == ("posts", {"id": "id", "text": "text"})


def test_private_and_unreadable_rows_come_alone(found):
    items, _ = found(
        lines(
            {"id": 1, "text": "a", "visibility": "public"},
            {"id": 2, "text": "b", "visibility": "direct"},
            {"id": 3, "text": " "},
            {"id": 4, "text": "d", "likes": "many"},
        )
        + "{\n"
        + lines({"id": 6, "text": "f"})
    )
    assert [post.id for post in posts(items)] == ["posts:1", "posts:6"]
    assert [item for item in items if not isinstance(item, pa.RecordBatch)] == [
        PrivatePost("posts:2"),
        Rejected("a.jsonl", 3, "there is no text"),
        Rejected("a.jsonl", 4, "a count is not a number"),
        Rejected("a.jsonl", 5, "the record is not JSON"),
    ]


def test_numbers_too_long_for_the_fast_parser_keep_every_digit(found):
    items, _ = found('{"id": 123456789012345678901234567890, "text": "a"}\n')
    assert [item.id for item in items] == ["posts:123456789012345678901234567890"]


def test_the_last_of_two_keys_counts(found):
    items, _ = found('{"id": 1, "text": "a", "text": "b"}\n')
    assert [post.text for post in posts(items)] == ["b"]


def test_a_column_of_several_types_is_read_as_each_of_them(found):
    rows = [{"id": n, "text": "a", "likes": v} for n, v in enumerate([3, "1.2K", 4.0, None, ""])]
    items, _ = found(lines(*rows))
    assert [post.likes for post in posts(items)] == [3, 1200, 4, 0, 0]


def test_the_first_column_that_is_not_empty_wins_row_by_row(found):
    rows = [{"id_str": "7", "id": 1, "text": "a"}, {"id_str": "", "id": 2, "text": "b"}]
    items, _ = found(lines(*rows))
    assert [post.id for post in posts(items)] == ["posts:7", "posts:2"]


def test_reposts_are_told_by_column_flag_or_prefix(found):
    items, _ = found(
        lines(
            {"id": 1, "text": "a", "retweeted_status_id": "9"},
            {"id": 2, "text": "RT @ada: b"},
            {"id": 3, "text": "c", "is_retweet": True},
            {"id": 4, "text": "d", "quoted_status_id": 8},
            {"id": 5, "text": "e", "in_reply_to_status_id": 7.0},
        )
    )
    assert [(p.kind, p.repost_of, p.quote_of, p.reply_to) for p in posts(items)] == [
        ("repost", "x:9", None, None),
        ("repost", "ada", None, None),
        ("repost", None, None, None),
        ("quote", None, "x:8", None),
        ("reply", None, None, "x:7"),
    ]


def test_posts_without_an_id_get_the_same_one_in_a_column_and_alone(found):
    row = {"author": "ada", "time": "2020-01-02T03:04:05Z", "text": "a"}
    (batch,), _ = found(lines(row))
    broken = lines({**row, "text": "b"}).replace('"b"', '"a", "extra": NaN')
    items, _ = found(lines(row) + broken)
    ids = batch.column("id").to_pylist()
    assert [post.id for post in posts(items)] == ids
    assert [item.id for item in items if isinstance(item, Post)] == ids


def test_a_file_that_begins_with_many_broken_lines_is_still_read(found):
    items, _ = found("{\n" * 700 + lines({"id": 1, "text": "a"}))
    assert [post.id for post in posts(items)] == ["posts:1"]
    assert [item.position for item in items if isinstance(item, Rejected)] == list(range(1, 701))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_numbered_across_blocks_whatever_ends_them(found, monkeypatch, end):
    monkeypatch.setattr(chunks, "_BLOCK_BYTES", 50)
    good = json.dumps({"id": 1, "text": "some words"})
    items, _ = found(end.join([good] * 9 + ["{"] + [good] * 9))
    assert [item.position for item in items if isinstance(item, Rejected)] == [10]
    assert len(posts(items)) == 18


def test_a_line_without_end_is_cut_not_held(found, monkeypatch):
    monkeypatch.setattr(chunks, "_BLOCK_BYTES", 1 << 16)
    monkeypatch.setattr(chunks, "_MAX_LINE_BYTES", 1 << 17)
    huge = '{"id": 2, "text": "' + "x" * (1 << 20) + '"}\n'
    items, _ = found(lines({"id": 1, "text": "a"}) + huge + lines({"id": 3, "text": "c"}))
    assert [post.id for post in posts(items)] == ["posts:1", "posts:3"]
    assert [item.position for item in items if isinstance(item, Rejected)] == [2]


def test_lines_that_are_not_utf8_are_recoded_and_counted_once(found):
    items, report = found(b'{"id": 1, "text": "caf\xe9"}\n{"id": 2, "text": "caf\xc3\xa9"}\n')
    texts = [post.text for post in posts(items)] + [i.text for i in items if isinstance(i, Post)]
    assert sorted(texts) == ["caf\u00e9", "caf\u00e9"]
    assert report.num_recoded_lines == 1


def test_nested_columns_and_times_of_parquet_are_used_as_they_are(tmp_path):
    when = datetime(2020, 1, 2, tzinfo=UTC)
    user = pa.array([{"screen_name": "ada"}, None])
    data = pa.table({"text": ["a", "b"], "id": [1, 2], "user": user, "time": [when, None]})
    pq.write_table(data, tmp_path / "a.parquet")
    file = ExportFile(path=tmp_path / "a.parquet", name="a.parquet")
    items = read_parquet(file, ReadOptions(), SourceReport(name="a.parquet", format=""))
    assert [(p.author, p.created_at) for p in posts(items)] == [("ada", when), ("", None)]


@pytest.mark.parametrize("written", ["7", "+7", "-7", "1,024", "1.2K", " 8 ", "007", "7.9", "n/a"])
def test_counts_of_a_column_are_those_of_single_values(written):
    parsed = values_columns.counts(pl.Series([written]))
    assert (parsed.values[0] or 0) == parse_count(written)


@pytest.mark.parametrize("is_day_first", [False, True])
@pytest.mark.parametrize(
    "written",
    [
        "2020-02-29T23:59:59.123-05:30",
        "2020-02-29 23:59",
        "1999-12-31",
        "Wed Oct 10 20:19:24 +0530 2018",
        "3/4/69 1:02",
        "03/04/1999 11:02:03",
        "1588323906250",
        "20200501090506",
        "2020-W10-1",
    ],
)
def test_times_of_a_column_are_those_of_single_values(written, is_day_first):
    parsed = values_columns.times(pl.Series([written]), is_day_first=is_day_first)
    time = parse_time(written, is_day_first=is_day_first)
    assert parsed.values.cast(pl.Datetime("us", "UTC")).to_list() == [time]


def test_times_of_parquet_that_no_calendar_has_are_rejected_alone(tmp_path):
    micros = pa.array([0, 2**62, -(2**62), 10**15], pa.int64()).cast(pa.timestamp("us"))
    nanos = pa.array([1, 2, 3, 1_500_000_000_000_000_999], pa.int64()).cast(pa.timestamp("ns"))
    data = pa.table({"text": ["a"] * 4, "id": range(4), "time": micros, "seen_at": nanos})
    pq.write_table(data, tmp_path / "a.parquet")
    file = ExportFile(path=tmp_path / "a.parquet", name="a.parquet")
    items = list(read_parquet(file, ReadOptions(), SourceReport(name="a.parquet", format="")))
    assert [post.id for post in posts(items)] == ["posts:0", "posts:3"]
    assert posts(items)[1].seen_at == datetime(2017, 7, 14, 2, 40, tzinfo=UTC)
    assert [item.position for item in items if isinstance(item, Rejected)] == [2, 3]
