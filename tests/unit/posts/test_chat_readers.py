"""Discord, Telegram, WhatsApp and Messenger: invented chats, and the shared samples."""

import json
import zipfile
from datetime import UTC, datetime

import pytest
from tests.fakes.one_reader import read_file

from mynah.errors import DataError
from mynah.posts.export_file import ExportFile
from mynah.posts.post import Post
from mynah.posts.reader import ReadOptions, SourceReport
from mynah.posts.readers import discord, messenger, telegram, whatsapp

FORMATS = (*discord.FORMATS, *telegram.FORMATS, *whatsapp.FORMATS, *messenger.FORMATS)


@pytest.fixture
def read(tmp_path):
    def read_content(content, name="a.json", indent=1):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content, indent=indent)
        path.write_text(text, encoding="utf-8")
        return read_file(path, FORMATS)

    return read_content


def words_of(reading):
    return [(post.author, post.text) for post in reading.posts]


# Discord


def said(**fields):
    return {
        "id": "900",
        "type": "Default",
        "timestamp": "2024-01-02T10:00:00.5+02:00",
        "timestampEdited": None,
        "content": "hello",
        "author": {"id": "1", "name": "ada", "nickname": "A", "isBot": False},
        "embeds": [],
        "reactions": [],
        "mentions": [],
        **fields,
    }


def channel(*messages, kind="GuildTextChat", guild="7"):
    return {
        "guild": {"id": guild, "name": 'Tea "messages": ['},
        "channel": {"id": "8", "type": kind, "name": "general"},
        "messages": list(messages),
        "messageCount": len(messages),
    }


def test_a_discord_message_is_a_post(read):
    reading = read(
        channel(
            said(
                type="Reply",
                reference={"messageId": "899", "channelId": "8", "guildId": "7"},
                timestampEdited="2024-01-02T09:00:00+00:00",
                reactions=[{"emoji": {}, "count": 2}, {"emoji": {}, "count": 1}],
            )
        )
    )
    assert reading.format == "discord"
    assert reading.posts == [
        Post(
            id="discord:900",
            author="ada",
            created_at=datetime(2024, 1, 2, 8, 0, 0, 500000, tzinfo=UTC),
            edited_at=datetime(2024, 1, 2, 9, tzinfo=UTC),
            text="hello",
            reply_to="discord:899",
            likes=3,
            url="https://discord.com/channels/7/8/900",
            kind="reply",
        )
    ]


@pytest.mark.parametrize(
    ("kind", "visibility"),
    [
        ("GuildTextChat", "public"),
        ("GuildPublicThread", "public"),
        ("GuildPrivateThread", "followers"),
        ("DirectTextChat", "direct"),
        ("DirectGroupTextChat", "direct"),
        ("SomethingNew", "direct"),
        (None, "direct"),
    ],
)
def test_who_may_see_a_discord_channel(read, kind, visibility):
    (post,) = read(channel(said(), kind=kind)).posts
    assert post.visibility == visibility


def test_what_a_discord_message_says(read):
    card = {"title": "Tea", "description": "is ready", "fields": [{"name": "hot", "value": "yes"}]}
    reading = read(
        channel(
            said(content="<@!5> <:mug:123> <#9>", mentions=[{"id": "5", "name": "bob"}]),
            said(id="2", content="see https://ex.org", embeds=[card]),
            said(id="3", content="", embeds=[card]),
            said(id="4", content="", attachments=[{"fileName": "a.png"}]),
            said(id="5", type="GuildMemberJoin", content="Joined the server."),
            said(id="6", content="", forwardedMessage={"content": "from afar"}, reference={})
            | {"reference": {"messageId": "77", "channelId": "5"}},
            said(id="", content="no id"),
        )
    )
    assert [post.text for post in reading.posts] == [
        "@bob :mug: <#9>",
        "see https://ex.org",
        "Tea\nis ready\nhot\nyes",
        "from afar",
    ]
    assert (reading.posts[3].kind, reading.posts[3].repost_of) == ("repost", "discord:77")
    assert reading.report.num_not_posts == 2
    assert [(r.position, r.reason) for r in reading.rejected] == [(7, "the message has no id")]


# Telegram


def telegram_chat(*messages, kind="public_channel", number=55):
    return {"name": "Tea", "type": kind, "id": number, "messages": list(messages)}


