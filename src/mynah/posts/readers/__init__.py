"""Readers: one file per native format, each a stream of posts, deletions and rejections."""

__all__ = []
