"""Readers of social networks take any harm done to a file: they read on, or say so."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes.one_reader import read_file

from mynah.errors import DataError
from mynah.posts.post import Post
from mynah.posts.reader import Deleted, PrivatePost, Rejected
from mynah.posts.readers import activitypub, x_api, x_archive

FORMATS = (*x_archive.FORMATS, *activitypub.FORMATS, *x_api.FORMATS)
PUBLIC = "https://www.w3.org/ns/activitystreams#Public"
ME = "https://social.example/users/ada"
DEEP = "@deep@"

quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

STATUS = {
    "id": 1578516295611748353,
    "id_str": "1578516295611748353",
    "created_at": "Fri Oct 07 22:43:06 +0000 2022",
    "full_text": "@bob a long way " * 18,
    "user": {"id_str": "7", "screen_name": "ada", "protected": False},
    "entities": {"urls": [{"url": "https://t.co/a", "expanded_url": "https://x.com/b/status/3"}]},
    "favorite_count": "3",
    "retweet_count": 1,
    "lang": "en",
    "in_reply_to_status_id_str": "5",
    "withheld_in_countries": ["FR"],
    "scopes": {"followers": False},
    "edit_info": {"edit": {"initialTweetId": "1", "editControlInitial": {"editTweetIds": ["1"]}}},
}
QUOTING = {**STATUS, "id_str": "9", "quoted_status": STATUS, "quoted_status_id_str": "1578"}
V1 = [
    {**STATUS, "id_str": "11", "text": "RT @bob: a", "retweeted_status": QUOTING},
    {"tweet": STATUS, "thread": "1"},
    {"delete": {"status": {"id_str": "8", "id": 8}, "timestamp_ms": "1665182586000"}},
    {"status_withheld": {"id": 8, "withheld_in_countries": ["XX"]}},
    {"screen_name": "ada", "id_str": "7", "followers_count": 1, "status": STATUS},
]
PAGE_POST = {
    "id": "1578516295611748353",
    "text": "words",
    "note_tweet": {"text": "more words"},
    "author_id": "7",
    "edit_history_tweet_ids": ["5", "1578516295611748353"],
    "referenced_tweets": [{"type": "quoted", "id": "3", "text": "inlined"}],
    "public_metrics": {"like_count": 1, "retweet_count": 2, "reply_count": 3},
    "withheld": {"country_codes": ["FR"], "copyright": False},
}
V2 = {
    "data": [PAGE_POST, {**PAGE_POST, "id": "6"}, {"id": "7", "username": "ada", "name": "A"}],
    "includes": {"users": [{"id": "7", "username": "ada"}], "tweets": [PAGE_POST]},
    "errors": [{"resource_type": "tweet", "type": "/resource-not-found", "resource_id": "4"}],
    "meta": {"result_count": 3},
}
ACTOR = {
    "id": ME,
    "type": "Person",
    "preferredUsername": "ada",
    "followers": f"{ME}/followers",
    "summary": "<p>birds</p>",
    "indexable": True,
}
NOTE = {
    "id": f"{ME}/statuses/1",
    "type": "Note",
    "name": "title",
    "summary": "a warning",
    "content": "<p>words <b>and</b> more</p>",
    "contentMap": {"en": "<p>words <b>and</b> more</p>"},
    "published": "2022-11-08T03:07:14Z",
    "updated": "2022-11-09T03:07:14Z",
    "attributedTo": [ACTOR],
    "to": [PUBLIC],
    "cc": [f"{ME}/followers"],
    "inReplyTo": {"id": "https://other.example/1"},
    "tag": [{"type": "Link", "mediaType": "application/ld+json", "href": "https://b.example/2"}],
    "url": [{"type": "Link", "mediaType": "text/html", "href": "https://social.example/1"}],
    "likes": {"totalItems": 3},
    "oneOf": [{"name": "red"}, {"name": "blue"}],
    "searchableBy": [PUBLIC],
}
OUTBOX = {
    "@context": "https://www.w3.org/ns/activitystreams",
    "type": "OrderedCollection",
    "orderedItems": [
        {"type": "Create", "actor": ME, "to": PUBLIC, "object": NOTE},
        {"type": "Announce", "actor": ME, "to": PUBLIC, "object": NOTE, "id": f"{ME}/2"},
        {"type": "Delete", "actor": ME, "object": {"type": "Tombstone", "id": f"{ME}/3"}},
        {"type": "Undo", "actor": ME, "object": {"type": "Announce", "id": f"{ME}/4"}},
        {"type": "CollectionPage", "items": [NOTE], "first": {"type": "Collection", "items": []}},
    ],
}
BESIDE = {
    "account": [{"account": {"username": "ada"}}],
    "protected-history": [{"protectedHistory": {"protectedAt": "2019", "action": "Unprotect"}}],
    "note-tweet": [
        {
            "noteTweet": {
                "createdAt": "2022-10-07T22:43:05.000Z",
                "core": {"text": "@bob a long way " * 18 + "home"},
            }
        }
    ],
}

numbers = [None, True, 0, -1, 10**400, 1e308, float("nan")]
texts = ["", "\0", "\ud83d", "x" * 5_000, "RT @a: b", "<p><p" * 500, "1e99", "0001-01-01", PUBLIC]
strange = st.sampled_from([*numbers, *texts, [], [[]], {}, {"id": {}}, [None], DEEP])


def places(value, path=()):
    """Every path into a document, the outermost first."""
    inside = enumerate(value) if isinstance(value, list) else ()
    for key, one in value.items() if isinstance(value, dict) else inside:
        yield (*path, key)
        yield from places(one, (*path, key))


def changed(value, path, new):
    """A copy of a document with one place changed, or dropped when ``new`` is ``...``."""
    if not path:
        return new
    first, *rest = path
    copy = dict(value) if isinstance(value, dict) else list(value)
    if rest or new is not ...:
        copy[first] = changed(copy[first], rest, new)
    else:
        del copy[first]
    return copy


@st.composite
def harmed(draw, document):
    """A document with some of its places dropped or made strange."""
    for _ in range(draw(st.integers(1, 4))):
        found = list(places(document))
        if not found:
            break
        document = changed(document, draw(st.sampled_from(found)), draw(strange | st.just(...)))
    indent = draw(st.sampled_from([None, 1]))
    return json.dumps(document, indent=indent).replace(f'"{DEEP}"', "[" * 3_000 + "]" * 3_000)


@st.composite
def cut(draw, text):
    """The bytes of a text, cut short or with others put in."""
    data = text.encode("utf-8", "surrogatepass")
    at = draw(st.integers(0, len(data)))
    kind = draw(st.sampled_from(["whole", "short", "splice", "double"]))
    if kind == "short":
        return data[:at]
    if kind == "splice":
        junk = draw(
            st.binary(max_size=8) | st.sampled_from([b"\0", b'"', b"}{", b"\xff\xfe", b"]"])
        )
        return data[:at] + junk + data[draw(st.integers(at, len(data))) :]
    return data[:at] + data if kind == "double" else data


def check(name, format_name, content, beside=None):
    """Read a file by force and as it is guessed; only what a reader may give comes out."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        for other, data in (beside or {}).items():
            (Path(folder) / other).write_bytes(data)
        for chosen in (format_name, ""):
            try:
                reading = read_file(path, FORMATS, name=chosen)
            except (DataError, StopIteration):
                continue  # it says that it is none of these
            for found in reading.found:
                assert isinstance(found, Post | Deleted | PrivatePost | Rejected)
                if isinstance(found, Post):
                    assert found.text.encode()
                    assert found.visibility in ("public", "unlisted", "followers", "direct")
                if isinstance(found, Rejected):
                    assert found.position > 0
                    assert "words" not in found.reason


