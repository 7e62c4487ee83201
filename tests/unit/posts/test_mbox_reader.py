"""Mail: mbox files, archives of lists and single mails, all invented."""

from datetime import UTC, datetime

import pytest
from tests.fakes.one_reader import read_file

from mynah.posts.post import Post
from mynah.posts.readers import mbox

FORMATS = mbox.FORMATS
FROM = "From ada@ex.org Tue Jan  2 10:00:00 2024\n"


@pytest.fixture
def read(tmp_path):
    def read_content(content, name="a.mbox"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_file(path, FORMATS)

    return read_content


def mail(body="hello", **headers):
    fields = {
        "From": "Ada <ada@ex.org>",
        "Date": "Tue, 2 Jan 2024 11:00:00 +0100",
        "Message-ID": "<1@ex.org>",
        "List-Id": "Tea <tea.ex.org>",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\n".join(lines) + f"\n\n{body}\n\n"


def test_a_mail_is_a_post(read):
    reading = read(
        FROM
        + mail(Subject="Tea", body="Is it ready?\n>From here it smells so.")
        + FROM
        + mail(Subject="Re: Tea", In_Reply_To="<1@ex.org>", Message_ID="<2@ex.org>", body="Yes.")
    )
    assert reading.format == "mbox"
    assert reading.posts == [
        Post(
            id="mail:1@ex.org",
            author="Ada",
            created_at=datetime(2024, 1, 2, 10, tzinfo=UTC),
            text="Tea\n\nIs it ready?\nFrom here it smells so.",
        ),
        Post(
            id="mail:2@ex.org",
            author="Ada",
            created_at=datetime(2024, 1, 2, 10, tzinfo=UTC),
            text="Yes.",
            reply_to="mail:1@ex.org",
            kind="reply",
        ),
    ]


@pytest.mark.parametrize(
    ("headers", "visibility"),
    [
        ({}, "public"),
        ({"List_Id": None}, "direct"),
        ({"List_Id": None, "X_BeenThere": "tea@ex.org"}, "public"),
    ],
)
def test_mail_of_a_list_is_public_and_other_mail_is_direct(read, headers, visibility):
    assert read(FROM + mail(**headers)).posts[0].visibility == visibility


def test_the_archive_of_a_mailman_list_is_public(read):
    content = "From ada at ex.org  Tue Jan  2 10:00:00 2024\n" + mail(
        From="ada at ex.org (Ada)", List_Id=None
    )
    (post,) = read(content).posts
    assert (post.visibility, post.author) == ("public", "Ada")


@pytest.mark.parametrize(
    ("written", "own"),
    [
        ("On Tue, 2 Jan 2024 at 10:00,\nAda <ada@ex.org> wrote:\n> a\n> b\n\nc", "c"),
        ("a\n\nAda schrieb:\n> b\n\nc\n>> d\ne", "a\n\nc\ne"),
        ("Note:\n> a\nb", "Note:\nb"),
        ("a\n-- \nAda\nhttps://ex.org", "a"),
        ("a\n--\nAda", "a"),
        ("a\n--\n" + "b\n" * 20, "a\n--\n" + "b\n" * 19 + "b"),
        ("a\n-----Original Message-----\nFrom: b", "a"),
        ("a\n" + "_" * 47 + "\ntea mailing list", "a"),
        ("a > b\n| c | d |", "a > b\n| c | d |"),
    ],
)
def test_only_what_its_author_wrote_is_the_text(read, written, own):
    assert read(FROM + mail(written)).posts[0].text == own


def test_a_mail_that_only_quotes_is_no_post(read):
    reading = read(FROM + mail("> a\n-- \nAda"))
    assert (reading.posts, reading.report.num_not_posts) == ([], 1)


MULTIPART = """--xx
Content-Type: text/html; charset=utf-8

<p>in <b>HTML</b></p>
--xx
Content-Type: text/plain; charset=iso-8859-1; format=flowed
Content-Transfer-Encoding: quoted-printable

a caf=E9 =
here,=20
and on

--xx
Content-Type: text/plain; name=notes.txt
Content-Disposition: attachment

not this
--xx--"""


def test_plain_text_is_preferred_and_attachments_are_no_text(read):
    kind = 'multipart/mixed; boundary="xx"'
    assert read(FROM + mail(MULTIPART, Content_Type=kind)).posts[0].text == (
        "a caf\u00e9 here, and on"
    )
    html = MULTIPART[: MULTIPART.index("--xx\nContent-Type: text/plain")] + "--xx--"
    assert read(FROM + mail(html, Content_Type=kind)).posts[0].text == "in HTML"


@pytest.mark.parametrize(
    ("charset", "raw"),
    [
        ("utf-8", "caf\u00e9".encode()),
        ("utf-8", "caf\u00e9".encode("cp1252")),
        ("us-ascii", "caf\u00e9".encode()),
        ("x-unheard-of", "caf\u00e9".encode()),
        ("punycode", "caf\u00e9".encode()),
        ("hex", "caf\u00e9".encode()),
        ("iso-8859-15", "caf\u00e9".encode("latin-1")),
    ],
)
def test_wrong_and_unknown_charsets(read, charset, raw):
    kind = f"text/plain; charset={charset}"
    head = (FROM + mail("BODY", Content_Type=kind)).encode()
    assert read(head.replace(b"BODY", raw)).posts[0].text == "caf\u00e9"


def test_headers_in_any_encoding(read):
    encoded = mail("b", From="=?utf-8?q?Zo=C3=AB?= <z@ex.org>", Subject="=?iso-8859-1?b?6Q==?=")
    (post,) = read(FROM + encoded).posts
    assert (post.author, post.text) == ("Zo\u00eb", "\u00e9\n\nb")
    (post,) = read(FROM + mail("b", From="Zo\u00eb <z@ex.org>")).posts
    assert post.author == "Zo\u00eb"
    (post,) = read(FROM + mail("b", From="=?nonsense?q?Z?= <z@ex.org>")).posts
    assert post.author == "Z"


def test_dates_and_ids_that_are_missing_or_wrong(read):
    first, second = read(
        FROM
        + mail(Date="yesterday", Message_ID=None)
        + FROM
        + mail(Date=None, References="<a> <b>")
    ).posts
    assert first.created_at == second.created_at == datetime(2024, 1, 2, 10, tzinfo=UTC)
    assert first.id.startswith("mail:")
    assert second.reply_to == "mail:b"


def test_a_line_that_begins_with_from_is_no_new_mail(read):
    reading = read(FROM + mail("a\n\nFrom now on, tea.\n\nFrom Monday to Friday 10:00 2024\n"))
    assert len(reading.posts) == 1


def test_mails_that_cannot_be_read_are_rejected_with_their_number(read, monkeypatch):
    monkeypatch.setattr(mbox, "MAX_MAIL_BYTES", 4_000)
    reading = read(
        FROM
        + mail()
        + FROM
        + mail("x" * 5_000)
        + FROM
        + "no header at all\n\n"
        + FROM
        + mail("boundary=\n" * 300)
        + FROM
        + mail("the end", Message_ID="<5@ex.org>")
    )
    assert [post.text for post in reading.posts] == ["hello", "the end"]
    assert [r.position for r in reading.rejected] == [2, 3, 4]


def test_a_single_mail(read):
    reading = read(mail("<p>a</p>", Content_Type="text/html", List_Id=None), "a.eml")
    assert reading.format == "eml"
    (post,) = reading.posts
    assert (post.id, post.text, post.visibility) == ("mail:1@ex.org", "a", "direct")