def telegram_message(number, text="hello", **fields):
    return {
        "id": number,
        "type": "message",
        "date": "2024-01-02T10:00:00",
        "date_unixtime": "1704189600",
        "from": "Ada",
        "from_id": "user7",
        "text": text,
        **fields,
    }


def test_a_telegram_message_is_a_post(read):
    pieces = [
        "see ",
        {"type": "link", "text": "https://ex.org"},
        " ",
        {"type": "bold", "text": "!"},
    ]
    reading = read(
        telegram_chat(
            telegram_message(
                3,
                pieces,
                reply_to_message_id=2,
                edited_unixtime="1704189660",
                reactions=[{"type": "emoji", "count": 4, "emoji": "a"}, {"count": 1}],
            ),
            telegram_message(4, forwarded_from="Other channel"),
            telegram_message(5, "", photo="a.jpg"),
            {**telegram_message(6), "type": "service", "action": "pin_message"},
        )
    )
    first, second = reading.posts
    assert reading.format == "telegram"
    assert first == Post(
        id="telegram:55/3",
        author="Ada",
        created_at=datetime(2024, 1, 2, 10, tzinfo=UTC),
        edited_at=datetime(2024, 1, 2, 10, 1, tzinfo=UTC),
        text="see https://ex.org !",
        reply_to="telegram:55/2",
        likes=5,
        kind="reply",
    )
    assert (second.kind, second.repost_of) == ("repost", "Other channel")
    assert reading.report.num_not_posts == 2


TELEGRAM_KINDS = {
    "public_supergroup": "public",
    "public_channel": "public",
    "private_group": "followers",
    "private_supergroup": "followers",
    "private_channel": "followers",
    "personal_chat": "direct",
    "saved_messages": "direct",
    "bot_chat": "direct",
    "unheard_of": "direct",
}


@pytest.mark.parametrize("indent", [1, None])
def test_every_chat_of_a_telegram_account_keeps_its_own_visibility(read, indent):
    chats = [
        telegram_chat(telegram_message(1), kind=kind, number=number)
        for number, kind in enumerate(TELEGRAM_KINDS)
    ]
    account = {
        "about": "Here is the data you requested. Telegram",
        "contacts": {"about": "", "list": [{"first_name": "x", "user_id": 1}]},
        "chats": {"about": "", "list": chats},
        "left_chats": {"about": "", "list": [telegram_chat(telegram_message(1), number=99)]},
    }
    reading = read(account, indent=indent)
    found = {post.id: post.visibility for post in reading.posts}
    for number, visibility in enumerate(TELEGRAM_KINDS.values()):
        assert found[f"telegram:{number}/1"] == visibility
    assert reading.rejected == []


def test_a_broken_telegram_chat_never_lends_its_visibility_to_the_next(read):
    public = telegram_chat(telegram_message(1), telegram_message(2))
    private = telegram_chat(telegram_message(1, "between us"), kind="personal_chat", number=56)
    text = json.dumps({"about": "", "chats": {"list": [public, private]}}, indent=1)
    at = text.index('"id": 2,')
    cut = text[:at] + text[text.index('"name"', at) - 4 :]  # the list has no end
    reading = read(cut)
    assert [post.visibility for post in reading.posts if post.text == "between us"] == ["direct"]
    assert reading.rejected


# WhatsApp

US = "12/9/20, 11:55 PM - "


def test_a_whatsapp_chat_of_android(read):
    reading = read(
        f"{US}Messages and calls are end-to-end encrypted.\n"
        f'{US}Ada changed the subject to "a: b"\n'
        f"{US}Ada: first line\nsecond: line\n\n"
        f"{US}+1 555 0100: <Media omitted>\n"
        f"{US}Bob: IMG-1.jpg (file attached)\na caption\n"
        f"{US}Bob: This message was deleted\n"
        f"{US}Bob: as I said <This message was edited>\n"
        f"12/13/20, 1:05\u202fAM - Bob: later\n",
        "WhatsApp Chat with Tea.txt",
    )
    assert reading.format == "whatsapp"
    assert words_of(reading) == [
        ("Ada", "first line\nsecond: line"),
        ("Bob", "a caption"),
        ("Bob", "as I said"),
        ("Bob", "later"),
    ]
    assert {post.visibility for post in reading.posts} == {"direct"}
    assert reading.posts[0].created_at == datetime(2020, 12, 9, 23, 55, tzinfo=UTC)
    assert reading.posts[3].created_at == datetime(2020, 12, 13, 1, 5, tzinfo=UTC)
    assert [gone.id.rpartition("/")[2] for gone in reading.deleted] == ["20201209T235500-4"]
    assert reading.report.num_not_posts == 3


