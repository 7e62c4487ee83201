import json
import zipfile
from datetime import UTC, datetime

import pytest
from tests.fakes.one_reader import read_file

from mynah.errors import DataError
from mynah.posts.archives import open_archive
from mynah.posts.export_file import ExportFile
from mynah.posts.reader import Deleted, ReadOptions, Rejected, SourceReport
from mynah.posts.readers.activitypub import FORMATS

PUBLIC = "https://www.w3.org/ns/activitystreams#Public"
HOST = "https://social.example"
ME = f"{HOST}/users/ada"
FOLLOWERS = f"{ME}/followers"
OTHER = "https://other.example/users/bob"
CONTEXT = "https://www.w3.org/ns/activitystreams"


def note(number, **fields):
    return {
        "id": f"{ME}/statuses/{number}",
        "type": "Note",
        "published": "2022-11-08T03:07:14Z",
        "url": f"{HOST}/@ada/{number}",
        "attributedTo": ME,
        "to": [PUBLIC],
        "cc": [FOLLOWERS],
        "content": f"<p>Hello &amp; welcome<br>to {number}</p>",
        "contentMap": {"en": f"<p>Hello &amp; welcome<br>to {number}</p>"},
        **fields,
    }


def activity(kind, target, **fields):
    return {
        "id": f"{target['id']}/activity" if isinstance(target, dict) else f"{ME}/activities/1",
        "type": kind,
        "actor": ME,
        "published": "2022-11-08T03:07:14Z",
        "to": [PUBLIC],
        "cc": [FOLLOWERS],
        "object": target,
        **fields,
    }


def create(number, **fields):
    inner = note(number, **fields)
    return activity("Create", inner, to=inner["to"], cc=inner["cc"])


def outbox(*items):
    return {
        "@context": CONTEXT,
        "id": "outbox.json",
        "type": "OrderedCollection",
        "totalItems": len(items),
        "orderedItems": list(items),
    }


@pytest.fixture
def read(tmp_path):
    def of(content, name="outbox.json", **options):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_file(path, FORMATS, **options)

    return of


def one(read, content):
    (post,) = read(content).posts
    return post


def test_an_outbox_gives_posts(read):
    post = one(read, outbox(create(1)))
    assert post.id == f"activitypub:{ME}/statuses/1"
    assert post.author == "ada@social.example"
    assert post.text == "Hello & welcome\nto 1"
    assert post.created_at == datetime(2022, 11, 8, 3, 7, 14, tzinfo=UTC)
    assert (post.lang, post.kind, post.url) == ("en", "post", f"{HOST}/@ada/1")
    assert (post.visibility, post.may_train, post.edited_at) == ("public", True, None)


@pytest.mark.parametrize("indent", [None, 2])
def test_an_outbox_longer_than_what_is_held_is_streamed(read, indent):
    long = outbox(*(create(n, content="<p>" + "word " * 400 + "</p>") for n in range(300)))
    reading = read(json.dumps(long, indent=indent))
    assert len(reading.posts) == 300
    assert not reading.rejected


def test_a_broken_activity_of_an_outbox_is_rejected_by_itself(read):
    text = json.dumps(outbox(*(create(n) for n in range(5))))
    reading = read(text.replace('welcome<br>to 3</p>"', "welcome<br>to 3</p>", 1))
    assert len(reading.posts) == 4
    assert reading.rejected == [Rejected("outbox.json", 4, "the record is not JSON")]


@pytest.mark.parametrize(
    "shape",
    [
        lambda acts: "\n".join(json.dumps(act) for act in acts),
        lambda acts: json.dumps(acts),
        lambda acts: json.dumps({**outbox(*acts), "type": "OrderedCollectionPage"}),
        lambda acts: json.dumps({"@context": CONTEXT, "type": "Collection", "items": acts}),
        lambda acts: json.dumps(
            {"@context": CONTEXT, "type": "OrderedCollection", "first": outbox(*acts)}
        ),
        lambda acts: "\n".join(json.dumps(outbox(act)) for act in acts),
        lambda acts: "\n".join(json.dumps(act["object"]) for act in acts),
    ],
    ids=["lines", "array", "page", "items", "first", "pages", "notes"],
)
def test_every_shape_is_read(read, shape):
    reading = read(shape([create(1), create(2)]))
    assert [post.url for post in reading.posts] == [f"{HOST}/@ada/1", f"{HOST}/@ada/2"]
    assert not reading.rejected


