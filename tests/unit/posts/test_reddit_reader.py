"""Reddit: what its API returned and what Pushshift kept; invented, and the shared real files."""

import json
from collections import Counter
from datetime import UTC, datetime

import pytest

from mynah.errors import DataError
from mynah.posts.export_file import ExportFile
from mynah.posts.format import look_at
from mynah.posts.post import Post
from mynah.posts.reader import Deleted, ReadOptions, Rejected, SourceReport
from mynah.posts.readers import reddit_api, reddit_pushshift

FORMATS = (*reddit_api.FORMATS, *reddit_pushshift.FORMATS)


def read_path(path, **options):
    """Read a file as its content says; return the format, all that is found, and the report."""
    file = ExportFile(path=path, name=path.name)
    head = look_at(file)
    fits = [format_ for format_ in FORMATS if format_.sniff(head)]
    assert len(fits) == 1, f"{path.name} fits {[f.name for f in fits]}"
    report = SourceReport(path.name, fits[0].name)
    found = list(fits[0].read(file, ReadOptions(**options), report))
    return fits[0].name, found, report


@pytest.fixture
def read(tmp_path):
    def read_content(content, **options):
        path = tmp_path / "a.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_path(path, **options)[1:]

    return read_content


def comment(name="c1", replies="", **fields):
    data = {
        "id": name,
        "name": f"t1_{name}",
        "author": "ada",
        "body": f"words of {name}",
        "created_utc": 1_600_000_000.0,
        "edited": False,
        "link_id": "t3_s1",
        "parent_id": "t3_s1",
        "score": 7,
        "subreddit": "birds",
        "replies": replies,
        **fields,
    }
    return {"kind": "t1", "data": data}


def submission(name="s1", **fields):
    data = {
        "id": name,
        "name": f"t3_{name}",
        "author": "bob",
        "title": "A title",
        "selftext": "",
        "created_utc": 1_600_000_000.0,
        "num_comments": 3,
        "permalink": f"/r/birds/comments/{name}/a_title/",
        "score": 12,
        "subreddit": "birds",
        "subreddit_type": "public",
        **fields,
    }
    return {"kind": "t3", "data": data}


def listing(*children):
    return {"kind": "Listing", "data": {"children": list(children), "after": None}}


def more(*names):
    return {"kind": "more", "data": {"count": len(names), "children": list(names)}}


def bare(thing, **fields):
    """An object as Pushshift has it, without the API's envelope."""
    return {key: value for key, value in thing["data"].items() if key != "replies"} | fields


# The API


def test_a_thread_is_read_from_the_top_down(read):
    answer = comment("c2", parent_id="t1_c1")
    forest = [listing(submission()), listing(comment(replies=listing(answer)), comment("c3"))]
    found, report = read(forest)
    assert [post.id for post in found] == [
        f"reddit:{n}" for n in ("t3_s1", "t1_c1", "t1_c2", "t1_c3")
    ]
    assert [post.reply_to for post in found] == [
        None,
        "reddit:t3_s1",
        "reddit:t1_c1",
        "reddit:t3_s1",
    ]
    assert [post.kind for post in found] == ["post", "reply", "reply", "reply"]
    assert [post.likes for post in found] == [12, 7, 7, 7]
    assert [post.replies for post in found] == [3, 0, 0, 0]
    assert found[0].text == "A title"
    assert found[0].url == "https://www.reddit.com/r/birds/comments/s1/a_title/"
    assert found[1].url == "https://www.reddit.com/r/birds/comments/s1/_/c1/"
    assert found[0].created_at == datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)
    assert report.network == "reddit"


def test_the_words_of_the_api_are_unescaped_once(read):
    found, _ = read(listing(submission(selftext="&gt; 1 &lt; 2 &amp;amp; so on"), submission("s2")))
    assert found[0].text == "A title\n\n> 1 < 2 &amp; so on"


@pytest.mark.parametrize("body", ["[deleted]", "[removed]", "[ Removed by Reddit ]"])
def test_a_deleted_comment_is_gone_and_its_answers_stay(read, body):
    gone = comment(body=body, author="[deleted]", replies=listing(comment("c2")))
    found, _ = read(listing(gone, comment("c3")))
    assert found[0] == Deleted("reddit:t1_c1")
    assert [post.id for post in found[1:]] == ["reddit:t1_c2", "reddit:t1_c3"]


def test_of_a_deleted_author_the_words_stay(read):
    found, _ = read(listing(comment(author="[deleted]"), comment("c2", author=None)))
    assert [post.author for post in found] == ["", ""]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"removed_by_category": "deleted"}, Deleted),
        ({"selftext": "[removed]"}, Deleted),
        ({"title": "[deleted by user]"}, Deleted),
        ({"removed_by_category": "moderator"}, "unlisted"),
        ({"removed_by_category": None}, "public"),
        ({"subreddit_type": "restricted"}, "public"),
        ({"subreddit_type": "private"}, "followers"),
        ({"subreddit_type": "something new"}, "followers"),
        ({"quarantine": True}, "followers"),
        ({"over_18": True}, "public"),
    ],
)
def test_who_may_see_a_submission(read, fields, expected):
    found, _ = read(listing(submission(**fields), submission("s2")))
    seen = type(found[0]) if expected is Deleted else found[0].visibility
    assert seen == expected


