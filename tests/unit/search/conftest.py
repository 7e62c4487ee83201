"""Posts stores and indexes that the tests of search share."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.fakes.stored_posts import store_posts

from mynah.posts import Post
from mynah.search import SearchIndex, build_index
from mynah.workspace import Artifact


@pytest.fixture
def make_posts(tmp_path: Path) -> Callable[[Sequence[Post]], Artifact]:
    """A function that stores posts and returns their artifact."""
    return lambda posts: store_posts(posts, tmp_path / "posts")


@pytest.fixture
def make_index(
    tmp_path: Path, make_posts: Callable[[Sequence[Post]], Artifact]
) -> Callable[[Sequence[Post]], SearchIndex]:
    """A function that indexes posts and opens the index."""
    return lambda posts: SearchIndex(build_index(make_posts(posts), tmp_path / "search"))


def at(day: str, *, hour: int = 12) -> datetime:
    """A moment of ``day``, UTC."""
    return datetime.fromisoformat(day).replace(hour=hour, tzinfo=UTC)


NETWORK = (
    Post(
        id="t:1",
        author="Ada",
        created_at=at("2016-09-01"),
        text="New jobs for the town",
        lang="en",
        likes=3,
    ),
    Post(
        id="t:2",
        author="ben",
        created_at=at("2016-09-02"),
        text="The job market, explained",
        lang="en",
    ),
    Post(
        id="t:3",
        author="Ada",
        created_at=at("2016-09-03"),
        text="#Jobs and taxes: middle class first",
        lang="en",
    ),
    Post(
        id="t:4",
        author="ben",
        created_at=at("2016-09-04"),
        text="Taxes for the class in the middle",
        lang="en",
    ),
    Post(
        id="t:5",
        author="chitra",
        created_at=at("2016-09-05"),
        text="\u0928\u0947\u092a\u093e\u0932\u0915\u094b \u0938\u0930\u0915\u093e\u0930 \u091b",
        lang="ne",
    ),
    Post(
        id="t:6",
        author="dora",
        created_at=None,
        text="No time, no language, a caf\u00e9 @Ada",
        lang=None,
    ),
    Post(
        id="t:7",
        author="Ada",
        created_at=at("2016-09-06"),
        text="secret jobs",
        lang="en",
        visibility="direct",
    ),
    Post(
        id="t:8",
        author="ben",
        created_at=at("2016-09-07"),
        text="quiet jobs",
        lang="en",
        visibility="followers",
    ),
    Post(
        id="t:9",
        author="ben",
        created_at=at("2016-09-08"),
        text="unlisted jobs",
        lang="en",
        visibility="unlisted",
    ),
)
"""Nine posts: six public, one unlisted, two that nobody else may see."""
