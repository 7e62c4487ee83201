import gzip
import json
import zipfile

import pytest

from mynah.errors import DataError
from mynah.posts import iterate_posts, read_posts


def tweet(number, **fields):
    return {
        "tweet": {
            "id_str": str(number),
            "full_text": f"post {number} &amp; more",
            "created_at": "Wed Oct 10 20:19:24 +0000 2018",
            "favorite_count": "3",
            "retweet_count": "1",
            "lang": "en",
            **fields,
        }
    }


def script(name, records, indent=2):
    return f"window.YTD.{name}.part0 = " + json.dumps(records, indent=indent)


ACCOUNT = script("account", [{"account": {"username": "ada", "accountId": "1"}}])


@pytest.fixture
def archive(tmp_path):
    """Make a zip of the given members."""

    def make(members):
        path = tmp_path / "twitter.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
            for name, content in members.items():
                out.writestr(name, content)
        return path

    return make


def test_a_zip_is_read_with_its_author(archive, store):
    path = archive(
        {
            "data/tweets.js": script("tweets", [tweet(1), tweet(2, in_reply_to_status_id_str="1")]),
            "data/account.js": ACCOUNT,
        }
    )
    posts = list(iterate_posts(read_posts([path], store)))
    assert [(p.id, p.author, p.reply_to, p.likes) for p in posts] == [
        ("x:1", "ada", None, 3),
        ("x:2", "ada", "x:1", 3),
    ]
    assert posts[0].text == "post 1 &amp; more"
    assert posts[0].url == "https://x.com/ada/status/1"


def test_parts_older_names_and_a_folder_above_are_found(archive, store):
    path = archive(
        {
            "mine/data/tweets.js": script("tweets", [tweet(1)]),
            "mine/data/tweets-part1.js": script("tweets", [tweet(2)]),
            "older/tweet.js": script("tweet", [tweet(3)["tweet"]]),
        }
    )
    assert read_posts([path], store).counts["num_posts"] == 3


def test_an_unpacked_folder_and_the_file_alone_are_the_same(tmp_path, store):
    data = tmp_path / "archive" / "data"
    data.mkdir(parents=True)
    (data / "tweets.js").write_text(script("tweets", [tweet(1)]))
    (data / "account.js").write_text(ACCOUNT)
    of_folder = list(iterate_posts(read_posts([tmp_path / "archive"], store)))
    of_file = list(iterate_posts(read_posts([data / "tweets.js"], store)))
    assert of_folder == of_file
    assert of_file[0].author == "ada"


def test_nothing_but_posts_is_ever_read(archive, store):
    secret = tweet(9, full_text="hush")
    path = archive(
        {
            "data/tweets.js": script("tweets", [tweet(1)]),
            "data/direct-messages.js": script("direct_messages", [secret]),
            "data/deleted-tweets.js": script("deleted_tweets", [secret]),
            "data/twitter-circle-tweet.js": script("twitter_circle_tweet", [secret]),
        }
    )
    artifact = read_posts([path], store)
    assert artifact.counts["num_posts"] == 1
    assert not any(b"hush" in file.read_bytes() for file in artifact.folder.iterdir())


def test_direct_messages_given_by_name_are_refused(tmp_path, store):
    path = tmp_path / "direct-messages.js"
    path.write_text(script("direct_messages", [tweet(1)]))
    with pytest.raises(DataError, match="direct messages"):
        read_posts([path], store)


def test_direct_messages_under_another_name_are_refused(tmp_path, store):
    path = tmp_path / "tweets.js"
    path.write_text(script("direct_messages", [tweet(1)]))
    with pytest.raises(DataError, match="direct messages"):
        read_posts([path], store)


def test_a_protected_account_has_private_posts_only(archive, store):
    history = [
        {"protectedHistory": {"protectedAt": "2019-01-01", "action": "Unprotect"}},
        {"protectedHistory": {"protectedAt": "2020-01-01", "action": "Protect"}},
    ]
    path = archive(
        {
            "data/tweets.js": script("tweets", [tweet(1)]),
            "data/protected-history.js": script("protected_history", history),
        }
    )
    with pytest.raises(DataError, match="1 private posts"):
        read_posts([path], store)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("broken", [0, 7, 19])
def test_a_broken_record_is_rejected_alone(tmp_path, store, indent, broken):
    tags = {"hashtags": [{"text": "tag", "indices": ["1", "2"]}]}
    text = script("tweets", [tweet(n, entities=tags) for n in range(20)], indent)
    path = tmp_path / "tweets.js"
    path.write_text(text.replace(f'"post {broken} &amp; more"', f'"post {broken} &amp'))
    artifact = read_posts([path], store)
    assert artifact.counts["num_posts"] == 19
    (row,) = map(json.loads, (artifact.folder / "rejected.jsonl").read_text().splitlines())
    assert row == {
        "source": "tweets.js",
        "position": broken + 1,
        "reason": "the record is not JSON",
    }