@pytest.mark.parametrize("edited", [False, True, 1_600_000_100, 1_600_000_100.0])
def test_edits(read, edited):
    found, _ = read(listing(comment(edited=edited)))
    time = None if isinstance(edited, bool) else datetime(2020, 9, 13, 12, 28, 20, tzinfo=UTC)
    assert found[0].edited_at == time


def test_what_a_response_leaves_out_is_said_once(read):
    found, report = read(listing(comment(replies=listing(more("c8", "c9"))), more("c7"), more()))
    assert [type(item) for item in found] == [Post, Rejected]
    assert found[1].position == 0
    assert "left comments out" in found[1].reason
    assert report.num_not_posts == 3


def test_more_children(read):
    things = [comment(), comment("c2", parent_id="t1_c1"), more("c3")]
    found, _ = read({"json": {"errors": [], "data": {"things": things}}})
    assert [post.id for post in found[:2]] == ["reddit:t1_c1", "reddit:t1_c2"]


def test_a_crosspost_quotes(read):
    found, _ = read(listing(submission(crosspost_parent="t3_s0")))
    assert (found[0].quote_of, found[0].kind) == ("reddit:t3_s0", "quote")


def test_other_things_are_no_posts(read):
    message = {"kind": "t4", "data": {"id": "m1", "body": "between two"}}
    found, report = read(listing(message, comment()))
    assert [post.id for post in found] == ["reddit:t1_c1"]
    assert report.num_not_posts == 1


def test_a_broken_thing_is_rejected_by_itself(read):
    found, _ = read(
        listing(
            comment(),
            comment("c2", body=7),
            comment("c3", created_utc="soon"),
            comment("C!"),
            comment("c5", body="\ud800"),
            {"kind": "t1", "data": []},
            comment("c7", score="1e400"),
        )
    )
    assert [item.position for item in found[1:]] == [2, 3, 4, 5, 6, 7]
    assert all(isinstance(item, Rejected) for item in found[1:])


@pytest.mark.parametrize("indent", [None, 1])
def test_pages_in_one_file(read, indent):
    """Lines over 64 KiB, too: their first bytes alone do not show that there are more."""
    page = listing(*(comment(f"c{n}", author_flair_text="x" * 1000) for n in range(100)))
    assert len(read(json.dumps([page, page], indent=indent))[0]) == 200
    assert len(read(json.dumps(page, indent=indent))[0]) == 100
    assert len(read(json.dumps(page) + "\n" + json.dumps(page))[0]) == 200


def test_replies_deeper_than_anyone_writes(tmp_path):
    listed = '{"kind":"Listing","data":{"children":['
    inside = '{"kind":"t1","data":{"id":"c1","body":"word","replies":' + listed
    one = listed + inside * 10_000 + "]}}}}" * 10_000 + "]}}"
    path = tmp_path / "a.json"
    reader = reddit_api.FORMATS[0].read
    path.write_text(one + "\n" + json.dumps(listing(comment())))
    file = ExportFile(path=path, name="a.json")
    found = list(reader(file, ReadOptions(), SourceReport("a.json", "")))
    assert [type(item) for item in found] == [Rejected, Post]
    path.write_text(one.replace("[", "[\n", 1))
    with pytest.raises(DataError):
        list(reader(file, ReadOptions(), SourceReport("a.json", "")))


# Pushshift


def test_a_dump_of_comments_and_submissions(read):
    lines = [
        bare(comment(), retrieved_on="1600000500"),
        bare(submission(selftext="more"), created_utc="1600000000", retrieved_on=1_600_000_600),
    ]
    found, _ = read("\n".join(map(json.dumps, lines)))
    assert [post.id for post in found] == ["reddit:t1_c1", "reddit:t3_s1"]
    assert found[1].text == "A title\n\nmore"
    assert [post.created_at for post in found] == [
        datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)
    ] * 2
    assert [post.seen_at.minute for post in found] == [35, 36]


def test_the_api_and_pushshift_agree(read):
    things = [submission(), comment(), comment("c2", parent_id="t1_c1")]
    from_api, _ = read(listing(*things))
    from_dump, _ = read([bare(thing) for thing in things])
    assert from_api == from_dump


@pytest.mark.parametrize(
    ("parent", "reply_to"),
    [
        ("t1_c1", "t1_c1"),
        ("t3_s1", "t3_s1"),
        (int("c1", 36), "t1_c1"),
        (int("s1", 36), "t3_s1"),
        (None, "t3_s1"),
        ("", "t3_s1"),
        (-4, "t3_s1"),
        (True, "t3_s1"),
        ([], "t3_s1"),
    ],
)
def test_parents_as_dumps_have_them(read, parent, reply_to):
    found, _ = read(json.dumps(bare(comment("c9"), parent_id=parent)) + "\n")
    assert found[0].reply_to == f"reddit:{reply_to}"


