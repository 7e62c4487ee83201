"""The feed is Atom that a reader accepts, and ids outlive addresses."""

import re
from datetime import datetime
from xml.etree import ElementTree

from mynah.record.feed import FEED_LEAVES, atom_feed
from mynah.record.notes import VerifierKey
from mynah.record.statements import ModelWithdrawn, PostForgotten, Statement, format_time

ATOM = {"a": "http://www.w3.org/2005/Atom"}
KEY = VerifierKey("heron.example/birds", b"\x01" * 32)


def statements(num_leaves: int) -> list[tuple[int, Statement]]:
    """Leaves a second apart."""
    return [
        (
            index,
            Statement(
                PostForgotten(
                    posts="ab" * 32,
                    num_posts=index,
                    snapshot="",
                    time=format_time(1_767_225_600_000_000 + index * 1_000_000),
                )
            ),
        )
        for index in range(num_leaves)
    ]


def read(document: bytes) -> ElementTree.Element:
    """As an XML parser sees it."""
    return ElementTree.fromstring(document)


def texts(feed: ElementTree.Element, path: str) -> list[str]:
    """Text of each element at a path."""
    return [one.text or "" for one in feed.findall(path, ATOM)]


def test_feed_and_entries_have_what_rfc_4287_requires() -> None:
    """One id, title and updated each; an author; no id twice; times as RFC 3339."""
    feed = read(atom_feed(statements(3), key=KEY, base_url="https://heron.example/record/"))
    assert feed.tag == f"{{{ATOM['a']}}}feed"
    for place in (feed, *feed.findall("a:entry", ATOM)):
        for name in ("id", "title", "updated"):
            assert len(place.findall(f"a:{name}", ATOM)) == 1
    assert texts(feed, "a:author/a:name") == ["heron.example/birds"]
    ids = texts(feed, "a:id") + texts(feed, "a:entry/a:id")
    assert len(set(ids)) == 4
    assert all(re.fullmatch(r"tag:[a-z.]+,\d{4}:[a-z0-9/]+", one) for one in ids)
    for moment in texts(feed, ".//a:updated"):
        assert datetime.fromisoformat(moment).utcoffset() is not None
    links = {one.get("rel"): one.get("href") for one in feed.findall("a:link", ATOM)}
    assert links == {
        "self": "https://heron.example/record/feed.xml",
        "alternate": "https://heron.example/record/index.html",
    }


def test_newest_first_and_no_more_than_a_hundred() -> None:
    """The feed is as old as its newest leaf."""
    feed = read(atom_feed(statements(130), key=KEY))
    titles = texts(feed, "a:entry/a:title")
    assert len(titles) == FEED_LEAVES
    assert (titles[0], titles[-1]) == ("129: post-forgotten", "30: post-forgotten")
    assert texts(feed, "a:updated") == texts(feed, "a:entry/a:updated")[:1]
    hrefs = [one.get("href") for one in feed.findall("a:entry/a:link", ATOM)]
    assert hrefs[0] == "index.html#leaf-129"


def test_ids_stay_when_the_log_grows_and_moves() -> None:
    """A reader shows no leaf twice."""
    before = read(atom_feed(statements(5), key=KEY))
    after = read(atom_feed(statements(8), key=KEY, base_url="https://stork.example"))
    assert texts(after, "a:entry/a:id")[3:] == texts(before, "a:entry/a:id")
    other = VerifierKey("heron.example/birds", b"\x02" * 32)
    ids = texts(read(atom_feed(statements(5), key=other)), "a:entry/a:id")
    assert not set(ids) & set(texts(before, "a:entry/a:id"))


def test_text_of_a_leaf_is_no_markup() -> None:
    """Whoever writes a log writes no XML into the reader."""
    reason = "]]></content><script>alert(1)</script> & \u2028 \uffff"
    body = ModelWithdrawn(
        model="corvid", digest="ab" * 32, reason=reason, time="2026-01-01T00:00:00.000000Z"
    )
    feed = read(atom_feed([(0, Statement(body))], key=KEY))
    [content] = feed.findall("a:entry/a:content", ATOM)
    assert (content.get("type"), len(content)) == ("text", 0)
    assert reason.replace("\uffff", "\ufffd") in (content.text or "")


def test_a_log_without_leaves_has_a_valid_feed() -> None:
    """And one that changes nothing from call to call."""
    document = atom_feed([], key=KEY)
    assert document == atom_feed([], key=KEY)
    assert texts(read(document), "a:updated") == ["1970-01-01T00:00:00Z"]
