import json
from datetime import UTC, datetime

import pytest
from tests.fakes.one_reader import read_file

from mynah.posts.reader import Deleted, PrivatePost, Rejected
from mynah.posts.readers.x_api import FORMATS
from mynah.posts.readers.x_post import snowflake_time

SNOWFLAKE = 1578516295611748353
"""An id of 2022, far longer than a table's numbers hold."""


def status(number, **fields):
    return {
        "created_at": "Wed Oct 10 20:19:24 +0000 2018",
        "id": number,
        "id_str": str(number),
        "text": f"post {number} &amp; more",
        "user": {"id": 7, "id_str": "7", "screen_name": "ada", "protected": False},
        "entities": {"urls": []},
        "favorite_count": 3,
        "retweet_count": 1,
        "lang": "en",
        **fields,
    }


def page_post(number, **fields):
    return {
        "id": str(number),
        "text": f"post {number}",
        "edit_history_tweet_ids": [str(number)],
        **fields,
    }


@pytest.fixture
def read(tmp_path):
    def of(content, name="export.json", **options):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_file(path, FORMATS, **options)

    return of


def as_lines(*records):
    return "\n".join(json.dumps(record) for record in records) + "\n"


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    "shape",
    [
        lambda posts: posts,
        lambda posts: {"search_metadata": {"count": 2}, "statuses": posts},
        lambda posts: [{"event": "storm", "tweet": post} for post in posts],
    ],
    ids=["array", "search", "wrapped"],
)
def test_every_shape_of_v1_is_read(read, shape, indent):
    reading = read(json.dumps(shape([status(1), status(2)]), indent=indent))
    assert reading.format == "x-api-v1.1"
    assert [post.id for post in reading.posts] == ["x:1", "x:2"]
    assert not reading.rejected


def test_lines_of_posts_of_pages_and_of_notices_are_read(read):
    reading = read(
        as_lines(
            {
                "delete": {
                    "status": {"id": 9, "id_str": "9", "user_id": 7},
                    "timestamp_ms": "1000000000000",
                }
            },
            status(1),
            {"tweet": status(2), "thread": "1"},
            {"statuses": [status(3), status(4)]},
            {"scrub_geo": {"user_id": 7, "up_to_status_id": 3}},
            {"limit": {"track": 10}},
            {"status_withheld": {"id": 8, "withheld_in_countries": ["XY"]}},
            {"status_withheld": {"id": 8, "withheld_in_countries": ["DE"]}},
        )
    )
    assert list(reading.by_id) == ["1", "2", "3", "4"]
    assert reading.deleted == [Deleted("x:9", datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC))]
    assert reading.private == [PrivatePost("x:8")]
    assert reading.report.num_not_posts == 3
    assert not reading.rejected


def test_one_post_alone_is_read(read):
    (post,) = read(json.dumps(status(1), indent=2)).posts
    assert (post.author, post.likes, post.reposts, post.lang) == ("ada", 3, 1, "en")
    assert post.text == "post 1 &amp; more"
    assert post.url == "https://x.com/ada/status/1"
    assert post.created_at == datetime(2018, 10, 10, 20, 19, 24, tzinfo=UTC)
    assert (post.kind, post.visibility, post.may_train) == ("post", "public", True)


def test_accounts_give_their_last_post_under_their_name(read):
    bare = {key: value for key, value in status(5).items() if key != "user"}
    account = {"id": 7, "id_str": "7", "screen_name": "ada", "followers_count": 1}
    reading = read([{**account, "status": bare}, {**account, "id_str": "8"}])
    assert [(post.id, post.author) for post in reading.posts] == [("x:5", "ada")]
    assert reading.report.num_not_posts == 1


def test_a_repost_gives_the_original_too_and_so_does_a_quotation(read):
    quoted = status(3)
    original = status(2, quoted_status_id_str="3", quoted_status=quoted, user={"id_str": "8"})
    repost = status(1, text="RT @bob: post 2", retweeted_status=original)
    reading = read([repost])
    kinds = {post.id: (post.kind, post.repost_of, post.quote_of) for post in reading.posts}
    assert kinds == {
        "x:1": ("repost", "x:2", None),
        "x:2": ("quote", None, "x:3"),
        "x:3": ("post", None, None),
    }
    # An account without its handle is known by its number.
    assert reading.by_id["2"].author == "8"
    assert reading.by_id["2"].url == "https://x.com/i/status/2"


def test_a_repost_that_only_its_text_tells_is_one(read):
    (post,) = read([status(1, text="RT @bob: hello")]).posts
    assert (post.kind, post.repost_of) == ("repost", "bob")


def test_a_reply_points_at_what_it_answers(read):
    fields = {"in_reply_to_status_id": 1.0e17, "in_reply_to_status_id_str": "99999999999999998"}
    (post,) = read([status(1, **fields)]).posts
    assert (post.kind, post.reply_to) == ("reply", "x:99999999999999998")


def test_the_whole_text_is_taken_where_there_is_one(read):
    cut = status(1, truncated=True, extended_tweet={"full_text": "all of it"})
    extended = {**status(2), "full_text": "all of this"}
    del extended["text"]
    reading = read([cut, extended])
    assert [post.text for post in reading.posts] == ["all of it", "all of this"]