def test_records_longer_than_a_piece_of_the_stream_are_read(tmp_path, store):
    long = [tweet(n, full_text="word " * 100_000) for n in range(4)]
    path = tmp_path / "tweets.js"
    path.write_text(script("tweets", long))
    assert read_posts([path], store).counts["num_posts"] == 4


def test_records_that_are_no_posts_are_rejected(tmp_path, store):
    path = tmp_path / "tweets.js"
    path.write_text(script("tweets", [tweet(1), {"note": {"text": "a"}}, 7, tweet(2)]))
    artifact = read_posts([path], store)
    assert (artifact.counts["num_posts"], artifact.counts["num_rejected"]) == (2, 2)


def test_a_zip_without_posts_says_what_it_holds(archive, store):
    with pytest.raises(DataError, match=r"holds no posts: it has data/account\.js"):
        read_posts([archive({"data/account.js": ACCOUNT})], store)


def test_a_file_that_only_claims_to_be_a_zip(tmp_path, store):
    (tmp_path / "a.zip").write_text("hello")
    with pytest.raises(DataError, match="no zip archive"):
        read_posts([tmp_path / "a.zip"], store)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_a_truncated_zip(archive, store, share):
    path = archive({"data/tweets.js": script("tweets", [tweet(n) for n in range(500)])})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match="cut short") as caught:
        read_posts([path], store)
    assert "again" in caught.value.hint


def test_a_zip_with_damaged_content(archive, store):
    path = archive({"data/tweets.js": script("tweets", [tweet(n) for n in range(500)])})
    whole = bytearray(path.read_bytes())
    whole[200:260] = b"\xff" * 60
    path.write_bytes(whole)
    with pytest.raises(DataError, match="cut short or damaged"):
        read_posts([path], store)


@pytest.mark.parametrize("name", ["../tweets.js", "/etc/tweets.js", "a/../../tweets.js", "C:/t.js"])
def test_a_zip_with_a_path_out_of_it(archive, store, name):
    with pytest.raises(DataError, match="out of the archive"):
        read_posts([archive({name: "x", "data/tweets.js": "[]"})], store)


def test_a_zip_bomb(archive, store):
    with pytest.raises(DataError, match="expands"):
        read_posts([archive({"data/tweets.js": b"\0" * (80 << 20)})], store)


def test_a_real_archive_is_read_whole(shared_data, store):
    artifact = read_posts([shared_data / "native-formats" / "x-archive"], store)
    assert (artifact.counts["num_posts"], artifact.counts["num_rejected"]) == (1758, 0)


def test_a_real_archive_without_posts(shared_data, store):
    with pytest.raises(DataError, match="holds no posts"):
        read_posts([shared_data / "native-formats" / "x-archive" / "dogsheep-fixture"], store)


def test_a_gzipped_script_is_read(tmp_path, store):
    path = tmp_path / "tweets.js.gz"
    path.write_bytes(gzip.compress(script("tweets", [tweet(1)]).encode()))
    assert read_posts([path], store).counts["num_posts"] == 1


LONG = "word " * 54
"""270 characters: what X keeps of a long post in tweets.js."""


def note(text, created_at="2018-10-10T20:19:22.000Z"):
    core = {"text": text, "urls": [], "mentions": []}
    return {"noteTweet": {"noteTweetId": "99", "core": core, "createdAt": created_at}}


@pytest.fixture
def posts_of(archive, store):
    """Read posts with other files beside them; give them by native id."""

    def read(tweets, **scripts):
        members = {"data/tweets.js": script("tweets", tweets)}
        for name, records in scripts.items():
            members[f"data/{name.replace('_', '-')}.js"] = script(name, records)
        artifact = read_posts([archive(members)], store)
        return {post.id.partition(":")[2]: post for post in iterate_posts(artifact)}

    return read


@pytest.mark.parametrize(
    ("cut", "lead"),
    [
        (LONG.strip(), ""),
        (LONG + "\N{HORIZONTAL ELLIPSIS} https://t.co/aB1", ""),
        (LONG + "mor\N{HORIZONTAL ELLIPSIS}", ""),
        ("@bob @cyd " + LONG[:250] + "\N{HORIZONTAL ELLIPSIS}", "@bob @cyd "),
    ],
)
def test_a_long_post_gets_its_whole_text(posts_of, cut, lead):
    whole = LONG + "more of it, & a <link> at the end"
    posts = posts_of([tweet(1, full_text=cut), tweet(2)], note_tweet=[note(whole)])
    assert posts["1"].text == lead + whole
    assert posts["2"].text == "post 2 &amp; more"


