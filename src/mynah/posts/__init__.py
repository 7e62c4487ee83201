"""Posts: every network's export, read into one schema and one store.

Reads exports; writes ``posts/<snapshot>/``: Parquet shards, ``rejected.jsonl``, manifest.
"""

from mynah.posts.post import POST_SCHEMA, POSTS_KIND, Post
from mynah.posts.read import READER_VERSION, read_posts
from mynah.posts.reader import ReadOptions, Rejected
from mynah.posts.sample import SAMPLE_NUM_POSTS, fetch_sample
from mynah.posts.store import iterate_posts, load_posts

__all__ = [
    "POSTS_KIND",
    "POST_SCHEMA",
    "READER_VERSION",
    "SAMPLE_NUM_POSTS",
    "Post",
    "ReadOptions",
    "Rejected",
    "fetch_sample",
    "iterate_posts",
    "load_posts",
    "read_posts",
]