def test_ids_are_taken_from_text_where_numbers_are_rounded(read):
    (post,) = read([status(1, id=float(SNOWFLAKE), id_str=str(SNOWFLAKE))]).posts
    assert post.id == f"x:{SNOWFLAKE}"


def test_a_protected_account_is_for_followers(read):
    reading = read([status(1, user={"screen_name": "ada", "protected": True})])
    assert reading.posts[0].visibility == "followers"


def test_what_is_withheld_everywhere_keeps_its_words(read):
    reading = read(
        [
            status(1),
            status(2, withheld_in_countries=["XX"]),
            status(3, withheld_copyright=True),
            status(4, withheld_in_countries=["FR"]),
        ]
    )
    assert list(reading.by_id) == ["1", "4"]
    assert reading.private == [PrivatePost("x:2"), PrivatePost("x:3")]


def test_no_language_is_no_language(read):
    assert read([status(1, lang="und")]).posts[0].lang is None


def test_an_edited_post_takes_the_place_of_what_it_said_before(read):
    versions = [str(SNOWFLAKE), str(SNOWFLAKE + (90_000 << 22))]
    reading = read({"data": [page_post(versions[1], edit_history_tweet_ids=versions)]})
    (post,) = reading.posts
    assert post.edited_at == post.created_at == snowflake_time(versions[1])
    assert reading.deleted == [Deleted(f"x:{versions[0]}", post.edited_at)]


def test_an_id_holds_its_time():
    assert snowflake_time("1578516295611748353").replace(microsecond=0) == datetime(
        2022, 10, 7, 22, 43, 6, tzinfo=UTC
    )
    assert snowflake_time("20") is None


def test_a_page_of_v2_gives_what_it_includes(read):
    page = {
        "data": [
            page_post(
                10,
                author_id="7",
                text="RT @bob: post 11",
                created_at="2022-10-07T22:42:12.000Z",
                lang="en",
                referenced_tweets=[{"type": "retweeted", "id": "11"}],
                public_metrics={"like_count": 5, "retweet_count": 2, "reply_count": 1},
            ),
            page_post(12, author_id="9", referenced_tweets=[{"type": "replied_to", "id": "10"}]),
            page_post(13, author_id="5", referenced_tweets=[{"type": "quoted", "id": "11"}]),
        ],
        "includes": {
            "users": [
                {"id": "7", "name": "A", "username": "ada"},
                {"id": "8", "name": "B", "username": "bob"},
                {"id": "9", "name": "C", "username": "cyd", "protected": True},
            ],
            "tweets": [page_post(11, author_id="8", note_tweet={"text": "all of post 11"})],
        },
        "errors": [
            {
                "title": "Not Found Error",
                "resource_type": "tweet",
                "resource_id": "14",
                "type": "https://api.twitter.com/2/problems/resource-not-found",
            },
            {
                "title": "Authorization Error",
                "resource_type": "tweet",
                "value": "15",
                "type": "https://api.twitter.com/2/problems/not-authorized-for-resource",
            },
            {"title": "Forbidden", "resource_type": "user", "detail": "suspended"},
        ],
        "meta": {"result_count": 3},
    }
    reading = read(page)
    assert reading.format == "x-api-v2"
    posts = reading.by_id
    assert (posts["10"].author, posts["10"].kind, posts["10"].repost_of) == (
        "ada",
        "repost",
        "x:11",
    )
    assert (posts["10"].likes, posts["10"].reposts, posts["10"].replies) == (5, 2, 1)
    assert (posts["11"].author, posts["11"].text) == ("bob", "all of post 11")
    assert (posts["12"].reply_to, posts["12"].visibility) == ("x:10", "followers")
    assert (posts["13"].quote_of, posts["13"].kind, posts["13"].author) == ("x:11", "quote", "5")
    assert reading.deleted == [Deleted("x:14")]
    assert reading.private == [PrivatePost("x:15")]
    assert reading.report.num_not_posts == 1


@pytest.mark.parametrize("num_posts", [1, 400], ids=["short", "longer than the head"])
def test_lines_of_pages_and_of_posts_of_v2_are_read(read, num_posts):
    posts = [page_post(SNOWFLAKE + n, text="words " * 40) for n in range(num_posts)]
    page = {"data": posts, "meta": {"result_count": num_posts}}
    streamed = {"data": page_post(SNOWFLAKE - 1), "matching_rules": [{"id": "1"}]}
    flat = page_post(
        SNOWFLAKE - 2,
        author={"id": "7", "username": "ada"},
        referenced_tweets=[{"type": "quoted", **page_post(SNOWFLAKE - 3)}],
    )
    reading = read(as_lines(page, streamed, flat), name="pages.jsonl")
    assert reading.format == "x-api-v2"
    assert len(reading.posts) == num_posts + 3
    assert not reading.rejected
    assert read(as_lines(*reversed([page, streamed, flat]))).format == "x-api-v2"


