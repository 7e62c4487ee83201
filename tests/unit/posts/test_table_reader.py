import gzip
import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mynah.errors import DataError
from mynah.posts import iterate_posts, load_posts, read_posts


def rejected(artifact):
    lines = (artifact.folder / "rejected.jsonl").read_text().splitlines()
    return [(row["position"], row["reason"]) for row in map(json.loads, lines)]


def test_columns_are_guessed_from_the_header(read):
    artifact = read(
        "a.csv",
        "Tweet ID,Screen Name,Full Text,Created At,Favorite Count,Retweet count,reply_count,lang\n"
        '7,@ada,hello there,2020-01-02 03:04:05,218.0,"1,024",1.2K,en-US\n',
    )
    (post,) = iterate_posts(artifact)
    assert post.id == "x:7"
    assert post.author == "ada"
    assert post.created_at == datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (post.likes, post.reposts, post.replies) == (218, 1024, 1200)
    assert post.lang == "en"


def test_one_record_with_a_mistyped_key_does_not_hide_the_others(read, texts):
    artifact = read("a.jsonl", '{"id": 1, "full:text": "a"}\n{"id": 2, "full_text": "b"}\n')
    assert texts(artifact) == {"1": "a", "2": "b"}


def test_columns_can_be_overridden(read, texts):
    content = "id,text,words\n1,wrong,right\n"
    assert texts(read("a.csv", content, columns={"text": "words"})) == {"1": "right"}


@pytest.mark.parametrize("columns", [{"text": "nope"}, {"words": "text"}])
def test_an_override_that_does_not_fit_is_an_error(read, columns):
    with pytest.raises(DataError):
        read("a.csv", "id,text\n1,b\n", columns=columns)


def test_an_empty_override_leaves_a_column_out(read):
    content = "id,text,date\n1,words,some day\n"
    artifact = read("a.csv", content, columns={"created_at": ""})
    assert load_posts(artifact)["created_at"].to_list() == [None]


def test_a_table_without_text_names_its_columns_and_the_flag(read):
    with pytest.raises(DataError) as caught:
        read("a.csv", "id,weight\n1,2\n")
    assert "weight" in caught.value.hint
    assert "--column text=NAME" in caught.value.hint


def test_title_and_body_are_one_text(read, texts):
    artifact = read("a.csv", 'id,title,selftext\n1,Head,Body\n2,Only head,""\n')
    assert texts(artifact) == {"1": "Head\n\nBody", "2": "Only head"}


def test_rows_with_too_many_or_too_few_columns_are_rejected(read, texts):
    artifact = read("a.csv", "id,text\n1,one\n2,two,more\n3\n4,four\n")
    assert texts(artifact) == {"1": "one", "4": "four"}
    assert [position for position, _ in rejected(artifact)] == [3, 4]


def test_a_stray_quote_costs_one_row(read, texts):
    artifact = read("a.csv", 'id,text\n1,one\n2,"two\n3,three\n4,four\n')
    assert texts(artifact) == {"1": "one", "3": "three", "4": "four"}
    assert rejected(artifact) == [(3, "a quote is never closed")]


def test_quoted_fields_hold_newlines_and_quotes(read, texts):
    artifact = read("a.csv", 'id,text\n1,"a\nb ""c"", d"\r\n2,e\n')
    assert texts(artifact) == {"1": 'a\nb "c", d', "2": "e"}


def test_quotes_of_an_unquoted_tsv_stay(read, texts):
    artifact = read("a.tsv", 'id\ttext\n1\t"Hello" he said\n2\t"never closed\n3\tplain\n')
    assert texts(artifact) == {"1": '"Hello" he said', "2": '"never closed', "3": "plain"}


def test_semicolons_are_a_delimiter_too(read, texts):
    assert texts(read("a.csv", "id;text\n1;a, b\n")) == {"1": "a, b"}


