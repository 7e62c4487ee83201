"""Posts: every network's export, read into one schema and one store.

Reads exports; writes ``posts/<snapshot>/`` (Parquet shards, ``rejected.jsonl``, manifest) and the
list of what was taken back.
"""

from mynah.posts.adding import add_posts
from mynah.posts.deletions import forgotten_ids
from mynah.posts.forgetting import Takedown, forget_posts
from mynah.posts.format import Format
from mynah.posts.formats import FORMATS
from mynah.posts.gathering import READER_VERSION
from mynah.posts.post import POST_SCHEMA, POSTS_KIND, Post
from mynah.posts.purging import Rewritten
from mynah.posts.read import read_posts
from mynah.posts.reader import Deleted, ReadOptions, Rejected
from mynah.posts.sample import SAMPLE_NUM_POSTS, fetch_sample
from mynah.posts.store import (
    content_digest,
    iterate_posts,
    load_columns,
    load_posts,
    shard_paths,
)
from mynah.posts.withdrawn import settle_withdrawn, withdrawn_posts

__all__ = [
    "FORMATS",
    "POSTS_KIND",
    "POST_SCHEMA",
    "READER_VERSION",
    "SAMPLE_NUM_POSTS",
    "Deleted",
    "Format",
    "Post",
    "ReadOptions",
    "Rejected",
    "Rewritten",
    "Takedown",
    "add_posts",
    "content_digest",
    "fetch_sample",
    "forget_posts",
    "forgotten_ids",
    "iterate_posts",
    "load_columns",
    "load_posts",
    "read_posts",
    "settle_withdrawn",
    "shard_paths",
    "withdrawn_posts",
]
