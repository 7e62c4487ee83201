"""Fixtures of the tests of posts."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mynah.posts import ReadOptions, load_posts, read_posts
from mynah.workspace import Artifact

Reader = Callable[..., Artifact]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "workspace" / "posts"


@pytest.fixture
def read(tmp_path: Path, store: Path) -> Reader:
    """Write content to a file of the given name and read it into a store."""

    def read_file(name: str, content: str | bytes, **options: object) -> Artifact:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_posts([path], store, options=ReadOptions(**options))  # pyright: ignore

    return read_file


@pytest.fixture
def texts() -> Callable[[Artifact], Mapping[str, str]]:
    """Texts of a store by native id."""

    def of(artifact: Artifact) -> Mapping[str, str]:
        table = load_posts(artifact)
        return {i.partition(":")[2]: t for i, t in table.select("id", "text").iter_rows()}

    return of