def test_a_huge_field_is_rejected_alone(read, texts):
    huge = "x" * (5 << 20)
    artifact = read("a.csv", f'id,text\n1,one\n2,"{huge}"\n3,three\n')
    assert texts(artifact) == {"1": "one", "3": "three"}
    assert len(rejected(artifact)) == 1


def test_nul_characters_do_not_stop_the_reader(read, texts):
    padding = "".join(f"{n},filler {n}\n" for n in range(1000))
    artifact = read("a.csv", f"id,text\n{padding}x,a\0b\ny,c\n")
    assert texts(artifact)["x"] == "a\0b"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_believed(read, texts, encoding):
    content = "id,text\n1,gr\u00fc\u00dfe \u2603\n".encode(encoding)
    artifact = read("a.csv", content)
    assert texts(artifact) == {"1": "gr\u00fc\u00dfe \u2603"}


def test_bytes_that_are_not_utf8_are_read_as_windows_1252_and_counted(read, texts):
    artifact = read("a.csv", b"id,text\n1,caf\xe9 \x80\n2,\xc3\xa9\n3,\x81\n")
    assert texts(artifact) == {"1": "caf\u00e9 \u20ac", "2": "\u00e9", "3": "\x81"}
    assert artifact.counts["num_recoded_lines"] == 2


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2020-05-01T10:00:00+02:00", "2020-05-01T08:00:00"),
        ("2020-05-01T10:00:00.25Z", "2020-05-01T10:00:00.250000"),
        ("2020-05-01", "2020-05-01T00:00:00"),
        ("5/1/2020 9:05", "2020-05-01T09:05:00"),
        ("5/1/20 9:05", "2020-05-01T09:05:00"),
        ("5/1/2020, 9:05:06 PM", "2020-05-01T21:05:06"),
        ("5/1/2020 12:00 AM", "2020-05-01T00:00:00"),
        ("Fri May 01 09:05:06 +0000 2020", "2020-05-01T09:05:06"),
        ("1588323906", "2020-05-01T09:05:06"),
        ("1588323906.5", "2020-05-01T09:05:06.500000"),
        ("1588323906250", "2020-05-01T09:05:06.250000"),
        ("20200501090506", "2020-05-01T09:05:06"),
    ],
)
def test_times_in_their_many_forms(read, written, expected):
    (post,) = iterate_posts(read("a.csv", f'id,text,time\n1,words,"{written}"\n'))
    assert post.created_at is not None
    assert post.created_at.replace(tzinfo=None).isoformat() == expected


def test_a_file_with_a_31st_first_is_read_day_first(read):
    artifact = read("a.csv", "id,text,date\n1,a,31/12/2019\n2,b,01/02/2020\n")
    months = [post.created_at.month for post in iterate_posts(artifact)]
    assert months == [12, 2]


@pytest.mark.parametrize(
    "row", ["yesterday,1", "2020-13-01,1", "2020-01-01,many", "99999999999999999,1e300"]
)
def test_values_of_the_wrong_kind_are_rejected_without_their_words(read, row):
    artifact = read("a.csv", f"id,text,date,likes\n1,good,2020-01-01,1\n2,secret,{row}\n")
    ((position, reason),) = rejected(artifact)
    assert position == 3
    assert "secret" not in reason
    assert row.split(",")[0] not in reason


def test_a_post_without_id_gets_the_same_one_every_time(read, tmp_path):
    first = load_posts(read("a.csv", "author,text\nada,hello\n"))["id"].to_list()
    second = load_posts(read("b.csv", "text,author,likes\nhello,ada,3\n"))["id"].to_list()
    assert first == second


def test_private_posts_are_counted_and_never_stored(read, texts):
    artifact = read(
        "a.csv",
        "id,text,visibility\n1,a,public\n2,b,unlisted\n3,hush,followers\n4,hush,direct\n"
        "5,hush,something new\n6,c,\n",
    )
    assert set(texts(artifact)) == {"1", "2", "6"}
    assert artifact.counts["num_private"] == 3
    assert not any(b"hush" in path.read_bytes() for path in artifact.folder.iterdir())