def test_accounts_of_v2_give_their_pinned_post(read):
    page = {
        "data": [{"id": "7", "name": "A", "username": "ada", "pinned_tweet_id": "1"}],
        "includes": {"tweets": [page_post(1, author_id="7")]},
    }
    reading = read(page)
    assert [(post.author, post.id) for post in reading.posts] == [("ada", "x:1")]
    assert reading.report.num_not_posts == 1


def test_deletions_of_a_stream_of_v2_are_read(read):
    notice = {
        "data": {
            "tweet_delete": {
                "tweet": {"id": "5", "author_id": "7"},
                "event_at": "2022-10-07T22:42:12Z",
            }
        }
    }
    reading = read(as_lines(notice, {"data": page_post(6)}))
    assert reading.deleted == [Deleted("x:5", datetime(2022, 10, 7, 22, 42, 12, tzinfo=UTC))]
    assert list(reading.by_id) == ["6"]


def test_a_page_without_anything_found_is_a_page(read):
    assert read({"meta": {"result_count": 0}, "data": []}).posts == []


def test_posts_without_a_time_have_that_of_their_id(read):
    (post,) = read({"data": page_post(SNOWFLAKE)}).posts
    assert post.created_at == snowflake_time(str(SNOWFLAKE))


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"id_str": "", "id": None}, "there is no id"),
        ({"id_str": "abc"}, "the id is missing or no number"),
        ({"text": None}, "there is no text"),
        ({"text": "half \ud83d"}, "the text holds half a surrogate pair"),
        ({"created_at": "yesterday"}, "the time is not in a form that is known"),
        ({"favorite_count": "many"}, "a count is not a number"),
    ],
)
def test_a_broken_post_is_rejected_by_itself(read, broken, reason):
    reading = read([status(1), {**status(2), **broken}, status(3)])
    assert list(reading.by_id) == ["1", "3"]
    assert reading.rejected == [Rejected("export.json", 2, reason)]


def test_a_broken_post_within_a_page_leaves_the_others(read):
    page = {"data": [page_post(1), {"id": "2"}, 7, page_post(3)], "meta": {}}
    reading = read(page)
    assert list(reading.by_id) == ["1", "3"]
    assert [row.reason for row in reading.rejected] == [
        "there is no text",
        "the record is not a JSON object",
    ]


def test_a_broken_line_leaves_the_others(read):
    lines = as_lines(status(1), status(2), status(3)).splitlines()
    reading = read("\n".join([lines[0], lines[1][:40], lines[2]]))
    assert list(reading.by_id) == ["1", "3"]
    assert reading.rejected == [Rejected("export.json", 2, "the record is not JSON")]


@pytest.mark.parametrize(
    "row",
    [
        {key: value for key, value in status(1).items() if key not in ("user", "entities")},
        {"id": "1", "text": "hello", "author_id": "7"},
        {"id": "a", "text": "hello", "public_metrics": {}},
    ],
)
def test_a_few_of_its_fields_are_a_table(tmp_path, row):
    path = tmp_path / "table.json"
    path.write_text(json.dumps([row]))
    with pytest.raises(StopIteration):
        read_file(path, FORMATS)


def test_the_network_can_be_named(read):
    assert read([status(1)], network="old").posts[0].id == "old:1"


@pytest.mark.parametrize(
    ("file", "num_data", "num_embedded"),
    [
        ("x-api-v1.1/dogsheep_tweets.json", 3, 2),  # one repost and one quotation, whole
        ("x-api-v1.1/tweepy_testsearchtweets_0.json", 15, 6),  # six reposts
        ("x-api-v1.1/tweepy_testsearchusers_0.json", 20, 6),  # accounts; two of the posts embed
        ("x-api-v1.1/tweepy_testusertimeline_0.json", 4, 0),
        ("x-api-v1.1/tweepy_testusertimeline_1.json", 20, 0),
        ("x-api-v2/tweepy_test_asyncclient_get_list_tweets_0.json", 97, 0),
        ("x-api-v2/tweepy_test_client_get_home_timeline_0.json", 98, 0),
        ("x-api-v2/tweepy_test_client_get_tweet_0.json", 1, 0),
        ("x-api-v2/tweepy_test_client_get_tweets_0.json", 2, 0),
        ("x-api-v2/tweepy_test_client_get_users_mentions_0.json", 10, 0),
        ("x-api-v2/tweepy_test_client_search_recent_tweets_0.json", 10, 0),
    ],
)
def test_recorded_responses_are_read_whole(shared_data, file, num_data, num_embedded):
    reading = read_file(shared_data / "native-formats" / file, FORMATS)
    assert reading.format == file.partition("/")[0]
    assert len(reading.posts) == num_data + num_embedded
    assert not reading.rejected
    assert all(post.created_at for post in reading.posts)


def test_the_edited_post_of_a_recorded_timeline_is_known(shared_data):
    path = shared_data / "native-formats/x-api-v2/tweepy_test_client_get_home_timeline_0.json"
    reading = read_file(path, FORMATS)
    assert sum(post.edited_at is not None for post in reading.posts) == 1
    assert len(reading.deleted) == 2  # it was edited twice
