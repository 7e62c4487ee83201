"""Readers of chats and mail take any harm done to a file: they read on, or say so."""

import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.one_reader import read_file

from mynah.errors import DataError
from mynah.posts.markup import html_to_text
from mynah.posts.post import Post
from mynah.posts.reader import Deleted, PrivatePost, Rejected
from mynah.posts.readers import discord, irc, mbox, messenger, slack, telegram, whatsapp, zulip

quick = settings(max_examples=30, deadline=None)

MESSAGE = {
    "id": 5,
    "type": "message",
    "date": "2024-01-02T10:00:00",
    "date_unixtime": "1704189600",
    "from": "Ada",
    "text": ["a ", {"type": "link", "text": "https://ex.org"}],
    "reply_to_message_id": 4,
    "reactions": [{"count": 2}],
}
CHAT = {"name": "Tea", "type": "public_channel", "id": 55, "messages": [MESSAGE, MESSAGE]}
ZULIP = {
    "id": 5,
    "stream": "tea",
    "topic": "cups",
    "type": "stream",
    "display_recipient": "tea",
    "subject": "cups",
    "sender_full_name": "Ada",
    "timestamp": 1704189600,
    "content": '<p>a <span class="emoji emoji-1f604">:b:</span><a href="https://ex.org">c</a></p>',
    "reactions": [{}],
    "recipient": 1,
    "sender": 1,
    "rendered_content": "<p>b</p>",
    "date_sent": 1704189600.5,
}
SLACK = {
    "type": "message",
    "user": "U1",
    "text": "<@U1> &amp; <https://ex.org|b>",
    "ts": "1704189600.000100",
    "thread_ts": "1704189500.000100",
    "edited": {"ts": "1704189700.000100"},
    "reactions": [{"count": 1}],
    "reply_count": 2,
}
BLOCKS = {
    **SLACK,
    "text": "",
    "bot_id": "B1",
    "attachments": [{"text": "a", "fields": [{"value": "b"}]}],
    "blocks": [
        {
            "type": "rich_text",
            "elements": [
                {"type": "rich_text_section", "elements": [{"type": "text", "text": "c"}]}
            ],
        },
        {"type": "section", "text": {"type": "mrkdwn", "text": "d"}},
    ],
}
DISCORD = {
    "guild": {"id": "7", "name": "x"},
    "channel": {"id": "8", "type": "GuildTextChat"},
    "messages": [
        {
            "id": "900",
            "type": "Reply",
            "timestamp": "2024-01-02T10:00:00.5+02:00",
            "content": "<@!5> <:mug:123>",
            "author": {"name": "ada"},
            "embeds": [{"title": "t", "fields": [{"name": "n"}]}],
            "reactions": [{"count": 2}],
            "mentions": [{"id": "5", "name": "bob"}],
            "reference": {"messageId": "899", "channelId": "8"},
        }
    ],
}
MESSENGER = {
    "participants": [{"name": "Ada"}],
    "messages": [
        {
            "sender_name": "Ad\u00c3\u00a4",
            "timestamp_ms": 1704189600123,
            "content": "caf\u00c3\u00a9",
        },
        {"senderName": "Ada", "timestamp": 1704189600123, "text": "b", "isUnsent": True},
    ],
}
DOCUMENTS = {
    "discord": (discord, DISCORD),
    "telegram": (telegram, CHAT),
    "telegram account": (telegram, {"about": "", "chats": {"list": [CHAT, CHAT]}}),
    "messenger": (messenger, MESSENGER),
    "slack": (slack, [SLACK, BLOCKS]),
    "zulip-export": (zulip, {"zerver_message": [ZULIP, ZULIP]}),
    "zulip-api": (zulip, {"found_newest": True, "messages": [ZULIP, ZULIP]}),
    "zulip-archive": (zulip, [ZULIP, ZULIP]),
    "irc-lines": (irc, {"file": "2024-01-02", "line": 1, "raw": "[10:00] <ada> hello"}),
}
TEXTS = {
    "whatsapp": (
        whatsapp,
        "[31.12.20, 23:59:59] Ada: hello\nmore\n\u200e[01.01.21, 01:02:03\u202fPM] Bob: \u200ex\n",
    ),
    "irc": (
        irc,
        "--- Log opened Tue Jan 02 09:59:00 2024\n10:00 <@ada> hello\n10:01 -!- bob has joined\n"
        "2024-01-02 10:00:00\tada\thello\n[10:02]  * ada waves\n",
    ),
    "mbox": (
        mbox,
        "From ada@ex.org Tue Jan  2 10:00:00 2024\nFrom: =?utf-8?q?A=C3=A4?= <ada@ex.org>\n"
        "Date: Tue, 2 Jan 2024 11:00:00 +0100\nMessage-ID: <1@ex.org>\nList-Id: <a>\n"
        'Content-Type: multipart/mixed; boundary="x"\n\n--x\n'
        "Content-Type: text/plain; charset=utf-8; format=flowed\n"
        "Content-Transfer-Encoding: base64\n\naGVsbG8=\n--x\n"
        "Content-Type: text/html\n\n<p>b\n--x--\n",
    ),
    "eml": (mbox, "From: Ada <ada@ex.org>\nDate: Tue, 2 Jan 2024 11:00:00 +0100\n\nhello\n> b\n"),
}

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(st.characters(), max_size=30),
    st.sampled_from(["\ud800", "\0", "9" * 5000, "<" * 300, "1e999", "0001-01-01T00:00:00+14:00"]),
    st.lists(st.none() | st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=5), st.none() | st.integers(), max_size=2),
)


