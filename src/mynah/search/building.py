"""Builds the search index. Reads the post store; writes ``search/<snapshot>/``."""

import json
import shutil
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import tantivy

from mynah.errors import MachineError
from mynah.posts import Post, iterate_posts, load_posts
from mynah.progress import NO_PROGRESS, Progress
from mynah.search.analysis import ANALYSIS_VERSION, make_analyser, normalise
from mynah.search.matching import TEXT_ANALYSER, make_schema, microseconds
from mynah.workspace import Artifact, find_artifact, set_latest, writing_artifact

__all__ = ["AUTHORS_FILE", "SEARCH_KIND", "TIMES", "build_index"]

SEARCH_KIND = "mynah.search/1"
"""Kind of the search index's artifact."""

AUTHORS_FILE = "authors.json"
"""Beside tantivy's files: handles as people spell them."""

# Part of an index's name: a change of its fields or files makes a new index.
_LAYOUT_VERSION = 2
TIMES = ("created_at", "edited_at", "seen_at")
"""Fields of a post that JSON holds as text."""
_POST_FIELDS = tuple(field.name for field in fields(Post))
_HEAP_BYTES = 50_000_000
_REPORT_EVERY = 1_000
_LEAST_FREE_BYTES = 10_000_000
_LOCK_FILES = (".tantivy-writer.lock", ".tantivy-meta.lock")


def build_index(posts: Artifact, root: Path, *, progress: Progress = NO_PROGRESS) -> Artifact:
    """Index every public post of ``posts``, or find the index that is already there.

    Args:
        posts: A finished post store.
        root: The workspace's ``search`` folder.
        progress: Told about every thousandth post.

    Returns:
        The index; its counts are ``num_posts`` indexed and ``num_not_public`` refused.

    Raises:
        MachineError: The disk is full or may not be written.
    """
    inputs = {
        "posts": posts.digest,
        "layout": _LAYOUT_VERSION,
        "analysis": ANALYSIS_VERSION,
        "tantivy": version("tantivy"),
    }
    found = find_artifact(root, kind=SEARCH_KIND, inputs=inputs)
    if found is not None:
        set_latest(found)
        return found
    with writing_artifact(root, kind=SEARCH_KIND, inputs=inputs) as writer, _tantivy_errors(root):
        writer.counts.update(_write_index(posts, writer.folder, progress))
    return writer.artifact


def _write_index(posts: Artifact, folder: Path, progress: Progress) -> dict[str, int]:
    age_orders = _age_orders(posts)
    schema = make_schema()
    index = tantivy.Index(schema, path=str(folder))
    index.register_tokenizer(TEXT_ANALYSER, make_analyser())
    # One thread: the other core serves the page that is already open.
    writer = index.writer(_HEAP_BYTES, 1)
    authors: dict[str, Counter[str]] = {}
    num_read = num_indexed = 0
    for post in iterate_posts(posts):
        num_read += 1
        # The reader keeps private posts out as well; this is the second lock on that door.
        if post.is_public:
            writer.add_document(_as_document(post, age_orders[post.id]))
            authors.setdefault(post.author.casefold(), Counter())[post.author] += 1
            num_indexed += 1
        if num_read % _REPORT_EVERY == 0:
            progress(num_read, len(age_orders))
    writer.commit()
    writer.wait_merging_threads()
    (folder / AUTHORS_FILE).write_text(_render_authors(authors))
    progress(num_read, num_read)
    for name in _LOCK_FILES:
        (folder / name).unlink(missing_ok=True)
    return {"num_posts": num_indexed, "num_not_public": num_read - num_indexed}


def _render_authors(authors: Mapping[str, Counter[str]]) -> str:
    """Write each author's usual spelling, by the folded one that the index knows."""
    usual = {
        folded: min(spellings, key=lambda spelling: (-spellings[spelling], spelling))
        for folded, spellings in sorted(authors.items())
        if folded
    }
    return json.dumps(usual)


def _age_orders(posts: Artifact) -> dict[str, int]:
    """Number all posts from the newest on; those of equal time by id, those without time last."""
    ids = (
        load_posts(posts)
        .select("id", "created_at")
        .sort("created_at", "id", descending=[True, False], nulls_last=True)["id"]
    )
    return {post_id: order for order, post_id in enumerate(ids)}


def _as_document(post: Post, age_order: int) -> tantivy.Document:
    document = tantivy.Document()
    document.add_text("id", post.id)
    document.add_text("author", post.author.casefold())
    document.add_text("text", normalise(post.text))
    document.add_integer("age_order", age_order)
    if post.lang is not None:
        document.add_text("lang", post.lang.lower())
    if post.created_at is not None:
        document.add_integer("created_at", microseconds(post.created_at))
    for name in ("likes", "reposts", "replies"):
        document.add_integer(name, getattr(post, name))
    row = {name: getattr(post, name) for name in _POST_FIELDS}
    for name in TIMES:
        row[name] = row[name].isoformat() if row[name] else None
    document.add_bytes("post", json.dumps(row, ensure_ascii=False).encode())
    return document


@contextmanager
def _tantivy_errors(root: Path) -> Generator[None]:
    """Turn what tantivy says about the disk into one clear error."""
    try:
        yield
    except ValueError as error:
        # From its threads tantivy reports that one died, not of what: so look at the disk.
        is_full = shutil.disk_usage(root).free < _LEAST_FREE_BYTES
        raise MachineError(
            f"the disk is full: {root} cannot be written"
            if is_full
            else f"the index in {root} cannot be written: {error}",
            hint="free some space and run the same command again; what was finished is kept",
        ) from error