@pytest.mark.parametrize(
    ("to", "cc", "visibility"),
    [
        ([PUBLIC], [FOLLOWERS], "public"),
        (PUBLIC, None, "public"),
        (["as:Public"], [], "public"),
        ([FOLLOWERS], [PUBLIC], "unlisted"),
        ([FOLLOWERS], [PUBLIC, OTHER], "unlisted"),
        ([FOLLOWERS], [], "followers"),
        ([FOLLOWERS], [OTHER], "followers"),
        ([OTHER], [], "direct"),
        ([], [], "direct"),
        (None, None, "direct"),
    ],
)
def test_the_audience_is_what_mastodon_means(read, to, cc, visibility):
    assert one(read, create(1, to=to, cc=cc)).visibility == visibility


def test_the_stricter_of_activity_and_post_counts(read):
    assert one(read, activity("Create", note(1), to=[FOLLOWERS], cc=[])).visibility == "followers"
    inner = note(1, to=[OTHER], cc=[])
    assert one(read, activity("Create", inner)).visibility == "direct"


def test_an_edit_is_the_later_version(read):
    inner = note(1, content="<p>Better</p>", updated="2022-11-09T00:00:00Z")
    reading = read(outbox(create(1), activity("Update", inner, published="2022-11-09T00:00:00Z")))
    first, second = reading.posts
    assert first.id == second.id
    assert second.edited_at == datetime(2022, 11, 9, tzinfo=UTC)
    assert first.seen_at < second.seen_at == second.edited_at
    assert second.created_at == first.created_at


def test_deletions_are_told(read):
    gone = {"type": "Tombstone", "id": f"{ME}/statuses/2", "deleted": "2023-01-02T00:00:00Z"}
    repost = activity("Announce", f"{OTHER}/statuses/9")
    reading = read(
        outbox(
            activity("Delete", f"{ME}/statuses/1"),
            activity("Delete", {"type": "Tombstone", "id": f"{ME}/statuses/3"}),
            gone,
            activity("Undo", repost),
            activity("Delete", ME),
            activity("Undo", activity("Like", f"{OTHER}/statuses/9")),
        )
    )
    published = datetime(2022, 11, 8, 3, 7, 14, tzinfo=UTC)
    assert reading.deleted == [
        Deleted(f"activitypub:{ME}/statuses/1", published),
        Deleted(f"activitypub:{ME}/statuses/3", published),
        Deleted(f"activitypub:{ME}/statuses/2", datetime(2023, 1, 2, tzinfo=UTC)),
        Deleted(f"activitypub:{ME}/activities/1", published),
    ]
    assert reading.report.num_not_posts == 2


def test_a_repost_of_a_whole_post_gives_both(read):
    inner = note(5, attributedTo=OTHER, id=f"{OTHER}/statuses/5", inReplyTo=f"{OTHER}/statuses/4")
    original, repost = read(outbox(activity("Announce", inner, id=f"{ME}/reposts/1"))).posts
    assert (original.author, original.kind) == ("bob@other.example", "reply")
    assert original.reply_to == f"activitypub:{OTHER}/statuses/4"
    assert (repost.author, repost.kind, repost.repost_of) == (
        "ada@social.example",
        "repost",
        original.id,
    )
    assert repost.text == original.text
    assert (repost.reply_to, repost.id) == (None, f"activitypub:{ME}/reposts/1")


def test_a_repost_for_followers_does_not_hide_the_original(read):
    inner = note(5, attributedTo=OTHER)
    original, repost = read(activity("Announce", inner, to=[FOLLOWERS], cc=[])).posts
    assert (original.visibility, repost.visibility) == ("public", "followers")


def test_what_has_no_words_is_no_post(read):
    vote = note(3, name="blue", inReplyTo=f"{OTHER}/polls/1")
    del vote["content"], vote["contentMap"]
    reading = read(
        outbox(
            activity("Announce", f"{OTHER}/statuses/9"),
            activity("Like", f"{OTHER}/statuses/9"),
            create(1, content="", contentMap={}, attachment=[{"type": "Document"}]),
            activity("Create", vote),
            activity("Update", {"type": "Person", "id": ME}),
            activity("Create", f"{ME}/statuses/7"),
        )
    )
    assert not reading.found
    assert reading.report.num_not_posts == 6


def test_a_community_announces_what_its_members_do(read):
    post = one(read, activity("Announce", create(1), actor="https://forum.example/c/birds"))
    assert (post.author, post.kind) == ("ada@social.example", "post")