def test_marks_are_written_another_way_in_a_long_text(posts_of):
    cut = ("a &amp; b  " + LONG)[:275]
    posts = posts_of([tweet(1, full_text=cut)], note_tweet=[note("a & b " + LONG + "end")])
    assert posts["1"].text.endswith("end")


@pytest.mark.parametrize(
    ("text", "record"),
    [
        (LONG, note("other words " + LONG)),
        (LONG, note(LONG + "more", created_at="2018-10-10T20:29:22.000Z")),
        (LONG, note(LONG)),
        (LONG[:100], note(LONG)),
        (LONG, {"noteTweet": {"core": {"text": LONG + "more"}}}),
        (LONG, {"noteTweet": {"core": {"text": 7}, "createdAt": "2018-10-10T20:19:22.000Z"}}),
        (LONG, {"other": 1}),
    ],
    ids=["words", "time", "length", "short", "no time", "no text", "no note"],
)
def test_a_long_text_that_does_not_fit_is_never_read(posts_of, text, record):
    posts = posts_of([tweet(1, full_text=text)], note_tweet=[record])
    assert [post.text for post in posts.values()] == [text]


def test_of_two_versions_each_gets_its_own_long_text(posts_of):
    later = "Wed Oct 10 20:19:54 +0000 2018"
    tweets = [tweet(1, full_text=LONG), tweet(2, full_text=LONG, created_at=later)]
    notes = [note(LONG + "one"), note(LONG + "two", created_at="2018-10-10T20:19:53.000Z")]
    posts = posts_of(tweets, note_tweet=notes)
    assert [posts[n].text[-3:] for n in "12"] == ["one", "two"]


def test_an_edited_post_stands_alone(posts_of):
    first, last = "1582825767519809536", "1582825867519809536"
    initial = {"initial": {"editTweetIds": [first, last]}}
    edit = {"edit": {"initialTweetId": first, "editControlInitial": {"editTweetIds": [first]}}}
    posts = posts_of([tweet(first, edit_info=initial), tweet(last, edit_info=edit)])
    assert list(posts) == [last]
    assert posts[last].edited_at is not None


def test_posts_in_communities_are_read(posts_of):
    shown = tweet(2, community_id_str="5", scopes={"followers": False})
    hidden = tweet(3, community_id_str="5", scopes={"followers": True})
    assert list(posts_of([tweet(1)], community_tweet=[shown, hidden])) == ["1", "2"]


def test_a_quotation_is_known_by_its_last_link(posts_of):
    def linked(address, short="https://t.co/aB1"):
        return {
            "full_text": "look https://t.co/aB1",
            "entities": {"urls": [{"url": short, "expanded_url": address}]},
        }

    posts = posts_of(
        [
            tweet(1, **linked("https://twitter.com/bob/status/77?s=20")),
            tweet(2, **linked("https://x.com/bob/status/2")),
            tweet(3, **linked("https://example.com/bob/status/77")),
            tweet(4, **linked("https://x.com/bob/status/77", short="https://t.co/other")),
        ]
    )
    assert [post.quote_of for post in posts.values()] == ["x:77", None, None, None]
    assert posts["1"].kind == "quote"


def test_the_archive_says_when_it_was_made(archive, store):
    manifest = 'window.__THAR_CONFIG = {"archiveInfo" : {"generationDate" : "%s"}}'
    for day, seen in [("2022-11-08T01:02:03.000Z", 2022), ("some day", None)]:
        members = {
            "data/tweets.js": script("tweets", [tweet(1)]),
            "data/manifest.js": manifest % day,
        }
        (post,) = iterate_posts(read_posts([archive(members)], store / str(seen)))
        assert (post.seen_at and post.seen_at.year) == seen


@pytest.mark.parametrize("username", [7, "half \\ud83d", "a b", "x" * 99, None])
def test_a_broken_name_is_no_name(archive, store, username):
    account = script("account", [{"account": {"username": username}}]).replace(
        "\\\\ud83d", "\\ud83d"
    )
    path = archive({"data/tweets.js": script("tweets", [tweet(1)]), "data/account.js": account})
    (post,) = iterate_posts(read_posts([path], store))
    assert post.author == ("7" if username == 7 else "")


def test_a_history_that_cannot_be_read_is_not_guessed(archive, store):
    history = script("protected_history", [{"protectedHistory": {"action": "Protect"}}])
    members = {
        "data/tweets.js": script("tweets", [tweet(1)]),
        "data/protected-history.js": history[:-9],
    }
    with pytest.raises(DataError, match=r"protected-history\.js of the X archive cannot be read"):
        read_posts([archive(members)], store)
