"""The shared archives of chats, whole: as many posts as their description says."""

from collections import Counter

from tests.fakes.one_reader import read_file

from mynah.posts.readers import irc, zulip


def test_every_message_of_the_zulip_archive(shared_data):
    path = shared_data / "threads" / "zulip_lean_public.jsonl.gz"
    reading = read_file(path, zulip.FORMATS)
    posts = reading.posts
    assert len(posts) == 18_272
    assert len({post.id for post in posts}) == 18_268  # four messages are in it twice
    # 775 topics; where the first message of one quotes a message, it answers that.
    assert Counter(post.kind for post in posts) == {"post": 761, "reply": 17_511}
    assert {post.visibility for post in posts} == {"public"}
    assert not any("katex" in post.text for post in posts)
    assert (reading.rejected, reading.report.num_not_posts) == ([], 0)
    known = {post.id for post in posts}
    parents = [post.reply_to for post in posts if post.reply_to]
    assert sum(parent not in known for parent in parents) == 7  # quotes of other channels


def test_every_line_of_the_irc_logs(shared_data):
    path = shared_data / "threads" / "irc_ubuntu_train.messages.jsonl.gz"
    reading = read_file(path, irc.FORMATS)
    # 220,463 lines: 23,817 are joins, leaves and the like (===), 23 are lines of a nick without
    # words, and 48 are notices (-nick:#channel-) or of another window of who kept the log.
    assert len(reading.posts) + reading.report.num_not_posts == 220_463
    assert reading.report.num_not_posts == 23_888
    assert reading.rejected == []
    assert len({post.id for post in reading.posts}) == len(reading.posts)
    assert all(post.created_at and post.author and post.text for post in reading.posts)
    assert {post.visibility for post in reading.posts} == {"public"}