def test_a_whatsapp_chat_of_an_iphone(read):
    reading = read(
        "\u200e[31.12.20, 23:59:58] Tea: \u200eMessages and calls are end-to-end encrypted.\n"
        "[31.12.20, 23:59:59] Ada: hello\n"
        "\u200e[31.12.20, 23:59:59] Bob: \u200eimage omitted\n"
        "[01.01.21, 00:00:01] ~\u202fBob: bye \u200e<This message was edited>\n",
        "_chat.txt",
    )
    assert words_of(reading) == [("Ada", "hello"), ("Bob", "bye")]
    assert reading.posts[1].created_at == datetime(2021, 1, 1, 0, 0, 1, tzinfo=UTC)


def test_a_whatsapp_message_that_came_late_has_an_id_of_its_own(read):
    times = ("10:00", "10:01", "10:00")
    posts = read("".join(f"13/12/20, {time} - Ada: a\n" for time in times), "chat.txt").posts
    assert len({post.id for post in posts}) == 3


@pytest.mark.parametrize(
    "stamp",
    [
        "[31/12/20, 23:59:00] ",
        "[12/31/20, 11:59:00\u202fPM] ",
        "[2020-12-31, 23:59:00] ",
        "[31.12.20, 23:59:00] ",
        "31/12/2020, 23:59 - ",
        "31/12/2020 23:59 - ",
        "31/12/2020 \u00e0 23:59 - ",
        "31/12/20 11:59 p. m. - ",
        "31/12/20, 11:59 p.\u00a0m. - ",
        "31.12.2020 klo 23.59 - ",
        "31-12-2020 23:59 - ",
        "2020-12-31, 11:59 p.m. - ",
        "2020/12/31 \u4e0b\u534811:59 - ",
        "2020. 12. 31. \uc624\ud6c4 11:59 - ",
    ],
)
def test_whatsapp_dates_of_many_countries(read, stamp):
    (post,) = read(f"{stamp}Ada: hello\n", "chat.txt").posts
    assert post.created_at == datetime(2020, 12, 31, 23, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("dates", "first"),
    [
        (["1/2/20", "13/2/20"], (2, 1)),  # a day above 12 settles it
        (["1/2/20", "2/13/20"], (1, 2)),
        (["01/02/20", "01/03/20", "02/01/20"], (1, 2)),  # in order only month first
        (["05/01/20", "06/01/20", "01/02/20"], (1, 5)),  # in order only day first
        (["01/02/20"], (2, 1)),  # most countries
        (["1/2/20"], (1, 2)),  # the form of the United States
    ],
)
def test_day_and_month_are_told_from_the_whole_file(read, dates, first):
    posts = read("".join(f"{date}, 10:00 - Ada: hello\n" for date in dates), "chat.txt").posts
    assert (posts[0].created_at.month, posts[0].created_at.day) == first


def test_a_whatsapp_date_that_does_not_exist_is_rejected(read):
    reading = read("31/12/20, 10:00 - Ada: a\n31/02/20, 10:00 - Ada: b\n", "chat.txt")
    assert [post.text for post in reading.posts] == ["a"]
    assert [r.position for r in reading.rejected] == [2]


# Messenger


def broken(text):
    """Write text as Messenger does: each byte of UTF-8 as a character."""
    return text.encode().decode("latin-1")


