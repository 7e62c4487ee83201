"""Readers: one file per native format, each a stream of posts, private ids and rejections."""

from mynah.posts.readers.table import read_delimited, read_json, read_parquet
from mynah.posts.readers.x_archive import read_x_folder_file, read_x_zip

__all__ = ["read_delimited", "read_json", "read_parquet", "read_x_folder_file", "read_x_zip"]
