"""Every format that posts are read from, the most specific first: a file is the first that fits."""

from mynah.posts.format import Format
from mynah.posts.readers import table, x_archive

__all__ = ["FORMATS"]

FORMATS: tuple[Format, ...] = (
    *x_archive.FORMATS,
    *table.FORMATS,
)