def test_a_messenger_conversation(read):
    text = "caf\u00e9 \U0001f375"
    messages = [
        {"sender_name": broken("Zo\u00eb"), "timestamp_ms": 1704189600123, "content": broken(text)},
        {"sender_name": "Ada", "timestamp_ms": 1704189600123, "content": "caf\u00e9"}
        | {"reactions": [{"reaction": "a", "actor": "b"}]},
        {"sender_name": "Ada", "timestamp_ms": 1704189500000, "photos": [{"uri": "a.jpg"}]},
        {"sender_name": "Ada", "timestamp_ms": 1704189400000, "is_unsent": True},
        {"sender_name": "Ada", "timestamp_ms": 1704189300000}
        | {"content": "Reacted x to your message "},
        {"sender_name": "Ada", "content": "when?"},
    ]
    chat = {"participants": [{"name": "Ada"}], "messages": messages, "title": "Zoe"}
    reading = read(chat, "inbox/zoe_1/message_1.json")
    assert reading.format == "messenger"
    assert words_of(reading) == [("Zo\u00eb", text), ("Ada", "caf\u00e9")]
    first, second = reading.posts
    assert first.created_at == datetime(2024, 1, 2, 10, 0, 0, 123000, tzinfo=UTC)
    assert (first.visibility, second.likes) == ("direct", 1)
    prefix = first.id.rpartition("/")[0]
    assert second.id == f"{prefix}/1704189600123-2"
    assert "zoe" not in prefix  # an id names nobody
    assert [gone.id for gone in reading.deleted] == [f"{prefix}/1704189400000"]
    assert reading.report.num_not_posts == 2
    assert [(r.position, r.reason) for r in reading.rejected] == [(6, "the message has no time")]


def test_an_end_to_end_encrypted_messenger_conversation(read):
    messages = [
        {"isUnsent": False, "media": [], "reactions": [], "senderName": "Ada"}
        | {"text": "hello", "timestamp": 1704189600123, "type": "text"}
    ]
    chat = {"participants": ["Ada", "Bob"], "threadName": "Bob_1", "messages": messages}
    (post,) = read(chat, "Bob_1.json").posts
    assert (post.author, post.text, post.visibility) == ("Ada", "hello", "direct")


def test_the_conversations_of_two_folders_differ(read):
    messages = [{"sender_name": "Ada", "timestamp_ms": 1704189600123, "content": "a"}]
    chat = {"participants": [], "messages": messages}
    ids = {read(chat, f"inbox/{name}/message_1.json").posts[0].id for name in ("a_1", "b_2")}
    assert len(ids) == 2


# All of them


def test_a_chat_cut_short_says_so(read):
    whole = json.dumps(channel(said(), said(id="901")))
    reading = read(whole[: whole.index('"901"')])
    assert len(reading.posts) == 1
    assert reading.rejected


def test_a_telegram_file_of_one_line_that_is_cut_short_is_damaged(read):
    whole = json.dumps({"about": "", "chats": {"list": [telegram_chat(telegram_message(1))]}})
    with pytest.raises(DataError, match="cut short"):
        read(whole[:-20], indent=None)


@pytest.mark.parametrize(
    ("name", "num_authors", "num_posts", "num_not_posts"),
    [
        # A file's name says how many authors and messages it has for those who made it; calls,
        # changes of the channel, and pictures, files and stickers without words are no posts.
        ("discord/DM_2A_2M.json", 2, 2, 1),
        ("discord/GC_3A_5M.json", 3, 3, 3),
        ("telegram/DM_2A_7M.json", 2, 4, 4),
        ("whatsapp/4A_11M.txt", 5, 11, 3),
        ("messenger/2A_7M.json", 2, 3, 4),
    ],
)
def test_the_shared_chats(shared_data, name, num_authors, num_posts, num_not_posts):
    reading = read_file(shared_data / "native-formats" / "chat-exports" / name, FORMATS)
    assert len(reading.posts) == num_posts
    assert len({post.author for post in reading.posts}) == num_authors
    assert {post.visibility for post in reading.posts} == {"direct"}
    assert reading.report.num_not_posts == num_not_posts
    assert reading.rejected == []


def test_a_whatsapp_chat_is_the_same_in_its_zip(shared_data):
    folder = shared_data / "native-formats" / "chat-exports" / "whatsapp"
    plain = read_file(folder / "4A_11M.txt", FORMATS).posts
    path = folder / "4A_11M.zip"
    with zipfile.ZipFile(path) as archive:
        file = ExportFile(path=path, name="_chat.txt", archive=archive, member="_chat.txt")
        found = whatsapp.FORMATS[0].read(file, ReadOptions(), SourceReport("a", "whatsapp"))
        assert list(found) == plain