def test_a_content_warning_is_a_line_of_its_own(read):
    assert one(read, create(1, summary="birds")).text == "birds\nHello & welcome\nto 1"


def test_titles_and_choices_are_words(read):
    article = note(1, type="Article", name="A title", content="<p>Body</p>")
    assert one(read, article).text == "A title\n\nBody"
    poll = note(2, type="Question", content="<p>Which?</p>")
    poll["oneOf"] = [{"type": "Note", "name": "red"}, {"type": "Note", "name": "blue"}]
    assert one(read, activity("Create", poll)).text == "Which?\n- red\n- blue"


def test_plain_text_is_no_markup(read):
    post = one(read, note(1, type="Video", content="a <b> c\n\n* d", mediaType="text/markdown"))
    assert post.text == "a <b> c\n\n* d"


@pytest.mark.parametrize("name", ["quote", "quoteUrl", "quoteUri", "_misskey_quote"])
def test_quotations_are_told_by_every_name(read, name):
    post = one(read, create(1, **{name: f"{OTHER}/statuses/9"}))
    assert (post.kind, post.quote_of) == ("quote", f"activitypub:{OTHER}/statuses/9")


def test_a_quotation_may_be_a_tag(read):
    link = {
        "type": "Link",
        "mediaType": 'application/ld+json; profile="https://www.w3.org/ns/activitystreams"',
        "href": f"{OTHER}/statuses/9",
    }
    assert one(read, create(1, tag=[{"type": "Hashtag", "name": "#a"}, link])).kind == "quote"


def test_counts_are_read_where_they_are(read):
    counts = {
        "likes": {"type": "Collection", "totalItems": 3},
        "shares": {"type": "Collection", "totalItems": 2},
        "replies": {"type": "Collection", "first": {"items": []}},
    }
    post = one(read, create(1, **counts))
    assert (post.likes, post.reposts, post.replies) == (3, 2, 0)


@pytest.mark.parametrize(
    ("actor", "handle"),
    [
        (ME, "ada@social.example"),
        ("https://social.example/@ada", "ada@social.example"),
        ("https://forum.example/u/ada", "ada@forum.example"),
        ("https://blog.example/author/ada/", "ada@blog.example"),
        ("https://social.example/ap/users/116", "116@social.example"),
        ("https://blog.example/about/me", "blog.example/about/me"),
        ("tag:example.com,2001:ada", "tag:example.com,2001:ada"),
        ("http://[broken", "http://[broken"),
        (
            {"type": "Person", "id": f"{HOST}/ap/9k", "preferredUsername": "ada"},
            "ada@social.example",
        ),
        (
            [{"type": "Group", "id": "https://forum.example/c/x"}, {"type": "Person", "id": ME}],
            "ada@social.example",
        ),
        (None, "ada@social.example"),
    ],
)
def test_authors_are_known_by_handle_or_address(read, actor, handle):
    assert one(read, create(1, attributedTo=actor)).author == handle


@pytest.mark.parametrize(
    ("actor", "may_train"),
    [
        ({"discoverable": True, "indexable": True}, True),
        ({"discoverable": None}, True),
        ({"indexable": False}, False),
        ({"discoverable": False, "indexable": True}, False),
        ({"noindex": True}, False),
        ({"searchableBy": [FOLLOWERS]}, False),
        ({"searchableBy": [PUBLIC]}, True),
        ({"summary": "<p>I paint. #NoAI</p>"}, False),
        ({"summary": '<p>I paint <a href="/tags/nobot">#<span>nobot</span></a></p>'}, False),
        ({"summary": "<p>I paint. #noaids</p>"}, True),
    ],
)
def test_the_wish_of_the_owner_holds_for_all_their_posts(tmp_path, read, actor, may_train):
    whole = {"id": ME, "type": "Person", "preferredUsername": "ada", "followers": FOLLOWERS}
    (tmp_path / "actor.json").write_text(json.dumps({**whole, **actor}))
    others = activity("Announce", note(2, attributedTo=OTHER))
    mine, theirs, repost = read(outbox(create(1), others)).posts
    assert (mine.may_train, repost.may_train, theirs.may_train) == (may_train, may_train, True)


def test_a_post_may_have_a_wish_of_its_own(read):
    assert not one(read, create(1, searchableBy=[])).may_train
    assert not one(read, create(1, indexable=False)).may_train


def test_the_owner_names_followers_of_any_address(tmp_path, read):
    actor = {"id": ME, "type": "Person", "followers": f"{HOST}/lists/77"}
    (tmp_path / "actor.json").write_text(json.dumps(actor))
    assert one(read, create(1, to=[f"{HOST}/lists/77"], cc=[])).visibility == "followers"