def places(value, path=()):
    """Name every place in a document that can be changed."""
    yield path
    if isinstance(value, dict | list):
        inside = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in inside:
            yield from places(one, (*path, key))


def changed(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


def check(module, name, content):
    """Read ``content``; only what a reader may give comes out, and can be written as UTF-8."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "2024-01-02.json"
        path.write_bytes(content)
        try:
            found = read_file(path, module.FORMATS, name=name).found
        except DataError:
            return
    for one in found:
        assert isinstance(one, Post | Deleted | PrivatePost | Rejected | pa.RecordBatch)
        if isinstance(one, Post):
            assert one.text
            assert one.visibility in ("public", "followers", "direct")
            for field in (one.id, one.author, one.text, one.reply_to, one.repost_of, one.url):
                (field or "").encode()
            assert one.created_at is None or one.created_at.utcoffset() is not None


@pytest.mark.parametrize("case", DOCUMENTS)
@quick
@given(data=st.data())
def test_a_document_with_odd_values(case, data):
    module, document = DOCUMENTS[case]
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(document))))
        document = changed(document, path, data.draw(odd))
    indent = data.draw(st.sampled_from([None, 1]))
    content = json.dumps(document, indent=indent).encode()
    if content.strip():
        check(module, case.partition(" ")[0], content)


@pytest.mark.parametrize("case", [*DOCUMENTS, *TEXTS])
@quick
@given(data=st.data())
def test_a_file_with_bytes_cut_and_changed(case, data):
    module, document = DOCUMENTS[case] if case in DOCUMENTS else TEXTS[case]
    whole = document if isinstance(document, str) else json.dumps(document, indent=1)
    content = bytearray(whole.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        until = data.draw(st.integers(at, min(len(content), at + 60)))
        piece = data.draw(
            st.binary(max_size=8) | st.sampled_from([b'"', b"{", b"]", b"\n", b"\0", b"\xff\xfe"])
        )
        content[at:until] = piece
    if content.strip():
        check(module, case.partition(" ")[0], bytes(content))


@pytest.mark.parametrize("case", TEXTS)
@quick
@given(lines=st.lists(st.text(max_size=60) | st.sampled_from("[<*=-|>:\t ["), max_size=8))
def test_text_of_any_kind(case, lines):
    module, text = TEXTS[case]
    check(module, case, (text + "\n".join(lines)).encode("utf-8", "surrogatepass"))


@quick
@given(
    st.lists(
        st.text(max_size=8)
        | st.sampled_from(["<", ">", "</", "<p>", "<pre>", "<li>", "<ul>", "<blockquote>", "&#"])
        | st.sampled_from(['<a href="https://ex.org/', "</a>", '"', "'", "=", "<math>", "</math>"])
        | st.sampled_from(["<annotation encoding='application/x-tex'>", "<span class=ellipsis>"])
        | st.sampled_from(['<span class="emoji emoji-1f604">', "<br>", "<script>", "<!--", "..."]),
        max_size=30,
    )
)
def test_html_never_fails_and_never_grows_much(pieces):
    html = "".join(pieces)
    assert len(html_to_text(html)) <= 20 * len(html)
