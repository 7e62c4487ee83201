"""Slack exports: invented days of a channel, and the shared real export."""

import json
import zipfile
from collections import Counter
from datetime import UTC, datetime

import pytest
from tests.fakes.one_reader import read_file

from mynah.posts.export_file import ExportFile
from mynah.posts.format import look_at
from mynah.posts.post import Post
from mynah.posts.reader import ReadOptions, Rejected, SourceReport
from mynah.posts.readers.slack import FORMATS

(SLACK,) = FORMATS
USERS = [
    {"id": "U1", "name": "ada", "real_name": "A"},
    {"id": "U2", "name": "", "profile": {"display_name": "bob"}},
]


@pytest.fixture
def day(tmp_path):
    """Write the messages of one day of a channel in a small export, and read them."""
    lists = {
        "users.json": USERS,
        "channels.json": [{"id": "C1", "name": "tea"}],
        "groups.json": [{"id": "G1", "name": "secret"}],
        "dms.json": [{"id": "D1", "members": ["U1", "U2"]}],
        "mpims.json": [{"id": "G2", "name": "mpdm-ada--bob-1"}],
    }
    for name, content in lists.items():
        (tmp_path / name).write_text(json.dumps(content))

    def read(*messages, channel="tea"):
        path = tmp_path / channel / "2024-01-02.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(list(messages)))
        return read_file(path, FORMATS)

    return read


def message(text="hello", ts="1704189600.000100", **fields):
    return {"type": "message", "user": "U1", "text": text, "ts": ts, **fields}


def test_a_message_is_a_post(day):
    reading = day(
        message(
            "well said",
            thread_ts="1704189000.000200",
            edited={"user": "U1", "ts": "1704189700.000000"},
            reactions=[{"name": "tea", "count": 2}, {"name": "heart", "count": 1}],
            reply_count=4,
        )
    )
    assert reading.posts == [
        Post(
            id="slack:C1/1704189600.000100",
            author="ada",
            created_at=datetime(2024, 1, 2, 10, 0, 0, 100, tzinfo=UTC),
            edited_at=datetime(2024, 1, 2, 10, 1, 40, tzinfo=UTC),
            text="well said",
            reply_to="slack:C1/1704189000.000200",
            likes=3,
            replies=4,
            kind="reply",
        )
    ]


def test_the_first_message_of_a_thread_answers_nothing(day):
    (post,) = day(message(thread_ts="1704189600.000100", reply_count=2)).posts
    assert (post.reply_to, post.kind) == (None, "post")


@pytest.mark.parametrize(
    ("channel", "visibility", "native"),
    [
        ("tea", "public", "C1"),
        ("secret", "followers", "G1"),
        ("D1", "direct", "D1"),
        ("mpdm-ada--bob-1", "direct", "G2"),
        ("unlisted", "followers", "unlisted"),
    ],
)
def test_who_may_see_a_channel_is_what_its_list_says(day, channel, visibility, native):
    (post,) = day(message(), channel=channel).posts
    assert post.visibility == visibility
    assert post.id.startswith(f"slack:{native}/")


def test_a_channel_that_two_lists_name_counts_as_the_stricter(day, tmp_path):
    (tmp_path / "groups.json").write_text(json.dumps([{"id": "G9", "name": "tea"}]))
    assert day(message()).posts[0].visibility == "followers"


def test_a_changed_list_of_users_is_read_again(day, tmp_path):
    assert day(message()).posts[0].author == "ada"
    (tmp_path / "users.json").write_text(json.dumps([{"id": "U1", "name": "renamed"}]))
    assert day(message()).posts[0].author == "renamed"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("<@U1> and <@U2|x> and <@U9>", "@ada and @bob and @U9"),
        ("<#C1|tea> <#C2>", "#tea #C2"),
        ("<!here> <!channel|@channel> <!subteam^S1|@team>", "@here @channel @team"),
        ("<!date^1704189600^{date}|2 January>", "2 January"),
        ("<https://ex.org/a?b=1&amp;c=2>", "https://ex.org/a?b=1&c=2"),
        ("<https://ex.org|the page> <http://ex.org|ex.org>", "the page http://ex.org"),
        ("<mailto:a@ex.org|a@ex.org>", "a@ex.org"),
        ("1 &lt; 2 &amp;&amp; 3 &gt; 2 &amp;lt;", "1 < 2 && 3 > 2 &lt;"),
        ("```a\n  b```", "```a\n  b```"),
    ],
)
def test_markup_is_what_a_reader_sees(day, written, shown):
    assert day(message(written)).posts[0].text == shown


