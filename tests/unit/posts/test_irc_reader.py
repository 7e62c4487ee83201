"""IRC logs of many programs, all invented."""

import json
from datetime import UTC, datetime

import pytest
from tests.fakes.one_reader import read_file

from mynah.posts.export_file import ExportFile
from mynah.posts.format import look_at
from mynah.posts.post import Post
from mynah.posts.readers import irc

FORMATS = irc.FORMATS


@pytest.fixture
def read(tmp_path):
    def read_content(content, name="#tea_20240102.log"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        return read_file(path, FORMATS)

    return read_content


def told(reading):
    return [(post.author, post.text) for post in reading.posts]


def test_a_line_is_a_post(read):
    reading = read("[10:00] <ada> bob: is it ready?\n")
    assert reading.format == "irc"
    # Whom a line speaks to is in its words; which line it answers, nobody knows.
    assert reading.posts == [
        Post(
            id="irc:#tea_20240102/1",
            author="ada",
            created_at=datetime(2024, 1, 2, 10, tzinfo=UTC),
            text="bob: is it ready?",
        )
    ]


LOGS = {
    "irssi": (
        "--- Log opened Tue Jan 02 09:59:00 2024\n"
        "10:00 -!- bob [~bob@ex.org] has joined #tea\n"
        "10:00 < ada> hello\n"
        "10:01 <@bob> hi\n"
        "10:02  * ada waves\n"
        "10:02 -!- mode/#tea [+o ada] by bob\n"
        "--- Log closed Tue Jan 02 11:00:00 2024\n"
    ),
    "weechat": (
        "2024-01-02 10:00:00\t-->\tbob (~bob@ex.org) has joined #tea\n"
        "2024-01-02 10:00:00\tada\thello\n"
        "2024-01-02 10:01:00\t@bob\thi\n"
        "2024-01-02 10:02:00\t *\tada waves\n"
        "2024-01-02 10:02:00\t<--\tbob (~bob@ex.org) has quit (bye)\n"
        "2024-01-02 10:02:00\t--\tada is now known as eve\n"
    ),
    "hexchat": (
        "**** BEGIN LOGGING AT Tue Jan  2 09:59:00 2024\n\n"
        "Jan 02 10:00:00 *\tbob (~bob@ex.org) has joined\n"
        "Jan 02 10:00:00 <ada>\thello\n"
        "Jan 02 10:01:00 <bob>\thi\n"
        "Jan 02 10:02:00 * ada waves\n"
        "**** ENDING LOGGING AT Tue Jan  2 11:00:00 2024\n"
    ),
    "energymech": (
        "[10:00:00] *** Joins: bob (~bob@ex.org)\n"
        "[10:00:00] <ada> hello\n"
        "[10:01:00] <bob> hi\n"
        "[10:02:00] * ada waves\n"
        "[10:02:00] *** ada sets mode: +o bob\n"
    ),
    "iso": (
        "2024-01-02T12:00:00+02:00 <ada> hello\n"
        "[2024-01-02 10:01:00] <bob> hi\n"
        "2024-01-02T10:02:00Z * ada waves\n"
    ),
    "colours": (
        "[10:00] <\x0304,02ada\x0f> \x02hello\x02\n[10:01 AM] <+bob> hi\n[10:02]  * ada waves\n"
    ),
}


@pytest.mark.parametrize("program", LOGS)
def test_logs_of_many_programs(read, program):
    reading = read(LOGS[program])
    assert told(reading) == [("ada", "hello"), ("bob", "hi"), ("ada", "ada waves")]
    assert [post.created_at for post in reading.posts] == [
        datetime(2024, 1, 2, 10, minute, tzinfo=UTC) for minute in range(3)
    ]
    assert reading.rejected == []


def test_days_change_by_their_lines_and_at_midnight(read):
    reading = read(
        "--- Log opened Mon Jan 01 23:00:00 2024\n"
        "23:59 <ada> a\n"
        "00:01 <ada> b\n"
        "--- Day changed Thu Jan 04 2024\n"
        "00:02 <ada> c\n",
        "#tea.log",
    )
    assert [post.created_at.day for post in reading.posts] == [1, 2, 4]


@pytest.mark.parametrize(
    ("name", "native"),
    [
        ("2024-01-02.log", "2024-01-02/1"),
        ("#tea/2024-01-02.log", "#tea/2024-01-02/1"),
        ("#tea.txt", "#tea/1"),
    ],
)
def test_ids_tell_the_logs_of_an_export_apart(read, name, native):
    (post,) = read("[10:00] <ada> hello\n", name).posts
    assert post.id == f"irc:{native}"
    assert (post.created_at is None) == ("2024" not in name)


@pytest.mark.parametrize(
    ("name", "content", "visibility"),
    [
        ("#tea.log", "[10:00] <ada> hi\n", "public"),
        ("irc.libera.#tea.weechatlog", "2024-01-02 10:00:00\tada\thi\n", "public"),
        ("tea.log", "[10:00] *** Joins: bob (b)\n[10:00] <ada> hi\n", "public"),
        ("tea.log", "[10:00] <ada> hi\n[10:00] <bob> hi\n[10:00] <eve> hi\n", "public"),
        ("bob.log", "[10:00] <ada> hi\n[10:00] <bob> hi\n", "direct"),
        ("c#.log", "[10:00] <ada> hi\n[10:00] <bob> hi\n", "direct"),
    ],
)
def test_a_conversation_between_two_is_direct(read, name, content, visibility):
    assert {post.visibility for post in read(content, name).posts} == {visibility}


def test_json_lines_of_logs(read):
    rows = [
        {"file": "2024-01-02.a", "line": 0, "raw": "[10:00] <ada> hello"},
        {"file": "2024-01-02.a", "line": 1, "raw": "=== bob has joined #tea"},
        {"file": "2024-01-03.b", "line": 0, "raw": "[10:00]  * bob waves"},
        {"file": "2024-01-03.b", "line": 1, "raw": "[10:00] <bur[n] er> hi"},
        {"file": "2024-01-03.b", "line": 2, "raw": "[10:00] <ada>"},
        {"file": "2024-01-03.b", "line": "3", "raw": "[10:00] <ada> x"},
        {"file": "2024-01-03.b", "line": 4, "raw": "what is this"},
    ]
    reading = read("\n".join(map(json.dumps, rows)), "a.jsonl")
    assert reading.format == "irc-lines"
    assert [(post.id, post.author, post.text) for post in reading.posts] == [
        ("irc:2024-01-02.a/0", "ada", "hello"),
        ("irc:2024-01-03.b/0", "bob", "bob waves"),
        ("irc:2024-01-03.b/1", "bur[n] er", "hi"),
    ]
    assert [post.created_at.day for post in reading.posts] == [2, 3, 3]
    assert reading.report.num_not_posts == 2
    assert [(r.position, r.reason) for r in reading.rejected] == [
        (6, "the record is no line of a log"),
        (7, "the line is in no form of a log"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        "hello\nworld\n",
        "a,b\n1,2\n",
        "From a@ex.org Mon Jan  1 10:00:00 2024\nFrom: a\n",
        "[]",
        "[31/12/20, 23:59:59] Ada: hello\n",
        "2024-01-02 10:00:00,1,2\n",
        "time\tauthor\ttext\n2024-01-02 10:00:00\tada\thello\n2024-01-02 10:00:00\tbob\thi\n",
        "<p> a\n<b> c\n",
        "* a list\n* of two\n",
    ],
)
def test_other_text_is_no_log(tmp_path, content):
    path = tmp_path / "a.txt"
    path.write_text(content)
    head = look_at(ExportFile(path=path, name="a.txt"))
    assert not any(format_.sniff(head) for format_ in FORMATS)
