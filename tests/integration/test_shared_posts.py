"""The shared data's largest set of posts, read whole: every row arrives in the store."""

import pyarrow as pa
import pytest
from tests.fakes.one_reader import read_file

from mynah.posts import read_posts
from mynah.posts.formats import FORMATS


@pytest.mark.parametrize(
    ("part", "num_rows"),
    [(0, 79_982), (1, 82_294), (2, 78_995), (3, 83_464), (4, 79_342), (5, 74_409)],
)
def test_every_part_of_the_reddit_set_gives_every_row(shared_data, part, num_rows):
    # 478,486 together, as the README of the data says.
    path = shared_data / "posts-reddit" / f"reddit_top_2013.part{part:02}.csv.zst"
    reading = read_file(path, FORMATS)
    assert sum(batch.num_rows for batch in reading.of(pa.RecordBatch)) == num_rows
    assert not reading.rejected


def test_the_folder_of_tweets_is_stored_whole(shared_data, tmp_path):
    artifact = read_posts([shared_data / "posts-tweets"], tmp_path / "posts")
    counts = artifact.counts
    num_read = sum(source["num_posts"] for source in counts["sources"])
    # 14,800 + 7,536 + 3,232 + 2,113 + 2,295 rows.
    assert num_read == 29_976
    assert counts["num_rejected"] == 0
    assert counts["num_posts"] + counts["num_duplicates"] == num_read
