"""Any bytes read as an export, and what must hold of whatever comes out; for fuzzing."""

from pathlib import Path

import pyarrow as pa
from tests.fakes.every_format import Seed

from mynah.errors import DataError
from mynah.posts.post import POST_SCHEMA, Post
from mynah.posts.reader import Deleted, Found, PrivatePost, ReadOptions, Rejected, SourceReport
from mynah.posts.sources import opened_sources

__all__ = ["check_reading", "read_bytes", "write_seed"]

MAX_REASON_CHARS = 200
LEAKED_CHARS = 20
"""So many characters of an export in a row are somebody's words."""
VISIBILITIES = frozenset({"public", "unlisted", "followers", "direct"})


def write_seed(folder: Path, seed: Seed) -> Path:
    """Write the files that lie beside a seed; return where its own content goes."""
    for name, data in seed.beside.items():
        (folder / name).write_bytes(data)
    return folder / seed.name


def read_bytes(path: Path, content: bytes, *, chosen: str = "") -> tuple[str, list[Found]]:
    """Read ``content`` at ``path`` as the format ``chosen``, or as it is guessed.

    Returns:
        The format that read it, and what it found; ``""`` when it is told apart as none, and
        nothing when the file is refused.
    """
    path.write_bytes(content)
    name = shown = ""
    options = ReadOptions(format=chosen)
    try:
        with opened_sources([path], options=options) as sources:
            found: list[Found] = []
            for source in sources:
                name, shown = source.format.name, source.name
                found.extend(source.read(options, SourceReport(source.name, name)))
            return name, found
    except DataError as error:
        if name:  # before, it may name the keys of a document that is no export
            _check_words(error.message, content, name=shown)
        return name, []


def check_reading(found: list[Found], content: bytes) -> None:
    """Check all that a reader gave for ``content``.

    Raises:
        AssertionError: It is something that no reader may give.
    """
    for one in found:
        match one:
            case Post():
                _check_post(one)
            case Deleted():
                assert one.id.encode(), "a deletion names a post"
                assert one.at is None or one.at.utcoffset() is not None, "a time has no zone"
            case PrivatePost():
                assert one.id.encode(), "a private post has an id"
            case Rejected():
                assert one.position >= 0, "a position counts from 1"
                _check_words(one.reason, content, name=one.source)
            case pa.RecordBatch():
                _check_batch(one)
            case _:
                raise AssertionError(f"a reader gave a {type(one).__name__}")


def _check_post(post: Post) -> None:
    network, _, native = post.id.partition(":")
    assert network, "an id begins with its network"
    assert native, "an id names a post of its network"
    assert post.text.strip(), "a post says something"
    assert post.visibility in VISIBILITIES, "a visibility is one of four"
    fields = (post.id, post.author, post.text, post.lang, post.reply_to, post.repost_of)
    for value in (*fields, post.quote_of, post.url, post.kind):
        assert value is None or value.encode() is not None
    for time in (post.created_at, post.edited_at, post.seen_at):
        assert time is None or not time.utcoffset(), "a time is not UTC"
        assert time is None or time.tzinfo is not None, "a time has no zone"
    for count in (post.likes, post.reposts, post.replies):
        assert isinstance(count, int), "a count is a whole number"
        assert -(2**62) < count < 2**62, "a count fits its column"
    assert isinstance(post.may_train, bool)


def _check_batch(batch: pa.RecordBatch) -> None:
    assert batch.schema.equals(POST_SCHEMA), "a batch has the columns of posts"
    batch.validate(full=True)  # every string is UTF-8
    for row in batch.to_pylist():
        _check_post(Post.from_row(row))


def _check_words(reason: str, content: bytes, *, name: str) -> None:
    """A reason may name a file or a column; it repeats nothing that stands in a post."""
    assert reason.isprintable(), "a reason is one line"
    said = reason.replace(name, "")
    assert len(said) < MAX_REASON_CHARS, "a reason is short"
    for at in range(len(said) - LEAKED_CHARS + 1):
        run = said[at : at + LEAKED_CHARS]
        assert run.encode("utf-8", "surrogatepass") not in content, "a reason repeats the export"
