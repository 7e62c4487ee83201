"""Every row of the shared data's tables and X files is read: as many as its README states."""

import pyarrow as pa
import pytest
from tests.fakes.one_reader import read_file

from mynah.posts.formats import FORMATS
from mynah.posts.readers import x_api

KNOWN = (*x_api.FORMATS, *FORMATS)


def num_posts(reading):
    return len(reading.posts) + sum(batch.num_rows for batch in reading.of(pa.RecordBatch))


@pytest.mark.parametrize(
    ("file", "format_name", "network", "num_rows"),
    [
        ("posts-hackernews/hacker_news_2015_2016.csv.gz", "delimited", "hackernews", 14_891),
        ("posts-tweets/us_senate_tweets_2015.csv.gz", "delimited", "x", 14_800),
        ("posts-tweets/trump_archive_condensed_2015.json.gz", "json", "x", 7_536),
        ("posts-tweets/twitter_ratio_realDonaldTrump.csv.gz", "delimited", "x", 3_232),
        ("posts-tweets/nepal_politicians_2024.csv.gz", "delimited", "x", 2_113),
        # 2,295 in the two sections together.
        ("posts-tweets/broad_twitter_corpus_a.v1.jsonl.gz", "x-api-v1.1", "x", 774),
        ("posts-tweets/broad_twitter_corpus_b.v1.jsonl.gz", "x-api-v1.1", "x", 1_521),
        ("native-formats/x-archive/smithjd/tweets.js.gz", "x-archive", "x", 1_758),
    ],
)
def test_a_file_gives_every_row(shared_data, file, format_name, network, num_rows):
    reading = read_file(shared_data / file, KNOWN)
    assert (reading.format, reading.report.network) == (format_name, network)
    assert num_posts(reading) == num_rows
    assert not reading.rejected
    assert reading.report.num_not_posts == 0


def test_a_part_of_the_reddit_set_gives_every_row(shared_data):
    # 478,486 rows in six parts; tests/integration/test_shared_posts.py reads them all.
    path = shared_data / "posts-reddit" / "reddit_top_2013.part05.csv.zst"
    reading = read_file(path, KNOWN)
    assert reading.report.network == "reddit"
    assert num_posts(reading) == 74_409
    assert not reading.rejected


def test_a_wrong_encoding_is_counted_and_loses_no_row(shared_data):
    path = shared_data / "posts-tweets" / "twitter_ratio_realDonaldTrump.csv.gz"
    # Rows whose punctuation is not UTF-8; they are read as Windows-1252.
    assert read_file(path, KNOWN).report.num_recoded_lines == 545


def test_replies_of_the_rumour_threads_point_at_what_they_answer(shared_data):
    path = shared_data / "threads" / "rumoureval2017_tweets.v1.jsonl.gz"
    reading = read_file(path, KNOWN)
    posts = reading.posts
    ids = {post.id for post in posts}
    assert (reading.format, len(posts), len(ids)) == ("x-api-v1.1", 3_646, 3_646)
    assert not reading.rejected
    # One source for each of the 228 threads that the README counts, and no reply without parent.
    num_roots = sum(post.reply_to is None for post in posts)
    num_orphans = sum(post.reply_to is not None and post.reply_to not in ids for post in posts)
    assert (num_roots, num_orphans) == (228, 0)