@pytest.mark.parametrize(
    ("name", "format_name", "document"),
    [
        ("a.json", "x-api-v1.1", V1),
        ("b.json", "x-api-v1.1", {"statuses": [STATUS, QUOTING]}),
        ("c.json", "x-api-v2", V2),
        ("outbox.json", "activitypub", OUTBOX),
    ],
    ids=["v1", "search", "v2", "activitypub"],
)
def test_a_harmed_document_is_read_as_far_as_it_goes(name, format_name, document):
    @quick
    @given(harmed(document).flatmap(cut))
    def run(content):
        check(name, format_name, content)

    run()


@pytest.mark.parametrize(
    ("format_name", "records"),
    [("x-api-v1.1", V1), ("x-api-v2", [V2, PAGE_POST]), ("activitypub", OUTBOX["orderedItems"])],
    ids=["v1", "v2", "activitypub"],
)
def test_harmed_lines_are_read_as_far_as_they_go(format_name, records):
    lines = [json.dumps(record) for record in records]

    @quick
    @given(st.lists(st.one_of(*(harmed(r) for r in records), st.sampled_from(lines)), min_size=1))
    def run(found):
        content = "\n".join(line.replace("\n", " ") for line in found)
        check("a.jsonl", format_name, content.encode("utf-8", "surrogatepass"))

    run()


@quick
@given(harmed([{"tweet": STATUS}, {"tweet": QUOTING}]).flatmap(cut), st.data())
def test_a_harmed_archive_is_read_as_far_as_it_goes(content, data):
    beside = {
        f"{name}.js": f"window.YTD.{name}.part0 = ".encode() + data.draw(harmed(of).flatmap(cut))
        for name, of in BESIDE.items()
    }
    dates = ["2022-11-08T01:02:03.000Z", "99999-99-99T99:99", "half \\ud83d ......"]
    beside["manifest.js"] = f'{{"generationDate": "{data.draw(st.sampled_from(dates))}"}}'.encode()
    check("tweets.js", "x-archive", b"window.YTD.tweets.part0 = " + content, beside)


@quick
@given(harmed(ACTOR).flatmap(cut))
def test_a_harmed_actor_loses_no_post(actor):
    content = json.dumps(OUTBOX).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outbox.json"
        path.write_bytes(content)
        (Path(folder) / "actor.json").write_bytes(actor)
        try:
            reading = read_file(path, FORMATS)
        except DataError:
            return  # what the owner wishes cannot be known
        assert len(reading.posts) == 4