def test_bots_speak_by_their_name_and_through_attachments(day):
    card = {"pretext": "New issue", "title": "Tea", "text": "<https://ex.org|It> is cold"}
    posts = day(
        {**message("up"), "subtype": "bot_message", "user": None, "username": "watcher"},
        {**message("", "1704189601.000100"), "bot_id": "B1", "user": None, "attachments": [card]},
    ).posts
    assert [(post.author, post.text) for post in posts] == [
        ("watcher", "up"),
        ("B1", "New issue\nTea\nIt is cold"),
    ]


def test_messages_of_blocks_alone_are_read(day):
    rich = {
        "type": "rich_text",
        "elements": [
            {
                "type": "rich_text_section",
                "elements": [
                    {"type": "text", "text": "hi "},
                    {"type": "user", "user_id": "U1"},
                    {"type": "emoji", "name": "tea", "unicode": "1f375"},
                    {"type": "link", "url": "https://ex.org"},
                ],
            },
            {
                "type": "rich_text_list",
                "elements": [
                    {"type": "rich_text_section", "elements": [{"type": "text", "text": "a"}]}
                ],
            },
            {"type": "rich_text_quote", "elements": [{"type": "text", "text": "b\nc"}]},
        ],
    }
    section = {"type": "section", "text": {"type": "mrkdwn", "text": "*d* <@U2>"}}
    (post,) = day(message("", blocks=[rich, section, {"type": "divider"}])).posts
    assert post.text == "hi @ada\U0001f375https://ex.org\n- a\n> b\n> c\n*d* @bob"


def test_notices_are_no_posts_and_the_deleted_are_said_to_be(day):
    reading = day(
        message("<@U1> has joined", subtype="channel_join"),
        message("<@U1> uploaded a file: <https://ex.org|a>", subtype="file_share", file={}),
        message("", files=[{"name": "a.png"}]),
        message("see the file", "1704189602.000100", files=[{}], subtype="file_share"),
        message("This message was deleted.", "1704189603.000100", subtype="tombstone"),
        message("", "1704189604.000100", subtype="message_deleted", deleted_ts="1704189605.000100"),
    )
    assert [post.text for post in reading.posts] == ["see the file"]
    assert [gone.id for gone in reading.deleted] == [
        "slack:C1/1704189603.000100",
        "slack:C1/1704189605.000100",
    ]
    assert reading.report.num_not_posts == 3


def test_what_cannot_be_read_is_rejected_with_its_place(day):
    reading = day(
        message(), message(ts="yesterday"), message(7, ts="1704189601.000100"), message("\ud800")
    )
    assert [(r.position, r.reason) for r in reading.rejected] == [
        (2, "the ts is not a time of Slack"),
        (3, "the text is not a string"),
        (4, "the text holds half a surrogate pair"),
    ]


def test_other_lists_of_an_export_are_no_messages(tmp_path):
    for name, content in (("users.json", USERS), ("channels.json", [{"id": "C1", "name": "a"}])):
        path = tmp_path / name
        path.write_text(json.dumps(content))
        assert not SLACK.sniff(look_at(ExportFile(path=path, name=name)))
        assert name in SLACK.companions


def test_the_shared_export(shared_data):
    path = shared_data / "native-formats" / "slack" / "slack_export_viewer_testarchive.zip"
    kinds, num_not_posts, days = Counter(), 0, 0
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.endswith("/"):
                continue
            file = ExportFile(path=path, name=member, archive=archive, member=member)
            if not SLACK.sniff(look_at(file)):
                assert member in SLACK.companions
                continue
            days += 1
            report = SourceReport(member, "slack")
            found = list(SLACK.read(file, ReadOptions(), report))
            kinds.update(type(one) for one in found)
            num_not_posts += report.num_not_posts
            assert all(one.visibility == "public" and one.author for one in found)
    # 158 messages: 94 of bots and 49 of people; 8 joins, 3 bots added, 3 files and a comment on
    # one, whose text is Slack's, are no posts.
    assert (days, kinds[Post], num_not_posts, kinds[Rejected]) == (17, 143, 15, 0)