def test_what_one_source_says_is_private_stays_private(tmp_path, store):
    (tmp_path / "a.csv").write_text("id,text,visibility\n1,a,public\n2,b,public\n")
    (tmp_path / "b.csv").write_text("id,text,visibility\n1,a,direct\n")
    artifact = read_posts([tmp_path / "a.csv", tmp_path / "b.csv"], store)
    assert [post.id for post in iterate_posts(artifact)] == ["posts:2"]


def test_posts_of_protected_accounts_are_private(read):
    rows = [
        {"id_str": "1", "text": "a", "user": {"screen_name": "ada", "protected": False}},
        {"id_str": "2", "text": "b", "user": {"screen_name": "bob", "protected": True}},
    ]
    artifact = read("a.jsonl", "\n".join(map(json.dumps, rows)))
    assert [post.author for post in iterate_posts(artifact)] == ["ada"]


def test_opting_out_keeps_a_post_out_of_training_only(read):
    artifact = read("a.csv", "id,text,opt_out\n1,a,true\n2,b,false\n3,c,\n")
    assert load_posts(artifact)["may_train"].to_list() == [False, True, True]
    assert artifact.counts["num_opted_out"] == 1


def test_reposts_and_replies_are_told_apart(read):
    artifact = read(
        "a.csv",
        "id,text,is_retweet,original author,in_reply_to_status_id\n"
        "1,RT @ada: words,,,\n2,words,True,bob,\n3,words,False,,17.0\n4,words,False,,\n",
    )
    found = [(post.kind, post.repost_of, post.reply_to) for post in iterate_posts(artifact)]
    assert found == [
        ("repost", "ada", None),
        ("repost", "bob", None),
        ("reply", None, "x:17"),
        ("post", None, None),
    ]


def test_v11_objects_are_read_with_their_nested_fields(read):
    record = {
        "id_str": "9",
        "text": "RT @bob: cut",
        "created_at": "Wed Oct 10 20:19:24 +0000 2018",
        "user": {"screen_name": "ada"},
        "retweeted_status": {"id_str": "5", "user": {"screen_name": "bob"}},
        "favorite_count": 3,
        "lang": "und",
    }
    (post,) = iterate_posts(read("a.jsonl", json.dumps(record)))
    assert (post.author, post.repost_of, post.kind) == ("ada", "x:5", "repost")
    assert (post.likes, post.lang) == (3, None)


def test_a_broken_line_of_jsonl_is_rejected_alone(read, texts):
    lines = ['{"id": 1, "text": "a"}', '{"id": 2, "te', "[3]", "", '{"id": 4, "text": "d"}']
    artifact = read("a.jsonl", "\n".join(lines))
    assert texts(artifact) == {"1": "a", "4": "d"}
    assert [position for position, _ in rejected(artifact)] == [2, 3]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_broken_record_of_an_array_is_rejected_alone(read, texts, indent):
    rows = [{"id": n, "tags": [{"text": "tag"}], "text": f"post {n}"} for n in range(5)]
    content = json.dumps(rows, indent=indent).replace('"post 2"', '"post 2')
    artifact = read("a.json", content)
    assert set(texts(artifact)) == {"0", "1", "3", "4"}
    assert [position for position, _ in rejected(artifact)] == [3]


def test_a_cut_array_gives_what_is_whole(read, texts):
    rows = [{"id": n, "text": f"post {n}"} for n in range(5)]
    artifact = read("a.json", json.dumps(rows)[:-12])
    assert set(texts(artifact)) == {"0", "1", "2", "3"}
    assert len(rejected(artifact)) == 1


def test_half_a_surrogate_pair_is_rejected(read, texts):
    artifact = read("a.jsonl", '{"id": 1, "text": "a"}\n{"id": 2, "text": "\\ud83d"}\n')
    assert texts(artifact) == {"1": "a"}
    assert "surrogate" in rejected(artifact)[0][1]


