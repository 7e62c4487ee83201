"""Hacker News: items of the API, pages and threads of Algolia, rows of BigQuery; all invented."""

import json
from datetime import UTC, datetime

import pytest

from mynah.posts.export_file import ExportFile
from mynah.posts.format import look_at
from mynah.posts.post import Post
from mynah.posts.reader import Deleted, ReadOptions, Rejected, SourceReport
from mynah.posts.readers import hacker_news

FORMAT = hacker_news.FORMATS[0]
TIME = datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)


@pytest.fixture
def read(tmp_path):
    def read_content(content):
        path = tmp_path / "a.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        file = ExportFile(path=path, name="a.json")
        assert FORMAT.sniff(look_at(file))
        report = SourceReport("a.json", FORMAT.name)
        return list(FORMAT.read(file, ReadOptions(), report)), report

    return read_content


def story(number=1, **fields):
    return {
        "by": "ada",
        "descendants": 2,
        "id": number,
        "kids": [2, 3],
        "score": 40,
        "time": 1_600_000_000,
        "title": "A bird that talks",
        "type": "story",
        "url": "https://example.com/",
        **fields,
    }


def comment(number=2, **fields):
    text = 'It&#x27;s <i>true</i>.<p>See <a href="https:&#x2F;&#x2F;example.com">it</a>'
    item = {"by": "bob", "id": number, "parent": 1, "text": text, "time": 1_600_000_000}
    return {**item, "type": "comment", **fields}


def test_a_story_and_a_comment(read):
    (first, second), report = read([story(), comment(kids=[5])])
    assert (first.id, first.author, first.text) == ("hackernews:1", "ada", "A bird that talks")
    assert (first.likes, first.replies, first.kind) == (40, 2, "post")
    assert first.url == "https://news.ycombinator.com/item?id=1"
    assert first.created_at == TIME
    assert second.text.startswith("It's true.\n\nSee ")
    assert (second.reply_to, second.kind, second.replies) == ("hackernews:1", "reply", 1)
    assert report.network == "hackernews"


@pytest.mark.parametrize("layout", ["array", "lines", "object"])
def test_layouts(read, layout):
    items = [story(text="<p>more"), comment()]
    if layout == "object":
        assert [post.text for post in read(json.dumps(items[0], indent=2))[0]] == [
            "A bird that talks\n\nmore"
        ]
        return
    content = json.dumps(items) if layout == "array" else "\n".join(map(json.dumps, items))
    assert [post.id for post in read(content)[0]] == ["hackernews:1", "hackernews:2"]


def test_what_is_deleted_or_dead(read):
    items = [
        story(),
        {"deleted": True, "id": 4, "parent": 1, "time": 1, "type": "comment"},
        comment(5, dead=True),
        comment(6, text="[flagged]"),
    ]
    found, _ = read(items)
    assert found[1] == Deleted("hackernews:4")
    assert [post.visibility for post in found[2:]] == ["followers", "followers"]


def test_polls_and_their_options(read):
    poll = story(9, type="poll", parts=[10])
    option = {
        "by": "ada",
        "id": 10,
        "poll": 9,
        "score": 3,
        "text": "Yes",
        "time": 1,
        "type": "pollopt",
    }
    found, _ = read([poll, option])
    assert (found[1].reply_to, found[1].likes, found[1].text) == ("hackernews:9", 3, "Yes")


def test_an_account_is_no_post(read):
    found, report = read([story(), {"id": "ada", "created": 1, "karma": 5, "submitted": [1]}])
    assert [type(item) for item in found] == [Post]
    assert report.num_not_posts == 1


def hit(number, **fields):
    return {
        "objectID": str(number),
        "author": "ada",
        "created_at": "2020-09-13T12:26:40Z",
        "created_at_i": 1_600_000_000,
        "points": 3,
        "_tags": ["story", "author_ada"],
        **fields,
    }


@pytest.mark.parametrize("indent", [None, 1])
def test_a_page_of_algolia(read, indent):
    hits = [
        hit(1, title="A title", num_comments=4, story_text="<p>a &amp; b"),
        hit(2, comment_text="words", parent_id=1, story_id=1, story_title="A title", points=None),
    ]
    hits += [hit(n, title="x" * 100, num_comments=0) for n in range(3, 300)]
    page = {"exhaustive": {"nbHits": True}, "hits": hits, "nbHits": 2, "query": "bird"}
    found, _ = read(json.dumps(page, indent=indent))
    assert len(found) == 299
    assert (found[0].text, found[0].likes, found[0].replies) == ("A title\n\na & b", 3, 4)
    assert (found[1].text, found[1].reply_to, found[1].likes) == ("words", "hackernews:1", 0)
    assert found[0].created_at == TIME


def test_a_thread_of_algolia_however_deep(read):
    def node(number, **fields):
        item = {"id": number, "created_at_i": 1_600_000_000, "author": "ada", "points": None}
        return {**item, "parent_id": number - 1, "story_id": 1, "text": f"<p>n {number}", **fields}

    thread = node(200, children=[])
    for number in range(199, 1, -1):
        thread = node(number, children=[thread])
    gone = node(300, author=None, text=None, children=[], parent_id=1)
    top = node(1, parent_id=None, title="A title", text=None, points=9, type="story")
    found, _ = read({**top, "children": [thread, gone], "options": []})
    assert [item.id for item in found] == [f"hackernews:{n}" for n in [*range(1, 201), 300]]
    assert found[-1] == Deleted("hackernews:300")
    assert found[1].reply_to == "hackernews:1"
    assert found[0].replies == 2


def test_rows_of_bigquery(read):
    row = {
        "id": "7",
        "by": "ada",
        "time": "1600000000",
        "timestamp": "2020-09-13 12:26:40 UTC",
        "type": "story",
        "title": "A title",
        "text": None,
        "score": "5",
        "descendants": "3",
        "dead": None,
        "deleted": None,
        "parent": None,
    }
    (post, gone), _ = read(
        json.dumps(row) + "\n" + json.dumps({**row, "id": "8", "deleted": "true"})
    )
    assert (post.id, post.likes, post.replies, post.created_at) == ("hackernews:7", 5, 3, TIME)
    assert post.reply_to is None
    assert gone == Deleted("hackernews:8")


def test_a_broken_item_is_rejected_by_itself(read):
    items = [
        story(),
        story("one"),
        story(3, title=7),
        story(4, time="soon"),
        story(5, title="", text=""),
        story(6, by="\ud800"),
        story(7, score=[]),
        story(8, deleted="perhaps"),
        story(2**70),
    ]
    found, _ = read("\n".join(map(json.dumps, items)))
    assert isinstance(found[0], Post)
    assert [item.position for item in found[1:]] == list(range(2, 10))
    assert all(isinstance(item, Rejected) for item in found[1:])


@pytest.mark.parametrize(
    "content", ['{"hits": [{"objectID": "1", "name": "x"}]}', '{"id": 1, "type": "bird"}']
)
def test_other_json_is_not_taken_for_it(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_text(content)
    assert not FORMAT.sniff(look_at(ExportFile(path=path, name="a.json")))