def test_an_archive_is_read_inside_its_zip(tmp_path):
    path = tmp_path / "archive.zip"
    actor = {"id": ME, "type": "Person", "preferredUsername": "ada", "indexable": False}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("outbox.json", json.dumps(outbox(create(1), create(2, to=[OTHER], cc=[]))))
        out.writestr("actor.json", json.dumps(actor))
    (format_,) = FORMATS
    report = SourceReport("archive.zip:outbox.json", format_.name)
    with open_archive(path, name=path.name) as archive:
        file = ExportFile(path=path, name=report.name, archive=archive, member="outbox.json")
        public, private = format_.read(file, ReadOptions(), report)
    assert (public.visibility, public.may_train) == ("public", False)
    assert private.visibility == "direct"
    assert format_.companions == {"actor.json", "likes.json", "bookmarks.json"}


@pytest.mark.parametrize("actor", ['{"id": 7, "type"', '{"id": "\\ud83d"}', "[" * 5_000])
def test_a_wish_that_cannot_be_read_is_not_guessed(tmp_path, read, actor):
    (tmp_path / "actor.json").write_text(actor)
    with pytest.raises(DataError, match=r"actor\.json beside outbox\.json") as caught:
        read(outbox(create(1)))
    assert "learned from" in caught.value.hint


@pytest.mark.parametrize(
    "content",
    [
        outbox("https://other.example/1", "https://other.example/2"),
        {"@context": CONTEXT, "id": ME, "type": "Person", "preferredUsername": "ada"},
        [{"type": "message", "text": "hi", "user": "U1"}],
        {"type": "Listing", "items": {}},
    ],
    ids=["likes", "actor", "chat", "other"],
)
def test_what_only_looks_alike_is_not_taken(read, content):
    with pytest.raises(StopIteration):
        read(content)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"published": "some day"}, "the time is not in a form that is known"),
        ({"content": "half \ud83d"}, "the text holds half a surrogate pair"),
        ({"likes": {"totalItems": "many"}}, "a count is not a number"),
    ],
)
def test_a_broken_post_is_rejected(read, broken, reason):
    reading = read(outbox(create(1), create(2, **broken), create(3)))
    assert len(reading.posts) == 2
    assert reading.rejected == [Rejected("outbox.json", 2, reason)]


def test_the_real_outbox_keeps_what_is_not_public_apart(shared_data):
    path = shared_data / "native-formats" / "mastodon" / "dealingwith_outbox.json.gz"
    reading = read_file(path, FORMATS)
    # 1,586 activities, as the README says: 326 reposts that have only an address, 4 pictures
    # without words, and 1,256 posts, of which 75 are not public, as it says too.
    assert reading.report.num_not_posts == 326 + 4
    seen = [post.visibility for post in reading.posts]
    assert {name: seen.count(name) for name in set(seen)} == {
        "public": 1165,
        "unlisted": 16,
        "followers": 40,
        "direct": 35,
    }
    marker = "[non-public text removed]"
    assert all((marker in post.text) != post.is_public for post in reading.posts)
    assert {post.author for post in reading.posts} == {"dealingwith@indieweb.social"}
    assert not reading.rejected


def test_the_fixtures_of_granary_are_read(shared_data, tmp_path):
    archive = shared_data / "native-formats" / "activitystreams" / "granary_testdata.zip"
    with zipfile.ZipFile(archive) as fixtures:
        names = [name for name in fixtures.namelist() if name.endswith(".as2.json")]
        fixtures.extractall(tmp_path, names)
    posts, deleted, num_not_posts, num_rejected = [], [], 0, 0
    for name in sorted(names):
        reading = read_file(tmp_path / name, FORMATS, name="activitypub")
        posts += reading.posts
        deleted += reading.deleted
        num_not_posts += reading.report.num_not_posts
        num_rejected += len(reading.rejected)
    assert len(names) == 33
    # Posts: the 13 files that hold a Note, Article, Event or Question with words, and a repost
    # whose original is there whole, which makes two.
    assert len(posts) == 15
    # Only two say who may see them; what is addressed to nobody is for nobody.
    assert sorted(post.visibility for post in posts if post.is_public) == ["public", "unlisted"]
    assert len(deleted) == 1  # an Undo of something that only has an id
    # Likes, follows, answers to invitations, and notes that have no words but tags.
    assert num_not_posts == 18
    assert num_rejected == 0
