"""Zulip: exports, pages of the API and archives; invented, and the shared real archive."""

import json
from datetime import UTC, datetime

import pytest
from tests.fakes.one_reader import read_file

from mynah.posts.post import Post
from mynah.posts.readers import zulip

FORMATS = zulip.FORMATS
QUOTE = (
    '<p><span class="user-mention silent" data-user-id="1">Ada</span> '
    '<a href="#narrow/channel/1-tea/topic/cups/near/42">ha scritto</a>:</p>\n'
    "<blockquote>\n<p>so</p>\n</blockquote>\n<p>yes</p>"
)
REALM = {
    "zerver_userprofile": [{"id": 1, "full_name": "Ada"}, {"id": 2, "full_name": "Bob"}],
    "zerver_userprofile_crossrealm": [{"id": 9, "email": "bot@ex.org"}],
    "zerver_stream": [
        {"id": 10, "name": "tea", "invite_only": False},
        {"id": 11, "name": "secret", "invite_only": True},
    ],
    "zerver_recipient": [
        {"id": 100, "type": 2, "type_id": 10},
        {"id": 101, "type": 2, "type_id": 11},
        {"id": 102, "type": 1, "type_id": 1},
    ],
    "zerver_reaction": [{"message": 5}, {"message": 5}],
}


def line(number, content="<p>hello</p>", **fields):
    return {
        "id": number,
        "stream": "tea",
        "topic": "cups",
        "sender_full_name": "Ada",
        "timestamp": 1704189600,
        "content": content,
        **fields,
    }


@pytest.fixture
def read(tmp_path):
    def read_content(content, name="a.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_file(path, FORMATS)

    return read_content


@pytest.mark.parametrize("is_array", [True, False])
def test_an_archive_of_public_channels(read, is_array):
    rows = [
        line(5),
        line(6, topic="other"),
        line(7, "<p>a<br>\nb</p>", topic="\u2714 cups"),
        line(8, QUOTE),
        line(9, stream="milk"),
        line(10, '<div class="message_inline_image"><a href="a.png"></a></div>'),
    ]
    reading = read(rows if is_array else "\n".join(map(json.dumps, rows)))
    assert reading.format == "zulip-archive"
    assert reading.posts[0] == Post(
        id="zulip:5",
        author="Ada",
        created_at=datetime(2024, 1, 2, 10, tzinfo=UTC),
        text="hello",
    )
    # A quote answers what it quotes; else the first message of the topic, resolved or not, of
    # the same channel.
    assert [(post.id, post.reply_to) for post in reading.posts[1:]] == [
        ("zulip:6", None),
        ("zulip:7", "zulip:5"),
        ("zulip:8", "zulip:42"),
        ("zulip:9", None),
    ]
    assert reading.posts[2].text == "a\nb"
    assert reading.posts[3].text == "Ada ha scritto:\n\n> so\n\nyes"
    assert reading.report.num_not_posts == 1


def exported(number, recipient, **fields):
    return {
        "id": number,
        "sender": 1,
        "recipient": recipient,
        "subject": "cups",
        "content": "**hello**",
        "rendered_content": "<p><strong>hello</strong></p>",
        "date_sent": 1704189600.25,
        "last_edit_time": None,
        **fields,
    }


def test_an_export_with_its_realm(read, tmp_path):
    (tmp_path / "realm.json").write_text(json.dumps(REALM))
    reading = read(
        {
            "zerver_message": [
                exported(5, 100, last_edit_time=1704189700),
                exported(6, 101, sender=2),
                exported(7, 102, subject=""),
                exported(8, 999, sender=9, rendered_content=None),
            ],
            "zerver_usermessage": [{"id": 1}],
        },
        "messages-000001.json",
    )
    assert reading.format == "zulip-export"
    assert reading.posts[0] == Post(
        id="zulip:5",
        author="Ada",
        created_at=datetime(2024, 1, 2, 10, 0, 0, 250000, tzinfo=UTC),
        edited_at=datetime(2024, 1, 2, 10, 1, 40, tzinfo=UTC),
        text="hello",
        likes=2,
    )
    assert [(post.author, post.visibility, post.text) for post in reading.posts[1:]] == [
        ("Bob", "followers", "hello"),
        ("Ada", "direct", "hello"),
        ("bot@ex.org", "direct", "**hello**"),
    ]


def test_topics_go_on_from_one_message_file_to_the_next(read, tmp_path):
    (tmp_path / "realm.json").write_text(json.dumps(REALM))
    names = [f"messages-00000{number}.json" for number in (1, 2, 3)]
    for number, name in enumerate(names):
        (tmp_path / name).write_text(json.dumps({"zerver_message": [exported(20 + number, 100)]}))

    def parents(name):
        return [post.reply_to for post in read_file(tmp_path / name, FORMATS).posts]

    in_order = [parents(name) for name in names]
    assert in_order == [[None], ["zulip:20"], ["zulip:20"]]
    # The last alone, and again: the same answer.
    assert [parents(names[2]), parents(names[1]), parents(names[2])] == [in_order[2], *in_order[1:]]


def test_an_export_without_its_realm_is_taken_for_private(read):
    reading = read({"zerver_message": [exported(5, 100)]}, "messages-000001.json")
    assert [(post.author, post.visibility) for post in reading.posts] == [("1", "direct")]


def fetched(number, **fields):
    return {
        "id": number,
        "type": "stream",
        "stream_id": 10,
        "display_recipient": "tea",
        "subject": "cups",
        "sender_full_name": "Ada",
        "content": "<p>hello</p>",
        "content_type": "text/html",
        "timestamp": 1704189600,
        "reactions": [{}, {}],
        **fields,
    }


def page(*messages):
    return {"result": "success", "msg": "", "found_newest": True, "messages": list(messages)}


def test_a_page_of_the_api_with_the_list_of_channels_beside_it(read, tmp_path):
    streams = [
        {"stream_id": 10, "name": "tea", "invite_only": False},
        {"stream_id": 11, "name": "secret", "invite_only": True},
    ]
    (tmp_path / "streams.json").write_text(json.dumps({"streams": streams}))
    people = [{"id": 1, "full_name": "Ada"}, {"id": 2, "full_name": "Bob"}]
    reading = read(
        page(
            fetched(5, last_edit_timestamp=1704189700),
            fetched(6, stream_id=11, display_recipient="secret"),
            fetched(7, type="private", display_recipient=people, subject=""),
            fetched(8, content="**a** < b", content_type="text/x-markdown"),
        )
    )
    assert reading.format == "zulip-api"
    assert [(p.visibility, p.text, p.reply_to, p.likes) for p in reading.posts] == [
        ("public", "hello", None, 2),
        ("followers", "hello", None, 2),
        ("direct", "hello", None, 2),
        ("public", "**a** < b", "zulip:5", 2),
    ]
    assert reading.posts[0].edited_at == datetime(2024, 1, 2, 10, 1, 40, tzinfo=UTC)


def test_a_page_of_the_api_alone_is_taken_for_private(read):
    assert [post.visibility for post in read(page(fetched(5))).posts] == ["followers"]


def test_messages_without_id_or_text_are_rejected(read):
    rows = [line(5), line(None), line(6, 7), line(7, "\ud800")]
    reading = read("\n".join(map(json.dumps, rows)))
    assert [(r.position, r.reason) for r in reading.rejected] == [
        (2, "the message has no id"),
        (3, "the text is not a string"),
        (4, "the text holds half a surrogate pair"),
    ]