def test_when_a_copy_was_made_is_the_later_of_its_times(read):
    times = {
        "retrieved_utc": 1_600_000_100,
        "updated_utc": 1_600_000_900,
        "edited_on": 1_600_000_050,
    }
    found, _ = read(json.dumps(bare(comment(), **times, edited=True)))
    assert found[0].seen_at == datetime(2020, 9, 13, 12, 41, 40, tzinfo=UTC)
    assert found[0].edited_at == datetime(2020, 9, 13, 12, 27, 30, tzinfo=UTC)


def test_a_copy_of_what_was_deleted_says_when(read):
    found, _ = read(json.dumps(bare(comment(body="[removed]"), retrieved_on=1_600_000_000)))
    assert found == [Deleted("reddit:t1_c1", datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC))]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_response_of_pushshift(read, indent):
    data = [bare(comment(f"c{n}")) for n in range(500)] + [7, {"subreddit": "birds"}]
    found, _ = read(json.dumps({"data": data, "metadata": {"x": [1, 2]}}, indent=indent))
    assert Counter(type(item) for item in found) == {Post: 500, Rejected: 2}
    assert [item.position for item in found[-2:]] == [501, 502]


def test_a_missing_author_and_a_broken_line(read):
    no_author = bare(comment())
    del no_author["author"]
    found, _ = read(json.dumps(no_author) + "\n{\n" + json.dumps(bare(comment("c2"))))
    assert [type(item) for item in found] == [Post, Rejected, Post]
    assert found[0].author == ""
    assert found[1].position == 2


# The shared real data

# What each file gives: posts, deletions, rejections, `more` and other things that are no posts.
# The one rejection of a thread says that Reddit left comments out of it.
SHARED = {
    "reddit-api/TestCommentForest.test_replace__all_large_0.json.gz": (476, 10, 1, 177),
    "reddit-api/TestCommentForest.test_replace__all_large_1.json": (18, 1, 1, 7),
    "reddit-api/TestCommentForest.test_replace__all_large_2.json": (18, 0, 1, 3),
    "reddit-api/TestCommentForest.test_replace__all_large_3.json": (19, 0, 1, 3),
    "reddit-api/TestCommentForest.test_replace__all_large_4.json": (18, 0, 1, 2),
    "reddit-api/TestCommentForest.test_replace__all_large_5.json": (17, 0, 1, 1),
    "reddit-api/TestSubredditStreams.test_comments_0.json": (100, 0, 0, 0),
    "reddit-api/TestSubredditStreams.test_comments_1.json": (99, 0, 0, 0),
    "reddit-api/TestSubredditStreams.test_comments_2.json": (98, 0, 0, 0),
    "reddit-api/TestSubredditStreams.test_comments_3.json": (31, 0, 0, 0),
    "reddit-api/TestSubredditStreams.test_comments_4.json": (97, 0, 0, 0),
    "reddit-api/TestSubredditStreams.test_comments_5.json": (96, 0, 0, 0),
    # 869 comments and 624 submissions; of the latter their authors took 20 back.
    "reddit-pushshift/test_comment_search_query.ndjson.gz": (869, 0, 0, 0),
    "reddit-pushshift/test_comment_search_query_0.json": (100, 0, 0, 0),
    "reddit-pushshift/test_submission_search_query.ndjson.gz": (604, 20, 0, 0),
    "reddit-pushshift/test_submission_search_query_0.json.gz": (98, 2, 0, 0),
}


@pytest.mark.parametrize("name", SHARED)
def test_shared_files_give_their_counts(shared_data, name):
    format_, found, report = read_path(shared_data / "native-formats" / name)
    kinds = Counter(type(item) for item in found)
    counts = (kinds[Post], kinds[Deleted], kinds[Rejected], report.num_not_posts)
    assert (format_, *counts) == (name.partition("/")[0], *SHARED[name])


def test_every_shared_file_is_accounted_for(shared_data):
    folders = [shared_data / "native-formats" / name for name in ("reddit-api", "reddit-pushshift")]
    names = {f"{folder.name}/{path.name}" for folder in folders for path in folder.iterdir()}
    assert names == set(SHARED)


def test_polls_of_one_listing_repeat_themselves(shared_data):
    """Different pages hold the same comment more than once, and all of them agree on it."""
    posts = {}
    for name in (name for name in SHARED if name.startswith("reddit-api")):
        for post in read_path(shared_data / "native-formats" / name)[1]:
            if isinstance(post, Post):
                assert posts.setdefault(post.id, post) == post
    # 1,098 things with 805 different names, less the 11 that are deleted.
    assert len(posts) == 794


def test_shared_threads_hang_together(shared_data):
    _, found, _ = read_path(shared_data / "native-formats" / next(iter(SHARED)))
    ids = {item.id for item in found if not isinstance(item, Rejected)}
    assert all(post.reply_to in ids for post in found if isinstance(post, Post) and post.reply_to)


def test_shared_parents_are_of_the_same_thread(shared_data):
    name = "native-formats/reddit-pushshift/test_comment_search_query.ndjson.gz"
    _, found, _ = read_path(shared_data / name)
    kinds = Counter(post.reply_to.partition("_")[0] for post in found)
    assert kinds == {"reddit:t1": 666, "reddit:t3": 203}