def test_depth_and_size_of_json_do_not_hurt(read, texts):
    deep = '{"id": 2, "text": ' + "[" * 200_000 + "\n"
    number = '{"id": 3, "likes": ' + "9" * 10_000 + ', "text": "c"}\n'
    artifact = read("a.jsonl", '{"id": 1, "text": "a"}\n' + deep + number)
    assert texts(artifact) == {"1": "a"}
    assert len(rejected(artifact)) == 2


def test_one_object_is_no_list_of_posts(read):
    with pytest.raises(DataError, match="one JSON object"):
        read("a.json", json.dumps({"drawer": [{"text": "a"}]}, indent=1))


def test_parquet_is_read_with_its_own_types(read, tmp_path, store):
    when = datetime(2020, 1, 1, tzinfo=UTC)
    table = pa.table({"id": [1, 2], "body": ["a", "b"], "likes": [1.0, None], "time": [when] * 2})
    pq.write_table(table, tmp_path / "a.parquet")
    posts = list(iterate_posts(read_posts([tmp_path / "a.parquet"], store)))
    assert [(p.id, p.text, p.likes, p.created_at) for p in posts] == [
        ("posts:1", "a", 1, when),
        ("posts:2", "b", 0, when),
    ]


def test_a_cut_parquet_is_one_error(tmp_path, store):
    pq.write_table(pa.table({"text": ["a" * 1000]}), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[:-50])
    with pytest.raises(DataError, match="cannot be read"):
        read_posts([tmp_path / "a.parquet"], store)


def test_gzip_is_seen_through(read, texts):
    assert texts(read("a.csv.gz", gzip.compress(b"id,text\n1,a\n"))) == {"1": "a"}


def test_a_cut_gzip_is_one_error(read):
    whole = gzip.compress(bytes(range(1, 256)) * 300)
    with pytest.raises(DataError, match="cut short"):
        read("a.csv.gz", b"" + whole[: len(whole) // 2])


def test_a_gzip_that_expands_without_end_is_refused(read):
    bomb = gzip.compress(b"id,text\n1,a\n2," + b"a" * (80 << 20), compresslevel=1)
    with pytest.raises(DataError, match="expands"):
        read("a.csv.gz", bomb)


def test_the_rows_below_the_header_of_an_orange_table_are_no_posts(read, texts):
    artifact = read(
        "a.tab",
        "Author\tContent\tFavorite count\ndiscrete\tstring\tcontinuous\nclass\tmeta\t\n"
        "ada\thello\t3.0\n",
    )
    assert list(texts(artifact).values()) == ["hello"]
    assert artifact.counts["num_rejected"] == 0


def test_the_real_sample_is_read_whole(sample_tab, store):
    artifact = read_posts([sample_tab], store)
    assert artifact.counts["num_posts"] == 6444
    assert artifact.counts["num_rejected"] == 0
    assert artifact.counts["network"] == "x"
    assert artifact.counts["num_authors"] == 2


@pytest.mark.parametrize(
    ("name", "num_posts", "network"),
    [
        ("posts-tweets/us_senate_tweets_2015.csv.gz", 14_800, "x"),
        ("posts-hackernews/hacker_news_2015_2016.csv.gz", 14_891, "hackernews"),
        ("posts-tweets/trump_archive_condensed_2015.json.gz", 7_536, "x"),
        ("posts-tweets/nepal_politicians_2024.csv.gz", 2_103, "x"),
        ("posts-tweets/twitter_ratio_realDonaldTrump.csv.gz", 3_232, "x"),
        ("posts-tweets/broad_twitter_corpus_b.v1.jsonl.gz", 1_521, "x"),
    ],
)
def test_real_exports_are_read_whole(shared_data, store, name, num_posts, network):
    artifact = read_posts([shared_data / name], store)
    assert artifact.counts["num_posts"] == num_posts
    assert artifact.counts["num_rejected"] == 0
    assert artifact.counts["network"] == network
