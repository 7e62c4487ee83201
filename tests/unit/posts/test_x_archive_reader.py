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
