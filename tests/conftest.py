"""Fixtures that several folders of tests share."""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mynah.errors import MynahError
from mynah.posts import fetch_sample

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def keys_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keys that no person has: what the tests sign is never signed by whoever runs them."""
    folder = tmp_path_factory.mktemp("keys")
    os.environ["MYNAH_KEYS"] = str(folder)  # for the processes that tests start, too
    yield folder
    del os.environ["MYNAH_KEYS"]


@pytest.fixture
def shared_data() -> Path:
    """The folder of real public data that lies beside the repository, where there is one."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs ../shared/data, the folder of public data beside the repository")
    return SHARED_DATA


@pytest.fixture(scope="session")
def sample_tab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real sample: cached from an earlier run, or downloaded now, by one process for all."""
    lock = tmp_path_factory.getbasetemp().parent / "sample.lock"
    try:
        with lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            return fetch_sample()
    except MynahError as error:
        pytest.skip(f"the sample of real posts cannot be had: {error.message}")
